"""Reloads: the configuration is read and checked in a thread of its own, one reload after the other, and taken over on
the loop.

Thousands of rules take seconds to read on a board; meanwhile everything goes on as it was. Who asks while a reload is
under way gets one that begins after it: the files may have changed since they were read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from clasp_edge.config.load import ConfigError
from clasp_edge.config.model import Config

log = logging.getLogger("clasp_edge")

SWITCH_S = 0.001
"""The thread lets go of the interpreter after so long, where somebody else wants it (Python's own value: 5 ms)."""

Done = Mapping[str, Any]
"""What came of a reload: keys that are in force now, keys that need a restart, and problems."""

FAILED: Done = {
    "applied": [],
    "restart": [],
    "problems": ["the router failed to read the configuration; its log says why"],
}


_reading = threading.Lock()
"""One thread reads at a time: two would need twice the memory."""


def _read_aside(
    loop: asyncio.AbstractEventLoop, read: Callable[[], Config], then: Callable[[Config | Exception], None]
) -> None:
    """Read in a thread of its own; `then` is called on the loop with what was read, or why it was not."""

    def work() -> None:
        found: Config | Exception
        with _reading:
            before_s = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_S)
            try:
                found = read()
            except Exception as error:
                found = error
            finally:
                sys.setswitchinterval(before_s)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(then, found)

    try:
        threading.Thread(target=work, name="reload", daemon=True).start()
    except RuntimeError as error:
        # There is none to be had: who asked is told, and the next one may have more luck.
        loop.call_soon(then, error)


async def read_aside(read: Callable[[], Config]) -> Config:
    """What `read` reads, in a thread of its own. Raises what it raises, and RuntimeError where there is no thread."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Config] = loop.create_future()

    def then(found: Config | Exception) -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    _read_aside(loop, read, then)
    return await answer


class Reloads:
    """`begin()` is called on the loop and returns what reads, in any thread: it returns a Config or raises ConfigError.
    `take_over(read, reason, done)` gets what it made on the loop and calls `done` when it is in force; it returns False
    where something has changed meanwhile, and the files have to be read again. `over()` is called at the end of each,
    whatever came of it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        begin: Callable[[], Callable[[], Config]],
        take_over: Callable[[Config | ConfigError, str, Callable[[Done], None]], bool],
        over: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._told_over = over
        self._begin = begin
        self._take_over = take_over
        self._next: tuple[asyncio.Future[Done], str] | None = None
        self._under_way = False
        self._stopped = False

    def ask(self, reason: str) -> asyncio.Future[Done]:
        """Reload, now or after the one that is under way."""
        if self._next is None:
            self._next = self._loop.create_future(), reason
        answer = self._next[0]
        if not self._under_way:
            self._read_next()
        return answer

    def at_once(self, reason: str) -> None:
        """Reload before this returns, unless another reload is under way: then after that."""
        if self._under_way or self._stopped:
            self.ask(reason)
            return
        self._under_way = True
        found: Config | Exception
        try:
            found = self._begin()()
        except Exception as error:
            found = error
        self._has_read(found, self._loop.create_future(), reason)

    def stop(self) -> None:
        """Take over nothing any more."""
        self._stopped = True
        self._next = None

    def _read_next(self) -> None:
        if self._next is None or self._stopped:
            return
        (answer, reason), self._next = self._next, None
        self._under_way = True
        self._read(answer, reason)

    def _read(self, answer: asyncio.Future[Done], reason: str) -> None:
        _read_aside(self._loop, self._begin(), lambda found: self._has_read(found, answer, reason))

    def _has_read(self, found: Config | Exception, answer: asyncio.Future[Done], reason: str) -> None:
        if self._stopped:
            return
        if not isinstance(found, Config | ConfigError):
            log.error("reload: the configuration was not read", exc_info=found)
            self._over(answer, FAILED)
            return
        try:
            if not self._take_over(found, reason, lambda done: self._over(answer, done)):
                self._read(answer, reason)
        except Exception:
            log.exception("reload: the configuration was not taken over")
            self._over(answer, FAILED)

    def _over(self, answer: asyncio.Future[Done], done: Done) -> None:
        self._told_over()
        if not answer.done():
            answer.set_result(done)
        self._under_way = False
        self._read_next()
