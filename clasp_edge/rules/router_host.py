"""The router as the world of a rules engine: one sink that hears, one for each rule that writes.

What the rules hear is gathered during a pass and worked off after it, a few milliseconds at a time: no rule can hold
up the loop. Each rule is a principal of its own (`rule:<id>`) with scopes, like a client; what it writes passes the
same gate, is journaled, federated and delivered like anybody's.
"""

from __future__ import annotations

import logging
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from clasp_edge.clock import Clock
from clasp_edge.dataplane import Adapter, Plane, Subscription, Verdict
from clasp_edge.dataplane.journal_buffer import clock_synchronised
from clasp_edge.rules.engine import Engine
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

SCAN_BYTES = 60_000
SCAN_AT_ONCE = 4096

MAX_DEPTHS = 10_000

SIGNALS = {signal.label: signal for signal in SignalType}

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

    def __init__(self, plane: Plane) -> None:
        pass


class RouterHost:
    """`host.Host` on a router. `tell(id)` is called, at most once in a while, when a rule's numbers have changed."""

    def __init__(
        self, plane: Plane, loop: AbstractEventLoop, clock: Clock, access_of: AccessOf, tell: Callable[[str], None]
    ) -> None:
        self._plane = plane
        self._loop = loop
        self._clock = clock
        self._access_of = access_of
        self._tell = tell
        self._ear = _Ear(plane, self)
        self._voices: dict[str, _Voice] = {}
        self._subscriptions: dict[bytes, Subscription] = {}
        self._waiting: deque[tuple[Any, int, bytes]] = deque()
        self._waiting_bytes = 0
        self._working = False
        self._depth = 0
        self._depths: OrderedDict[tuple[int, str], int] = OrderedDict()
        self.dropped = 0
        self.on_under_way: Callable[[], None] | None = None
        """Called when a delay, a fade or a hold has begun or is over."""
        plane.register(self._ear, b"rules")
        self.engine = Engine(self, self._ear)

    # ---- being told ----

    def listen(self) -> None:
        """Subscribe to exactly what the engine's rules look at."""
        wanted = {pattern.text: pattern for pattern in self.engine.patterns()}
        for text in self._subscriptions.keys() - wanted.keys():
            self._plane.trie.discard(self._subscriptions.pop(text))
        for text in wanted.keys() - self._subscriptions.keys():
            subscription = Subscription(self._ear, len(self._subscriptions), wanted[text], 0xFF)
            self._subscriptions[text] = subscription
            self._plane.trie.add(subscription)
        for rule in self._voices.keys() - self.engine.states.keys():
            self._plane.unregister(self._voices.pop(rule))

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
        self._waiting_bytes += sum(len(frame) for _, _, frame in deliveries)
        while self._waiting_bytes > MAX_WAITING_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft()[2])
            self.dropped += 1
            if self.dropped == 1:
                log.error("rules: more arrives than the rules can look at; the oldest is passed over and counted")
        if not self._working:
            self._work()

    def _work(self) -> None:
        self._working = True
        ends_s = time.monotonic() + SLICE_S
        try:
            while self._waiting:
                origin, _, frame = self._waiting.popleft()
                self._waiting_bytes -= len(frame)
                self._take(origin, frame)
                if self._waiting and time.monotonic() > ends_s:
                    self._loop.call_soon(self._work)
                    return
        finally:
            self._depth = 0
            # A slice that is under way goes on by itself; until then nobody else begins one.
            self._working = bool(self._waiting)

    def _take(self, origin: Any, frame: bytes) -> None:
        try:
            message = decode(frame)[1]
        except WireError:
            return
        if isinstance(message, Set):
            self._depth = self._depths.pop((id(origin), message.address), 0) if isinstance(origin, _Voice) else 0
            self.engine.param(message.address, message.value, self._depth)
        elif isinstance(message, Publish) and message.signal is not None:
            self._depth = self._depths.pop((id(origin), message.address), 0) if isinstance(origin, _Voice) else 0
            value = MISSING if message.value is ABSENT else message.value
            # A PUBLISH of signal param is stored nowhere: it is no change of a param.
            if message.signal is not SignalType.PARAM:
                self.engine.message(message.signal.label, message.address, value, self._depth)

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

    def scan(self, pattern: Pattern, most: int) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        cursor = b""
        while len(found) < most:
            payload, cursor = self._plane.snapshot(pattern, None, cursor, SCAN_BYTES, SCAN_AT_ONCE)
            if payload is not None:
                snapshot = decode_payload(payload)
                assert isinstance(snapshot, Snapshot)
                found += [(param.address, param.value) for param in snapshot.params]
            if not cursor:
                break
        return found[:most]

    # ---- writing ----

    def _voice(self, rule: str, scopes: Sequence[str]) -> _Voice:
        voice = self._voices.get(rule)
        if voice is None:
            voice = self._voices[rule] = _Voice(self._plane)
            voice.scopes = self._access_of(scopes)
            self._plane.register(voice, f"rule:{rule}".encode())
        return voice

    def write(self, rule: str, scopes: Sequence[str], address: str, value: Any) -> str | None:
        try:
            code, data = encode_value(value)
        except WireError as error:
            return f"no value that CLASP knows: {error}"
        voice = self._voice(rule, scopes)
        self._deeper(voice, address)
        verdict, _ = self._plane_set(voice, address.encode(), code, data)
        return self._refusal(Verdict(verdict), voice, address)

    def _plane_set(self, voice: _Voice, address: bytes, code: int, data: bytes) -> tuple[int, int]:
        return voice.set(address, code, data)

    def publish(self, rule: str, scopes: Sequence[str], address: str, signal: str, value: Any) -> str | None:
        voice = self._voice(rule, scopes)
        content = ABSENT if value is MISSING else value
        try:
            payload = encode_payload(Publish(address, SIGNALS[signal], content))
        except WireError as error:
            return f"no value that CLASP knows: {error}"
        self._deeper(voice, address)
        try:
            verdict = voice.publish(payload, address.encode())
        except ValueError as error:
            return str(error)
        return self._refusal(Verdict(verdict), voice, address)

    def _deeper(self, voice: _Voice, address: str) -> None:
        self._depths[id(voice), address] = self._depth + 1
        if len(self._depths) > MAX_DEPTHS:
            self._depths.popitem(last=False)

    def _refusal(self, verdict: Verdict, voice: _Voice, address: str) -> str | None:
        if verdict is Verdict.ACCEPTED:
            return None
        self._depths.pop((id(voice), address), None)
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

    def clock_is_set(self) -> bool:
        return clock_synchronised() or self.wall_s() > _NEVER_BEFORE_S

    def call_later(self, delay_s: float, then: Callable[[], None]) -> TimerHandle:
        return self._loop.call_later(delay_s, self._later, then)

    def _later(self, then: Callable[[], None]) -> None:
        self._depth = 0
        then()

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
