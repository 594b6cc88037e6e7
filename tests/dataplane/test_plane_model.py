"""The plane against a dictionary: whatever is written, read, evicted, expired and locked, both say the same."""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import examples
from support.plane_rig import EVERYTHING, EXPIRED_AT_ONCE, LOCK, UNLOCK, Line, Rig, publish_payload, set_payload

from clasp_edge.dataplane import Strategy, Verdict
from clasp_edge.wire import Ack, ParamValue, Publish, Set, Snapshot, decode_payload, decode_value
from clasp_edge.wire.pattern import Pattern

Addresses = set[bytes]

CAPACITY = 4
CLIENTS = 3

addresses = st.sampled_from(
    [*(f"/lww/{n}".encode() for n in range(7)), b"/max/a", b"/max/b", b"/min/a", b"/merge/a", b"/merge/b"]
)
values = (
    st.integers(-3, 3)
    | st.sampled_from([0.5, -7.25, "text", None, b"x" * 40, b"y" * 600])
    | st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3)
)
clients = st.integers(0, CLIENTS - 1)


@dataclass
class Param:
    """What the model knows of a param."""

    value: Any
    revision: int
    writer: bytes
    lock: bytes = b""
    at_once: bool = False
    """Its ttl is "absolute, 0 s": every write leaves it expired."""


def improves(strategy: int, old: object, new: object) -> bool:
    """Whether strategy max or min takes the new value (router.md 3.2)."""
    if not (isinstance(old, int | float) and isinstance(new, int | float)):
        return True
    return new > old if strategy == Strategy.MAX else new < old


