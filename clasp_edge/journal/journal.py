"""The journal on the loop's thread: restores at start, collects what has changed, hands it to the writer.

Modes (`journal.mode`): `group` commits once per interval; `strict` commits as soon as something waits, and replies wait
for it; `volatile` writes the params when the router stops. Whatever the disk does, the router goes on: what cannot be
stored is in memory, that is said, and all of it is written again when the disk is back.
"""

from __future__ import annotations

import logging
import time
from asyncio import TimerHandle
from collections.abc import Callable, Mapping
from pathlib import Path

from clasp_edge.config import model
from clasp_edge.dataplane.blocks import Stream
from clasp_edge.dataplane.journal_buffer import JournalBuffer, clock_synchronised
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.journal.audit import MOST_WAITING, Limits
from clasp_edge.journal.cursors import Cursors, Logged, after
from clasp_edge.journal.documents import Documents, Source
from clasp_edge.journal.errors import Damaged, Unavailable
from clasp_edge.journal.log_scan import ways_in
from clasp_edge.journal.queries import Piece
from clasp_edge.journal.recovery import Recovery, move_aside
from clasp_edge.journal.report import Report
from clasp_edge.journal.store import Retention, Store
from clasp_edge.journal.wear import Wear
from clasp_edge.journal.writer import DAMAGED, OK, Batch, Outcome, Reader, Writer
from clasp_edge.router.router import Router
from clasp_edge.wire.pattern import Pattern

log = logging.getLogger("clasp_edge.journal")

DIRECTORY = "journal"

RETRY_S = 2.0
"""Between attempts to write to a disk that does not take it."""

REPORT_S = 10.0
"""Between reports of numbers that change with every commit, while there are commits."""

REWRITE_GAP_S = 0.02
"""Between the commits of a rewriting of all params, so that it leaves room for everybody else."""

SMALLEST_REWRITE = 1 << 20
REWRITE_RATIO = 4
"""The params are written anew when their changes have grown to so many times their size: every byte stored costs at
most a quarter more, and a start reads at most five times what it needs."""

BYTES_PER_PARAM = 128
"""An estimate of an image, until the first rewriting has told the real size."""

SETTLED_S = 30.0

BYTES_PER_GB = 1e9

MOST = (1 << 63) - 1
"""Beyond every number and time."""

ALL_SIGNALS = 0x1F

WAYS_BYTES = 1 << 20
"""Of the log in one reading, when only the ways of its records are wanted."""
LAZY_S = 5.0
"""How long documents may wait for a commit that happens anyway, where that costs nothing but repetition."""

MOST_DAMAGED = 10_000
"""Damaged blocks of the log that are named one by one."""


