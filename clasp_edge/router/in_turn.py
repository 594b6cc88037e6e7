"""What many bring about in one round of the loop, as when a switch goes off and hundreds of connections end: the first
is dealt with at once, the others in turn, with all other work in parts. Knows nothing of what it is.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

from clasp_edge.dataplane import Core

log = logging.getLogger("clasp_edge.router")


class InTurn:
    """One line of such work."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._line: deque[Iterator[None]] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether what comes now has to wait."""
        return self._line is not None

    def do(self, steps: Iterator[None]) -> None:
        """Run to its end: its first step now, if nobody else's is under way."""
        if self._line is not None:
            self._line.append(steps)
            return
        self._line = deque([steps])
        if not _next(steps):
            self._line.popleft()
        self._core.start_work(self._work_off(self._line))

    def finish(self) -> None:
        """Nobody will be here to do it later: all that waits, now."""
        line = self._line
        while line:
            if not _next(line[0]):
                line.popleft()

    def _work_off(self, line: deque[Iterator[None]]) -> Iterator[None]:
        try:
            while line:
                if not _next(line[0]):
                    line.popleft()
                yield
        finally:
            self._line = None


def _next(steps: Iterator[None]) -> bool:
    """Whether there is more to do."""
    ended = object()
    try:
        return next(steps, ended) is not ended
    except Exception:
        log.exception("work in parts failed")
        return False
