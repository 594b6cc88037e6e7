"""Checks of passwords beside the event loop: each takes up to a fifth of a second by intent, and nobody else waits.

One thread, started with the first check. What was right once is known again by a keyed hash in memory, so that a
hundred devices that reconnect together are let in at once. Bounded in all and per host.
"""

from __future__ import annotations

import logging
import os
from asyncio import AbstractEventLoop, Future
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from clasp_edge.security import passwords

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger("clasp_edge.security")

MOST_WAITING = 256
MOST_OF_A_HOST = 64
"""Checks that wait: a gateway's devices reconnect together."""

MOST_KNOWN = 4096

Then = Callable[[bool], None]


class PasswordChecks:
    """`check` answers later on the loop's thread."""

    def __init__(self, loop: Callable[[], AbstractEventLoop]) -> None:
        self._loop = loop
        self._executor: ThreadPoolExecutor | None = None
        self._waiting: Counter[str] = Counter()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._key = os.urandom(32)

    def known(self, kept: str, password: bytes) -> bool:
        """Whether this password was right for this hash before."""
        return self._print_of(kept, password) in self._known

    def check(self, host: str, kept: str, password: bytes, then: Then) -> bool:
        """Have it checked; `kept` "" is the hash of nobody, which takes as long. False where too many wait."""
        if self._waiting[host] >= MOST_OF_A_HOST or self._waiting.total() >= MOST_WAITING:
            return False
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(1, "passwords")
        self._waiting[host] += 1
        loop = self._loop()

        def work() -> bool:
            if not kept:
                passwords.waste_time(password)
                return False
            return passwords.matches(kept, password)

        def have(right: bool) -> None:
            self._waiting[host] -= 1
            if not self._waiting[host]:
                del self._waiting[host]
            if right:
                self._known[self._print_of(kept, password)] = None
                if len(self._known) > MOST_KNOWN:
                    self._known.popitem(last=False)
            then(right)

        def done(future: Future[bool]) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None:  # never let in; but it says nothing about the password
                log.error("a password could not be checked: %r", error)
            have(not future.cancelled() and error is None and future.result())

        loop.run_in_executor(self._executor, work).add_done_callback(done)
        return True

    def _print_of(self, kept: str, password: bytes) -> bytes:
        import hmac  # with OpenSSL, which is loaded only where somebody logs in

        return hmac.digest(self._key, kept.encode() + b"\0" + password, "sha256")
