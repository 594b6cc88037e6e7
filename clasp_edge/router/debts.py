"""What sessions that have ended had used of their rate: nobody gets a fresh one by connecting again.

A session that leaves with some of its rate used up leaves to its principal how long it would have taken until it had
all of it again; the next session of that principal takes it over, one each, the longest first. So a principal gets no
more by coming and going than by staying, and a neighbour on the same host pays for one of those who left at most. It
is forgotten when it would be paid off. Knows no protocol.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clasp_edge.clock import Clock

LONGEST_S = 10.0
"""More is not taken over: it may be a neighbour who comes."""
MAX_DEBTS = 8192
"""Of all principals together, about 0.5 MB: several times as many as there are places. Beyond it the shortest go."""
KEPT = 0.75
"""The part of them that stays then, so that this is seldom done."""


class Debts:
    """By principal: until when each session that has left would not have had its whole rate (monotonic seconds)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, list[float]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def leave(self, principal: str, seconds: float) -> None:
        """A session has ended that would have its whole rate again only after so many seconds."""
        if seconds <= 0:
            return
        now_s = self._clock.monotonic_s()
        theirs = self._until.setdefault(principal, [])
        if theirs and theirs[-1] <= now_s:
            self._count -= len(theirs)
            theirs.clear()
        insort(theirs, now_s + min(seconds, LONGEST_S))
        self._count += 1
        if self._count > MAX_DEBTS:
            self._forget(now_s)

    def take(self, principal: str) -> float:
        """What a new session of the principal takes over, in seconds; 0 where nothing is left."""
        theirs = self._until.get(principal)
        if theirs is None:
            return 0.0
        left_s = theirs.pop() - self._clock.monotonic_s()
        self._count -= 1
        if not theirs or left_s <= 0:
            self._count -= len(theirs)  # the others are over even earlier
            del self._until[principal]
        return max(0.0, left_s)

    def _forget(self, now_s: float) -> None:
        """Let go of those that are paid off, and of the shortest if that is not enough."""
        ends = sorted(end for theirs in self._until.values() for end in theirs)
        least_s = max(now_s, ends[len(ends) - int(MAX_DEBTS * KEPT)])
        self._until = {
            principal: kept
            for principal, theirs in self._until.items()
            if (kept := [end for end in theirs if end > least_s])
        }
        self._count = sum(map(len, self._until.values()))
