"""The journal: restores at start, keeps params and log from then on, and answers who reads the log.

Commits are made by `Committer`, the log is read by `LogReader`; this is what the rest of the router sees of both.
"""

from __future__ import annotations

import logging
import time
from asyncio import TimerHandle
from collections.abc import Callable
from pathlib import Path

from clasp_edge.config import model
from clasp_edge.dataplane.journal_buffer import JournalBuffer
from clasp_edge.journal.committer import Committer, Guard
from clasp_edge.journal.cursors import Logged
from clasp_edge.journal.errors import Damaged, Unavailable
from clasp_edge.journal.log_reader import LogReader
from clasp_edge.journal.recovery import Recovery
from clasp_edge.journal.report import Report
from clasp_edge.journal.store import Retention, Store
from clasp_edge.journal.writer import Reader
from clasp_edge.router.router import Router

log = logging.getLogger("clasp_edge.journal")

DIRECTORY = "journal"

SETTLED_S = 30.0


class Journal:
    """One router's journal. `open()` before anybody is connected, `close()` when the last connection is gone."""

    def __init__(
        self, router: Router, config: model.Journal, data_dir: Path, claim: Callable[[], None] = lambda: None
    ) -> None:
        self.router = router
        self.mode = config.mode
        self.reader = Reader(router.loop)
        self._config = config
        self._loop = router.loop
        self._directory = data_dir / DIRECTORY
        self._store = Store(self._directory, _retention(config), claim)
        self._recovery = Recovery(router.plane, self._store)
        self._settling: TimerHandle | None = None
        self._run = 0
        self._want_whole: set[str] = set()
        report = Report(router.plane)
        self._committer = Committer(router, self._store, report, config)
        self._log = LogReader(self._store, self.reader, report)
        # What readers of the log use of both, under this roof.
        self.when_stored = self._committer.when_stored
        self.notes_changed = self._committer.documents_changed
        self.keep_entry = self._committer.keep_entry
        self.keep_notes = self._committer.documents.ask
        self.read_log = self._log.read_log
        self.note_damage = self._log.note_damage
        self.note_faults = self._log.note_faults
        self.records_after = self._log.records_after
        self.fetch_after = self._log.fetch_after
        self.fetch_wanted = self._log.fetch_wanted
        self.fetch_ways = self._log.fetch_ways

    def apply_config(self, config: model.Journal) -> None:
        """Take over what can change while running; called again after a reload."""
        self._config = config
        self._store.retention = _retention(config)
        self._committer.apply_config(config)

    # ---- start ----

    def open(self) -> str:
        """Restore what is stored and start to keep the journal; returns a sentence for the start's greeting."""
        began_s = time.monotonic()
        recovery = self._recovery
        recovery.run()
        self._committer.message = recovery.problem
        self._run = recovery.found.run + 1 if self._store.is_open else 0
        params = self.router.plane.params
        took_ms = (time.monotonic() - began_s) * 1000
        self._committer.expect(params)
        if self.mode != "volatile":
            self._start_keeping()
            if recovery.dropped and self._committer.buffer is not None:
                self._committer.buffer.rewrite()
                self._committer.wake()
        self.router.plane.expire()
        if not self._store.is_open:
            self._committer.set_memory(recovery.problem)
        self._committer.tell(True)
        self._settling = self._loop.call_later(SETTLED_S, self._settled)
        what = {
            "group": f"group: a power cut costs at most the last {self._config.commit_interval_ms} ms",
            "strict": "strict: what is acknowledged survives a power cut",
            "volatile": "volatile: params are stored when the router stops, not before",
        }[self.mode]
        restored = f"{params} params restored in {took_ms:.0f} ms"
        if not self._store.is_open:
            return f"IN MEMORY ONLY, nothing is stored now: {recovery.problem}; {restored}"
        return f"{what}; {restored}; {self._directory}"

    def _settled(self) -> None:
        self._settling = None
        self._recovery.settled()

    def _start_keeping(self) -> None:
        committer = self._committer
        self._log.buffer = buffer = committer.start(self._recovery.found)
        buffer.whole_messages = bool(self._want_whole)
        if not self._store.is_open or committer.message:
            buffer.mark_incomplete()
            if not self._store.is_open:
                buffer.cannot_store()
            committer.wake()

    # ---- numbers ----

    @property
    def state(self) -> str:
        """`ok`, or `memory` while nothing can be stored."""
        return self._committer.state

    @property
    def commit_interval_s(self) -> float:
        return self._committer.commit_interval_s

    def statistics(self) -> dict[str, int | float | str]:
        """Everything worth exporting: counters since the start, sizes in bytes, times as their names say."""
        now_s = time.monotonic()
        buffer, writer, store = self._committer.buffer, self._committer.writer, self._store
        return {
            "mode": self.mode,
            "state": self.state,
            "message": self._committer.message,
            "commits": writer.commits if writer is not None else 0,
            "commits_failed": writer.failed if writer is not None else 0,
            "commit_seconds": writer.seconds if writer is not None else 0.0,
            "commit_interval_ms": int(self.commit_interval_s * 1000),
            "queue_age_ms": self._committer.age_ms,
            "records": buffer.kept if buffer is not None else 0,
            "records_lost": buffer.lost if buffer is not None else 0,
            "records_rationed": buffer.rationed if buffer is not None else 0,
            "records_missed": store.missed,
            "audit_lost": self._committer.entries.lost,
            "last_record": self.last_sequence,
            "oldest_record": store.oldest_number,
            "log_bytes": store.log_bytes,
            "blocks_joined": store.joined,
            "blocks_damaged": self._log.damaged_blocks,
            "bytes_written": self._committer.wear.total,
            "bytes_per_day": int(self._committer.wear.per_day(now_s)),
            "wear_alarm": int(self._committer.wear.over_budget(now_s)),
            "params_dropped_at_start": self._recovery.dropped,
            "start": self._recovery.found.run + 1,
        }

    @property
    def journal_buffer(self) -> JournalBuffer | None:
        """None in mode `volatile`, which keeps no log."""
        return self._committer.buffer

    def guard_by(self, guard: Guard) -> None:
        """In `strict` mode, confirm nothing before the guard has it too."""
        if self.mode == "strict":
            self._committer.guard = guard

    # ---- readers who follow the log ----

    @property
    def last_sequence(self) -> int:
        """As `LogReader.last_sequence`."""
        return self._log.last_sequence

    @property
    def run(self) -> int:
        """The number of this start, which no other start on this store has; 0 where it could not be noted in time."""
        return self._run

    def cursor(self, name: str) -> int:
        """The number of the last record that the reader of this name is done with; 0 for one that never was here."""
        return self._committer.cursors[name]

    def set_cursor(self, name: str, sequence: int) -> None:
        """Remember a reader's place: stored with the next commit, at the latest one interval from now.

        Records after the lowest place of all are not dropped for their age, only for the log's size and number of
        records; what that costs is counted (`statistics()["records_missed"]`). Raises ValueError.
        """
        if self._committer.cursors.move(name, sequence):
            self._cursors_moved()

    def forget_cursor(self, name: str) -> None:
        """The reader of this name comes no more: nothing is kept for it."""
        if self._committer.cursors.forget(name):
            self._cursors_moved()

    def cursors(self) -> dict[str, int]:
        """All places by name."""
        return {name: self._committer.cursors[name] for name in self._committer.cursors}

    def _cursors_moved(self) -> None:
        self._store.needed_from = self._committer.cursors.needed_from
        self._committer.soon()

    # ---- documents of others ----

    def newest_entries(self, most: int, then: Callable[[object], None]) -> None:
        """`then` gets the newest entries of the audit trail, as far as they are stored, the newest first; or the
        exception that reading them raised."""
        self.reader.call(lambda: self._store.newest_entries(most), then)

    def waiting_entries(self) -> list[bytes]:
        """Those of the trail that are not stored yet, oldest first: an idle router stores them within a minute."""
        return self._committer.unstored_entries()

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

    def log_whole_messages(self, who: str, whole: bool) -> None:
        """Whether the log has what MQTT clients publish as it was, beside the value (`Logged.own`): while anybody (a
        link, the sessions that are kept) wants it."""
        if whole:
            self._want_whole.add(who)
        else:
            self._want_whole.discard(who)
        if self._committer.buffer is not None:
            self._committer.buffer.whole_messages = bool(self._want_whole)

    def waited_s(self, record: Logged) -> int:
        """How much of its time a message in the log has used up (`ages`)."""
        return self._recovery.ages.waited_s(record, self.router.clock.wall_us())

    # ---- end ----

    def flush(self, timeout_s: float) -> bool:
        """Store everything now, waiting at most so long. Whether it is stored."""
        if self.mode == "volatile" and self.journal_buffer is None:
            self._start_keeping()
            assert self.journal_buffer is not None
            self.journal_buffer.signals = 0
            self.journal_buffer.mark_incomplete()
        return self._committer.flush(timeout_s)

    def close(self, timeout_s: float = 0.5) -> None:
        """Store everything and stop the threads."""
        stored = self.flush(timeout_s)
        if self._settling is not None:
            self._settling.cancel()
        if not stored:
            log.error(
                "the newest changes could not be stored: %s", self._committer.message or "the disk takes too long"
            )
        self.router.plane.close_journal_buffer()
        self._committer.stop(timeout_s)
        self._log.buffer = None
        if stored:
            self._settled()


def _retention(config: model.Journal) -> Retention:
    return Retention(config.retention_mib << 20, config.retention_s, config.retention_records)
