"""What all devices are to be told, in slices: a message that goes to hundreds of them holds nobody else up for long.

Each device's deliveries stay in their order. What is little is done at once; the rest waits as it came, and is looked
through when the device's turn comes (`pending`). Above a bound devices let go of values that wait, and are told later
how those params stand then; events wait on, and where there are too many of them, the oldest are lost, which the device
is told of: of one device at a time. Knows no OSC.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from clasp_edge.devices.osc.pending import Ledger, Pending, is_little
from clasp_edge.devices.osc.slices import FRESH, Slices

if TYPE_CHECKING:
    from clasp_edge.devices.osc.delivery import Delivery
    from clasp_edge.devices.osc.source import Addresses

log = logging.getLogger("clasp_edge.osc")

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Above it something is let go of, in the slices that telling has."""

MOST_WAITING_BYTES = MAX_WAITING_BYTES * 5 // 4
"""Above it also at once, with each of the deliveries that are too many."""

RELIEVED_BYTES = MAX_WAITING_BYTES * 7 // 8
"""Above the bound events are lost until no more than this waits: so that it is not every turn that has to look."""

LOOKED_AT_ONCE = 128
"""Deliveries that are looked through before the clock is looked at."""


class Receiver(Protocol):
    """A device as this sees it."""

    @property
    def events(self) -> Addresses | None:
        """What are events of what it is told, whatever they came as."""

    def take(self, deliveries: list[Delivery]) -> None:
        """Handle what was delivered."""

    def outrun(self, since_us: int) -> None:
        """Values were let go that were said since then (Unix microseconds)."""

    def lose(self, count: int, address: bytes) -> None:
        """So many events were lost, the first of them at this address: more came than everybody can be told."""


class FanOut:
    """All devices of one server, in the slices that they share with what they are told for another reason."""

    def __init__(self, slices: Slices, wall_us: Callable[[], int] = lambda: int(time.time() * 1e6)) -> None:
        self._slices = slices
        self._wall_us = wall_us
        self._line: OrderedDict[Receiver, Pending] = OrderedDict()
        self._ledger = Ledger()
        self._relieving = False
        self._with_values: list[Receiver] = []
        self._losing: list[Receiver] = []
        """Who is to let go of values, and who is to lose events: the next one at the end."""
        self._most = 0
        """Deliveries that waited for one of the latter."""

    def __len__(self) -> int:
        """How many devices wait."""
        return len(self._line)

    @property
    def waiting_bytes(self) -> int:
        """What it takes that they do."""
        return self._ledger.size

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that more would soon have to be let go of."""
        return self._ledger.size > MAX_WAITING_BYTES // 2

    def add(self, receiver: Receiver, deliveries: list[Delivery]) -> None:
        """Tell a device, now if there is time. The caller changes nothing of `deliveries` from now on."""
        if not deliveries:
            return
        little = is_little(deliveries)
        if little and not self._line and self._slices.is_idle:
            self._slices.at_once(lambda: receiver.take(deliveries))
            return
        pending = self._line.get(receiver)
        if pending is None:
            pending = self._line[receiver] = Pending(self._ledger, receiver.events, self._wall_us())
        pending.add(deliveries)
        if self._ledger.size > MOST_WAITING_BYTES and self._is_too_much():
            self._relieve()
        # What brought so much has taken its time of this round already.
        self._slices.want(self, FRESH, now=little)

    def leave(self, receiver: Receiver) -> None:
        """A device is not to be told anything any more."""
        pending = self._line.pop(receiver, None)
        if pending is not None:
            pending.clear()

    def close(self) -> None:
        """Tell nobody any more."""
        self._slices.leave(self, FRESH)
        self._line.clear()
        self._ledger = Ledger()
        self._relieving = False

    def resume(self) -> bool:
        """Look through some of what waits for the device whose turn it is, or tell it some."""
        if not self._line:
            return False
        if self._is_too_much():
            self._relieve()
            return bool(self._line)
        receiver, pending = next(iter(self._line.items()))
        try:
            if not pending.look_through(LOOKED_AT_ONCE):
                return True
        except Exception:
            log.exception("what a device is to be told could not be looked through")
            self.leave(receiver)  # nobody is to wait for ever behind it
            return bool(self._line)
        some = pending.take_some()
        if len(pending):
            self._line.move_to_end(receiver)
        else:
            del self._line[receiver]
        try:
            receiver.take(some)
        except Exception:
            log.exception("a device could not be told")
        return bool(self._line)

    def _is_too_much(self) -> bool:
        """Whether something is to be let go of until enough was."""
        if self._ledger.size > MAX_WAITING_BYTES and not self._relieving:
            self._relieving = True
            # Those first that have waited for longest.
            self._with_values = [receiver for receiver, one in reversed(self._line.items()) if one.may_let_go]
            self._losing = []
        return self._relieving

    def _relieve(self) -> None:
        """Have one device let go of its values, until half of what may wait does; where values are not enough, of the
        older half of its events, those first for which most waits. The next device does with the next step, so that
        nobody stands still for hundreds at once."""
        while self._with_values:
            receiver = self._with_values.pop()
            if self._may_let_go(receiver):
                self._let_go(receiver)
                self._relieving = self._ledger.size > MAX_WAITING_BYTES // 2
                return
        if self._ledger.size <= (RELIEVED_BYTES if self._losing else MAX_WAITING_BYTES) or not self._line:
            self._relieving = False
            return
        receiver = self._next_to_lose()
        if self._may_let_go(receiver):
            self._let_go(receiver)
        else:
            self._lose(receiver)
            self._relieving = self._ledger.size > RELIEVED_BYTES

    def _next_to_lose(self) -> Receiver:
        """Those in turn for whom most waits, and nobody for whom little does."""
        while self._losing:
            receiver = self._losing.pop()
            if receiver in self._line and 4 * len(self._line[receiver]) >= self._most:
                return receiver
        self._losing = sorted(self._line, key=lambda one: len(self._line[one]))
        receiver = self._losing.pop()
        self._most = len(self._line[receiver])
        return receiver

    def _may_let_go(self, receiver: Receiver) -> bool:
        pending = self._line.get(receiver)
        return pending is not None and pending.may_let_go

    def _let_go(self, receiver: Receiver) -> None:
        pending = self._line[receiver]
        if not pending.let_go():
            return
        if not len(pending):
            del self._line[receiver]
        try:
            receiver.outrun(pending.since_us)
        except Exception:
            log.exception("a device could not be told what it was not told")

    def _lose(self, receiver: Receiver) -> None:
        pending = self._line[receiver]
        lost, first = pending.lose_half()
        if not len(pending):
            del self._line[receiver]
        try:
            receiver.lose(lost, first)
        except Exception:
            log.exception("a device could not be told what it has lost")
