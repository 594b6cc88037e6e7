"""Collects what has changed and hands it to the writer, commit by commit.

Modes: `group` commits once per interval; `strict` commits as soon as something waits, and replies wait for it;
`volatile` commits when the router stops. Whatever the disk does, the router goes on: what cannot be stored is in
memory, that is said, and all of it is written again when the disk is back.
"""

from __future__ import annotations

import logging
import time
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Protocol

from clasp_edge.config import model
from clasp_edge.dataplane.blocks import Stream
from clasp_edge.dataplane.journal_buffer import JournalBuffer
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.journal.audit import Entries, Limits
from clasp_edge.journal.cursors import Cursors
from clasp_edge.journal.documents import Documents
from clasp_edge.journal.probe import Found
from clasp_edge.journal.recovery import move_aside
from clasp_edge.journal.report import Report
from clasp_edge.journal.store import Store
from clasp_edge.journal.wear import Wear
from clasp_edge.journal.writer import DAMAGED, OK, Batch, Outcome, Writer
from clasp_edge.router.router import Router
from clasp_edge.wire.pattern import Pattern

log = logging.getLogger("clasp_edge.journal")

RETRY_S = 2.0
"""Between attempts to write to a disk that does not take it."""

REPORT_S = 10.0
"""Between reports of numbers that change with every commit, while there are commits."""

REWRITE_GAP_S = 0.02
"""Between the commits of a rewriting of all params, so that it leaves room for everybody else."""

SMALLEST_REWRITE = 1 << 20
REWRITE_RATIO = 4
"""The params are written again when their changes have grown to so many times their size: every byte stored costs at
most a quarter more, and a start reads at most five times what it needs."""

BYTES_PER_PARAM = 128
"""An estimate of an image, until the first rewriting has told the real size."""

BYTES_PER_GB = 1e9

LAZY_S = 5.0
"""How long documents may wait for a commit that happens anyway, where that costs nothing but repetition."""

ALL_EPOCHS = (1 << 63) - 1


class Guard(Protocol):
    """Who has to have what is stored here before it is confirmed (`federation.shared.pair`)."""

    def when_there(self, up_to: int, then: Callable[[], None]) -> None:
        """Call `then`, at once or later, when the log is there up to this number."""
        ...


