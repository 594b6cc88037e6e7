"""The log as its readers see it: the records after a number, those in the store and those that wait for a commit.

Reads the disk on the reader's thread where the caller must not wait. What had to be passed over is said, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clasp_edge.dataplane.journal_buffer import JournalBuffer
from clasp_edge.journal.cursors import Logged, after, wanted_after
from clasp_edge.journal.log_scan import ways_in
from clasp_edge.journal.queries import Piece
from clasp_edge.journal.report import Report
from clasp_edge.journal.store import Store
from clasp_edge.journal.summary import Question
from clasp_edge.journal.writer import Reader

log = logging.getLogger("clasp_edge.journal")

MOST = (1 << 63) - 1
"""Beyond every number and time."""

ALL_SIGNALS = 0x1F

WAYS_BYTES = 1 << 20
"""Of the log in one reading, when only the ways of its records are wanted."""

MOST_DAMAGED = 10_000
"""Damaged blocks of the log that are named one by one."""


class LogReader:
    """Reads one router's log. `buffer` has what is not stored yet; None while no log is kept."""

    def __init__(self, store: Store, reader: Reader, report: Report) -> None:
        self.buffer: JournalBuffer | None = None
        self._store = store
        self._reader = reader
        self._report = report
        self._damaged_blocks: set[int] = set()
        self._faulty_records: set[int] = set()

    @property
    def damaged_blocks(self) -> int:
        """How many blocks had to be passed over."""
        return len(self._damaged_blocks)

    @property
    def last_sequence(self) -> int:
        """The number of the newest record, stored or not yet; 0 without a log. Numbers only rise, over restarts too."""
        return self.buffer.log.number - 1 if self.buffer is not None else 0

    def read_log(
        self, first: int, last: int, from_us: int, to_us: int, mask: int, max_bytes: int,
        question: Question | None = None,
    ) -> Piece:  # fmt: skip
        """As `Store.read_log`; for the reader's thread."""
        return self._store.read_log(first, last, from_us, to_us, mask, max_bytes, question=question)

    def note_damage(self, piece: Piece) -> None:
        """Say, once for each block, what a reading of the log had to pass over."""
        for number in piece.damaged:
            if number not in self._damaged_blocks and len(self._damaged_blocks) < MOST_DAMAGED:
                self._damaged_blocks.add(number)
                log.error("the log's block that begins with record %d is damaged and was passed over", number)
                self._report.tell(damaged_blocks=len(self._damaged_blocks))

    def note_faults(self, faults: Mapping[int, str]) -> None:
        """Say, once for each record, which ones a reading of the log had to pass over."""
        for number, why in faults.items():
            if number not in self._faulty_records and len(self._faulty_records) < MOST_DAMAGED:
                self._faulty_records.add(number)
                log.error("record %d of the log cannot be used and was passed over: %s", number, why)

    def records_after(self, sequence: int, limit_records: int, limit_bytes: int) -> list[Logged]:
        """The records after number `sequence` in order, at most so many and of so many bytes of frames (always one).

        Empty when there is none, or none yet. A gap in the numbers is what retention, damage or a full buffer took.
        May wait for the disk: `fetch_after` does not. Raises Damaged, Unavailable.
        """
        buffer = self.buffer
        found: list[Logged] = []
        faults: dict[int, str] = {}
        while buffer is not None and not found and sequence < self.last_sequence:
            stored = buffer.tail_begins
            if sequence + 1 >= stored:
                found = after(buffer.tail(sequence + 1), sequence, limit_records, limit_bytes, faults)
                self.note_faults(faults)
                return found
            piece = self.read_log(sequence + 1, stored - 1, 0, MOST, ALL_SIGNALS, limit_bytes)
            self.note_damage(piece)
            found = after(piece.blocks, sequence, limit_records, limit_bytes, faults)
            self.note_faults(faults)
            sequence = piece.next - 1
        return found

    def fetch_after(
        self,
        sequence: int,
        limit_records: int,
        limit_bytes: int,
        then: Callable[[list[Logged] | Exception], None],
    ) -> None:
        """`records_after` without waiting: `then` is called on the loop's thread with the records, or with what went
        wrong, later or at once."""
        buffer = self.buffer
        if buffer is None or sequence + 1 >= buffer.tail_begins:
            then(self.records_after(sequence, limit_records, limit_bytes))
            return
        stored = buffer.tail_begins

        def work() -> tuple[Piece, list[Logged], dict[int, str]]:
            piece = self.read_log(sequence + 1, stored - 1, 0, MOST, ALL_SIGNALS, limit_bytes)
            faults: dict[int, str] = {}
            return piece, after(piece.blocks, sequence, limit_records, limit_bytes, faults), faults

        def have(result: object) -> None:
            if isinstance(result, Exception):
                then(result)
                return
            assert isinstance(result, tuple)
            piece, found, faults = result
            self.note_damage(piece)
            self.note_faults(faults)
            if found:
                then(found)
            else:
                self.fetch_after(piece.next - 1, limit_records, limit_bytes, then)

        self._reader.call(work, have)

    def fetch_wanted(
        self, sequence: int, limit_records: int, limit_bytes: int, wanted: Callable[[bytes], Any],
        known: dict[bytes, Any], then: Callable[[tuple[list[Logged], int] | Exception], None],
    ) -> None:  # fmt: skip
        """Of the records after number `sequence`, in so many bytes of the log, those that lie at an address that is
        true in `known`, or, where that does not have it, by `wanted(address)`; at most so many. `then` is called on the
        loop's thread with them and the number up to which that was all, or with what went wrong, later or at once.
        `wanted` is asked on the loop's thread."""

        def have(blocks: Iterable[bytes], last: int) -> None:
            faults: dict[int, str] = {}
            found, whole = wanted_after(blocks, sequence, limit_records, limit_bytes, faults, known, wanted)
            self.note_faults(faults)
            then((found, last if whole else found[-1].number))

        def have_piece(result: object) -> None:
            if isinstance(result, Exception):
                then(result)
                return
            assert isinstance(result, Piece)
            self.note_damage(result)
            have(result.blocks, result.next - 1)

        buffer = self.buffer
        if buffer is None or sequence + 1 >= buffer.tail_begins:
            last = self.last_sequence
            have(buffer.tail(sequence + 1) if buffer is not None and sequence < last else (), max(sequence, last))
            return
        stored = buffer.tail_begins
        self._reader.call(
            lambda: self.read_log(sequence + 1, stored - 1, 0, MOST, ALL_SIGNALS, limit_bytes), have_piece
        )

    def fetch_ways(self, sequence: int, then: Callable[[list[tuple[bytes, int, bytes]] | Exception], None]) -> None:
        """Of the stored records after number `sequence` that came from other routers: `(way, first number, contents)`
        for each run of consecutive numbers. `then` is called on the loop's thread, with them or with what went wrong.
        """
        stored = self.buffer.tail_begins if self.buffer is not None else 0

        def work() -> list[tuple[bytes, int, bytes]]:
            found: list[tuple[bytes, int, bytes]] = []
            at = sequence + 1
            while at < stored:
                piece = self.read_log(at, stored - 1, 0, MOST, ALL_SIGNALS, WAYS_BYTES)
                for block in piece.blocks:
                    try:
                        found += ways_in(block)
                    except ValueError as error:
                        log.error("a block of the log cannot be searched for what came from other routers: %s", error)
                at = piece.next
            return found

        def have(result: object) -> None:
            assert isinstance(result, list | Exception)
            then(result)

        self._reader.call(work, have)
