"""What an earlier life of the router has left in the journal's log for a broker: in the queue before anything new is.

What comes while the log is read is read from there as well.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import Any

from clasp_edge.devices.mqtt_bridge.events import CLEARING
from clasp_edge.devices.mqtt_bridge.journal_place import JournalPlace
from clasp_edge.devices.mqtt_bridge.mapping import MappingTable
from clasp_edge.devices.mqtt_bridge.queue import Record
from clasp_edge.devices.values import payload_of
from clasp_edge.journal.followed_log import Log
from clasp_edge.wire import Absent, Publish, Set, ValueType, decode
from clasp_edge.wire.frame import HEADER_BYTES

REST_S = 10.0
"""Between looks at whether nothing waits, so that the log may grow old."""

MOST_WRITER_BYTES = 36
"""What is left of a writer's name in a record of the log (dataplane/state.pyx)."""

FLAGS_AT = HEADER_BYTES + 1
TYPE_BITS = 0x0F
"""In the frame of a SET: its flags, and the type of its value in them (wire.md 2.3)."""

CARRIED = (0, 1, 2)
"""Signals of one value: param, event, stream (wire.md 5.1)."""


def place_of(journal: Log | None, table: MappingTable, name: str, loop: AbstractEventLoop) -> JournalPlace | None:
    """A bridge's place in the log, if there is a log and a map needs it."""
    if journal is None or not any(m.gives_out and m.config.policy == "log" for m in table.mappings):
        return None
    return JournalPlace(journal, name, loop)


class Recovery:
    """Of one bridge, which is `writer` in the log; nothing to do without a place. `offer(record)` queues, `pump()`
    sends what is queued, `is_gone(address)` tells whether no param is there any more. `start` once."""

    def __init__(
        self, place: JournalPlace | None, journal: Log | None, table: MappingTable, writer: bytes,
        offer: Callable[[Record], None], pump: Callable[[], None], now_s: Callable[[], float], loop: AbstractEventLoop,
        is_gone: Callable[[bytes], bool],
    ) -> None:  # fmt: skip
        self._place = place
        self._journal = journal
        self._table = table
        self._writer = writer[:MOST_WRITER_BYTES]
        self._offer = offer
        self._pump = pump
        self._now_s = now_s
        self._loop = loop
        self._is_gone = is_gone
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Begin to read, where there is something."""
        if self._place is not None:
            self._timer = self._loop.call_later(REST_S, self._rest, self._place)
            if self._place.behind:
                self._place.read(self._take, self._pump)

    def holds(self, record: Record) -> bool:
        """Whether a new record is still to be read from the log, behind what went before it."""
        return record.logged != 0 and self._place is not None and self._place.behind

    def close(self) -> None:
        """What waits is for whoever goes on at this place."""
        if self._place is not None:
            self._place.close()
        if self._timer is not None:
            self._timer.cancel()

    def _rest(self, place: JournalPlace) -> None:
        place.rest()
        self._timer = self._loop.call_later(REST_S, self._rest, place)

    def _take(self, logged: Any) -> None:
        found = self._table.outward(logged.address)
        if found is None or found[0].config.policy != "log" or logged.author == self._writer:
            return
        if logged.signal not in CARRIED:
            return
        record = Record(*found, logged.address, logged.frame, logged.signal == 0, 0.0)
        waited_s = self._journal.waited_s(logged) if self._journal is not None else 0
        record.born_s = self._now_s() - waited_s
        record.logged = logged.number
        record.written_us = logged.wall_us
        record.version = logged.wall_us // 1000
        own = logged.own
        if own is not None:
            payload = own.payload
            if payload is None:
                said = decode(logged.frame)[1]
                if not isinstance(said, (Set, Publish)) or isinstance(said.value, Absent):
                    return
                payload = payload_of(said.value)
            record.frame = None
            record.message = payload, own.properties, own.expiry_s, own.qos, own.retain
            if own.retain and not payload and not found[0].config.retain:
                return
        elif record.is_param and logged.frame[FLAGS_AT] & TYPE_BITS == ValueType.NULL and self._is_gone(logged.address):
            # Cleared by another router, or in CLASP: that leaves no other trace than its last SET, to null.
            if not found[0].config.retain:
                return
            record.frame, record.message = None, CLEARING
        self._offer(record)
