"""The log read once for all sessions that come back at the same time: each part is taken apart once, and of its records
only those are made that somebody wants, found by their address.

Knows no session and no subscription: who wants what lies at an address is asked for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from clasp_edge.devices.mqtt.log_replay import Logged, Readable

log = logging.getLogger(__name__)

READ_RECORDS = 512
READ_BYTES = 64 * 1024
FEW_READERS = 16
FEWEST_RECORDS = 16
"""Of the log in one reading: one or two milliseconds of ours, so that everybody else goes on in between. Fewer records
the more sessions read, down to so few."""

PARTS = 8
"""At hand at a time: so far apart sessions may be that go through the log side by side."""

ENOUGH = 256
"""Records that a session gets at once, if there are so many."""

SIDE_BY_SIDE = 4096
"""Records: who asks so little behind another waits for what that one gets."""

GATHER_S = 0.03
GATHER_LONGEST_S = 0.2
"""Sessions that come with no longer pauses between them, and within this time, begin together."""

MOST_INTERESTS_BYTES = 1 << 20
INTEREST_BYTES = 200
"""What is remembered of who wants what; for each address beside its own bytes."""


class Reader(Protocol):
    """A session that reads (`LogReplay`)."""

    @property
    def sink(self) -> object: ...
    @property
    def position(self) -> int: ...


class Part(NamedTuple):
    """What a session wants of the log up to record `end`."""

    records: Sequence[Logged]
    end: int


class _Read:
    """The records above `begin` up to `end`: those that anybody wants who was there at `stamp`."""

    __slots__ = ("begin", "end", "stamp", "wanted")

    def __init__(self, begin: int, end: int, stamp: int) -> None:
        self.begin = begin
        self.end = end
        self.stamp = stamp
        self.wanted: dict[Reader, list[Logged]] = {}

    def of(self, reader: Reader, at: int) -> list[Logged]:
        """What it wants of the records above `at`."""
        wanted = self.wanted.get(reader, [])
        return [record for record in wanted if record.number > at] if wanted and wanted[0].number <= at else wanted


class LogBatches:
    """`enter` before reading, `leave` in the end. `sinks(address)` are those whose subscriptions take an address, and
    perhaps others; `generation()` changes when that does. `later_s(seconds, callback)` calls back."""

    def __init__(
        self, journal: Readable, sinks: Callable[[bytes], Iterable[object]], generation: Callable[[], int],
        later_s: Callable[[float, Callable[[], None]], object],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._sinks = sinks
        self._generation = generation
        self._later_s = later_s
        self._readers: dict[Reader, int] = {}  # and since when
        self._by_sink: dict[int, Reader] = {}
        self._stamp = 0
        self._parts: list[_Read] = []
        self._asked: dict[int, list[Callable[[Exception | None], None]]] = {}
        self._interests: dict[bytes, list[Reader]] = {}
        self._interests_bytes = 0
        self._as_of = -1

    @property
    def last_sequence(self) -> int:
        """As of the journal."""
        return self._journal.last_sequence

    def waited_s(self, record: Any) -> int:
        """As of the journal."""
        return self._journal.waited_s(record)

    def enter(self, reader: Reader) -> None:
        """It may read from now on."""
        self._stamp += 1
        self._readers[reader] = self._stamp
        self._by_sink[id(reader.sink)] = reader
        self._forget_interests()

    def leave(self, reader: Reader) -> None:
        """It has read all it needs, is over, or its client is gone."""
        self._readers.pop(reader, None)
        self._by_sink.pop(id(reader.sink), None)
        self._forget_interests()
        if not self._readers:
            self._parts.clear()
        for part in self._parts:
            part.wanted.pop(reader, None)

    # ---- reading ----

    def read(self, reader: Reader, at: int, then: Callable[[Part | Exception], None]) -> None:
        """What it wants of the records above `at`: some of it. `then` is called at once or later, not after `leave`."""
        begin = at
        found: list[Logged] = []
        since = self._readers[reader]
        while (part := self._kept(since, at)) is not None:
            found += part.of(reader, at)
            at = part.end
            if len(found) >= ENOUGH:
                break
        if at > begin:
            then(Part(found, at))
            return

        def have(error: Exception | None) -> None:
            if reader not in self._readers:
                return
            if error is not None:
                then(error)
            else:
                self.read(reader, at, then)

        for asked, waiting in self._asked.items():
            if asked <= at < asked + SIDE_BY_SIDE:
                waiting.append(have)
                return
        self._asked[at] = [have]
        if since == self._stamp and not any(part.stamp == since for part in self._parts):
            self._gather(at, since, 0.0)
        else:
            self._fetch(at)

    def _kept(self, since: int, at: int) -> _Read | None:
        for part in reversed(self._parts):
            if part.begin <= at < part.end and part.stamp >= since:
                return part
        return None

    def _gather(self, at: int, stamp: int, waited_s: float) -> None:
        """More may be about to come."""

        def look() -> None:
            if self._stamp != stamp and waited_s < GATHER_LONGEST_S:
                self._gather(at, self._stamp, waited_s + GATHER_S)
            else:
                self._fetch(at)

        self._later_s(GATHER_S, look)

    def _fetch(self, at: int) -> None:
        if self._as_of != self._generation():
            self._forget_interests()

        def have(result: tuple[Sequence[Logged], int] | Exception) -> None:
            error: Exception | None = None
            if isinstance(result, Exception):
                error = result
            elif self._readers:
                self._parts.append(self._made(at, *result))
                del self._parts[:-PARTS]
            for then in self._asked.pop(at):
                try:
                    then(error)
                except Exception:
                    log.exception("what waits in the log could not be given to a session")

        # Each record may be for each of them.
        most = max(FEWEST_RECORDS, READ_RECORDS * FEW_READERS // max(FEW_READERS, len(self._readers)))
        self._journal.fetch_wanted(at, most, READ_BYTES, self._wanted, self._interests, have)

    def _made(self, at: int, records: Sequence[Logged], end: int) -> _Read:
        part = _Read(at, max(end, at + 1), self._stamp)
        wanted = part.wanted
        for record in records:
            readers = self._interests.get(record.address)
            if readers is None:
                readers = self._wanted(record.address)
            for reader in readers:
                if reader.position < record.number:
                    wanted.setdefault(reader, []).append(record)
        return part

    # ---- who wants what ----

    def _wanted(self, address: bytes) -> list[Reader]:
        """Who wants what lies there."""
        if self._as_of != self._generation() or self._interests_bytes > MOST_INTERESTS_BYTES:
            self._forget_interests()
        sinks = set(map(id, self._sinks(address)))
        found = [reader for sink in sinks if (reader := self._by_sink.get(sink)) is not None]
        self._interests[address] = found
        self._interests_bytes += len(address) + INTEREST_BYTES + 8 * len(found)
        return found

    def _forget_interests(self) -> None:
        self._as_of = self._generation()
        self._interests.clear()
        self._interests_bytes = 0
