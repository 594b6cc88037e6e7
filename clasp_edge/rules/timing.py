"""What stands between a trigger and its rule in time: settling, throttling, holding, cooling down, silence, intervals.

Four words, four meanings (docs/rules.md): `settle_ms` waits until a value stays as it is, `throttle_ms` lets through at
most one in each period and the last one at its end, `for_s` asks that trigger and conditions hold for so long,
`cooldown_s` is the least time between two firings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from clasp_edge.rules.model import Event, Trigger
from clasp_edge.rules.values import MISSING

if TYPE_CHECKING:
    from clasp_edge.rules.engine import Engine
    from clasp_edge.rules.state import RuleState

EVERYTHING = ""

AT_ONCE = 32
"""Rules that are looked at or fired, and holds that are looked at, before others may have their turn."""


class Timing:
    """The timing of all rules of an engine; what is kept lies in each rule's state."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._host = engine.host

    def admits(self, state: RuleState, trigger: Trigger, event: Event) -> bool:
        """Whether the rule is to be evaluated now; otherwise it will be in its time, or not at all."""
        rule, key = state.rule, state.key(event)
        if not state.enabled or not self._engine.enabled:
            return True  # the evaluation says so
        if (rule.settle_s or rule.throttle_s or rule.for_s) and not self._engine.may_wait(state, event):
            return False
        if rule.settle_s:
            if (settling := state.settling.pop(key, None)) is not None:
                settling[0].cancel()
            timer = self._host.call_later(rule.settle_s, lambda: self._settled(state, trigger, key, event))
            state.settling[key] = timer, event.address
            return False
        if rule.throttle_s and not self._throttle(state, key, event):
            return False
        if rule.for_s:
            self._hold(state, key, event)
            return False
        return True

    def _settled(self, state: RuleState, trigger: Trigger, key: str, event: Event) -> None:
        state.settling.pop(key, None)
        if state.rule.for_s:
            self._hold(state, key, event)
        elif self._engine.holds(state, event):
            self._engine.fire(state, event)

    def _throttle(self, state: RuleState, key: str, event: Event) -> bool:
        now = self._host.monotonic_s()
        until = state.throttled_until_s.get(key)
        if until is None or now >= until:
            state.throttled_until_s[key] = now + state.rule.throttle_s
            return True
        if (timer := state.trailing.pop(key, None)) is not None:
            timer.cancel()
        state.trailing[key] = self._host.call_later(until - now, lambda: self._trail(state, key, event))
        return False

    def _trail(self, state: RuleState, key: str, event: Event) -> None:
        state.trailing.pop(key, None)
        state.throttled_until_s[key] = self._host.monotonic_s() + state.rule.throttle_s
        if self._engine.holds(state, event):
            self._engine.fire(state, event)

    # ---- for_s ----

    def _hold(self, state: RuleState, key: str, event: Event) -> None:
        held = state.holding.get(key)
        if not self._engine.holds(state, event):
            if held is not None:
                held[0].cancel()
                del state.holding[key]
                self._host.under_way()
            return
        if held is not None:
            # It goes on holding; what will be told is the newest value.
            state.holding[key] = (held[0], event)
            return
        self.resume(state, event, state.rule.for_s)

    def resume(self, state: RuleState, event: Event, left_s: float) -> None:
        """A condition holds for so long yet, and the rule fires."""
        key = state.key(event)
        timer = self._host.call_later(left_s, lambda: self._held(state, key))
        state.holding[key] = (timer, event)
        state.held_until_s[key] = self._host.monotonic_s() + left_s
        self._host.under_way()

    def _held(self, state: RuleState, key: str) -> None:
        held = state.holding.pop(key, None)
        self._host.under_way()
        if held is not None and self._engine.holds(state, event := self._as_it_is(held[1])):
            self._engine.fire(state, event)

    def _as_it_is(self, event: Event) -> Event:
        """The event with the value that stands at its address now."""
        if event.kind not in ("change", "set", "threshold"):
            return event
        return replace(event, value=self._engine.value(event.address))

    def release(self, state: RuleState, address: str) -> None:
        """The trigger does not hold any more: a value came back over its threshold, or is none of those that count."""
        for key in (address, EVERYTHING):
            settling = state.made("settling").get(key)
            if settling is not None and settling[1] == address:
                settling[0].cancel()
                del state.settling[key]
            held = state.made("holding").get(key)
            if held is not None and held[1].address == address:
                held[0].cancel()
                del state.holding[key]
                self._host.under_way()

    def review(self, state: RuleState) -> Iterator[None]:
        """Something that the conditions look at has changed. In parts."""
        for number, (key, (timer, event)) in enumerate(list(state.made("holding").items()), 1):
            if self._engine.fails(state, self._as_it_is(event)) is not None:
                held = state.holding.get(key)
                if held is not None and held[0] is timer:
                    timer.cancel()
                    del state.holding[key]
                    self._host.under_way()
            if not number % AT_ONCE:
                yield

    # ---- cooldown ----

    def held_back(self, state: RuleState, event: Event) -> str | None:
        """Why the rule has to wait, by its cooldown."""
        if not state.rule.cooldown_s:
            return None
        last = state.fired_at_s.get(self._cooldown_key(state, event))
        if last is None:
            return None
        left_s = last + state.rule.cooldown_s - self._host.monotonic_s()
        return f"cooling down for another {left_s:.1f} s" if left_s > 0 else None

    def fired(self, state: RuleState, event: Event) -> None:
        """The cooldown begins."""
        if state.rule.cooldown_s:
            state.fired_at_s[self._cooldown_key(state, event)] = self._host.monotonic_s()

    def _cooldown_key(self, state: RuleState, event: Event) -> str:
        return EVERYTHING if state.rule.cooldown_all else state.key(event)

    # ---- silence, intervals ----

    def expect(self, state: RuleState, trigger: Trigger, address: str) -> None:
        """A sign of life at an address: its silence is counted from now; that of a rule that is gone is not."""
        if not self._engine.has(state):
            return
        key = id(trigger), address
        if (timer := state.silences.pop(key, None)) is not None:
            timer.cancel()
        state.silences[key] = self._host.call_later(trigger.every_s, lambda: self._silent(state, trigger, address))

    def _silent(self, state: RuleState, trigger: Trigger, address: str) -> None:
        state.silences.pop((id(trigger), address), None)
        captures = trigger.captures.of(address) if trigger.captures is not None else ()
        value = self._engine.value(address)
        event = Event("silence", address, value, MISSING, self._host.monotonic_s(), 0, captures)
        if self._engine.holds(state, event):
            self._engine.fire(state, event)

    def tick(self, state: RuleState, trigger: Trigger, *, first: bool = False) -> None:
        """An interval: the next tick is due a period after this one was, and missed ones are not made up for."""
        state.ticks[id(trigger)] = self._host.call_later(trigger.every_s, lambda: self.tick(state, trigger))
        if first and not trigger.at_start:
            return
        event = Event("interval", "", MISSING, MISSING, self._host.monotonic_s())
        if self._engine.holds(state, event):
            self._engine.fire(state, event)

    def pause(self, state: RuleState) -> None:
        """End what waits to be evaluated; intervals and silences go on, and find the rule disabled."""
        for settling, _ in state.made("settling").values():
            settling.cancel()
        state.made("settling").clear()
        for timers in (state.made("trailing"), state.made("streaks")):
            for timer in timers.values():
                timer.cancel()
            timers.clear()
        held = state.made("holding")
        if held:
            self._host.under_way()
        for timer, _ in held.values():
            timer.cancel()
        held.clear()

    def cancel(self, state: RuleState) -> None:
        """End all timers of a rule."""
        self.pause(state)
        for timers in (state.made("silences"), state.made("ticks")):
            for timer in timers.values():
                timer.cancel()
            timers.clear()
