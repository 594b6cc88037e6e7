"""How much is written to the card, as a number per day, and what is done when that is more than the budget.

Knows bytes and time; where the bytes come from is the writer's business.
"""

from __future__ import annotations

from collections import deque

DAY_S = 86_400.0
WINDOW_S = 3600.0
"""A day's writing is told from the last hour's."""

SHORTEST_S = 60.0
"""Until a minute is over nothing is told from it: a start writes more than usual."""

PRINCIPAL_PART = 4
"""What one principal gets of the budget when it is exceeded. Blocks are joined later: a byte is written twice."""

STEP_S = 30.0
LARGEST_FACTOR = 64
"""Of the commit interval: 6.4 s at the default. Beyond that waiting saves hardly anything more."""


class Wear:
    """Bytes written, and the factor by which the commit interval is lengthened. `budget_per_day` in bytes, 0 = none."""

    def __init__(self, budget_per_day: float, now_s: float) -> None:
        self.budget_per_day = budget_per_day
        self.total = 0
        self.factor = 1
        self._began_s = now_s
        self._steps: deque[tuple[float, int]] = deque()
        self._changed_s = now_s

    def add(self, written: int, now_s: float) -> None:
        """Note bytes that were written by `now_s` (monotonic)."""
        self.total += written
        if self._steps and now_s - self._steps[-1][0] < STEP_S:
            began_s, sum_ = self._steps[-1]
            self._steps[-1] = began_s, sum_ + written
        else:
            self._steps.append((now_s, written))
        while self._steps and now_s - self._steps[0][0] > WINDOW_S:
            self._steps.popleft()

    def per_day(self, now_s: float) -> float:
        """Bytes that a day like the last hour (or what there has been of it) would write."""
        seconds = min(WINDOW_S, max(now_s - self._began_s, SHORTEST_S))
        return sum(written for at_s, written in self._steps if now_s - at_s <= WINDOW_S) * DAY_S / seconds

    def over_budget(self, now_s: float) -> bool:
        return bool(self.budget_per_day) and self.per_day(now_s) > self.budget_per_day

    def ration(self, now_s: float) -> float:
        """Bytes a second that one principal may have logged now, 0 for as many as it likes: while the budget is
        exceeded, a part of it, so that the records of others have room."""
        return self.budget_per_day / DAY_S / PRINCIPAL_PART if self.over_budget(now_s) else 0.0

    def adjust(self, now_s: float) -> bool:
        """Lengthen or shorten the interval, at most once in a while. Returns whether the factor has changed."""
        if now_s - self._changed_s < STEP_S or now_s - self._began_s < SHORTEST_S:
            return False
        recent = [(at_s, written) for at_s, written in self._steps if now_s - at_s <= 2 * STEP_S]
        recent_per_day = sum(written for _, written in recent) * DAY_S / (2 * STEP_S)
        before = self.factor
        if self.over_budget(now_s) and recent_per_day > self.budget_per_day:
            self.factor = min(self.factor * 2, LARGEST_FACTOR)
        elif self.factor > 1 and recent_per_day < self.budget_per_day / 2 and not self.over_budget(now_s):
            self.factor //= 2
        if self.factor != before:
            self._changed_s = now_s
        return self.factor != before
