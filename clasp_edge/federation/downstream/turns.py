"""Many links that have much to tell, and live traffic beside them: who may work when.

Each turn of the loop some links get to work, for a millisecond or two; then whatever has come in is dealt with.
Knows no link.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

TURN_S = 0.002
"""For the links of one turn together: with what one link does at once, a third of what live traffic may wait."""


class Turns:
    """`later_s(seconds, callback)` as a link needs it; `monotonic_s()` measures."""

    def __init__(self, later_s: Callable[[float, Callable[[], None]], Any], monotonic_s: Callable[[], float]) -> None:
        self._later_s = later_s
        self._monotonic_s = monotonic_s
        self._waiting: deque[Callable[[], None]] = deque()
        self._due = False

    def later_s(self, seconds: float, callback: Callable[[], None]) -> object:
        """Call back after so long; with 0, when its turn comes. What is asked for first comes first."""
        if seconds > 0:
            return self._later_s(seconds, callback)
        self._waiting.append(callback)
        self._next()
        return None

    def _next(self) -> None:
        if self._waiting and not self._due:
            self._due = True
            self._later_s(0.0, self._run)

    def _run(self) -> None:
        self._due = False
        until_s = self._monotonic_s() + TURN_S
        # Who asks again meanwhile comes in a later turn.
        for _ in range(len(self._waiting)):
            try:
                self._waiting.popleft()()
            finally:
                self._next()
            if self._monotonic_s() >= until_s:
                break
