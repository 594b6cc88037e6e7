"""The router as the world of a rules engine: one sink that hears, one for each rule that writes.

What the rules hear is gathered during a pass and worked off after it, a few milliseconds at a time: no rule can hold
up the loop. Each rule is a principal of its own (`rule:<id>`) with scopes, like a client; what it writes passes the
same gate, is journaled, federated and delivered like anybody's.
"""

from __future__ import annotations

import itertools
import logging
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from clasp_edge.clock import Clock
from clasp_edge.dataplane import Adapter, Plane, Subscription, Verdict
from clasp_edge.dataplane.journal_buffer import clock_synchronised
from clasp_edge.rules.engine import Engine
from clasp_edge.rules.index import Index
from clasp_edge.rules.model import Rule
from clasp_edge.rules.timing import AT_ONCE
from clasp_edge.rules.values import MISSING
from clasp_edge.wire import (
    ABSENT,
    Publish,
    Set,
    SignalType,
    Snapshot,
    WireError,
    decode,
    decode_payload,
    encode_payload,
    encode_value,
)
from clasp_edge.wire.pattern import Pattern, PatternError

log = logging.getLogger("clasp_edge.rules")

SLICE_S = 0.002
"""For so long deliveries are worked off before others get their turn."""

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Deliveries that wait for the rules; beyond it the oldest are dropped and counted."""

SCAN_BYTES = 20_000
SCAN_AT_ONCE = 512

DELIVERY_BYTES = 200
"""What one that waits takes beside its frame."""

MAX_WRITTEN = 100_000
"""Of what rules wrote and were not yet told of."""

SIGNALS = {signal.label: signal for signal in SignalType}

T = TypeVar("T")

AccessOf = Callable[[Sequence[str]], Any]
"""From scope texts to a `router.access.Access`; None for no scopes of its own."""


class _Ear(Adapter):
    """Hears all that some rule is interested in."""

    def __init__(self, plane: Plane, host: RouterHost) -> None:
        self.host = host

    def on_deliveries(self, deliveries: list[tuple[Any, int, bytes]]) -> None:
        self.host.heard(deliveries)


class _Voice(Adapter):
    """What one rule writes by."""

    def __init__(self, plane: Plane, rule: str) -> None:
        self.rule = rule


class RouterHost:
    """`host.Host` on a router. `tell(id)` is called, at most once in a while, when a rule's numbers have changed."""

    def __init__(
        self,
        plane: Plane,
        loop: AbstractEventLoop,
        clock: Clock,
        access_of: AccessOf,
        tell: Callable[[str], None],
        is_link: Callable[[Any], bool] = lambda origin: False,
    ) -> None:
        """`is_link` says of who has written something whether it is another router."""
        self._is_link = is_link
        self._plane = plane
        self._loop = loop
        self._clock = clock
        self._access_of = access_of
        self._tell = tell
        self._ear = _Ear(plane, self)
        self._voices: dict[str, _Voice] = {}
        self._subscriptions: dict[bytes, Subscription] = {}
        self._numbers = itertools.count()
        self._waiting: deque[tuple[Any, int, bytes]] = deque()
        self._waiting_bytes = 0
        self._working = False
        self._written: deque[tuple[_Voice, str, int]] = deque()
        self.dropped = 0
        self.on_under_way: Callable[[], None] | None = None
        """Called when a delay, a fade or a hold has begun or is over."""
        plane.register(self._ear, b"rules")
        self.engine = Engine(self, self._ear)

    # ---- being told ----

    def load(self, rules: list[Rule], scenes: dict[str, dict[str, Any]]) -> list[str]:
        """Take over these rules, at once. Returns what was pending and is lost, in words."""
        lost: list[str] = []

        def load_now() -> None:
            for _ in self._loading(rules, scenes, lost):
                pass

        self.run(load_now)
        return lost

    def load_in_parts(
        self, rules: list[Rule], scenes: dict[str, dict[str, Any]], then: Callable[[list[str]], None]
    ) -> None:
        """Take over these rules, while others have their turn; the list is used up. What is heard meanwhile waits for
        them. `then` is called when they are in force, with what is lost."""

        def job() -> Iterator[None]:
            lost: list[str] = []
            try:
                yield from self._loading(rules, scenes, lost)
            finally:
                then(lost)

        self.engine.add(job())
        if not self._working:
            self._work()

    def _loading(self, rules: list[Rule], scenes: dict[str, dict[str, Any]], lost: list[str]) -> Iterator[None]:
        yield from self.engine.loading(rules, scenes, lost, self._listening)
        yield
        for count, text in enumerate(self._subscriptions.keys() - self.engine.index.texts(), 1):
            self._plane.trie.discard(self._subscriptions.pop(text))
            if not count % AT_ONCE:
                yield
        for count, rule in enumerate(self._voices.keys() - self.engine.states.keys(), 1):
            self._plane.unregister(self._voices.pop(rule))
            if not count % AT_ONCE:
                yield

    def _listening(self, index: Index) -> Iterator[None]:
        """Subscribe to what rules look at that nobody looked at before."""
        for count, pattern in enumerate(index.patterns(), 1):
            if pattern.text not in self._subscriptions:
                subscription = Subscription(self._ear, next(self._numbers), pattern, 0xFF)
                self._subscriptions[pattern.text] = subscription
                self._plane.trie.add(subscription)
            if not count % AT_ONCE:
                yield

    def close(self) -> None:
        """Hear and write no more."""
        for subscription in self._subscriptions.values():
            self._plane.trie.discard(subscription)
        self._subscriptions.clear()
        for voice in self._voices.values():
            self._plane.unregister(voice)
        self._voices.clear()
        self._plane.unregister(self._ear)

    def heard(self, deliveries: list[tuple[Any, int, bytes]]) -> None:
        """What has arrived in a pass, in order."""
        self._waiting += deliveries
        self._waiting_bytes += sum(len(frame) + DELIVERY_BYTES for _, _, frame in deliveries)
        while self._waiting_bytes > MAX_WAITING_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft()[2]) + DELIVERY_BYTES
            self.dropped += 1
            if self.dropped == 1:
                log.error("rules: more arrives than the rules can look at; the oldest is passed over and counted")
        if not self._working:
            self._work()

    def run(self, then: Callable[[], T]) -> T:
        """Let the engine do something that nobody's write has led to. What rules write meanwhile is looked at after it,
        not in the middle."""
        outer, self._working = self._working, True
        self.engine.depth = 0
        try:
            return then()
        finally:
            self._working = outer
            if not outer:
                self._work()

    def _work(self) -> None:
        self._working = True
        ends_s = time.monotonic() + SLICE_S
        while self.engine.busy or self._waiting:
            try:
                if self.engine.busy:
                    self.engine.go_on()
                else:
                    origin, _, frame = self._waiting.popleft()
                    self._waiting_bytes -= len(frame) + DELIVERY_BYTES
                    self._take(origin, frame)
            except Exception:
                # What is wrong with one message or rule ends none of the others.
                log.exception("rules: a message was not looked at")
            if time.monotonic() > ends_s and (self._waiting or self.engine.busy):
                # A slice that is under way goes on by itself; until then nobody else begins one.
                self._loop.call_soon(self._work)
                return
        self._working = False

    def _take(self, origin: Any, frame: bytes) -> None:
        try:
            message = decode(frame)[1]
        except WireError:
            return
        if not isinstance(message, Set | Publish):
            return
        depth, by, linked = 0, "", False
        if isinstance(origin, _Voice):
            depth, by = self._depth_of(origin, message.address), origin.rule
        else:
            linked = self._is_link(origin)
        if isinstance(message, Set):
            self.engine.param(message.address, message.value, depth, by, linked=linked)
        # A PUBLISH of signal param is stored nowhere: it is no change of a param.
        elif message.signal is not None and message.signal is not SignalType.PARAM:
            value = MISSING if message.value is ABSENT else message.value
            self.engine.message(message.signal.label, message.address, value, depth, by, linked=linked)

    def _depth_of(self, voice: _Voice, address: str) -> int:
        """How deep in a cascade a rule wrote what is now delivered. Deliveries come in the order of the writes."""
        while self._written:
            writer, where, depth = self._written.popleft()
            if writer is voice and where == address:
                return depth
        return 1

    # ---- state ----

    def read(self, address: str) -> Any:
        pattern = _literal(address)
        if pattern is None:
            return MISSING
        payload, _ = self._plane.snapshot(pattern, None, b"", SCAN_BYTES, 1)
        if payload is None:
            return MISSING
        snapshot = decode_payload(payload)
        assert isinstance(snapshot, Snapshot)
        return snapshot.params[0].value

    def scan(self, pattern: Pattern, most: int) -> Iterable[tuple[str, Any]]:
        cursor = b""
        while most > 0:
            payload, cursor = self._plane.snapshot(pattern, None, cursor, SCAN_BYTES, min(most, SCAN_AT_ONCE))
            if payload is not None:
                snapshot = decode_payload(payload)
                assert isinstance(snapshot, Snapshot)
                most -= len(snapshot.params)
                for param in snapshot.params:
                    yield param.address, param.value
            if not cursor:
                return

    # ---- writing ----

    def _voice(self, rule: str, scopes: Sequence[str]) -> _Voice:
        voice = self._voices.get(rule)
        if voice is None:
            voice = self._voices[rule] = _Voice(self._plane, rule)
            voice.scopes = self._access_of(scopes)
            self._plane.register(voice, f"rule:{rule}".encode())
        return voice

    def write(self, rule: str, scopes: Sequence[str], address: str, value: Any) -> str | None:
        try:
            code, data = encode_value(value)
        except WireError as error:
            return f"no value that CLASP knows: {error}"
        voice = self._voice(rule, scopes)
        verdict, _ = voice.set(address.encode(), code, data)
        return self._done(Verdict(verdict), voice, address)

    def publish(self, rule: str, scopes: Sequence[str], address: str, signal: str, value: Any) -> str | None:
        voice = self._voice(rule, scopes)
        content = ABSENT if value is MISSING else value
        try:
            payload = encode_payload(Publish(address, SIGNALS[signal], content))
        except WireError as error:
            return f"no value that CLASP knows: {error}"
        try:
            verdict = voice.publish(payload, address.encode())
        except ValueError as error:
            return str(error)
        return self._done(Verdict(verdict), voice, address)

    def _done(self, verdict: Verdict, voice: _Voice, address: str) -> str | None:
        """Why not; otherwise what the rules will be told of it is one deeper in the cascade."""
        if verdict is Verdict.ACCEPTED:
            if self.engine.index.hears(address) and len(self._written) < MAX_WRITTEN:
                self._written.append((voice, address, self.engine.depth + 1))
            return None
        if verdict is Verdict.BAD_ADDRESS:
            return f"{address} is no address: {self._plane.refusal_text}"
        return _REFUSALS.get(verdict, verdict.name.lower())

    # ---- time ----

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def wall_s(self) -> float:
        return self._clock.wall_us() / 1e6

    def local_time(self, wall_s: float) -> tuple[float, int]:
        local = time.localtime(wall_s)
        return local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + wall_s % 1, local.tm_wday

    def up_before_s(self) -> float:
        return self._clock.up_before_s

    def clock_is_set(self) -> bool:
        return clock_synchronised() or self.wall_s() > _NEVER_BEFORE_S

    def call_later(self, delay_s: float, then: Callable[[], None]) -> TimerHandle:
        return self._loop.call_later(delay_s, self.run, then)

    def would(self, rule: str, sentence: str) -> None:
        """Told with the rule's trace and params."""

    def changed(self, rule: str) -> None:
        self._tell(rule)

    def under_way(self) -> None:
        if self.on_under_way is not None:
            self.on_under_way()

    def say(self, level: int, text: str) -> None:
        log.log(level, "%s", text)


_NEVER_BEFORE_S = 1_735_689_600
"""1 January 2025. A board without a battery starts its clock at the build of its image or in 1970; one that says less
than this has not been set."""

_REFUSALS = {
    Verdict.NO_SCOPE: "the scopes of this rule do not allow it (rule.scopes)",
    Verdict.LOCK_HELD: "somebody else holds the lock",
    Verdict.REVISION_CONFLICT: "somebody else has written meanwhile",
    Verdict.STRATEGY_REJECTED: "the param's strategy keeps the value it has",
    Verdict.AT_CAPACITY: "the router holds as many params as it may (state.max_params, state.max_mib)",
    Verdict.TOO_LARGE: "the value is too large for a message",
    Verdict.CONTROL_PLANE: "a rule cannot write there",
}


@lru_cache(maxsize=4096)
def _literal(address: str) -> Pattern | None:
    """The pattern that matches this address and nothing else."""
    try:
        pattern = Pattern(address.encode())
    except PatternError:
        return None
    return pattern if pattern.literal else None
