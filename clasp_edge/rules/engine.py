"""The rules engine: which rules an occurrence sets off, in which order, and what holds them back.

Order (docs/rules.md): rules in the order of the configuration; all rules that one occurrence matches see the state
after it and before any of their actions. What a rule writes comes back as an occurrence of its own, one level deeper:
cascades end at MAX_DEPTH. Knows the world only through `host.Host`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any

from clasp_edge.dataplane import Adapter
from clasp_edge.rules.daytime import DayTimes
from clasp_edge.rules.firing import Firings
from clasp_edge.rules.host import Host
from clasp_edge.rules.index import Due, Index, looks_at
from clasp_edge.rules.loops import Loops
from clasp_edge.rules.members import Members
from clasp_edge.rules.model import Event, Lookup, Rule, Trigger
from clasp_edge.rules.state import Budget, RuleState, Seen, WaitingValues
from clasp_edge.rules.timing import AT_ONCE, Timing
from clasp_edge.rules.trace import LONGEST, Entry, kept_of_each
from clasp_edge.rules.values import MISSING, brief, equal, number
from clasp_edge.wire.pattern import Pattern

MAX_DEPTH = 8
"""Rules that one occurrence may set off in a row, each by what the one before wrote."""

BREAKER_WINDOW_S = 5.0
"""A rule that fires for so long more often than it may is disabled."""

MAX_SEEN = 100_000
"""Addresses whose values are remembered, for `previous`, `change` and ages."""

MAX_SEEN_BYTES = 24 * 1024 * 1024
"""What they take. Who is forgotten has no `previous`, and the next value is a change."""

MAX_SCANNED = 10_000
"""Params that a condition on a pattern, or a baseline at the start, looks at."""

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Values of events that wait for their time (holds, delays, settling), of all rules together. Small ones are free: how
many wait is bounded."""

MAX_KEPT_BYTES = 16 * 1024 * 1024
"""Timers, sides of thresholds and cooldowns of single addresses, of all rules together. What is over is forgotten, what
was not used for longest first, of the rule that has most."""

MAX_JOBS = 10_000
"""What waits for its turn while something long is done, before clients that come and go are passed over."""

REVIEW_AFTER_S = 0.1
"""What concerns many addresses (a limit that is itself a param, more than AT_ONCE holds) is looked at again this long
after it was touched, however often that was."""


