"""Triggers at a time of day: one timer for the next of them, kept honest when the clock is set or jumps.

Where summer time begins, what falls into the hour that there is not comes at its end; where it ends, what falls into
the hour that comes twice comes once. While the clock is not set nothing happens. A time that passed while the router
was off, or while the clock was not set, is made up for within the trigger's `catch_up_s`, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from clasp_edge.rules.host import Host, Timer
from clasp_edge.rules.model import Trigger

DAY_S = 86_400
LONGEST_SLEEP_S = 30.0
"""The clock is looked at again after this, so that one that was set does not go unnoticed for longer."""


Came = tuple[str, int, int, float]
"""The rule, the second of the day, the day of the week and Unix time."""


class DayTimes:
    """`due(rule id, seconds late)` is called when a time has come."""

    def __init__(self, host: Host, due: Callable[[str, float], None]) -> None:
        self._host = host
        self._due = due
        self._triggers: list[tuple[str, Trigger]] = []
        self._timer: Timer | None = None
        self._looked_at: float | None = None
        self._of_day_s = 0.0
        self._came: dict[tuple[str, int], tuple[int, float]] = {}
        self._kept: set[tuple[str, int]] = set()
        self._up_before_s = host.up_before_s()
        self._told_unset = False

    def came(self) -> list[Came]:
        """What the next process has to know, so that nothing is made up for twice."""
        return [(*key, *self._came[key]) for key in self._kept if key in self._came]

    def remember(self, came: Sequence[Came]) -> None:
        """What `came` told in the process before. Before there are triggers."""
        self._came = {(rule, at_s): (day, wall_s) for rule, at_s, day, wall_s in came}

    def apply(self, triggers: Sequence[tuple[str, Trigger]]) -> None:
        """The triggers there are now; those of other kinds are passed over."""
        self._triggers = [(rule, trigger) for rule, trigger in triggers if trigger.kind == "time"]
        known = {(rule, at_s) for rule, trigger in self._triggers for at_s in trigger.at_s}
        self._came = {key: came for key, came in self._came.items() if key in known}
        self._kept = {(rule, at_s) for rule, trigger in self._triggers if trigger.catch_up_s for at_s in trigger.at_s}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._triggers:
            self._look()

    def _look(self) -> None:
        now = self._host.wall_s()
        if not self._host.clock_is_set():
            if not self._told_unset:
                self._told_unset = True
                self._host.say(logging.WARNING, "rules: the clock is not set; triggers at a time of day wait for it")
            self._looked_at = None
            self._sleep(LONGEST_SLEEP_S)
            return
        before, self._looked_at = self._looked_at, now
        of_day_s, weekday = self._host.local_time(now)
        skipped_s = 0.0 if before is None else _skipped_s(of_day_s - self._of_day_s, now - before)
        self._of_day_s = of_day_s
        for rule, trigger in self._triggers:
            for at_s in trigger.at_s:
                late_s, day = of_day_s - at_s, weekday
                if late_s < 0:
                    late_s, day = late_s + DAY_S, (weekday - 1) % 7
                # Due between the last look and this one; at the first look only what may be caught up.
                missed_s = (
                    trigger.catch_up_s
                    if before is None
                    else skipped_s + min(now - before, max(60.0, trigger.catch_up_s))
                )
                if before is None and now - late_s <= self._up_before_s < now:
                    continue  # it had its time before the router went down
                if day in trigger.days and late_s < missed_s and self._is_first(rule, at_s, day, now):
                    self._due(rule, late_s)
        self._sleep(self._until_next(of_day_s))

    def _is_first(self, rule: str, at_s: int, day: int, now: float) -> bool:
        """Whether this time of this day has not come before: clocks are set back, twice a year at least."""
        came = self._came.get((rule, at_s))
        if came is not None and came[0] == day and abs(now - came[1]) < DAY_S / 2:
            return False
        self._came[rule, at_s] = day, now
        if (rule, at_s) in self._kept:
            self._host.under_way()
        return True

    def _until_next(self, of_day_s: float) -> float:
        waits = [(at_s - of_day_s) % DAY_S for _, trigger in self._triggers for at_s in trigger.at_s]
        return min([LONGEST_SLEEP_S, *(wait for wait in waits if wait > 0)])

    def _sleep(self, delay_s: float) -> None:
        self._timer = self._host.call_later(delay_s + 0.001, self._look)


def _skipped_s(on_the_wall_s: float, passed_s: float) -> float:
    """How far the time of day was put forward while so many seconds passed; 0 where it was not, or put back."""
    difference_s = (on_the_wall_s - passed_s + DAY_S / 2) % DAY_S - DAY_S / 2
    return difference_s if difference_s > 1.0 else 0.0
