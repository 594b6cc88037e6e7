"""Recognises a loop over a link: a rule that is set off, by way of another router, by what it does itself.

Nobody counts how deep such a cascade is. But an effect stays away while its cause is held back. A rule that something
from another router sets off again and again, without a rest, has one firing held back for a moment now and then. If
something comes meanwhile, somebody else sends it: all is well, and it takes much longer until the next try. If nothing
comes, three times in a row, then the rule was waiting for itself: it is disabled, and says so.

The wire tells of no write what has caused it (docs/protocol/federation.md: there is no origin). So a program that sends
its next step when it has seen what the rule did with the last one looks the same; its rule says `handshake = true`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from clasp_edge.rules.host import Timer
from clasp_edge.rules.model import Event

if TYPE_CHECKING:
    from clasp_edge.rules.engine import Engine
    from clasp_edge.rules.state import RuleState

FIRST_TRY = 64
"""Firings in a row before the first try."""

AGAIN_AFTER = 16
"""Firings between two tries of which the first found nothing."""

FURTHER = 8
"""Times as many until the next try, after one during which something came."""

REST_S = 1.0
"""How long a firing is held back. A pause of this length ends the row: whoever makes one, or is slower than the tries,
is never taken for a loop."""

SLOWEST_S = 0.25
"""Between two firings, on average. What goes round more slowly harms nobody: a lamp may blink for ever."""

TRIES = 3


class Streak:
    """Firings in a row of one rule at one address."""

    __slots__ = ("_chance", "began_s", "count", "event", "last_s", "next_try", "timer", "tries", "wait")

    def __init__(self, now_s: float, chance: Callable[[], float]) -> None:
        self._chance = chance
        self.began_s = self.last_s = now_s
        self.count = 0
        self.tries = 0
        self.wait = FIRST_TRY
        self.next_try = 0
        self.timer: Timer | None = None
        self.event: Event | None = None
        self.again(FIRST_TRY)

    def again(self, after: int) -> None:
        """The next try comes after about so many firings: not in step with anybody's rhythm."""
        self.next_try = self.count + after + int(self._chance() * after)

    def cancel(self) -> None:
        """What is held back is not done."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.event = None


class Loops:
    """Of one engine."""

    def __init__(self, engine: Engine, chance: Callable[[], float] = random.random) -> None:
        self._engine = engine
        self._chance = chance

    def released(self, state: RuleState, event: Event) -> Event | None:
        """A rule is set off from another router: what was held back and has its turn before that."""
        streak = state.streaks.get(state.key(event))
        if streak is None or streak.event is None:
            return None
        held = streak.event
        streak.cancel()
        streak.tries = 0
        streak.wait *= FURTHER
        streak.again(streak.wait)
        return held

    def holds_back(self, state: RuleState, event: Event) -> bool:
        """Count the firing. Whether it is held back."""
        key, now_s = state.key(event), self._engine.host.monotonic_s()
        streak = state.streaks.get(key)
        if streak is None or now_s - streak.last_s >= REST_S:
            streak = state.streaks[key] = Streak(now_s, self._chance)
        streak.count += 1
        streak.last_s = now_s
        if streak.count < streak.next_try:
            return False
        if now_s - streak.began_s > SLOWEST_S * streak.count or not self._engine.may_wait(state, event):
            streak.again(FIRST_TRY)
            return False
        streak.event = event
        streak.timer = self._engine.host.call_later(REST_S, lambda: self._nothing_came(state, streak))
        return True

    def _nothing_came(self, state: RuleState, streak: Streak) -> None:
        event = streak.event
        streak.cancel()
        if event is None or not self._engine.stands(state):
            return
        streak.tries += 1
        if streak.tries >= TRIES:
            self._engine.give_up(
                state,
                "a loop over a link: another router sets it off with what it does itself: disabled "
                "(handshake = true where a program there answers each firing)",
            )
            return
        now_s = self._engine.host.monotonic_s()
        # The tries themselves are no part of how fast it goes round.
        streak.began_s += now_s - streak.last_s
        streak.last_s = now_s
        streak.again(AGAIN_AFTER)
        self._engine.fire_now(state, event)