class Journal:
    """One router's journal. `open()` before anybody is connected, `close()` when the last connection is gone."""

    def __init__(
        self, router: Router, config: model.Journal, data_dir: Path, claim: Callable[[], None] = lambda: None
    ) -> None:
        self.router = router
        self.mode = config.mode
        self.reader = Reader(router.loop)
        self.state = "ok"
        self._config = config
        self._loop = router.loop
        self._directory = data_dir / DIRECTORY
        self._store = Store(self._directory, _retention(config), claim)
        self._opening = Recovery(router.plane, self._store)
        self._report = Report(router.plane)
        self._patterns: list[Pattern] | None = None
        self._buffer: JournalBuffer | None = None
        self._writer: Writer | None = None
        self._timer: TimerHandle | None = None
        self._settling: TimerHandle | None = None
        self._retry: TimerHandle | None = None
        self._pending = False
        self._left = False
        self._message = ""
        self._cursors = Cursors()
        self._run = 0
        self._opened_s = time.monotonic()
        self._want_whole: set[str] = set()
        self._cursors_under_way: dict[str, int] = {}
        self._notes = Documents()
        self._notes_under_way: dict[str, bytes | None] = {}
        self._entries: list[bytes] = []
        self._entries_under_way: list[bytes] = []
        self._entries_lost = 0
        self._lazy: TimerHandle | None = None
        self._damaged_blocks: set[int] = set()
        self._faulty_records: set[int] = set()
        self._to_be_stored: list[tuple[int, Callable[[], None]]] = []
        self._base_before = 0
        self._live_bytes = 0
        self._reported_s = 0.0
        self._age_ms = 0
        self._wear = Wear(config.wear_budget_gb_per_day * BYTES_PER_GB, time.monotonic())
        self.apply_config(config)

    def apply_config(self, config: model.Journal) -> None:
        """Take over what can change while running; called again after a reload."""
        self._config = config
        patterns = [Pattern(text.encode()) for text in config.patterns]
        everything = any(pattern.text == b"/**" for pattern in patterns)
        self._patterns = None if everything else patterns
        self._wear.budget_per_day = config.wear_budget_gb_per_day * BYTES_PER_GB
        self._store.retention = _retention(config)
        self._store.audit_limits = Limits(config.audit_mib << 20, config.audit_s)
        if self._buffer is not None:
            self._buffer.signals = _mask(config)
            self._buffer.reselect()

    # ---- start ----

    def open(self) -> str:
        """Restore what is stored and start to keep the journal; returns a sentence for the start's greeting."""
        began_s = time.monotonic()
        opening = self._opening
        opening.run()
        self._message = opening.problem
        self._run = opening.found.run + 1 if self._store.is_open else 0
        params = self.router.plane.params
        took_ms = (time.monotonic() - began_s) * 1000
        self._live_bytes = params * BYTES_PER_PARAM
        if self.mode != "volatile":
            self._start_keeping()
            if opening.dropped and self._buffer is not None:
                self._buffer.rewrite()
                self.wake()
        self.router.plane.expire()
        if not self._store.is_open:
            self._set_memory(opening.problem)
        self._tell(True)
        self._settling = self._loop.call_later(SETTLED_S, self._settled)
        what = {
            "group": f"group: a power cut costs at most the last {self._config.commit_interval_ms} ms",
            "strict": "strict: what is acknowledged survives a power cut",
            "volatile": "volatile: params are stored when the router stops, not before",
        }[self.mode]
        restored = f"{params} params restored in {took_ms:.0f} ms"
        if not self._store.is_open:
            return f"IN MEMORY ONLY, nothing is stored now: {opening.problem}; {restored}"
        return f"{what}; {restored}; {self._directory}"

    def _settled(self) -> None:
        self._settling = None
        self._opening.settled()

    def _start_keeping(self) -> None:
        found = self._opening.found
        log_stream = Stream(True, found.log_number, 0, found.log_before, found.run + 1)
        state_stream = Stream(False, found.state_number, found.state_base, found.state_before, found.run + 1)
        self._base_before = found.state_before - found.state_bytes
        self._cursors = Cursors(found.cursors)
        self._store.needed_from = self._cursors.needed_from
        strict = self.mode == "strict"
        self._buffer = self.router.plane.open_journal_buffer(
            self, strict, self._config.buffer_kib * 1024, log_stream, state_stream
        )
        self._buffer.signals = _mask(self._config)
        self._buffer.whole_messages = bool(self._want_whole)
        self._writer = Writer(self._store, self._loop, self._done)
        if not self._store.is_open or self._message:
            self._buffer.mark_incomplete()
            self.wake()

    # ---- what the journal buffer asks ----

    def select(self, address: bytes) -> int:
        """1: its writes are logged; 2: it is kept."""
        if address.startswith(RESERVED):
            return 0
        if self._patterns is None or any(pattern.matches(address) for pattern in self._patterns):
            return 3
        return 2

    def wake(self) -> None:
        """There is something to store."""
        if self._retry is not None or self._pending:
            return
        self._pending = True
        if self.mode == "strict":
            self._loop.call_soon(self._collect)
        elif self._timer is None:
            self._timer = self._loop.call_later(self.commit_interval_s, self._collect)

    def full(self) -> None:
        """There is much to store: at once, if the writer is free."""
        if self._retry is None:
            self._collect()

    @property
    def commit_interval_s(self) -> float:
        return self._config.commit_interval_ms * self._wear.factor / 1000

    # ---- commits ----

    def _collect(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        buffer, writer = self._buffer, self._writer
        if buffer is None or writer is None:
            return
        if buffer.busy:
            self._pending = self._pending or self._notes.wanted or bool(self._entries)
            return  # `_done` calls again
        oldest_us = buffer.oldest_monotonic_us
        self._pending = False
        noted = self._notes.gather()
        collected = buffer.collect(noted or self._cursors.changed or bool(self._entries))
        if collected is None:
            self._tell_stored()
            return
        self._cursors_under_way = self._cursors.take()
        self._notes_under_way = self._notes.take()
        self._entries_under_way, self._entries = self._entries, []
        states, logs, drained, base = collected
        self._left = not drained
        if base:
            self._base_before = buffer.rewrite_before
            self._live_bytes = buffer.state.before - buffer.rewrite_before
        if oldest_us:
            self._age_ms = max(0, self.router.core.monotonic_us - oldest_us) // 1000
        writer.put(
            Batch(
                states, logs, base, self.router.core.now_us, self._cursors_under_way, self._notes_under_way,
                self._entries_under_way,
            )
        )  # fmt: skip

    def _done(self, outcome: Outcome) -> None:
        """A batch has been stored, or not (called on the loop's thread)."""
        buffer = self._buffer
        if buffer is None or not buffer.busy:
            return
        now_s = time.monotonic()
        self._wear.add(outcome.written, now_s)
        self._ration(buffer, now_s)
        buffer.release(outcome.kind == OK)
        # Only an estimate of what retention looks at: a block that is under way has its own idea of it.
        buffer.log.before -= min(outcome.saved, buffer.log.before)
        if outcome.kind != OK:
            self._cursors.give_back(self._cursors_under_way)
            self._notes.give_back(self._notes_under_way)
            self._entries[:0] = self._entries_under_way
        self._entries_under_way = []
        if outcome.kind == OK:
            self._tell_stored(buffer.durable)
            if self.state != "ok" and not buffer.repairing:
                self._recovered()
            self._consider_rewriting(buffer)
            if self._wear.adjust(now_s):
                log.warning("commit interval is now %g s: %s", self.commit_interval_s, self._wear_text(now_s))
            self._tell(now_s - self._reported_s > REPORT_S)
            if self._left or (self._pending and self._timer is None):
                self._again(0)
            elif buffer.is_rewriting and self._timer is None:
                self._again(REWRITE_GAP_S)
            return
        if outcome.kind == DAMAGED:
            self._store.close()
            aside = move_aside(self._store, "damaged")
            self._cursors.all_again()
            self._notes.all_again()
            if aside is not None:
                self._message = f"the store was damaged while running ({outcome.text}) and is now {aside}"
                log.error("%s; all params are written to a new one", self._message)
                self._again(0)
                return
        self._set_memory(outcome.text)
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _again(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._collect)

    def _try_again(self) -> None:
        self._retry = None
        self._collect()

    def _consider_rewriting(self, buffer: JournalBuffer) -> None:
        grown = buffer.state.before - self._base_before - self._live_bytes
        if not buffer.is_rewriting and grown > max(SMALLEST_REWRITE, REWRITE_RATIO * self._live_bytes):
            buffer.rewrite()

    def _set_memory(self, text: str) -> None:
        if self.state == "ok" or self._message != text:
            log.error("NOTHING IS STORED, the router goes on in memory: %s", text)
        self.state = "memory"
        self._message = text
        self._tell_stored()
        self._tell(False)

    def _recovered(self) -> None:
        self.state = "ok"
        self._message = ""
        log.warning("the journal is written again; every param is stored")
        self._tell(True)

    def _ration(self, buffer: JournalBuffer, now_s: float) -> None:
        """While too much is written, no principal's records keep those of others from the log."""
        ration = self._wear.ration(now_s)
        if ration and not buffer.ration:
            log.warning(
                "%s: of each client's records at most %.0f KB a second are logged (journal.wear_budget_gb_per_day)",
                self._wear_text(now_s), ration / 1000,
            )  # fmt: skip
        elif buffer.ration and not ration:
            dropped = self.router.accounts.dropped_log()
            if dropped:
                most = max(dropped, key=dropped.__getitem__)
                log.warning("the log takes all records again; %d were dropped, most of %r", buffer.rationed, most)
        buffer.ration = ration

    # ---- numbers ----

    def _wear_text(self, now_s: float) -> str:
        per_day = self._wear.per_day(now_s) / BYTES_PER_GB
        return f"{per_day:.1f} GB are written per day, the budget is {self._wear.budget_per_day / BYTES_PER_GB:g}"

    def _tell(self, numbers: bool) -> None:
        self._report.tell(state=self.state, message=self._message, mode=self.mode)
        buffer = self._buffer
        if not numbers or buffer is None:
            return
        now_s = self._reported_s = time.monotonic()
        self._report.tell(
            bytes_per_day=int(self._wear.per_day(now_s)),
            bytes_written=self._wear.total,
            wear_alarm=self._wear.over_budget(now_s),
            commit_interval_ms=int(self.commit_interval_s * 1000),
            queue_age_ms=self._age_ms,
            records=buffer.kept,
            records_lost=buffer.lost,
            last_record=buffer.log.number - 1,
        )

    def statistics(self) -> dict[str, int | float | str]:
        """Everything worth exporting: counters since the start, sizes in bytes, times as their names say."""
        now_s = time.monotonic()
        buffer, writer, store = self._buffer, self._writer, self._store
        return {
            "mode": self.mode,
            "state": self.state,
            "message": self._message,
            "commits": writer.commits if writer is not None else 0,
            "commits_failed": writer.failed if writer is not None else 0,
            "commit_seconds": writer.seconds if writer is not None else 0.0,
            "commit_interval_ms": int(self.commit_interval_s * 1000),
            "queue_age_ms": self._age_ms,
            "records": buffer.kept if buffer is not None else 0,
            "records_lost": buffer.lost if buffer is not None else 0,
            "records_rationed": buffer.rationed if buffer is not None else 0,
            "records_missed": store.missed,
            "audit_lost": self._entries_lost,
            "last_record": self.last_sequence,
            "oldest_record": store.oldest_number,
            "log_bytes": store.log_bytes,
            "blocks_joined": store.joined,
            "blocks_damaged": len(self._damaged_blocks),
            "bytes_written": self._wear.total,
            "bytes_per_day": int(self._wear.per_day(now_s)),
            "wear_alarm": int(self._wear.over_budget(now_s)),
            "params_dropped_at_start": self._opening.dropped,
            "start": self._opening.found.run + 1,
        }

    @property
    def journal_buffer(self) -> JournalBuffer | None:
        """None in mode `volatile`, which keeps no log."""
        return self._buffer

    def read_log(self, first: int, last: int, from_us: int, to_us: int, mask: int, max_bytes: int) -> Piece:
        """As `Store.read_log`; for the reader's thread."""
        return self._store.read_log(first, last, from_us, to_us, mask, max_bytes)

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

    # ---- readers who follow the log ----

    @property
    def last_sequence(self) -> int:
        """The number of the newest record, stored or not yet; 0 without a log. Numbers only rise, over restarts too."""
        return self._buffer.log.number - 1 if self._buffer is not None else 0

    @property
    def run(self) -> int:
        """The number of this start, which no other start on this store has; 0 where it could not be noted in time."""
        return self._run

    def cursor(self, name: str) -> int:
        """The number of the last record that the reader of this name is done with; 0 for one that never was here."""
        return self._cursors[name]

    def set_cursor(self, name: str, sequence: int) -> None:
        """Remember a reader's place: stored with the next commit, at the latest one interval from now.

        Records after the lowest place of all are not dropped for their age, only for the log's size and number of
        records; what that costs is counted (`statistics()["records_missed"]`). Raises ValueError.
        """
        if self._cursors.move(name, sequence):
            self._cursors_moved()

    def forget_cursor(self, name: str) -> None:
        """The reader of this name comes no more: nothing is kept for it."""
        if self._cursors.forget(name):
            self._cursors_moved()

    def cursors(self) -> dict[str, int]:
        """All places by name."""
        return {name: self._cursors[name] for name in self._cursors}

    def _cursors_moved(self) -> None:
        self._store.needed_from = self._cursors.needed_from
        self._soon()

    def _soon(self) -> None:
        if self._buffer is not None and self._timer is None and self._retry is None:
            # In strict mode too: nobody waits for it.
            self._timer = self._loop.call_later(self.commit_interval_s, self._collect)

    # ---- documents of others ----

    def notes(self) -> dict[str, bytes | None]:
        """The documents that an earlier start has stored, by name; None for a damaged one."""
        try:
            return self._store.notes() if self._store.is_open else {}
        except (Damaged, Unavailable) as error:
            log.error("the documents of other parts cannot be read: %s", error)
            return {}

    def forget_notes(self) -> None:
        """Nobody keeps documents in this mode, and what is there would be out of date by the time somebody does. Waits
        for the disk, if there are any."""
        names = self.notes()
        if not names:
            return
        try:
            self._store.commit((), (), 0, self.router.core.now_us, notes=dict.fromkeys(names))
        except (Damaged, Unavailable) as error:
            log.error("the documents of other parts cannot be removed: %s", error)

    def keep_notes(self, source: Source) -> None:
        """Ask `source` too for documents to store with every commit from now on."""
        self._notes.ask(source)

    def notes_changed(self, urgent: bool) -> None:
        """There are documents to store, though nothing else may be: at the latest one interval from now, or `LAZY_S`
        where it is not urgent."""
        self._notes.wanted = True
        if urgent:
            self._soon()
        elif self._lazy is None and self._buffer is not None:
            self._lazy = self._loop.call_later(LAZY_S, self._late)

    def keep_entry(self, entry: bytes) -> None:
        """Store an entry of the audit stream with a commit that happens anyway, or within `LAZY_S`."""
        if self._buffer is None or not self._config.audit:
            return
        self._entries.append(entry)
        if len(self._entries) > MOST_WAITING:
            del self._entries[0]
            self._entries_lost += 1
        if self._lazy is None:
            self._lazy = self._loop.call_later(LAZY_S, self._late)

    def _late(self) -> None:
        self._lazy = None
        if self._notes.wanted or self._entries:
            self._soon()

    def log_whole_messages(self, who: str, whole: bool) -> None:
        """Whether the log has what MQTT clients publish as it was, beside the value (`Logged.own`): while anybody (a
        link, the sessions that are kept) wants it."""
        if whole:
            self._want_whole.add(who)
        else:
            self._want_whole.discard(who)
        if self._buffer is not None:
            self._buffer.whole_messages = bool(self._want_whole)

    def waited_s(self, record: Logged) -> int:
        """How much of its time a message in the log has used up. That is known if the clock was right at both ends, or
        nobody has set it in between; otherwise it is at least the time since the journal was opened."""
        right = clock_synchronised()
        if not (record.synchronised and right) and (record.run != self._run or record.synchronised != right):
            return int(time.monotonic() - self._opened_s)
        return max(0, self.router.clock.wall_us() - record.wall_us) // 1_000_000

    def records_after(self, sequence: int, limit_records: int, limit_bytes: int) -> list[Logged]:
        """The records after number `sequence` in order, at most so many and of so many bytes of frames (always one).

        Empty when there is none, or none yet. A gap in the numbers is what retention, damage or a full buffer took.
        May wait for the disk: `fetch_after` does not. Raises Damaged, Unavailable.
        """
        buffer = self._buffer
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
        buffer = self._buffer
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

        self.reader.call(work, have)

    def when_stored(self, then: Callable[[], None]) -> None:
        """Call `then`, on the loop's thread, when all that was written up to now is stored: after the next commit. At
        once where nothing is stored, be it by the mode or by trouble."""
        if self._buffer is None or self.state != "ok":
            then()
            return
        self._to_be_stored.append((self._buffer.epoch, then))
        self.wake()

    def _tell_stored(self, before: int = MOST) -> None:
        """Everything that was written in an epoch before this one is stored, or will not be for now."""
        told = [then for epoch, then in self._to_be_stored if epoch < before]
        self._to_be_stored = [waiting for waiting in self._to_be_stored if waiting[0] >= before]
        for then in told:
            then()

    def fetch_ways(self, sequence: int, then: Callable[[list[tuple[bytes, int, bytes]] | Exception], None]) -> None:
        """Of the stored records after number `sequence` that came from other routers: `(way, first number, contents)`
        for each run of consecutive numbers. `then` is called on the loop's thread, with them or with what went wrong.
        """
        stored = self._buffer.tail_begins if self._buffer is not None else 0

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

        self.reader.call(work, have)

    # ---- end ----

    def flush(self, timeout_s: float) -> bool:
        """Store everything now, waiting at most so long. Whether it is stored."""
        if self.mode == "volatile" and self._buffer is None:
            self._start_keeping()
            assert self._buffer is not None
            self._buffer.signals = 0
            self._buffer.mark_incomplete()
        buffer, writer = self._buffer, self._writer
        if buffer is None or writer is None:
            return False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        deadline_s = time.monotonic() + timeout_s
        while True:
            if buffer.busy:
                if not writer.wait(max(0.0, deadline_s - time.monotonic())):
                    return False
                if self._retry is not None:
                    return False
                continue
            self._collect()
            if not buffer.busy:
                return not buffer.incomplete

    def close(self, timeout_s: float = 0.5) -> None:
        """Store everything and stop the threads."""
        stored = self.flush(timeout_s)
        for timer in (self._timer, self._retry, self._settling, self._lazy):
            if timer is not None:
                timer.cancel()
        if not stored:
            log.error("the newest changes could not be stored: %s", self._message or "the disk takes too long")
        self.router.plane.close_journal_buffer()
        if self._writer is not None:
            self._writer.stop(timeout_s)
        self._buffer = None
        if stored:
            self._settled()


def _retention(config: model.Journal) -> Retention:
    return Retention(config.retention_mib << 20, config.retention_s, config.retention_records)


_SIGNALS = ("param", "event", "stream", "gesture", "timeline")


def _mask(config: model.Journal) -> int:
    return sum(1 << _SIGNALS.index(name) for name in config.signals)
