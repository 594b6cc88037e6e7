"""Merging by version, on the compiled plane itself: whatever comes in whatever order and however often, the outcome is
the same, and it is the maximum that `versions.Version` says it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.examples import examples
from support.plane_rig import Rig

from clasp_edge.dataplane import Subscription, Verdict
from clasp_edge.federation.shared.relay import Relay
from clasp_edge.federation.shared.versions import Version, over, read_version
from clasp_edge.wire.pattern import Pattern


@pytest.fixture
def router() -> Iterator[Router]:
    with Router(7) as made:
        yield made


EVERYTHING = Pattern(b"/**")
INT = 5
NULL_GONE = 0x8000_0000
ADDRESSES = (b"/a", b"/b/c", b"/d")


class Router:
    """A plane, and one link of it."""

    def __init__(self, tag: int) -> None:
        self.rig = Rig()
        self.plane = self.rig.plane
        self.plane.tag = tag
        self.link = Relay(self.plane)
        self.plane.register(self.link, b"link")
        self.plane.trie.add(Subscription(self.link, 1, EVERYTHING, 0x1F))
        self.link.speak_versions(True)
        while not self.link.count_on(1):
            pass

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *_: object) -> None:
        self.rig.close()

    def merge(self, payload: bytes) -> Verdict:
        return Verdict(self.link.merge(payload)[0])

    def write(self, address: bytes, value: int) -> None:
        verdict, _ = self.link.set(address, INT, struct.pack(">q", value))
        assert verdict == Verdict.ACCEPTED

    def state(self) -> dict[bytes, tuple[Version, bytes | None]]:
        found: dict[bytes, tuple[Version, bytes | None]] = {}
        for address in ADDRESSES:
            version, held = self.link.version(address), self.link.held(address)
            if version is not None:
                found[address] = read_version(*version), held[1] if held is not None else None
        return found

    def frames(self) -> list[bytes]:
        found, cursor = self.link.in_buckets(b"\x01" * 1024, 0, 1 << 20, 1 << 20)
        assert not cursor
        return [frame[4:] for _, frame in found]


def payload(address: bytes, value: int, version: Version) -> bytes:
    head = struct.pack(">BBH", 0x21, INT if not version.hlc & 1 else 0x10, len(address)) + address
    body = struct.pack(">q", value) if not version.hlc & 1 else struct.pack(">I", NULL_GONE)
    return head + body + struct.pack(">QQ", version.rank, version.hlc)


versions = st.builds(Version, st.integers(0, 3), st.integers(2, 40), st.integers(1, 3))
writes = st.lists(st.tuples(st.sampled_from(ADDRESSES), st.integers(0, 9), versions), max_size=12)


def merged(items: Sequence[tuple[bytes, int, Version]]) -> dict[bytes, tuple[Version, bytes | None]]:
    best: dict[bytes, tuple[Version, bytes | None]] = {}
    for address, value, version in items:
        data = None if version.hlc & 1 else struct.pack(">q", value)
        if address not in best or (version, data or b"") > (best[address][0], best[address][1] or b""):
            best[address] = version, data
    return best


@settings(deadline=None, max_examples=examples(60))
@given(items=writes, order=st.randoms(use_true_random=False))
def test_the_outcome_is_the_maximum_in_any_order_and_again(
    items: list[tuple[bytes, int, Version]], order: Random
) -> None:
    with Router(7) as one, Router(8) as other:
        for item in items:
            one.merge(payload(*item))
        shuffled = [*items, *items]
        order.shuffle(shuffled)
        for item in shuffled:
            other.merge(payload(*item))
        assert one.state() == other.state() == merged(items)
        assert one.link.digest == other.link.digest
        assert one.link.root == other.link.root


def test_a_version_from_the_future_is_not_believed(router: Router) -> None:
    ahead = Version(0, router.plane.clock_us + 3_600_000_000 & ~1, 9)
    assert router.merge(payload(b"/a", 1, ahead)) is Verdict.FROM_FUTURE
    assert router.state() == {}
    router.write(b"/a", 2)
    assert router.state()[b"/a"][0].hlc <= router.plane.clock_us + 2


def test_a_write_is_later_than_all_that_was_heard(router: Router) -> None:
    heard = Version(4, router.plane.clock_us + 5_000_000 & ~1, 9)
    assert router.merge(payload(b"/a", 1, heard)) is Verdict.ACCEPTED
    router.write(b"/a", 2)
    router.write(b"/b/c", 3)
    assert router.state()[b"/a"][0] > heard
    assert router.state()[b"/a"][0].epoch == 4
    assert router.state()[b"/b/c"][0].hlc > heard.hlc


@pytest.mark.parametrize("raise_epoch", [False, True])
def test_what_is_overruled_stands_nowhere(router: Router, raise_epoch: bool) -> None:
    owner = router
    with Router(8) as other:
        _overrule(owner, other, raise_epoch)


def _overrule(owner: Router, other: Router, raise_epoch: bool) -> None:
    owner.write(b"/a", 1)
    other.write(b"/a", 2)
    theirs = other.link.version(b"/a")
    assert theirs is not None
    owner.link.overrule(b"/a", *theirs, raise_epoch)
    for frame in other.frames():
        owner.merge(frame)
    for frame in owner.frames():
        other.merge(frame)
    assert owner.state() == other.state()
    assert owner.state()[b"/a"][1] == struct.pack(">q", 1)


def test_clocks_that_were_wrong_are_put_right_for_what_was_written_meanwhile(router: Router) -> None:
    router.write(b"/a", 1)
    since = router.plane.hlc
    router.write(b"/b/c", 2)
    before = router.state()
    now = router.plane.clock_us
    assert router.plane.retime(60_000_000, since, now + 60_000_000) == 1
    after = router.state()
    assert after[b"/a"] == before[b"/a"]
    assert after[b"/b/c"][0].hlc == before[b"/b/c"][0].hlc + 60_000_000
    assert router.plane.clock_us > now + 59_000_000


@pytest.mark.parametrize("back_s", [1, 3600, 400_000_000])
def test_a_clock_that_goes_back_makes_nothing_earlier_than_what_it_has_overwritten(router: Router, back_s: int) -> None:
    router.write(b"/a", 1)
    told = router.state()[b"/a"][0]
    since = router.plane.hlc
    router.write(b"/a", 2)
    back_us = back_s * 1_000_000
    router.plane.retime(-back_us, since, router.plane.clock_us)
    assert told < router.state()[b"/a"][0]
    assert router.state()[b"/a"][0].hlc < told.hlc + 2_000_000


def test_what_lies_in_the_future_is_brought_to_the_present_in_its_order(router: Router) -> None:
    now = router.plane.clock_us
    router.plane.base_us += 20_000_000_000
    seconds = (0, 10, 3000)
    for address, after_s in zip(ADDRESSES, seconds, strict=True):
        router.merge(payload(address, 1, Version(0, (now + 3_600_000_000 + after_s * 2_000_000) & ~1, 9)))
    router.plane.base_us -= 20_000_000_000
    router.plane.retime(0, 0, now)
    found = [router.state()[address][0].hlc for address in ADDRESSES]
    assert found == sorted(set(found))
    assert now < found[0]
    assert found[-1] < now + 2_000_000


@settings(max_examples=examples(100), deadline=None)
@given(
    behind_us=st.integers(4, 1 << 44),
    apart=st.integers(4, 4000),
    late_us=st.tuples(st.integers(0, 1 << 24), st.integers(0, 1 << 24)),
)
def test_where_time_begins_anew_all_bring_what_lies_behind_that_to_the_same_place_in_its_order(
    behind_us: int, apart: int, late_us: tuple[int, int]
) -> None:
    """To a part in 8,192 of how far behind it lies; whenever a router hears of it."""
    begin = 1_700_000_000_000_000
    earlier = (begin + behind_us) & ~1
    later = (earlier + behind_us * apart // 4096 + 8192 + (behind_us >> 13)) & ~1
    found = []
    for tag, late in zip((7, 8), late_us, strict=True):
        with Router(tag) as router:
            router.plane.base_us += later + 10_000_000 - router.plane.clock_us
            router.merge(payload(b"/a", 1, Version(0, earlier, 9)))
            router.merge(payload(b"/b/c", 1, Version(0, later, 9)))
            router.plane.retime(begin + late - router.plane.clock_us, router.plane.hlc, begin + late, None, begin)
            assert router.plane.timeline == begin
            found.append([router.state()[address][0].hlc for address in (b"/a", b"/b/c")])
    assert found[0] == found[1]
    assert begin < found[0][0] < found[0][1] < begin + 2_000_000


@pytest.mark.parametrize("stored_ahead_us", [0, 3_600_000_000])
@settings(max_examples=examples(100), deadline=None)
@given(behind_us=st.integers(4, 1 << 44))
def test_what_is_brought_from_behind_the_beginning_is_earlier_than_what_is_written_from_now_on(
    stored_ahead_us: int, behind_us: int
) -> None:
    """At a router that has nothing, or goes on from the last that it has stored."""
    with Router(7) as hub, Router(8) as box:
        if stored_ahead_us:
            hub.plane.hlc = hub.plane.clock_us + stored_ahead_us
            hub.plane.skip_time(stored_ahead_us)
        begin = hub.plane.beginning
        assert begin >= hub.plane.hlc
        hub.write(b"/a", 1)
        box.plane.base_us += begin + behind_us + 10_000_000 - box.plane.clock_us
        box.merge(payload(b"/a", 2, Version(0, (begin + behind_us) & ~1, 9)))
        box.plane.retime(hub.plane.now_hlc - box.plane.clock_us, box.plane.hlc, hub.plane.now_hlc, None, begin)
        assert box.state()[b"/a"][0] < hub.state()[b"/a"][0]


class TwoRouters(RuleBasedStateMachine):
    """Writes, clears, and states told in either direction, some of them lost: digests tell whether both have the same,
    and telling all makes it so."""

    @initialize()
    def begin(self) -> None:
        self.routers = Router(1), Router(2)

    @rule(at=st.integers(0, 1), address=st.sampled_from(ADDRESSES), value=st.integers(0, 3))
    def write(self, at: int, address: bytes, value: int) -> None:
        self.routers[at].write(address, value)

    @rule(at=st.integers(0, 1), address=st.sampled_from(ADDRESSES))
    def clear(self, at: int, address: bytes) -> None:
        router = self.routers[at]
        held = router.link.version(address)
        if held is not None and not held[0] & 1:
            last = read_version(*held)
            router.merge(payload(address, 0, Version(last.epoch, over(last).hlc + 2, router.plane.tag)))

    @rule(at=st.integers(0, 1), lost=st.sets(st.integers(0, 2)))
    def tell(self, at: int, lost: set[int]) -> None:
        for number, frame in enumerate(self.routers[at].frames()):
            if number not in lost:
                self.routers[1 - at].merge(frame)

    @invariant()
    def digests_do_not_lie(self) -> None:
        one, other = self.routers
        assert (one.link.digest == other.link.digest) == (one.state() == other.state())

    def teardown(self) -> None:
        if not hasattr(self, "routers"):
            return
        one, other = self.routers
        for frame in one.frames():
            other.merge(frame)
        for frame in other.frames():
            one.merge(frame)
        assert one.state() == other.state()
        assert one.link.root == other.link.root
        one.rig.close()
        other.rig.close()


TwoRouters.TestCase.settings = settings(deadline=None, max_examples=examples(40), stateful_step_count=20)
TestTwoRouters = TwoRouters.TestCase
