"""The reference hub's ways, against a small model of it: what it reorders, what it loses, and where it begins anew."""

from __future__ import annotations

import random
import re
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from clasp_edge.federation.upstream.reference_hub import (
    REORDERED_S,
    SAFE_PARAMS,
    ReferenceGuard,
    SyncPlan,
    heartbeat_address,
)
from clasp_edge.wire import Set, decode

ADDRESS = b"/a"


class Exchange:
    """One param at a hub that others write too, and a box that has it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.guard = ReferenceGuard(lambda: self.now_s)
        self.revision = 0
        self.there = self.here = b""
        self.written = 0
        self.in_flight = 0
        self.to_hub: deque[bytes] = deque()
        self.sets: list[tuple[int, bytes]] = []
        self.acks: deque[int] = deque()

    def own(self) -> None:
        self.written += 1
        self.here = b"here %d" % self.written
        self.in_flight += 1
        self.to_hub.append(self.here)

    def _apply(self, value: bytes) -> None:
        self.revision += 1
        self.there = value
        self.sets.append((self.revision, value))

    def other(self) -> None:
        self.written += 1
        self._apply(b"there %d" % self.written)

    def hub(self) -> None:
        if self.to_hub:
            self._apply(self.to_hub.popleft())
            self.acks.append(self.revision)

    def deliver(self, which: int) -> None:
        """One of its SETs, whichever was quickest."""
        if self.sets:
            revision, value = self.sets.pop(which % len(self.sets))
            if self.guard.passes(ADDRESS, 8, value, revision, -1, self.in_flight > 0):
                self.here = value

    def ack(self) -> None:
        if self.acks:
            revision = self.acks.popleft()
            self.in_flight -= 1
            held = self.guard.acknowledged(ADDRESS, revision, self.in_flight == 0)
            if held is not None:
                self.here = held[1]

    def snapshot(self) -> None:
        if self.revision and not self.in_flight and self.guard.snapshot(ADDRESS, self.revision):
            self.here = self.there


names = st.sampled_from(["own", "other", "hub", "ack", "snapshot"])
moves = st.lists(names | st.tuples(st.just("deliver"), st.integers(0, 9)), max_size=60)


@given(moves, st.randoms(use_true_random=False))
def test_in_whatever_order_it_delivers_the_last_value_stands(
    chosen: list[str | tuple[str, int]], dice: random.Random
) -> None:
    exchange = Exchange()
    for move in chosen:
        if isinstance(move, tuple):
            exchange.deliver(move[1])
        else:
            getattr(exchange, move)()
    while exchange.to_hub or exchange.sets or exchange.acks:
        dice.choice([exchange.hub, exchange.ack, lambda: exchange.deliver(dice.randrange(9))])()
    assert exchange.here == exchange.there


def test_a_param_that_begins_anew_is_heard_again() -> None:
    exchange = Exchange()
    for _ in range(50):
        exchange.other()
        exchange.deliver(0)
    exchange.revision = 0  # its time to live was over
    exchange.other()
    exchange.deliver(0)
    assert exchange.here == b"there 50"  # as if it had been overtaken
    exchange.now_s += REORDERED_S
    exchange.other()
    exchange.deliver(0)
    assert exchange.here == exchange.there


def test_a_snapshot_that_was_overtaken_counts_for_nothing() -> None:
    guard = ReferenceGuard(lambda: 0.0)
    assert guard.passes(ADDRESS, 8, b"", 6, -1, False)
    assert not guard.snapshot(ADDRESS, 5)
    assert guard.snapshot(ADDRESS, 6)
    assert guard.snapshot(b"/other", 1)


def test_heartbeats_differ_and_end_by_themselves() -> None:
    guard = ReferenceGuard(lambda: 0.0)
    beats = [decode(guard.heartbeat(b"/own/_edge/id"))[1] for _ in range(2)]
    assert all(isinstance(beat, Set) and beat.ttl is not None for beat in beats)
    assert beats[0] != beats[1]


@pytest.mark.parametrize(
    ("patterns", "address"),
    [
        (["/own/**"], b"/own/_edge/id"),
        (["/own", "/own/**"], b"/own/_edge/id"),
        (["/*/x/**", "/a/*", "/b/c/**"], b"/b/c/_edge/id"),
        (["/a", "/**"], b""),
    ],
)
def test_the_heartbeat_has_its_place_in_the_first_subtree(patterns: list[str], address: bytes) -> None:
    assert heartbeat_address(patterns, "id") == address


# ---- snapshots that it loses (federation.md 11.3) ----

CHUNK_PARAMS, FRAME_BYTES = 800, 65_535


class LosingHub:
    """A RequestSync: params in chunks by count; a chunk that is too large for a frame is gone without a trace."""

    def __init__(self, addresses: list[str], param_bytes: int) -> None:
        self.addresses = addresses
        self.param_bytes = param_bytes

    def matching(self, pattern: str) -> list[str]:
        expression = ""
        for part in re.findall(r"\*\*|\*|\[!?[^]]+\]|.", pattern):
            expression += {"**": ".+", "*": "[^/]*"}.get(part) or (
                "[^/" + part[2:] if part.startswith("[!") else part if part.startswith("[") else re.escape(part)
            )
        return [address for address in self.addresses if re.fullmatch(expression, address)]

    def snapshots(self, pattern: str) -> list[list[str]]:
        found = self.matching(pattern)
        chunks = [found[at : at + CHUNK_PARAMS] for at in range(0, len(found), CHUNK_PARAMS)] or [[]]
        return [chunk for chunk in chunks if len(chunk) * self.param_bytes <= FRAME_BYTES]


letters = "abcdefghijklmnopqrstuvwxyzABZ0189_-.é"


@settings(max_examples=examples(30), deadline=None)
@given(st.integers(0, 3000), st.sampled_from([40, 80, 160, 400]), st.integers(0, 1 << 30))
def test_everything_is_got_or_named_as_failed(count: int, param_bytes: int, seed: int) -> None:
    dice = random.Random(seed)

    def word() -> str:
        return "".join(dice.choice(letters) for _ in range(dice.randint(1, 4)))

    addresses = sorted({f"/own/{word()}" + (f"/{word()}" if dice.random() < 0.6 else "") for _ in range(count)})
    hub = LosingHub(addresses, param_bytes)
    plan = SyncPlan(["/own", "/own/**"])
    got: set[str] = set()
    asked: list[str] = []
    unseen: set[str] = set()
    while (pattern := plan.next()) is not None:
        asked.append(pattern)
        snapshots = hub.snapshots(pattern)
        for snapshot in snapshots:
            got.update(snapshot)
            plan.got(len(snapshot))
        if snapshots and max(map(len, snapshots)) <= SAFE_PARAMS:
            unseen.update(hub.matching(pattern))  # a small answer may be the end of a large one; nothing tells
        plan.complete()
    assert len(asked) == len(set(asked)) < 400
    for lost in set(addresses) - got - unseen:
        shards = [pattern for pattern in plan.failed if lost in hub.matching(pattern)]
        assert shards, f"{lost} was neither got nor named"


def test_what_is_refused_is_named() -> None:
    plan = SyncPlan(["/a", "/b"])
    assert plan.next() == "/a"
    plan.refused()
    assert plan.next() == "/b"
    plan.got(0)
    plan.complete()
    assert (plan.next(), plan.failed) == (None, ["/a"])