class Engine(Lookup):
    """The rules of one router. `load` may be called again; rules that are the same keep their timers and counts."""

    def __init__(self, host: Host, index: Adapter | None = None) -> None:
        self.host = host
        self.enabled = True
        self.states: dict[str, RuleState] = {}
        self.scenes: dict[str, dict[str, Any]] = {}
        self.firings = Firings(self)
        self.timing = Timing(self)
        self.loops = Loops(self)
        self._sink = index
        self.index = Index(index)
        self.depth = 0
        """How many rules have set each other off where what is written now is written."""
        self._jobs: deque[Iterator[None]] = deque()
        self._reviews: set[int] = set()
        self._seen = Seen(MAX_SEEN, MAX_SEEN_BYTES)
        self.days = DayTimes(host, self._time_has_come)
        self._now = host.monotonic_s()
        self._waiting = WaitingValues(MAX_WAITING_BYTES)
        self._kept = Budget(MAX_KEPT_BYTES)

    # ---- loading ----

    def load(self, rules: Sequence[Rule], scenes: dict[str, dict[str, Any]]) -> list[str]:
        """Take over these rules. Returns what was pending and is lost, in words."""
        lost: list[str] = []
        for _ in self.loading(list(rules), scenes, lost, lambda index: iter(())):
            pass
        return lost

    def loading(
        self,
        rules: list[Rule],
        scenes: dict[str, dict[str, Any]],
        lost: list[str],
        listen: Callable[[Index], Iterator[None]],
    ) -> Iterator[None]:
        """The same in parts. The list is used up; what is lost comes into `lost`. `listen` has the engine told of what
        these rules look at. The rules that there are go on until the new ones take their place, all in one step."""
        gone, kept, fresh = dict(self.states), dict[str, RuleState](), list[RuleState]()
        remembered = kept_of_each(len(rules))
        rules.reverse()
        while rules:
            # One by one: to give thousands back at once takes long as well.
            rule = rules.pop()
            before = gone.get(rule.id)
            if before is not None and before.rule.same_as(rule):
                kept[rule.id] = gone.pop(rule.id)
            else:
                kept[rule.id] = state = RuleState(rule, remembered, self._kept)
                fresh.append(state)
            if not len(rules) % AT_ONCE:
                yield
        fresh.reverse()
        index = Index(self._sink)
        yield from index.building(kept.values(), self.index.members, self._scan)
        yield from listen(index)
        for at, state in enumerate(gone.values(), 1):
            lost += self._let_go(state)
            if not at % AT_ONCE:
                yield
        before_that, self.scenes, self.states, self.index = self.index, scenes, kept, index
        while fresh:
            yield from self._begin(fresh.pop())
            if not len(fresh) % AT_ONCE:
                yield
        self.days.apply(index.of_day)
        yield from before_that.emptying()
        while gone:
            gone.popitem()
            if not len(gone) % AT_ONCE:
                yield

    def stop(self) -> list[str]:
        """End all timers. Returns what was pending and is lost, in words."""
        self._jobs.clear()
        return self.load((), {})

    def about(self, address: bytes) -> list[tuple[str, RuleState]]:
        """The rules that look at an address, by id."""
        return [(rule, state) for rule, state in self.states.items() if looks_at(state.rule, address)]

    def _scan(self, pattern: Pattern, members: Members) -> Iterator[None]:
        """The addresses below a pattern that conditions ask about, kept from here on by what is told."""
        for count, (address, value) in enumerate(self.host.scan(pattern, MAX_SCANNED), 1):
            members.tell(address, value)
            self._seen.begin(address, value)
            if not count % (4 * AT_ONCE):
                yield

    def _begin(self, state: RuleState) -> Iterator[None]:
        """Take the state as it stands for what was there before, and start what runs by itself."""
        for trigger in state.rule.triggers:
            if trigger.kind in ("change", "threshold", "silence") and trigger.pattern is not None:
                for count, (address, value) in enumerate(self.host.scan(trigger.pattern, MAX_SCANNED), 1):
                    self._seen.begin(address, value)
                    self._take_side(state, trigger, address, value)
                    if trigger.kind == "silence":
                        self.timing.expect(state, trigger, address)
                    if not count % (2 * AT_ONCE):
                        yield
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
        inside = self._inside(trigger, value, state.inside.get((id(trigger), address)) or 0)
        state.inside[id(trigger), address] = 0 if inside is None or trigger.at_start else inside
        if inside and (trigger.at_start or state.rule.for_s):
            # Above for two minutes is also what was above when the router came up.
            self.do(self._evaluate([(state, trigger)], self._event("threshold", address, value, MISSING, 0)))

    def _let_go(self, state: RuleState) -> list[str]:
        self.timing.cancel(state)
        lost = self.firings.cancel(state)
        state.forget()
        return lost

    def started(self) -> None:
        """The router is up: triggers of kind `start`."""
        self.do(self._evaluate(self.index.of_kind("start"), self._event("start", "", MISSING, MISSING, 0)))

    def session(self, name: str, *, joins: bool) -> None:
        """A client has come or gone. Passed over where more wait than anybody could want: a storm of clients."""
        if len(self._jobs) >= MAX_JOBS:
            return
        found = [
            (state, trigger)
            for state, trigger in self.index.of_kind("session")
            if trigger.joins is joins and _named_like(name, trigger.name)
        ]
        self.do(self._evaluate(found, self._event("session", "", name, MISSING, 0)))

    # ---- work in parts: what takes long is gone on with when others have had their turn ----

    @property
    def busy(self) -> bool:
        """Whether something is to be gone on with before anything else is told to the engine."""
        return bool(self._jobs)

    def go_on(self) -> None:
        """Do the next part of it."""
        job = self._jobs.popleft()
        if next(job, self) is not self:
            self._jobs.appendleft(job)

    def add(self, job: Iterator[None]) -> None:
        """Do it when it is its turn."""
        self._jobs.append(job)

    def do(self, job: Iterator[None]) -> None:
        """Do it now, if nothing else is under way and it is over soon."""
        if self._jobs or next(job, self) is not self:
            self._jobs.append(job)

    def do_anew(self, job: Iterator[None]) -> None:
        """As `do`, of what comes in its time: no cascade goes on, whatever is under way when it is its turn."""

        def begin() -> Iterator[None]:
            self.depth = 0
            yield from job

        self.do(begin())

    def later(self, about: object, job: Callable[[], Iterator[None]]) -> None:
        """Do it REVIEW_AFTER_S from now, once for all that ask for it until then."""
        if id(about) in self._reviews:
            return
        self._reviews.add(id(about))

        def begin() -> None:
            self._reviews.discard(id(about))
            self.do(job())

        self.host.call_later(REVIEW_AFTER_S, begin)

    # ---- what happens ----

    def param(self, address: str, value: Any, depth: int = 0, by: str = "", *, linked: bool = False) -> None:
        """A param was set, by the rule `by` or by somebody else, perhaps at another router (`linked`)."""
        self.do(self._param(address, value, depth, by, linked=linked))

    def _param(self, address: str, value: Any, depth: int, by: str, *, linked: bool) -> Iterator[None]:
        self._now = self.host.monotonic_s()
        previous, changed = self._seen.take(address, value, self._now)
        route = self.index.route(address)
        for members in route.members:
            members.tell(address, value)
        event = self._event("set", address, value, previous, depth, by, linked=linked)
        due = []
        for count, (state, trigger) in enumerate(route.due, 1):
            if self._set_off(state, trigger, address, value, previous, changed=changed):
                due.append((state, trigger))
            if not count % (4 * AT_ONCE):
                yield
        for state, trigger in route.bounds if changed else ():
            assert trigger.pattern is not None
            if trigger.pattern.literal:
                yield from self._bound_moved(state, trigger)
            else:
                self.later(trigger, partial(self._bound_moved, state, trigger))
        yield from self._evaluate(due, event)
        for count, state in enumerate(route.holds, 1):
            held = state.made("holding")
            if len(held) > AT_ONCE:
                self.later(state, partial(self.timing.review, state))
            elif held:
                yield from self.timing.review(state)
            if not count % AT_ONCE:
                yield

    def message(
        self, signal: str, address: str, value: Any, depth: int = 0, by: str = "", *, linked: bool = False
    ) -> None:
        """An event, a stream's value or a gesture was published."""
        self.do(self._message(signal, address, value, depth, by, linked=linked))

    def _message(self, signal: str, address: str, value: Any, depth: int, by: str, *, linked: bool) -> Iterator[None]:
        self._now = self.host.monotonic_s()
        due = []
        for count, (state, trigger) in enumerate(self.index.route(address).due, 1):
            if trigger.kind == "silence":
                self.timing.expect(state, trigger, address)
            elif trigger.kind == signal:
                due.append((state, trigger))
            if not count % (4 * AT_ONCE):
                yield
        yield from self._evaluate(due, self._event(signal, address, value, MISSING, depth, by, linked=linked))

    def _set_off(
        self, state: RuleState, trigger: Trigger, address: str, value: Any, previous: Any, *, changed: bool
    ) -> bool:
        match trigger.kind:
            case "set":
                return True
            case "change":
                if not changed:
                    return False
                if trigger.to and not any(equal(value, one) for one in trigger.to):
                    self._release(state, trigger, address, value)
                    return False
                return not trigger.from_ or any(equal(previous, one) for one in trigger.from_)
            case "threshold":
                return self._crossed(state, trigger, address, value)
            case "silence":
                self.timing.expect(state, trigger, address)
        return False

    def _crossed(self, state: RuleState, trigger: Trigger, address: str, value: Any) -> bool:
        key = id(trigger), address
        before = state.inside.get(key)
        inside = self._inside(trigger, value, before or 0)
        if inside is None:
            return False
        state.inside[key] = inside
        if not inside or (before and before != inside):
            self._release(state, trigger, address, value)
        if not inside or trigger.level:
            return bool(inside)
        # The first value after the start arms and does not fire.
        return before != inside if before is not None else trigger.at_start or bool(state.rule.for_s)

    def _release(self, state: RuleState, trigger: Trigger, address: str, value: Any) -> None:
        """The trigger does not hold any more: nor does what waits, unless another one of the rule holds there."""
        if not (state.made("settling") or state.made("holding")):
            return
        others = (one for one in state.rule.triggers if one is not trigger)
        if not any(self._stands_at(state, other, address, value) for other in others):
            self.timing.release(state, address)

    def _stands_at(self, state: RuleState, trigger: Trigger, address: str, value: Any) -> bool:
        if trigger.pattern is None or not trigger.pattern.matches(address.encode()):
            return False
        match trigger.kind:
            case "set":
                return True
            case "change":
                return not trigger.to or any(equal(value, one) for one in trigger.to)
            case "threshold":
                return bool(self._inside(trigger, value, state.inside.get((id(trigger), address)) or 0))
        return False

    def _inside(self, trigger: Trigger, value: Any, before: int) -> int | None:
        """1 above, -1 below, 0 between; None for what is no number. Between limit and re-arming it stays as it was."""
        given = number(value)
        if given is None:
            return None
        above, below = self._limit(trigger.above), self._limit(trigger.below)
        if above is not None and given > above:
            return 1
        if below is not None and given < below:
            return -1
        if before > 0 and above is not None and trigger.rearm_below is not None and given > trigger.rearm_below:
            return 1
        if before < 0 and below is not None and trigger.rearm_above is not None and given < trigger.rearm_above:
            return -1
        return 0

    def _limit(self, bound: float | str | None) -> float | None:
        return number(self.value(bound)) if isinstance(bound, str) else bound

    def _bound_moved(self, state: RuleState, trigger: Trigger) -> Iterator[None]:
        """The limit itself is a param and was set: the values that it limits are looked at again."""
        assert trigger.pattern is not None
        for count, (address, value) in enumerate(self.host.scan(trigger.pattern, MAX_SCANNED), 1):
            if self._crossed(state, trigger, address, value):
                event = self._event("threshold", address, value, MISSING, 0)
                yield from self._evaluate([(state, trigger)], event)
            if not count % (4 * AT_ONCE):
                yield

    def _event(
        self, kind: str, address: str, value: Any, previous: Any, depth: int, by: str = "", *, linked: bool = False
    ) -> Event:
        return Event(kind, address, value, previous, self._now, depth, (), by, linked)

    # ---- evaluation ----

    def _evaluate(self, due: Sequence[Due], event: Event) -> Iterator[None]:
        """All decisions first, in the order of the rules, then what they decided."""
        decided: list[tuple[RuleState, Event]] = []
        done: set[str] = set()
        for count, (state, trigger) in enumerate(due, 1):
            if state.rule.id not in done:
                done.add(state.rule.id)
                captures = trigger.captures.of(event.address) if trigger.captures is not None and event.address else ()
                own = Event(
                    trigger.kind,
                    event.address,
                    event.value,
                    event.previous,
                    event.at_s,
                    event.depth,
                    captures,
                    event.by,
                    event.linked,
                )
                if self.timing.admits(state, trigger, own) and self.holds(state, own):
                    decided.append((state, own))
            if not count % AT_ONCE:
                yield
        for count, (state, own) in enumerate(decided, 1):
            self.depth = event.depth
            yield from self._fire(state, own)
            if not count % AT_ONCE:
                yield

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
        if state.rule.conditions and (reason := self.fails(state, event)) is not None:
            return reason
        return self.timing.held_back(state, event)

    def fails(self, state: RuleState, event: Event) -> str | None:
        """Why the rule's conditions do not hold."""
        try:
            for condition in state.rule.conditions:
                if (reason := condition(event, self)) is not None:
                    return reason
        except (ValueError, ArithmeticError) as error:
            return str(error)
        return None

    def fire(self, state: RuleState, event: Event) -> None:
        """Carry out the rule's actions, in their time; of one that only watches, say them."""
        self.do_anew(self._fire(state, event))

    def has(self, state: RuleState) -> bool:
        """Whether this is a rule of these, and not of those before the last `load`: what is done in parts may ask."""
        return self.states.get(state.rule.id) is state

    def stands(self, state: RuleState) -> bool:
        """Whether the rule may still do what was decided: it is there, and enabled."""
        return state.enabled and self.has(state)

    def fire_now(self, state: RuleState, event: Event) -> None:
        """The same of what was held back (`loops`)."""
        self.depth = event.depth
        self.do(self._carry_out(state, event))

    def _fire(self, state: RuleState, event: Event) -> Iterator[None]:
        if event.linked and not state.rule.handshake:
            if (held := self.loops.released(state, event)) is not None:
                yield from self._carry_out(state, held)
                self.depth = event.depth
            if self.loops.holds_back(state, event):
                return
        yield from self._carry_out(state, event)

    def _carry_out(self, state: RuleState, event: Event) -> Iterator[None]:
        if not self.stands(state):
            if self.has(state):
                self._note(state, event, fired=False, reason="the rule is disabled")
            return
        if self._within_rate(state, 1 + event.depth):
            self.timing.fired(state, event)
            self._note(state, event, fired=True, reason="")
            yield from self.firings.start(state, event)

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
        self.give_up(state, f"fired more than {state.rule.max_per_second:g} times a second (max_per_second): disabled")
        return False

    def give_up(self, state: RuleState, sentence: str) -> None:
        """Disable a rule that does harm."""
        state.enabled = False
        state.trace.fail(sentence)
        self.firings.cancel(state)
        self.timing.pause(state)
        self.host.say(logging.ERROR, f"rule {state.rule.id}: {sentence}")
        self.host.changed(state.rule.id)

    def _note(self, state: RuleState, event: Event, *, fired: bool, reason: str) -> None:
        state.trace.note(
            Entry(self.host.wall_s(), event.kind, event.address[:LONGEST], brief(event.value), fired, reason)
        )
        self.host.changed(state.rule.id)

    def _time_has_come(self, rule: str, late_s: float) -> None:
        self._now = self.host.monotonic_s()
        state = self.states.get(rule)
        if state is None:
            return
        trigger = next((trigger for trigger in state.rule.triggers if trigger.kind == "time"), None)
        if trigger is None:
            return  # it is another rule now, which has taken its place a moment ago
        self.do(self._evaluate([(state, trigger)], self._event("time", "", MISSING, MISSING, 0)))

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

    def tally(self, pattern: Pattern, key: Hashable, test: Callable[[Any], bool]) -> tuple[int, int]:
        members = self.index.members.get(pattern.text)
        if members is None:
            found = [test(value) for _, value in self.host.scan(pattern, MAX_SCANNED)]
            return sum(found), len(found)
        members.look(self.host.read)
        return members.held(key, test, self.host.read), len(members)

    def age_s(self, address: str) -> float | None:
        since_s = self._seen.since_s(address)
        return None if since_s is None else self.host.monotonic_s() - since_s

    def local_time(self) -> tuple[float, int] | None:
        return self.host.local_time(self.host.wall_s()) if self.host.clock_is_set() else None


def _named_like(name: str, wanted: str) -> bool:
    """`*` at the end of a wanted name stands for any rest."""
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted
