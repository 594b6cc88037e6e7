"""The threads beside the loop: one that commits, one (started when first needed) that reads for replays.

They know the store and hand every result back to the loop's thread. While they wait they are not woken.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clasp_edge.journal.errors import Damaged, Unavailable
from clasp_edge.journal.store import Store

log = logging.getLogger("clasp_edge.journal")

OK, UNAVAILABLE, DAMAGED = "ok", "unavailable", "damaged"

_THREAD_IO = Path("/proc/thread-self/io")


@dataclass(frozen=True)
class Batch:
    """What one commit stores."""

    states: Sequence[memoryview]
    logs: Sequence[memoryview]
    base: int
    wall_us: int
    cursors: Mapping[str, int]
    notes: Mapping[str, bytes | None]
    entries: Sequence[bytes] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a batch. `written`: bytes that went to the disk since the last outcome; `saved`: bytes by which
    the log is shorter than its blocks were together (`Store.commit`)."""

    kind: str
    text: str
    written: int
    saved: int


class Writer:
    """Commits batches one after the other; `done` is called on the loop's thread after each."""

    def __init__(self, store: Store, loop: AbstractEventLoop, done: Callable[[Outcome], None]) -> None:
        self.commits = 0
        self.failed = 0
        self.seconds = 0.0
        """What the commits took, failed ones included."""
        self._store = store
        self._loop = loop
        self._done = done
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        self._batches.put(batch)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the outcome of the batch under way, at the end of the process. False when it takes too long."""
        try:
            outcome = self._outcomes.get(timeout=timeout_s)
        except queue.Empty:
            return False
        self._done(outcome)
        return True

    def stop(self, timeout_s: float) -> None:
        self._batches.put(None)
        self._thread.join(timeout_s)

    def _take(self) -> None:
        try:
            outcome = self._outcomes.get_nowait()
        except queue.Empty:
            return  # `wait` was quicker
        self._done(outcome)

    def _run(self) -> None:
        _leave_signals_to_the_loop()
        before = _written()
        while (batch := self._batches.get()) is not None:
            kind, text, saved = OK, "", 0
            began_s = time.monotonic()
            try:
                saved = self._store.commit(
                    batch.states, batch.logs, batch.base, batch.wall_us, batch.cursors, batch.notes, batch.entries
                )
            except Damaged as error:
                kind, text = DAMAGED, str(error)
            except Unavailable as error:
                kind, text = UNAVAILABLE, str(error)
            except Exception as error:
                log.exception("a commit failed")
                self._store.close()
                kind, text = UNAVAILABLE, repr(error)
            self.seconds += time.monotonic() - began_s
            self.commits += kind == OK
            self.failed += kind != OK
            now = _written()
            size = sum(map(len, batch.states)) + sum(map(len, batch.logs))
            # Without the kernel's count, what was handed over is a lower bound.
            self._outcomes.put(Outcome(kind, text, now - before if now else size, saved))
            before = now
            del batch
            with contextlib.suppress(RuntimeError):  # the loop has been closed: `wait` takes it, or nobody
                self._loop.call_soon_threadsafe(self._take)
        self._store.close()


def _leave_signals_to_the_loop() -> None:
    """A signal that this thread takes is noticed when this thread gets its turn: the loop may have read on by then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT})


def _written() -> int:
    """Bytes that this thread has caused to be written to storage (proc(5)), 0 if that is not known."""
    try:
        for line in _THREAD_IO.read_bytes().splitlines():
            if line.startswith(b"write_bytes:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


class Reader:
    """Runs what may have to wait for the disk; `call` hands the result to `then` on the loop's thread."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._thread: threading.Thread | None = None
        self._calls: queue.SimpleQueue[tuple[Callable[[], object], Callable[[object], None]]] = queue.SimpleQueue()

    def call(self, work: Callable[[], object], then: Callable[[object], None]) -> None:
        """`then` gets what `work` returned, or the exception that it raised."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal-reader", daemon=True)
            self._thread.start()
        self._calls.put((work, then))

    def _run(self) -> None:
        _leave_signals_to_the_loop()
        while True:
            work, then = self._calls.get()
            try:
                result = work()
            except Exception as error:
                result = error
            try:
                self._loop.call_soon_threadsafe(then, result)
            except RuntimeError:
                return
            del work, then, result