class Committer:
    """The commits of one router. `state` is "ok" or "memory" (nothing can be stored), `message` says why."""

    def __init__(self, router: Router, store: Store, report: Report, config: model.Journal) -> None:
        self.mode = config.mode
        self.state = "ok"
        self.message = ""
        self.buffer: JournalBuffer | None = None
        self.writer: Writer | None = None
        self.cursors = Cursors()
        self.documents = Documents()
        self.entries = Entries()
        self.wear = Wear(config.wear_budget_gb_per_day * BYTES_PER_GB, time.monotonic())
        self.age_ms = 0
        self.guard: Guard | None = None
        """In `strict` mode, replies wait for it too."""
        self._collected_up_to = 0
        self._router = router
        self._loop = router.loop
        self._store = store
        self._report = report
        self._config = config
        self._patterns: list[Pattern] | None = None
        self._timer: TimerHandle | None = None
        self._retry: TimerHandle | None = None
        self._lazy: TimerHandle | None = None
        self._pending = False
        self._left = False
        self._cursors_under_way: dict[str, int] = {}
        self._documents_under_way: dict[str, bytes | None] = {}
        self._entries_under_way: list[bytes] = []
        self._to_be_stored: list[tuple[int, Callable[[], object]]] = []
        self._base_before = 0
        self._live_bytes = 0
        self._reported_s = 0.0
        self.apply_config(config)

    def apply_config(self, config: model.Journal) -> None:
        """Take over what can change while running."""
        self._config = config
        patterns = [Pattern(text.encode()) for text in config.patterns]
        everything = any(pattern.text == b"/**" for pattern in patterns)
        self._patterns = None if everything else patterns
        self.wear.budget_per_day = config.wear_budget_gb_per_day * BYTES_PER_GB
        self._store.audit_limits = Limits(config.audit_mib << 20, config.audit_s)
        if self.buffer is not None:
            self.buffer.signals = _mask(config)
            self.buffer.reselect()

    def start(self, found: Found) -> JournalBuffer:
        """Collect from now on, behind what was found in the store."""
        log_stream = Stream(True, found.log_number, 0, found.log_before, found.run + 1)
        state_stream = Stream(False, found.state_number, found.state_base, found.state_before, found.run + 1)
        self._base_before = found.state_before - found.state_bytes
        self.cursors = Cursors(found.cursors)
        self._store.needed_from = self.cursors.needed_from
        strict = self.mode == "strict"
        self.buffer = self._router.plane.open_journal_buffer(
            self, strict, self._config.buffer_kib * 1024, log_stream, state_stream
        )
        self.buffer.signals = _mask(self._config)
        self.writer = Writer(self._store, self._loop, self._done)
        return self.buffer

    def expect(self, params: int) -> None:
        """So many params have been restored: an estimate of what all of them take in the store."""
        self._live_bytes = params * BYTES_PER_PARAM

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
        return self._config.commit_interval_ms * self.wear.factor / 1000

    # ---- commits ----

    def _collect(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        buffer, writer = self.buffer, self.writer
        if buffer is None or writer is None:
            return
        if buffer.busy:
            self._pending = self._pending or self.documents.wanted or bool(self.entries)
            return  # `_done` calls again
        oldest_us = buffer.oldest_monotonic_us
        self._pending = False
        noted = self.documents.gather()
        collected = buffer.collect(noted or self.cursors.changed or bool(self.entries))
        if collected is None:
            self._tell_stored()
            return
        self._cursors_under_way = self.cursors.take()
        self._documents_under_way = self.documents.take()
        self._entries_under_way = self.entries.take()
        self._collected_up_to = buffer.log.number - 1
        states, logs, drained, base = collected
        self._left = not drained
        if base:
            self._base_before = buffer.rewrite_before
            self._live_bytes = buffer.state.before - buffer.rewrite_before
        if oldest_us:
            self.age_ms = max(0, self._router.core.monotonic_us - oldest_us) // 1000
        writer.put(
            Batch(
                states, logs, base, self._router.core.now_us,
                self._cursors_under_way, self._documents_under_way, self._entries_under_way,
            )
        )  # fmt: skip

    def _done(self, outcome: Outcome) -> None:
        """A batch has been stored, or not (called on the loop's thread)."""
        buffer = self.buffer
        if buffer is None or not buffer.busy:
            return
        now_s = time.monotonic()
        self.wear.add(outcome.written, now_s)
        self._ration(buffer, now_s)
        held = buffer.withhold() if self.guard is not None and outcome.kind == OK else []
        buffer.release(outcome.kind == OK)
        if held and self.guard is not None:
            self.guard.when_there(self._collected_up_to, lambda: self._let_go(held))
        # Only an estimate of what retention looks at: a block that is under way has its own idea of it.
        buffer.log.before -= min(outcome.saved, buffer.log.before)
        if outcome.kind != OK:
            self.cursors.give_back(self._cursors_under_way)
            self.documents.give_back(self._documents_under_way)
            self.entries.give_back(self._entries_under_way)
        self._entries_under_way = []
        if outcome.kind == OK:
            self._tell_stored(buffer.durable)
            if self.state != "ok" and not buffer.repairing:
                self._recovered()
            self._consider_rewriting(buffer)
            if self.wear.adjust(now_s):
                log.warning("commit interval is now %g s: %s", self.commit_interval_s, self._wear_text(now_s))
            self.tell(now_s - self._reported_s > REPORT_S)
            if self._left or (self._pending and self._timer is None):
                self._again(0)
            elif buffer.is_rewriting and self._timer is None:
                self._again(REWRITE_GAP_S)
            return
        if outcome.kind == DAMAGED:
            self._store.close()
            aside = move_aside(self._store, "damaged")
            self.cursors.all_again()
            self.documents.all_again()
            if aside is not None:
                self.message = f"the store was damaged while running ({outcome.text}) and is now {aside}"
                log.error("%s; all params are written to a new one", self.message)
                self._again(0)
                return
        # The next store may be a new one: this one's file may have been removed.
        self.cursors.all_again()
        self.documents.all_again()
        self.set_memory(outcome.text)
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _let_go(self, held: list[tuple[object, int]]) -> None:
        if self.buffer is not None and self.buffer.let_go(held):
            self.wake()

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

    def set_memory(self, text: str) -> None:
        if self.state == "ok" or self.message != text:
            log.error("NOTHING IS STORED, the router goes on in memory: %s", text)
        self.state = "memory"
        self.message = text
        self._tell_stored()
        self.tell(False)

    def _recovered(self) -> None:
        self.state = "ok"
        self.message = ""
        log.warning("the journal is written again; every param is stored")
        self.tell(True)

    def _ration(self, buffer: JournalBuffer, now_s: float) -> None:
        """While too much is written, no principal's records keep those of others from the log."""
        ration = self.wear.ration(now_s)
        if ration and not buffer.ration:
            log.warning(
                "%s: of each client's records at most %.0f KB a second are logged (journal.wear_budget_gb_per_day)",
                self._wear_text(now_s), ration / 1000,
            )  # fmt: skip
        elif buffer.ration and not ration:
            dropped = self._router.accounts.dropped_log()
            if dropped:
                most = max(dropped, key=dropped.__getitem__)
                log.warning("the log takes all records again; %d were dropped, most of %r", buffer.rationed, most)
        buffer.ration = ration

    # ---- who waits for a commit ----

    def when_stored(self, then: Callable[[], object]) -> None:
        """Call `then`, on the loop's thread, when all that was written up to now is stored: after the next commit. At
        once where nothing is stored, be it by the mode or by trouble."""
        if self.buffer is None or self.state != "ok":
            then()
            return
        self._to_be_stored.append((self.buffer.epoch, then))
        self.wake()

    def _tell_stored(self, before: int = ALL_EPOCHS) -> None:
        """Everything that was written in an epoch before this one is stored, or will not be for now."""
        told = [then for epoch, then in self._to_be_stored if epoch < before]
        self._to_be_stored = [waiting for waiting in self._to_be_stored if waiting[0] >= before]
        for then in told:
            try:
                then()
            except Exception:
                # Neither the others who wait nor the next commit have to do with it.
                log.exception("who waited for a commit could not be told")

    def soon(self) -> None:
        if self.buffer is not None and self._timer is None and self._retry is None:
            # In strict mode too: nobody waits for it.
            self._timer = self._loop.call_later(self.commit_interval_s, self._collect)

    def documents_changed(self, urgent: bool) -> None:
        """There are documents to store, though nothing else may be: at the latest one interval from now, or `LAZY_S`
        where it is not urgent."""
        self.documents.wanted = True
        if urgent:
            self.soon()
        elif self._lazy is None and self.buffer is not None:
            self._lazy = self._loop.call_later(LAZY_S, self._late)

    def keep_entry(self, entry: bytes) -> None:
        """Store an entry of the audit stream with a commit that happens anyway, or within `LAZY_S`."""
        if self.buffer is None or not self._config.audit:
            return
        self.entries.add(entry)
        if self._lazy is None:
            self._lazy = self._loop.call_later(LAZY_S, self._late)

    def unstored_entries(self) -> list[bytes]:
        """Those of the audit stream that no commit has stored yet, oldest first."""
        return [*self._entries_under_way, *self.entries.waiting()]

    def _late(self) -> None:
        self._lazy = None
        if self.documents.wanted or self.entries:
            self.soon()

    # ---- numbers ----

    def _wear_text(self, now_s: float) -> str:
        per_day = self.wear.per_day(now_s) / BYTES_PER_GB
        return f"{per_day:.1f} GB are written per day, the budget is {self.wear.budget_per_day / BYTES_PER_GB:g}"

    def tell(self, numbers: bool) -> None:
        self._report.tell(state=self.state, message=self.message, mode=self.mode)
        buffer = self.buffer
        if not numbers or buffer is None:
            return
        now_s = self._reported_s = time.monotonic()
        self._report.tell(
            bytes_per_day=int(self.wear.per_day(now_s)),
            bytes_written=self.wear.total,
            wear_alarm=self.wear.over_budget(now_s),
            commit_interval_ms=int(self.commit_interval_s * 1000),
            queue_age_ms=self.age_ms,
            records=buffer.kept,
            records_lost=buffer.lost,
            last_record=buffer.log.number - 1,
        )

    # ---- end ----

    def flush(self, timeout_s: float) -> bool:
        """Store everything now, waiting at most so long. Whether it is stored."""
        buffer, writer = self.buffer, self.writer
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

    def stop(self, timeout_s: float) -> None:
        """End the timers and the writer's thread."""
        for timer in (self._timer, self._retry, self._lazy):
            if timer is not None:
                timer.cancel()
        if self.writer is not None:
            self.writer.stop(timeout_s)
        self.buffer = None


_SIGNALS = ("param", "event", "stream", "gesture", "timeline")


def _mask(config: model.Journal) -> int:
    return sum(1 << _SIGNALS.index(name) for name in config.signals)