class PlaneMachine(RuleBasedStateMachine):
    """Params are in the order of their last write, the oldest first, as in the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.plane = self.rig.plane
        self.plane.max_params = CAPACITY
        self.names = 0
        self.lines = [self.connect() for _ in range(CLIENTS)]
        self.listener = self.rig.line(b"listener")
        self.listener.subscribe()
        self.params: OrderedDict[bytes, Param] = OrderedDict()
        self.routes: set[bytes] = set()
        self.ghosts: list[tuple[int, bytes]] = []
        self.cursor = b""
        self.must_see: set[bytes] = set()
        self.expected: list[Any] = []

    def teardown(self) -> None:
        self.rig.close()
        assert self.rig.core.arena_free == self.rig.core.arena_total

    def connect(self) -> Line:
        self.names += 1
        return self.rig.line(b"session-%d" % self.names)

    # ---- the model ----

    def remove(self, address: bytes) -> None:
        del self.params[address]
        self.must_see.discard(address)

    def look(self, address: bytes) -> Param | None:
        """The param, after the plane had reason to notice that its time is over."""
        param = self.params.get(address)
        if param is not None and param.at_once:
            self.remove(address)
            return None
        return param

    def judged(self, name: bytes, address: bytes, value: object, expected: int | None) -> Verdict:
        param = self.look(address)
        if param is None:
            full = len(self.params) >= CAPACITY and not self.plane.evict
            return Verdict.AT_CAPACITY if full else Verdict.ACCEPTED
        if expected is not None and expected != param.revision:
            return Verdict.REVISION_CONFLICT
        if param.lock and param.lock != name:
            return Verdict.LOCK_HELD
        strategy = self.rig.control.strategy_of(address)
        if strategy in (Strategy.MAX, Strategy.MIN) and not improves(strategy, param.value, value):
            return Verdict.STRATEGY_REJECTED
        return Verdict.ACCEPTED

    def applied(self, name: bytes, address: bytes, value: Any, flags: int, ttl: int | None) -> Param:
        param = self.params.get(address)
        if param is None:
            if len(self.params) >= CAPACITY:
                self.remove(next(iter(self.params)))
            self.routes.discard(address)
            param = self.params[address] = Param(value, 0, name)
        if isinstance(param.value, dict) and isinstance(value, dict) and address.startswith(b"/merge"):
            value = {**param.value, **value}
        param.value = value
        param.revision += 1
        param.writer = name
        if flags & UNLOCK:
            param.lock = b""
        if flags & LOCK and not param.lock:
            param.lock = name
        if ttl is not None:
            param.at_once = ttl == EXPIRED_AT_ONCE
        self.params.move_to_end(address)
        return param

    # ---- writing ----

    @rule(
        client=clients,
        address=addresses,
        value=values,
        flags=st.sampled_from([0, 0, 0, LOCK, UNLOCK, LOCK | UNLOCK]),
        expected=st.none() | st.integers(0, 3),
        ttl=st.sampled_from([None, None, None, 0, 60, EXPIRED_AT_ONCE | 60, EXPIRED_AT_ONCE]),
    )
    def set(self, client: int, address: bytes, value: Any, flags: int, expected: int | None, ttl: int | None) -> None:
        line = self.lines[client]
        before = self.look(address)
        revision = before.revision if before is not None else 0
        verdict = self.judged(line.name, address, value, expected)
        line.feed([set_payload(address, value, flags=flags, expected=expected, ttl=ttl)], qos=1)
        answers = line.read()
        if verdict is not Verdict.ACCEPTED:
            assert answers == []
            assert line.peer.refused.pop() == (verdict, address, revision, expected or 0)
            return
        param = self.applied(line.name, address, value, flags, ttl)
        locked = {"locked": True, "holder": line.name.decode()} if flags & LOCK else {}
        assert answers == [Ack(address=address.decode(), revision=param.revision, **locked)]
        assert line.peer.last_revision == param.revision
        self.expected.append((Set, address.decode(), param.value, param.revision))

    @rule(client=clients, writes=st.lists(st.tuples(addresses, values), min_size=1, max_size=8))
    def set_several(self, client: int, writes: list[tuple[bytes, Any]]) -> None:
        for address, value in writes:
            self.set(client, address, value, 0, None, None)

    @rule(client=clients, address=addresses, data=st.binary(max_size=8))
    def publish(self, client: int, address: bytes, data: bytes) -> None:
        if self.look(address) is None:
            self.routes.add(address)
        self.lines[client].feed([publish_payload(address, data)])
        self.expected.append((Publish, address.decode(), data, None))

    @rule(evict=st.booleans())
    def choose_what_happens_when_full(self, evict: bool) -> None:
        self.plane.evict = evict

    # ---- sessions ----

    @rule(client=clients)
    def reconnect(self, client: int) -> None:
        line = self.lines[client]
        assert self.plane.locks_held(line.peer) == sum(p.lock == line.name for p in self.params.values())
        self.ghosts.append((line.peer.writer, line.name))
        self.rig.hang_up(line)
        self.lines[client] = self.connect()

    @precondition(lambda self: self.ghosts)
    @rule(number=st.integers(min_value=0))
    def release_locks_of_the_gone(self, number: int) -> None:
        writer, name = self.ghosts.pop(number % len(self.ghosts))
        held = [param for param in self.params.values() if param.lock == name]
        assert sum(self.plane.release_locks(writer, name)) == len(held)
        for param in held:
            param.lock = b""

    # ---- reading ----

    @rule(address=addresses)
    def describe(self, address: bytes) -> None:
        param = self.look(address)
        described = self.plane.describe(address)
        if param is None:
            assert described is None
            return
        assert described is not None
        revision, code, data, holder, strategy = described
        assert (revision, holder) == (param.revision, param.lock)
        assert decode_value(code, data) == param.value
        assert strategy == self.rig.control.strategy_of(address)

    @rule(address=addresses)
    def read(self, address: bytes) -> None:
        param = self.look(address)
        payload = self.plane.read(address)
        assert (payload is None) == (param is None)
        if payload is not None:
            self.check_read(payload, {address})

    @rule(address=addresses)
    def snapshot_of_one(self, address: bytes) -> None:
        param = self.look(address)
        payload, cursor = self.plane.snapshot(Pattern(address), None, b"", 60_000, 100)
        assert not cursor
        assert (payload is None) == (param is None)
        if payload is not None:
            self.check_read(payload, {address})

    @rule(pattern=st.sampled_from([b"/**", b"/lww/*", b"/max/**", b"/**/a"]), newer_than=st.integers(0, 2))
    def snapshot_of_many(self, pattern: bytes, newer_than: int) -> None:
        compiled = Pattern(pattern)
        payload, cursor = self.plane.snapshot(compiled, None, b"", 60_000, 100, newer_than)
        assert not cursor
        live = {
            address
            for address, param in self.params.items()
            if compiled.matches(address) and not param.at_once and param.revision > newer_than
        }
        assert (payload is None) == (not live)
        if payload is not None:
            self.check_read(payload, live)

    @rule(max_bytes=st.sampled_from([3, 100, 700, 60_000]), max_scan=st.integers(1, 4))
    def snapshot_goes_on(self, max_bytes: int, max_scan: int) -> None:
        """One piece; others come while the state changes."""
        if not self.cursor:
            self.must_see = {address for address, param in self.params.items() if not param.at_once}
        payload, self.cursor = self.plane.snapshot(EVERYTHING, None, self.cursor, max_bytes, max_scan)
        if payload is not None:
            self.must_see -= self.check_read(payload, None)
        if not self.cursor:
            assert not {address for address in self.must_see if not self.params[address].at_once}
            self.must_see = set()

    def check_read(self, payload: bytes, expected: Addresses | None) -> Addresses:
        """Compare each line of a SNAPSHOT payload with the model; returns the addresses."""
        snapshot = decode_payload(payload)
        assert isinstance(snapshot, Snapshot)
        seen = {line.address.encode() for line in snapshot.params}
        assert len(seen) == len(snapshot.params)
        for line in snapshot.params:
            param = self.params[line.address.encode()]
            assert not param.at_once
            assert line == ParamValue(line.address, param.value, param.revision, param.writer.decode(), line.timestamp)
            assert line.timestamp is not None
        if expected is not None:
            assert seen == expected
        return seen

    # ---- time ----

    @rule()
    def expire(self) -> None:
        self.plane.expire()
        for address in [address for address, param in self.params.items() if param.at_once]:
            self.remove(address)

    @invariant()
    def counts_agree(self) -> None:
        assert self.plane.params == len(self.params)
        assert self.plane.routes == len(self.routes)

    @invariant()
    def a_subscriber_gets_everything_in_order(self) -> None:
        got: list[Any] = []
        for message in self.listener.read():
            assert isinstance(message, Set | Publish)
            got.append((type(message), message.address, message.value, getattr(message, "revision", None)))
        assert got == self.expected
        self.expected = []


PlaneMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=60, deadline=None)
TestPlane = PlaneMachine.TestCase


def numbered(number: int) -> bytes:
    return b"/flood/%d" % number


def test_the_least_recently_written_goes_first() -> None:
    rig = Rig()
    line = rig.line(b"writer")
    rig.plane.max_params = 100
    line.feed(set_payload(numbered(n), n) for n in range(100))
    line.feed(set_payload(numbered(n), -n) for n in range(0, 100, 2))
    # The odd ones have waited longest, in the order of their only write.
    for newcomer, oldest in enumerate(range(1, 100, 2), start=1000):
        assert rig.plane.describe(numbered(oldest)) is not None
        line.feed([set_payload(numbered(newcomer), 0)])
        assert rig.plane.describe(numbered(oldest)) is None
    assert (rig.plane.params, rig.plane.evicted) == (100, 50)
    assert all(rig.plane.describe(numbered(n)) is not None for n in range(0, 100, 2))
    rig.close()


def test_every_param_is_found_after_very_many_came_and_went() -> None:
    rig = Rig()
    line = rig.line(b"writer")
    room, writes = 3000, 60_000
    rig.plane.max_params = room
    # 7919 is coprime to the range: every address is met again, long after it was evicted.
    order = [n * 7919 % 20_000 for n in range(writes)]
    for start in range(0, writes, 500):
        line.feed(set_payload(numbered(n), n) for n in order[start : start + 500])
    assert rig.plane.params == room
    kept = set(order[-room:])
    for number in range(20_000):
        described = rig.plane.describe(numbered(number))
        assert (described is not None) == (number in kept)
        if described is not None:
            assert struct.unpack(">q", described[2]) == (number,)
    rig.close()


def test_a_real_ttl_runs_out_and_asks_for_its_timer() -> None:
    rig = Rig()
    line = rig.line(b"writer")
    before_ms = rig.core.monotonic_us // 1000
    line.feed([set_payload(b"/soon", 1, ttl=1), set_payload(b"/later", 1, ttl=3600), set_payload(b"/never", 1, ttl=0)])
    after_ms = rig.core.monotonic_us // 1000  # passes may have followed the one that fed it
    assert len(rig.control.armed_ms) == 1
    assert before_ms <= rig.control.armed_ms[0] - 1000 <= after_ms
    rig.turn(1.01)
    rig.plane.expire()
    assert rig.plane.describe(b"/soon") is None
    assert rig.plane.describe(b"/later") is not None
    assert rig.plane.describe(b"/never") is not None
    assert rig.plane.expired == 1
    # The next look is for what is left.
    assert rig.control.armed_ms[-1] > rig.control.armed_ms[0] + 3_000_000
    rig.close()


def test_a_frame_with_a_timestamp_in_its_header_reaches_the_same_param() -> None:
    rig = Rig()
    line = rig.line(b"writer")
    plain = set_payload(b"/twice", 1)
    # The first byte of the timestamp looks like a SET, and what follows like an address.
    stamp = b"\x21\x45\x00\x04/twi"
    line.feed_frames([bytes((0x53, 0x20)) + struct.pack(">H", len(plain)) + stamp + plain])
    line.feed([plain])
    described = rig.plane.describe(b"/twice")
    assert described is not None
    assert described[0] == 2
    assert rig.plane.params == 1
    rig.close()


class ReadOnly:
    """Scopes that allow no write."""

    def allows(self, action: str, address: bytes) -> bool:
        return action == "read"


class Everything:
    """Scopes that allow everything, by asking."""

    def allows(self, action: str, address: bytes) -> bool:
        return True


def test_a_writers_place_does_not_pass_on_its_permissions() -> None:
    rig = Rig()
    first = rig.line(b"first")
    first.peer.scopes = Everything()
    rig.plane.scopes_changed()
    first.feed([set_payload(b"/door", 1)])
    place = first.peer.writer
    other = rig.line(b"other")
    other.feed([set_payload(b"/door", 2)])
    rig.hang_up(first)
    second = rig.line(b"second")
    assert second.peer.writer == place
    second.peer.scopes = ReadOnly()
    second.feed([set_payload(b"/door", 3)])
    assert [refused[0] for refused in second.peer.refused] == [Verdict.NO_SCOPE]
    rig.close()
