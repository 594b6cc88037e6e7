"""The rules engine: which rules an occurrence sets off, in which order, and what holds them back.

Order (docs/rules.md): rules in the order of the configuration; all rules that one occurrence matches see the state
after it and before any of their actions. What a rule writes comes back as an occurrence of its own, one level deeper:
cascades end at MAX_DEPTH. Knows the world only through `host.Host`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from clasp_edge.dataplane import Adapter, Subscription, Trie
from clasp_edge.rules.daytime import DayTimes
from clasp_edge.rules.firing import Firings
from clasp_edge.rules.host import Host
from clasp_edge.rules.model import Event, Lookup, Rule, Trigger
from clasp_edge.rules.state import Bounded, RuleState, Seen, WaitingValues
from clasp_edge.rules.timing import Timing
from clasp_edge.rules.trace import Entry
from clasp_edge.rules.values import MISSING, brief, equal, number
from clasp_edge.wire.pattern import Pattern

MAX_DEPTH = 8
"""Rules that one occurrence may set off in a row, each by what the one before wrote."""

BREAKER_WINDOW_S = 5.0
"""A rule that fires for so long more often than it may is disabled."""

MAX_SEEN = 100_000
"""Addresses whose values are remembered, for `previous`, `change` and ages."""

MAX_SCANNED = 10_000
"""Params that a condition on a pattern, or a baseline at the start, looks at."""

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Values of events that wait for their time (holds, delays, settling), of all rules together. Small ones are free: how
many wait is bounded."""

MAX_ROUTES = 10_000
"""Addresses for which the matching rules are remembered."""


class _Route(NamedTuple):
    """What an address means to the rules."""

    due: list[tuple[RuleState, Trigger]]
    bounds: list[tuple[RuleState, Trigger]]
    members: list[dict[str, None]]
    holds: list[RuleState]


