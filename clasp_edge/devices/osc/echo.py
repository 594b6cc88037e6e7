"""What one device was told and what it said, by address: so that it is not answered with its own values, nor believed
when it only repeats ours, and so that a loop that happens anyway is noticed and broken.

A motor fader reports the position it was just moved to; a feedback mapping sends back what it was sent. Either, taken
for news, runs round between two devices for ever. Knows no sockets; values are what `decode` makes of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from clasp_edge.dataplane.account import Charge, Holding

Known = tuple[int, bytes]
"""A value type and its encoded data (wire.md 2.2)."""

ECHO_S = 0.25
"""A device that says within this time what it was just told is repeating it: longer than a network and a busy device
take, shorter than a hand."""

REFLECTION_S = 1.0
"""Something said within this time after the same address was told may be an answer to it."""

WINDOW_S = 2.0
REFLECTIONS = 20
"""Answers with the same or alternating values to one address within a window: a hand on a switch makes fewer."""

CROSSINGS = 250
"""The same, where the address was told the same or alternating values and the device said something else each time (a
loop over two addresses). A loop runs as fast as the network; a blinking lamp beside a busy sensor does not."""

REMEMBERED_VALUES = 4
"""Alternating means: among so many."""

HOLD_S = 5.0
"""How long a device is told nothing on an address that looped."""

KEEP_S = 10.0
MAX_RECORDS = 4096
_RECORD_BYTES = 800
"""What an address is charged, with values of ordinary size."""


class _Record:
    __slots__ = (
        "contacts",
        "crossings",
        "held_s",
        "recent",
        "reflections",
        "said_s",
        "told",
        "told_s",
        "touched_s",
        "window_s",
    )

    def __init__(self, now_s: float) -> None:
        self.told: Known | None = None
        self.told_s = self.said_s = self.held_s = 0.0
        self.window_s = self.touched_s = now_s
        self.recent: list[Known] = []
        self.reflections = self.crossings = 0
        self.contacts = 0


class EchoMemory:
    """One device. `on_loop(address, until_s)` is called when a loop is broken. Times are seconds of one clock."""

    def __init__(self, rate: float, on_loop: Callable[[bytes, float], None], holding: Holding | None = None) -> None:
        self._holding = holding
        # A loop through a slow device is slow itself.
        self._window_s = max(WINDOW_S, 1.5 * REFLECTIONS / rate) if rate else WINDOW_S
        self._on_loop = on_loop
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def said(self, address: bytes, known: Known, now_s: float) -> bool:
        """The device said this. True when it only repeats what it was just told."""
        record = self._record(address, now_s)
        told, record.told = record.told, None
        if told == known and now_s - record.told_s < ECHO_S:
            record.told = told  # it may repeat itself more than once
            return True
        record.said_s = now_s
        again = self._again(record, known, now_s)
        if told is not None and now_s - record.told_s < REFLECTION_S and again:
            record.reflections += 1
            if record.reflections >= REFLECTIONS:
                self._break(address, record, now_s)
        return False

    def told(self, address: bytes, known: Known, now_s: float, contacts: int) -> None:
        """The device was told this. `contacts` counts what was heard from it so far."""
        record = self._record(address, now_s)
        record.told, record.told_s = known, now_s
        if self._again(record, known, now_s) and contacts != record.contacts:
            record.crossings += 1
            if record.crossings >= CROSSINGS:
                self._break(address, record, now_s)
        record.contacts = contacts

    def said_since(self, address: bytes, since_s: float) -> bool:
        """Whether the device itself has set this address since then."""
        record = self._records.get(address)
        return record is not None and record.said_s >= since_s

    def _record(self, address: bytes, now_s: float) -> _Record:
        record = self._records.get(address)
        holding = self._holding
        if record is None:
            while self._records:
                oldest = next(iter(self._records.values()))
                fits = len(self._records) < MAX_RECORDS and (holding is None or holding.account.within())
                if fits and max(oldest.touched_s + KEEP_S, oldest.held_s) > now_s:
                    break
                self._records.popitem(last=False)
                if holding is not None:
                    holding.release(_RECORD_BYTES, Charge.OSC)
            record = self._records[address] = _Record(now_s)
            if holding is not None:
                holding.force(_RECORD_BYTES, Charge.OSC)
        else:
            record.touched_s = now_s
            self._records.move_to_end(address)
        return record

    def _again(self, record: _Record, known: Known, now_s: float) -> bool:
        """Whether the value is one of those that went by lately; a new window starts the counts anew."""
        if now_s - record.window_s > self._window_s:
            record.window_s = now_s
            record.reflections = record.crossings = 0
        if known in record.recent:
            return True
        record.recent.append(known)
        del record.recent[:-REMEMBERED_VALUES]
        return False

    def _break(self, address: bytes, record: _Record, now_s: float) -> None:
        record.reflections = record.crossings = 0
        record.recent.clear()
        record.held_s = now_s + HOLD_S
        self._on_loop(address, record.held_s)
