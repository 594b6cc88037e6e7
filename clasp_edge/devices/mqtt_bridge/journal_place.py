"""Where a bridge is in the journal's log: what waits for its broker under policy "log" outlives the process.

The journal's cursor stands behind the last record up to which the broker has all; after a start the log is read from
there. Knows no store: the log is handed in. Imports nothing of the bridge.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

from clasp_edge.journal.cursor_names import BRIDGE
from clasp_edge.journal.cursors import Logged
from clasp_edge.journal.followed_log import READ_BYTES, READ_RECORDS, RETRY_S, Log

log = logging.getLogger("clasp_edge.bridge")


class JournalPlace:
    """One bridge's. A record `waits` from when it is queued, in the order of the log, until it is `done`, in any order
    and whatever became of it. Where nobody was before, it begins at the log's end."""

    def __init__(self, journal: Log, name: str, loop: AbstractEventLoop) -> None:
        self._log = journal
        self._name = BRIDGE + name
        self._loop = loop
        self._waiting: deque[int] = deque()
        self._done: set[int] = set()
        self._moved = 0  # where the cursor is to be
        self._rested_at = 0
        self._closed = False
        journal.log_whole_messages(self._name, True)  # what MQTT clients publish is carried byte for byte
        if self._name not in journal.cursors():
            journal.set_cursor(self._name, journal.last_sequence)
        self.behind = journal.cursor(self._name) < journal.last_sequence
        """Whether the log has yet to be read."""

    def waits(self, number: int) -> None:
        """A record of the log is in the queue."""
        self._waiting.append(number)

    def done(self, number: int) -> None:
        """It is no longer there: the broker has it, or it was dropped. The journal learns it with `settle`."""
        waiting = self._waiting
        if waiting and waiting[0] == number and not self._done:
            self._moved = waiting.popleft()
            return
        self._done.add(number)
        while waiting and waiting[0] in self._done:
            self._moved = waiting.popleft()
            self._done.discard(self._moved)

    def settle(self) -> None:
        """Move the cursor to where everything before is done."""
        if self._moved and not self._closed:
            self._log.set_cursor(self._name, self._moved)
            self._moved = 0

    def rest(self) -> None:
        """Called now and then: where nothing waits, what others have logged need not be kept for this bridge. But for
        what has come since the last time, which may not be stored yet."""
        self.settle()
        if self._waiting or self.behind or self._closed:
            self._rested_at = 0
            return
        if self._rested_at > self._log.cursor(self._name):
            self._log.set_cursor(self._name, self._rested_at)
        self._rested_at = self._log.last_sequence

    def read(self, take: Callable[[Logged], None], finished: Callable[[], None]) -> None:
        """`take` each record from there to the end of the log, and say when that was all; at once or later."""
        at = self._log.cursor(self._name)

        def step() -> None:
            if not self._closed:
                self._log.fetch_after(at, READ_RECORDS, READ_BYTES, have)

        def have(result: list[Logged] | Exception) -> None:
            nonlocal at
            if self._closed:
                return
            if isinstance(result, Exception):
                log.error("%s: what waits cannot be read from the journal: %s", self._name, result)
                self._loop.call_later(RETRY_S, step)
                return
            for record in result:
                at = record.number
                try:
                    take(record)
                except Exception as error:
                    # Whatever it is, what waits behind it goes on.
                    log.warning("%s: record %d of the log is passed over: %s", self._name, at, error)
            if result and at < self._log.last_sequence:
                self._loop.call_soon(step)
                return
            self.behind = False
            finished()

        step()

    def close(self) -> None:
        """Another one may go on at its place."""
        self.settle()
        self._closed = True
        self._log.log_whole_messages(self._name, False)
