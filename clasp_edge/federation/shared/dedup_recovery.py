"""What came from other routers before this one was started anew, so that what they send again is not taken twice.

The journal has it: whatever is stored is known; what was not stored by the time of a crash is new again, and has to be.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from clasp_edge.callbacks import call_each
from clasp_edge.federation.shared.dedup import Seen, route_by

log = logging.getLogger("clasp_edge.federation")

RECALLED_RECORDS = 100_000
"""Records of the log that are looked at, from its end: more than can be under way on three links at once. Takes some
tens of milliseconds, on a thread."""

_Run = tuple[bytes, int, bytes]


class Log(Protocol):
    """What is needed of a journal (`journal.journal.Journal`)."""

    @property
    def last_sequence(self) -> int: ...
    def fetch_ways(self, sequence: int, then: Callable[[list[_Run] | Exception], None]) -> None: ...


class DedupRecovery:
    """Begins at once; nobody lets another router speak before `when_done`."""

    def __init__(self, journal: Log | None, seen: Seen) -> None:
        self._seen = seen
        self._waiting: list[Callable[[], None]] | None = []
        if journal is None:
            self._have([])
        else:
            journal.fetch_ways(max(0, journal.last_sequence - RECALLED_RECORDS), self._have)

    def when_done(self, then: Callable[[], None]) -> None:
        """Call when everything is known that will be: at once, or as soon as it is."""
        if self._waiting is None:
            then()
        else:
            self._waiting.append(then)

    def _have(self, result: list[_Run] | Exception) -> None:
        if isinstance(result, Exception):
            log.error("what other routers have told before cannot be read from the journal: %s", result)
            result = []
        for way, first, contents in result:
            try:
                route = route_by(way)
            except ValueError:
                continue  # written by a later version
            self._seen.note(route.origin, route.epoch, first, contents)
        waiting, self._waiting = self._waiting or [], None
        call_each(waiting)