class Engine(Lookup):
    """The rules of one router. `load` may be called again; rules that are the same keep their timers and counts."""

    def __init__(self, host: Host, index: Adapter | None = None) -> None:
        self.host = host
        self.enabled = True
        self.states: dict[str, RuleState] = {}
        self.scenes: dict[str, dict[str, Any]] = {}
        self.firings = Firings(self)
        self.timing = Timing(self)
        self._index = index
        self._trie = Trie()
        self._routes: OrderedDict[str, _Route] = OrderedDict()
        self._entries: list[tuple[str, Any]] = []
        self._members: dict[bytes, Bounded[str, None]] = {}
        self._seen = Seen(MAX_SEEN)
        self._days = DayTimes(host, self._time_has_come)
        self._now = host.monotonic_s()
        self._waiting = WaitingValues(MAX_WAITING_BYTES)

    # ---- loading ----

    def load(self, rules: Sequence[Rule], scenes: dict[str, dict[str, Any]]) -> list[str]:
        """Take over these rules. Returns what was pending and is lost, in words."""
        self.scenes = scenes
        lost: list[str] = []
        kept: dict[str, RuleState] = {}
        fresh: list[RuleState] = []
        for place, rule in enumerate(rules):
            before = self.states.pop(rule.id, None)
            if before is not None and before.rule.raw == rule.raw:
                before.place = place
                kept[rule.id] = before
                continue
            if before is not None:
                lost += self._let_go(before)
            kept[rule.id] = state = RuleState(rule, place)
            fresh.append(state)
        for gone in self.states.values():
            lost += self._let_go(gone)
        self.states = kept
        self._build_index()
        for state in fresh:
            self._begin(state)
        self._days.apply([(state.rule.id, trigger) for state in kept.values() for trigger in state.rule.triggers])
        return lost

    def stop(self) -> list[str]:
        """End all timers. Returns what was pending and is lost, in words."""
        return self.load((), {})

    def patterns(self) -> list[Pattern]:
        """All that the engine has to be told of, each pattern once."""
        found: dict[bytes, Pattern] = {}
        for state in self.states.values():
            for pattern in self._patterns_of(state.rule):
                found[pattern.text] = pattern
        return list(found.values())

    def about(self, address: bytes) -> list[tuple[str, RuleState]]:
        """The rules that look at an address, by id."""
        return [
            (rule, state)
            for rule, state in self.states.items()
            if any(pattern.matches(address) for pattern in self._patterns_of(state.rule))
        ]

    def _patterns_of(self, rule: Rule) -> list[Pattern]:
        found = [trigger.pattern for trigger in rule.triggers if trigger.pattern is not None]
        for trigger in rule.triggers:
            found += [Pattern(bound.encode()) for bound in (trigger.above, trigger.below) if isinstance(bound, str)]
        return found + list(rule.watched)

    def _build_index(self) -> None:
        """Everything that an address may mean to a rule, in one trie."""
        self._trie = Trie()
        self._routes.clear()
        self._entries = []
        known, self._members = self._members, {}
        for state in self.states.values():
            for trigger in state.rule.triggers:
                if trigger.pattern is not None:
                    self._enter(trigger.pattern, "due", (state, trigger))
                for bound in (trigger.above, trigger.below):
                    if isinstance(bound, str):
                        self._enter(Pattern(bound.encode()), "bounds", (state, trigger))
            for pattern in state.rule.watched:
                if state.rule.for_s:
                    self._enter(pattern, "holds", state)
                if not pattern.literal and pattern.text not in self._members:
                    self._members[pattern.text] = members = known.get(pattern.text) or self._scanned(pattern)
                    self._enter(pattern, "members", members)

    def _enter(self, pattern: Pattern, kind: str, what: Any) -> None:
        assert self._index is not None
        self._trie.add(Subscription(self._index, len(self._entries), pattern, 0xFF))
        self._entries.append((kind, what))

    def _scanned(self, pattern: Pattern) -> Bounded[str, None]:
        """The addresses below a pattern that conditions ask about, kept from here on by what is told."""
        members: Bounded[str, None] = Bounded(MAX_SCANNED)
        for address, value in self.host.scan(pattern, MAX_SCANNED):
            members[address] = None
            self._seen.begin(address, value)
        return members

    def _begin(self, state: RuleState) -> None:
        """Take the state as it stands for what was there before, and start what runs by itself."""
        for trigger in state.rule.triggers:
            if trigger.kind in ("change", "threshold", "silence") and trigger.pattern is not None:
                for address, value in self.host.scan(trigger.pattern, MAX_SCANNED):
                    self._seen.begin(address, value)
                    self._take_side(state, trigger, address, value)
                    if trigger.kind == "silence":
                        self.timing.expect(state, trigger, address)
                if trigger.kind == "silence" and trigger.captures is not None and not trigger.captures.count:
                    self.timing.expect(state, trigger, trigger.pattern.text.decode())
            elif trigger.kind == "interval":
                self.timing.tick(state, trigger, first=True)
        for pattern in state.rule.watched:
            if pattern.literal and (value := self.host.read(pattern.text.decode())) is not MISSING:
                self._seen.begin(pattern.text.decode(), value)

    def _take_side(self, state: RuleState, trigger: Trigger, address: str, value: Any) -> None:
        if trigger.kind != "threshold":
            return
        inside = self._inside(trigger, value, state.inside.get((id(trigger), address)))
        state.inside[id(trigger), address] = bool(inside) and not trigger.at_start
        if inside and (trigger.at_start or state.rule.for_s):
            # Above for two minutes is also what was above when the router came up.
            self._evaluate_all([(state, trigger)], self._event("threshold", address, value, MISSING, 0))

    def _let_go(self, state: RuleState) -> list[str]:
        self.timing.cancel(state)
        return self.firings.cancel(state)

    def started(self) -> None:
        """The router is up: triggers of kind `start`."""
        self._fire_kind("start", "", MISSING)

    def session(self, name: str, *, joins: bool) -> None:
        """A client has come or gone."""
        event = self._event("session", "", name, MISSING, 0)
        found = [
            (state, trigger)
            for state in self.states.values()
            for trigger in state.rule.triggers
            if trigger.kind == "session" and trigger.joins is joins and _named_like(name, trigger.name)
        ]
        self._evaluate_all(found, event)

    def _fire_kind(self, kind: str, address: str, value: Any) -> None:
        found = [
            (state, trigger)
            for state in self.states.values()
            for trigger in state.rule.triggers
            if trigger.kind == kind
        ]
        self._evaluate_all(found, self._event(kind, address, value, MISSING, 0))

    # ---- what happens ----

    def param(self, address: str, value: Any, depth: int = 0) -> None:
        """A param was set."""
        self._now = self.host.monotonic_s()
        previous, changed = self._seen.take(address, value, self._now)
        route = self._route(address)
        for members in route.members:
            members[address] = None
        due = [one for one in route.due if self._set_off(*one, address, value, previous, changed=changed)]
        for state, trigger in route.bounds:
            self._bound_moved(state, trigger)
        self._evaluate_all(due, self._event("set", address, value, previous, depth))
        for state in route.holds:
            if state.holding:
                self.timing.review(state)

    def message(self, signal: str, address: str, value: Any, depth: int = 0) -> None:
        """An event, a stream's value or a gesture was published."""
        self._now = self.host.monotonic_s()
        due = []
        for state, trigger in self._route(address).due:
            if trigger.kind == "silence":
                self.timing.expect(state, trigger, address)
            elif trigger.kind == signal:
                due.append((state, trigger))
        self._evaluate_all(due, self._event(signal, address, value, MISSING, depth))

    def _set_off(
        self, state: RuleState, trigger: Trigger, address: str, value: Any, previous: Any, *, changed: bool
    ) -> bool:
        match trigger.kind:
            case "set":
                return True
            case "change":
                return (
                    changed
                    and (not trigger.to or any(equal(value, one) for one in trigger.to))
                    and (not trigger.from_ or any(equal(previous, one) for one in trigger.from_))
                )
            case "threshold":
                return self._crossed(state, trigger, address, value)
            case "silence":
                self.timing.expect(state, trigger, address)
        return False

    def _crossed(self, state: RuleState, trigger: Trigger, address: str, value: Any) -> bool:
        key = id(trigger), address
        before = state.inside.get(key)
        inside = self._inside(trigger, value, before)
        if inside is None:
            return False
        state.inside[key] = inside
        if not inside:
            self.timing.release(state, address)
            return False
        if trigger.level:
            return True
        # The first value after the start arms and does not fire.
        return before is False or (before is None and (trigger.at_start or bool(state.rule.for_s)))

    def _inside(self, trigger: Trigger, value: Any, before: bool | None) -> bool | None:
        """Beyond the threshold; None for what is no number. Between threshold and re-arming it stays as it was."""
        given = number(value)
        if given is None:
            return None
        above, below = self._limit(trigger.above), self._limit(trigger.below)
        if (above is not None and given > above) or (below is not None and given < below):
            return True
        if before:
            held_above = above is not None and trigger.rearm_below is not None and given > trigger.rearm_below
            held_below = below is not None and trigger.rearm_above is not None and given < trigger.rearm_above
            return held_above or held_below
        return False

    def _limit(self, bound: float | str | None) -> float | None:
        return number(self.value(bound)) if isinstance(bound, str) else bound

    def _bound_moved(self, state: RuleState, trigger: Trigger) -> None:
        """The limit itself is a param and was set: the values that it limits are looked at again."""
        assert trigger.pattern is not None
        for address, value in self.host.scan(trigger.pattern, MAX_SCANNED):
            if self._crossed(state, trigger, address, value):
                self._evaluate_all([(state, trigger)], self._event("threshold", address, value, MISSING, 0))

    def _route(self, address: str) -> _Route:
        known = self._routes.get(address)
        if known is None:
            known = self._routes[address] = _Route([], [], [], [])
            for subscription in sorted(self._trie.matching(address.encode()), key=lambda found: found.id):
                kind, what = self._entries[subscription.id]
                getattr(known, kind).append(what)
            if len(self._routes) > MAX_ROUTES:
                self._routes.popitem(last=False)
        return known

    def _event(self, kind: str, address: str, value: Any, previous: Any, depth: int) -> Event:
        return Event(kind, address, value, previous, self._now, depth)

    # ---- evaluation ----

    def _evaluate_all(self, due: list[tuple[RuleState, Trigger]], event: Event) -> None:
        """All decisions first, in the order of the rules, then what they decided."""
        decided: list[tuple[RuleState, Event]] = []
        done: set[str] = set()
        for state, trigger in due:
            if state.rule.id in done:
                continue
            done.add(state.rule.id)
            captures = trigger.captures.of(event.address) if trigger.captures is not None and event.address else ()
            own = Event(trigger.kind, event.address, event.value, event.previous, event.at_s, event.depth, captures)
            if self.timing.admits(state, trigger, own) and self.holds(state, own):
                decided.append((state, own))
        for state, own in decided:
            self.fire(state, own)

    def holds(self, state: RuleState, event: Event) -> bool:
        """Whether the rule may fire now; notes why not."""
        reason = self._reason(state, event)
        if reason is not None:
            self._note(state, event, fired=False, reason=reason)
        return reason is None

    def _reason(self, state: RuleState, event: Event) -> str | None:
        if not self.enabled:
            return "all rules are disabled"
        if not state.enabled:
            return "the rule is disabled"
        if event.depth >= MAX_DEPTH:
            state.trace.fail(f"a cascade of {MAX_DEPTH} rules was ended here")
            self.host.changed(state.rule.id)
            return f"{MAX_DEPTH} rules have set each other off"
        for condition in state.rule.conditions:
            reason = condition(event, self)
            if reason is not None:
                return reason
        return self.timing.held_back(state, event)

    def fire(self, state: RuleState, event: Event) -> None:
        """Carry out the rule's actions; of one that only watches, say them."""
        if not self._within_rate(state, 1 + event.depth):
            return
        self.timing.fired(state, event)
        self._note(state, event, fired=True, reason="")
        self.firings.start(state, event)

    def would(self, state: RuleState, sentence: str) -> None:
        """What a rule that only watches does not do."""
        state.trace.would(self.host.wall_s(), sentence)
        self.host.would(state.rule.id, sentence)
        self.host.changed(state.rule.id)

    def may_wait(self, state: RuleState, event: Event) -> bool:
        """Whether an event may be kept until later, by the size of its values; says so where it may not."""
        if self._waiting.admit(event):
            return True
        state.trace.fail(f"more than {MAX_WAITING_BYTES >> 20} MiB of values wait for their time; this one was dropped")
        self.host.changed(state.rule.id)
        return False

    def _within_rate(self, state: RuleState, cost: int) -> bool:
        """The breaker: a bucket of what the rule may do in BREAKER_WINDOW_S. The deeper in a cascade, the more a firing
        costs: rules that set each other off in a ring are ended before people who turn knobs."""
        most = state.rule.max_per_second * BREAKER_WINDOW_S
        now = self.host.monotonic_s()
        state.spent = max(0.0, state.spent - (now - state.spent_at_s) * state.rule.max_per_second) + cost
        state.spent_at_s = now
        if state.spent <= most:
            return True
        state.enabled = False
        sentence = f"fired more than {state.rule.max_per_second:g} times a second (max_per_second): disabled"
        state.trace.fail(sentence)
        self.firings.cancel(state)
        self.timing.cancel(state)
        self.host.say(logging.ERROR, f"rule {state.rule.id}: {sentence}")
        self.host.changed(state.rule.id)
        return False

    def _note(self, state: RuleState, event: Event, *, fired: bool, reason: str) -> None:
        state.trace.note(Entry(self.host.wall_s(), event.kind, event.address, brief(event.value), fired, reason))
        self.host.changed(state.rule.id)

    def _time_has_come(self, rule: str, late_s: float) -> None:
        self._now = self.host.monotonic_s()
        state = self.states.get(rule)
        if state is None:
            return
        trigger = next(trigger for trigger in state.rule.triggers if trigger.kind == "time")
        self._evaluate_all([(state, trigger)], self._event("time", "", MISSING, MISSING, 0))

    # ---- switches ----

    def switch(self, rule: str, *, enabled: bool) -> bool:
        """Enable or disable a rule. False: there is none of that id."""
        state = self.states.get(rule)
        if state is None:
            return False
        if state.enabled != enabled:
            state.enabled = enabled
            state.spent = 0.0
            if not enabled:
                self.timing.pause(state)
                self.firings.cancel(state)
            self.host.changed(rule)
        return True

    # ---- Lookup ----

    def value(self, address: str) -> Any:
        return self.host.read(address)

    def matching(self, pattern: Pattern) -> list[tuple[str, Any]]:
        members = self._members.get(pattern.text)
        if members is None:
            return self.host.scan(pattern, MAX_SCANNED)
        found = [(address, self.host.read(address)) for address in members]
        for address, value in found:
            if value is MISSING:
                del members[address]
        return [one for one in found if one[1] is not MISSING]

    def age_s(self, address: str) -> float | None:
        since_s = self._seen.since_s(address)
        return None if since_s is None else self.host.monotonic_s() - since_s

    def local_time(self) -> tuple[float, int] | None:
        return self.host.local_time(self.host.wall_s()) if self.host.clock_is_set() else None


def _named_like(name: str, wanted: str) -> bool:
    """`*` at the end of a wanted name stands for any rest."""
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted
