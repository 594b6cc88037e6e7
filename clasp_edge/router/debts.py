"""What sessions that have ended owe: who was over its rate gets no fresh one by connecting again.

A session that leaves with more than its rate used up leaves to its principal how long it would have had to wait; the
next session of that principal takes it over, one each, the longest first. So a principal gets no more by coming and
going than by staying, and a neighbour on the same host pays for one of those who left at most. Knows no protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clasp_edge.clock import Clock

LONGEST_S = 10.0
"""More is not taken over: it may be a neighbour who comes."""
MAX_PRINCIPALS = 4096
MAX_EACH = 64
"""Of one principal the longest are remembered; of principals those that left something last."""


class Debts:
    """By principal: until when each session that has left would have been waiting (monotonic seconds)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, list[float]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def leave(self, principal: str, seconds: float) -> None:
        """A session has ended that would have its whole rate again only after so many seconds."""
        if seconds <= 0:
            return
        theirs = self._until.pop(principal, [])
        theirs.append(self._clock.monotonic_s() + min(seconds, LONGEST_S))
        theirs.sort()
        del theirs[:-MAX_EACH]
        while len(self._until) >= MAX_PRINCIPALS:
            del self._until[next(iter(self._until))]
        self._until[principal] = theirs

    def take(self, principal: str) -> float:
        """What a new session of the principal takes over, in seconds; 0 where nothing is left."""
        theirs = self._until.get(principal)
        if theirs is None:
            return 0.0
        left_s = theirs.pop() - self._clock.monotonic_s()
        if not theirs or left_s <= 0:
            del self._until[principal]  # the others are over even earlier
        return max(0.0, left_s)
