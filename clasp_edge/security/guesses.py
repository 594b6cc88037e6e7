"""Failed logins: what guessing costs the host that guesses, and nobody else.

A host may fail a few times at once and then ever more rarely; while it has to wait, its tokens are not looked at. A
token that has opened the door from that host before is looked at all the same: who is inside stays inside, whoever
else guesses from behind the same address. Bounded; knows no token, only digests.
"""

from __future__ import annotations

from collections import OrderedDict

FREE_FAILURES = 20
"""Failures at once before a host has to wait: an installation whose devices all have last year's token."""

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0

FORGOTTEN_AFTER_S = 900.0
"""A host that has not failed for so long begins anew."""

MAX_HOSTS = 4096
MAX_PROVEN = 4096
"""About 100 bytes each."""


class Guesses:
    """The failures of all hosts. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._proven: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self.failed = 0
        """Failed logins since the start."""
        self.turned_away = 0
        """Logins that were not looked at, because their host had to wait."""

    def wait_s(self, host: str, digest: bytes, now_s: float) -> float:
        """For how long this host has to wait before this token is looked at; 0: it is looked at now."""
        if (host, digest) in self._proven:
            return 0.0
        count, last_s = self._failures.get(host, (0, 0.0))
        if count < FREE_FAILURES or now_s - last_s > FORGOTTEN_AFTER_S:
            return 0.0
        left_s = last_s + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(30, count - FREE_FAILURES)) - now_s
        if left_s > 0:
            self.turned_away += 1
        return max(0.0, left_s)

    def failure(self, host: str, now_s: float) -> int:
        """A token was wrong; how many of this host have been."""
        self.failed += 1
        count, last_s = self._failures.pop(host, (0, now_s))
        if now_s - last_s > FORGOTTEN_AFTER_S:
            count = 0
        self._failures[host] = (count + 1, now_s)
        if len(self._failures) > MAX_HOSTS:
            self._failures.popitem(last=False)
        return count + 1

    def success(self, host: str, digest: bytes) -> None:
        """A token was right."""
        self._proven[host, digest] = None
        self._proven.move_to_end((host, digest))
        if len(self._proven) > MAX_PROVEN:
            self._proven.popitem(last=False)
