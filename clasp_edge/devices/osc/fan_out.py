"""What all devices are to be told, in slices: a message that goes to hundreds of them holds nobody else up for long.

Each device's deliveries stay in their order. What is little is done at once; the rest waits for the loop's next turn,
of a param the newest value that no event came behind; above a bound it is done at once whatever that costs. Knows no
OSC.
"""

from __future__ import annotations

import logging
import time
from asyncio import AbstractEventLoop, Handle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

log = logging.getLogger("clasp_edge.osc")

_FRAME, _BUNDLE = 2, 4

SLICE_S = 0.003
"""Of CPU, before everybody else has a turn."""

HEAD_BYTES = 500
"""What a delivery that waits takes beside its frame."""

MAX_WAITING_BYTES = 8 * 1024 * 1024


AT_ONCE = 32
"""Deliveries of one device before the next one's; those of one bundle stay together."""


class Receiver(Protocol):
    """A device as this sees it."""

    def take(self, deliveries: Sequence[Any]) -> None:
        """Handle what was delivered."""

    def replaceable(self, delivery: Any) -> bytes | None:
        """The address of a param of which only the newest value counts; None for what has to be told each time."""


class _Pending:
    """What one device is still to be told."""

    __slots__ = ("deliveries", "places")

    def __init__(self) -> None:
        self.deliveries: OrderedDict[int, tuple[bytes | None, Any]] = OrderedDict()
        """With the address where it is replaceable."""
        self.places: dict[bytes, int] = {}
        """Where the newest values are that nothing else has come behind."""


class FanOut:
    """All devices of one server. `cpu_s` is CPU time of this thread: other programs make no slice short. A delivery is
    `(origin, signal, frame, tail, bundle, marks)`, as `source.Party` has it."""

    def __init__(self, loop: AbstractEventLoop, cpu_s: Callable[[], float] = time.thread_time) -> None:
        self._loop = loop
        self._cpu_s = cpu_s
        self._line: OrderedDict[Receiver, _Pending] = OrderedDict()
        self._bytes = 0
        self._number = 0
        self._turn: Handle | None = None
        self._slice_s = -1.0
        self._spent = False
        """The slice is over: asking the clock again for each delivery would cost more than a delivery."""
        self._busy = False

    def __len__(self) -> int:
        """How many devices wait."""
        return len(self._line)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that more would soon have to be told at once."""
        return self._bytes > MAX_WAITING_BYTES // 2

    def add(self, receiver: Receiver, deliveries: Sequence[Any]) -> None:
        """Tell a device, now if there is time."""
        if self._turn is None:
            self._begin_slice()
        if not self._line and not self._busy and self._has_time():
            self._tell(receiver, deliveries)
            return
        pending = self._line.get(receiver)
        if pending is None:
            pending = self._line[receiver] = _Pending()
        for delivery in deliveries:
            self._put(pending, receiver.replaceable(delivery), delivery)
        self._work()

    def close(self) -> None:
        """Tell nobody any more."""
        self._line.clear()
        self._bytes = 0
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _put(self, pending: _Pending, address: bytes | None, delivery: Any) -> None:
        self._number += 1
        if address is None:
            pending.places.clear()
        else:
            before = pending.places.get(address)
            if before is not None:
                self._bytes -= _size(pending.deliveries.pop(before)[1])
            pending.places[address] = self._number
        pending.deliveries[self._number] = address, delivery
        self._bytes += _size(delivery)

    def _go_on(self) -> None:
        """A turn of the loop's: a slice of its own."""
        self._turn = None
        if self._line:
            self._begin_slice()
            self._work()

    def _begin_slice(self) -> None:
        self._slice_s = self._cpu_s() + SLICE_S
        self._spent = False
        self._turn = self._loop.call_soon(self._go_on)

    def _has_time(self) -> bool:
        if not self._spent:
            self._spent = self._cpu_s() >= self._slice_s
        return not self._spent

    def _work(self) -> None:
        if self._busy:
            return  # what a device is told now comes before what it is told because of that
        while self._line and (self._has_time() or self._bytes > MAX_WAITING_BYTES):
            receiver, pending = self._line.popitem(last=False)
            some = self._some(pending)
            if pending.deliveries:
                self._line[receiver] = pending
            self._tell(receiver, some)

    def _some(self, pending: _Pending) -> list[Any]:
        """What is next; no bundle is taken apart."""
        waiting = pending.deliveries
        some: list[Any] = []
        while waiting:
            number, (address, delivery) = waiting.popitem(last=False)
            if len(some) >= AT_ONCE and not (delivery[_BUNDLE] and delivery[_BUNDLE] == some[-1][_BUNDLE]):
                waiting[number] = address, delivery
                waiting.move_to_end(number, last=False)
                break
            self._bytes -= _size(delivery)
            some.append(delivery)
            if address is not None and pending.places.get(address) == number:
                del pending.places[address]
        return some

    def _tell(self, receiver: Receiver, deliveries: Sequence[Any]) -> None:
        self._busy = True
        try:
            receiver.take(deliveries)
        except Exception:
            log.exception("a device could not be told")
        finally:
            self._busy = False


def _size(delivery: Any) -> int:
    return HEAD_BYTES + len(delivery[_FRAME])
