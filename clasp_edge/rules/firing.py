"""Carries out actions: one after the other, with delays between them that can be cancelled, and fades that go on.

A rule's run mode says what a new firing does to one that is not over: `restart` ends it, `single` is passed over,
`queue` waits its turn, `parallel` runs beside it. Runs are kept apart by address where the trigger has wildcards.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from clasp_edge.rules.expression import ExpressionError
from clasp_edge.rules.fading import Fade, has_steps, is_fadable
from clasp_edge.rules.host import Timer
from clasp_edge.rules.model import Action, Event, Source
from clasp_edge.rules.timing import AT_ONCE
from clasp_edge.rules.values import MISSING, clamped_int, number, text

if TYPE_CHECKING:
    from clasp_edge.rules.engine import Engine
    from clasp_edge.rules.state import RuleState

MAX_RUNS = 64
"""Runs of one rule that are under way or wait, over all addresses together."""

MAX_QUEUED = 16

MAX_FADES = 1024
"""Of all rules together."""

LONGEST_DELAY_S = 7 * 86_400

V = TypeVar("V")


class Run:
    """One firing on its way through the actions."""

    def __init__(self, firings: Firings, state: RuleState, event: Event) -> None:
        self.firings = firings
        self.state = state
        self.event = event
        self.at = 0
        self.due_s = 0.0
        """When it goes on, where it waits."""
        self.timer: Timer | None = None
        self.over = False

    def go_on(self) -> Iterator[None]:
        """Carry out actions up to the next delay, or to the end; in parts where one of them writes very much."""
        self.timer = None
        actions = self.state.rule.actions
        while self.at < len(actions) and not self.over:
            action = actions[self.at]
            self.at += 1
            if action.kind == "delay":
                delay_s = self.firings.delay_s(self.state, action)
                if delay_s > 0:
                    self.wait(delay_s)
                    return
            elif action.kind == "scene":
                yield from self.firings.recall(self, action)
            else:
                self.firings.carry_out(self.state, action, self.event)
        self.firings.ended(self)

    def wait(self, delay_s: float) -> None:
        """Go on after that time."""
        if not self.firings.may_wait(self.state, self.event):
            self.over = True
            self.firings.ended(self)
            return
        host = self.firings.host
        self.due_s = host.monotonic_s() + delay_s
        self.timer = host.call_later(delay_s, lambda: self.firings.do_anew(self.go_on()))
        host.under_way()

    def cancel(self) -> None:
        """Do nothing of what is left."""
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@dataclass(eq=False, slots=True)
class Later:
    """A bundle that waits for its time."""

    timer: Timer


class Firings:
    """What the rules of one engine are doing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.host = engine.host
        # All by the rule's id first: what one rule has under way costs the others nothing.
        self._runs: dict[str, dict[str, list[Run]]] = {}
        self._queues: dict[str, dict[str, deque[Event]]] = {}
        self._fades: dict[str, dict[str, Fade]] = {}
        self._fading = 0
        self._bundles: dict[str, set[Later]] = {}

    def may_wait(self, state: RuleState, event: Event) -> bool:
        """As the engine's."""
        return self._engine.may_wait(state, event)

    def do(self, job: Iterator[None]) -> None:
        """As the engine's."""
        self._engine.do(job)

    def do_anew(self, job: Iterator[None]) -> None:
        """As the engine's."""
        self._engine.do_anew(job)

    def start(self, state: RuleState, event: Event) -> Iterator[None]:
        """Fire, as the rule's run mode says."""
        if not self._engine.stands(state):
            return
        rule, key = state.rule.id, state.key(event)
        own = self._runs.get(rule, {})
        under_way = own.get(key, [])
        if under_way:
            match state.rule.run:
                case "single":
                    return
                case "queue":
                    self._queue(state, key, event)
                    return
                case "restart":
                    for run in list(under_way):
                        run.cancel()
                        self._forget(run)
        if sum(map(len, own.values())) >= MAX_RUNS:
            state.trace.fail(f"more than {MAX_RUNS} runs are under way; this one was dropped")
            return
        run = Run(self, state, event)
        self._runs.setdefault(rule, {}).setdefault(key, []).append(run)
        yield from run.go_on()

    def _queue(self, state: RuleState, key: str, event: Event) -> None:
        queue = self._queues.setdefault(state.rule.id, {}).setdefault(key, deque())
        if len(queue) >= MAX_QUEUED:
            state.trace.fail(f"more than {MAX_QUEUED} firings wait their turn; this one was dropped")
        elif self.may_wait(state, event):
            queue.append(event)

    def ended(self, run: Run) -> None:
        """A run has come to its end; the next in the queue begins."""
        key = self._forget(run)
        rule = run.state.rule.id
        queues = self._queues.get(rule, {})
        queue = queues.get(key)
        if queue is None or key in self._runs.get(rule, {}):
            return

        def next_one() -> None:
            # The queue is another one, or none, if it was cancelled meanwhile.
            if self._queues.get(rule, {}).get(key) is queue and queue:
                event = queue.popleft()
                if not queue:
                    _drop(self._queues, rule, key)
                self.do_anew(self.start(run.state, event))

        self.host.call_later(0, next_one)

    def _forget(self, run: Run) -> str:
        rule, key = run.state.rule.id, run.state.key(run.event)
        runs = self._runs.get(rule, {}).get(key, [])
        if run in runs:
            runs.remove(run)
        if not runs:
            _drop(self._runs, rule, key)
        if run.due_s:
            self.host.under_way()
        return key

    # ---- over a restart ----

    def waiting(self) -> Iterator[Run]:
        """Runs that wait for the end of a delay."""
        for own in self._runs.values():
            for runs in own.values():
                yield from (run for run in runs if run.timer is not None)

    def fading(self) -> Iterator[tuple[RuleState, str, Fade]]:
        """Fades that go on, with their rules and addresses."""
        for rule, fades in self._fades.items():
            if (state := self._engine.states.get(rule)) is not None:
                yield from ((state, address, fade) for address, fade in fades.items())

    def resume(self, state: RuleState, event: Event, at: int, left_s: float) -> None:
        """Go on with action `at` of a firing of an earlier process."""
        run = Run(self, state, event)
        run.at = at
        self._runs.setdefault(state.rule.id, {}).setdefault(state.key(event), []).append(run)
        run.wait(left_s)

    def resume_fade(
        self, state: RuleState, address: str, begins: Any, ends: Any, action: Action, left_s: float
    ) -> None:
        """Go on with a fade of an earlier process."""
        if has_steps(begins, ends) and action.over_s > 0:
            self._begin_fade(state, address, begins, ends, action, max(0.0, action.over_s - left_s))

    def cancel(self, state: RuleState) -> list[str]:
        """End all that a rule is doing. Returns what is lost, in words."""
        lost: list[str] = []
        rule = state.rule.id
        for runs in self._runs.pop(rule, {}).values():
            for run in runs:
                run.cancel()
                if run.at < len(state.rule.actions):
                    lost.append(f"rule {rule}: {len(state.rule.actions) - run.at} actions after a delay")
        waited = sum(map(len, self._queues.pop(rule, {}).values()))
        if waited:
            lost.append(f"rule {rule}: {waited} firings that waited their turn")
        for address, fade in self._fades.pop(rule, {}).items():
            fade.cancel()
            self._fading -= 1
            lost.append(f"rule {rule}: a fade of {address}")
        for bundle in self._bundles.pop(rule, set()):
            bundle.timer.cancel()
            lost.append(f"rule {rule}: a bundle")
        if held := state.made("holding"):
            lost.append(f"rule {rule}: {len(held)} conditions that had begun to hold")
        if lost:
            self.host.under_way()
        return lost

    # ---- single actions ----

    def delay_s(self, state: RuleState, action: Action) -> float:
        """How long to wait; where a param says it and does not, not at all."""
        if not isinstance(action.delay_s, str):
            return action.delay_s
        given = number(self._engine.value(action.delay_s))
        if given is None or not math.isfinite(given):
            self._fail(state, f"{action.delay_s} holds no number of how long to wait")
            return 0.0
        return min(LONGEST_DELAY_S, max(0.0, given * action.by))

    def carry_out(self, state: RuleState, action: Action, event: Event) -> None:
        """One action. What goes wrong is noted and ends nothing else."""
        try:
            self._carry_out(state, action, event)
        except (ExpressionError, ValueError, ArithmeticError) as error:
            self._fail(state, f"{action.kind}: {error}")

    def _carry_out(self, state: RuleState, action: Action, event: Event) -> None:
        match action.kind:
            case "set":
                self._set(state, self._address(action, event), self._value(state, action, event))
            case "publish":
                self._publish(state, action, event)
            case "toggle":
                address = self._address(action, event)
                self._set(state, address, _toggled(self._engine.value(address)))
            case "increment":
                address = self._address(action, event)
                self._set(state, address, _incremented(self._engine.value(address), action))
            case "fade":
                start = self._from(state, action.start, action, event) if action.start is not None else MISSING
                self._fade(state, self._address(action, event), start, self._value(state, action, event), action)
            case "bundle":
                self._bundle(state, action, event)
            case "cancel" | "enable" | "disable" if not state.rule.act:
                self._engine.would(state, f"{action.kind} {action.target}")
            case "cancel":
                if (other := self._engine.states.get(action.target)) is not None:
                    self.cancel(other)
                    self._engine.timing.pause(other)
            case "enable" | "disable":
                self._engine.switch(action.target, enabled=action.kind == "enable")
            case "log":
                assert action.text is not None
                self.host.say(logging.INFO, f"rule {state.rule.id}: {action.text.fill(event.captures, event.names())}")

    def recall(self, run: Run, action: Action) -> Iterator[None]:
        """A scene, of which there may be thousands of params."""
        depth = self._engine.depth
        for count, (address, value) in enumerate(self._engine.scenes.get(action.target, {}).items(), 1):
            try:
                if action.over_s and is_fadable(value):
                    self._fade(run.state, address, MISSING, value, action)
                else:
                    self._set(run.state, address, value)
            except ValueError as error:
                self._fail(run.state, f"scene {action.target}: {error}")
            if not count % AT_ONCE:
                yield
                if run.over:
                    return
                self._engine.depth = depth

    def _bundle(self, state: RuleState, action: Action, event: Event) -> None:
        if not action.delay_s:
            self._all(state, action.members, event)
            return
        rule = state.rule.id
        own = self._bundles.setdefault(rule, set())
        if len(own) >= MAX_RUNS:
            raise ValueError(f"more than {MAX_RUNS} wait for their time; this one was dropped")
        if not self.may_wait(state, event):
            return

        def come() -> None:
            own.discard(bundle)
            self._all(state, action.members, event)

        bundle = Later(self.host.call_later(float(action.delay_s), come))
        own.add(bundle)

    def _all(self, state: RuleState, members: Sequence[Action], event: Event) -> None:
        for member in members:
            self.carry_out(state, member, event)

    def _address(self, action: Action, event: Event) -> str:
        assert action.address is not None
        return action.address.fill(event.captures, event.names())

    def _value(self, state: RuleState, action: Action, event: Event) -> Any:
        return self._from(state, action.source, action, event)

    def _from(self, state: RuleState, source: Source | None, action: Action, event: Event) -> Any:
        if source is None:
            return MISSING
        match source.kind:
            case "constant":
                value = source.constant
            case "trigger":
                value = event.value
            case "param":
                assert source.address is not None
                address = source.address.fill(event.captures, event.names())
                value = self._engine.value(address)
                if value is MISSING:
                    raise ValueError(f"{address} has no value")
            case "template":
                assert source.address is not None
                value = source.address.fill(event.captures, event.names())
            case _:
                value = _plain(source.expression({n: None if v is MISSING else v for n, v in event.names().items()}))
        if source.transform is not None and value is not MISSING:
            key = action.number, event.address
            memory = state.memories.get(key)
            if memory is None:
                memory = state.memories[key] = {}
            value = source.transform(value, memory)
        return value

    def _set(self, state: RuleState, address: str, value: Any) -> None:
        self._end_fade(state, address)
        self.write(state, address, None if value is MISSING else value)

    def write(self, state: RuleState, address: str, value: Any) -> bool:
        """Set a param as this rule; whether it was accepted. A rule that only watches says what it would set."""
        if not state.rule.act:
            self._engine.would(state, f"set {address} {_said(value)}")
            return True
        refused = self.host.write(state.rule.id, state.rule.scopes, address, value)
        if refused is not None:
            self._fail(state, f"set {address}: {refused}")
        return refused is None

    def _publish(self, state: RuleState, action: Action, event: Event) -> None:
        address = self._address(action, event)
        value = self._value(state, action, event)
        if not state.rule.act:
            self._engine.would(state, f"publish {action.signal} {address} {_said(value)}".rstrip())
            return
        refused = self.host.publish(state.rule.id, state.rule.scopes, address, action.signal, value)
        if refused is not None:
            self._fail(state, f"publish {address}: {refused}")

    def _fade(self, state: RuleState, address: str, start: Any, to: Any, action: Action) -> None:
        if not state.rule.act:
            self._engine.would(state, f"fade {address} to {_said(to)} over {action.over_s:g} s")
            return
        self._end_fade(state, address)
        begins = self._engine.value(address) if start is MISSING else start
        if not has_steps(begins, to) or action.over_s <= 0:
            # From nothing, or between what has no steps in between: there at once.
            self.write(state, address, to)
            return
        if self._fading >= MAX_FADES:
            raise ValueError("too many fades are under way")
        self._begin_fade(state, address, begins, to, action, 0.0)

    def _begin_fade(
        self, state: RuleState, address: str, begins: Any, to: Any, action: Action, elapsed_s: float
    ) -> None:
        curve = action.curve
        assert curve is not None
        fade = Fade(
            self.host, begins, to, action.over_s, action.rate_hz, curve, number=action.number, elapsed_s=elapsed_s
        )
        self._end_fade(state, address)
        self._fades.setdefault(state.rule.id, {})[address] = fade
        self._fading += 1
        self.host.under_way()

        def write(value: Any, *, last: bool) -> bool:
            accepted = self.write(state, address, value)
            if last or not accepted:
                self._end_fade(state, address)
                self.host.under_way()
            return accepted

        fade.start(write)

    def _end_fade(self, state: RuleState, address: str) -> None:
        fade = self._fades.get(state.rule.id, {}).get(address)
        if fade is not None:
            _drop(self._fades, state.rule.id, address)
            self._fading -= 1
            fade.cancel()

    def _fail(self, state: RuleState, sentence: str) -> None:
        if state.trace.last_error != sentence:
            self.host.say(logging.WARNING, f"rule {state.rule.id}: {sentence}")
        state.trace.fail(sentence)
        self.host.changed(state.rule.id)


def _drop(held: dict[str, dict[str, V]], rule: str, key: str) -> None:
    own = held.get(rule, {})
    own.pop(key, None)
    if not own:
        held.pop(rule, None)


def _said(value: Any) -> str:
    """A value as a line of a rule that watches shows it."""
    return f'"{text(value)}"' if isinstance(value, str) else "null" if value is None else text(value)


def _plain(value: Any) -> Any:
    """The result of an expression as a value of CLASP."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return clamped_int(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(f"{text(value)} is no value that can be written")


def _toggled(value: Any) -> Any:
    given = number(value)
    if given is None:
        return value is not True
    switched = 0 if given else 1
    return float(switched) if isinstance(given, float) else switched


def _incremented(value: Any, action: Action) -> Any:
    given = number(value)
    result = (0 if given is None or not math.isfinite(given) else given) + action.by
    low, high = action.low, action.high
    if action.wrap and low is not None and high is not None:
        if result > high:
            result = low
        elif result < low:
            result = high
    if low is not None:
        result = max(low, result)
    if high is not None:
        result = min(high, result)
    if isinstance(result, int):
        return clamped_int(result)
    if not math.isfinite(result):
        raise ValueError(f"{text(value)} and {text(action.by)} make no number that is finite")
    return result
