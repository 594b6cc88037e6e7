"""A page of numbers, made in parts and for everybody together who asks while it waits to be made: however many ask, and
however often, it takes a tenth of a core. Knows nothing of what it shows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Iterator

from clasp_edge.dataplane import Core

log = logging.getLogger("clasp_edge.console")

REST = 9
"""Times as long as one took, before the next is made."""

MOST_WAITING = 64
"""Who asks while so many wait is told to come again."""


class SharedPage:
    """`steps` makes one: each step is short, and it returns the page. `cpu_s` is CPU time of this thread."""

    def __init__(
        self,
        core: Core,
        loop: asyncio.AbstractEventLoop,
        steps: Callable[[], Generator[None, None, bytes]],
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._core = core
        self._loop = loop
        self._steps = steps
        self._cpu_s = cpu_s
        self._asked: asyncio.Future[bytes] | None = None
        """Whoever asks now gets this one, which has not been begun."""
        self._waiting = 0
        self._making = False
        self._due_s = 0.0

    def ask(self) -> asyncio.Future[bytes] | None:
        """The page as it is from now on, empty where it could not be made; None: too many wait for it."""
        if self._waiting == MOST_WAITING:
            return None
        self._waiting += 1
        if self._asked is None:
            self._asked = self._loop.create_future()
            if not self._making:
                self._loop.call_at(self._due_s, self._begin)
        return self._asked

    def _begin(self) -> None:
        asked, self._asked, self._waiting = self._asked, None, 0
        assert asked is not None
        self._making = True
        self._core.start_work(self._make(asked))

    def _make(self, asked: asyncio.Future[bytes]) -> Iterator[None]:
        took_s = 0.0
        page = b""
        try:
            steps = self._steps()
            while True:
                began_s = self._cpu_s()
                try:
                    next(steps)
                except StopIteration as made:
                    page = made.value
                    break
                finally:
                    took_s += self._cpu_s() - began_s
                yield
        except Exception:
            log.exception("a page could not be made")
        finally:
            self._making = False
            self._due_s = self._loop.time() + REST * took_s
            if self._asked is not None:
                self._loop.call_at(self._due_s, self._begin)
        asked.set_result(page)
