"""The history ring against a list: the newest frames per address, as far back as the block reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plane_rig import Rig, publish_payload, set_payload

from clasp_edge.dataplane.ring import RingSearch
from clasp_edge.wire import Publish, decode
from clasp_edge.wire.pattern import Pattern

HEADER_BYTES = 16
"""What the ring keeps beside each frame (ring.pyx, Record)."""

EVENT, STREAM, TIMELINE = 1, 2, 4

addresses = st.sampled_from([b"/a", b"/a/b", b"/c"])
writes = st.lists(st.tuples(addresses, st.integers(0, 90), st.sampled_from([EVENT, TIMELINE])), max_size=60)


def seen(frames: list[bytes]) -> list[tuple[bytes, bytes]]:
    messages = [decode(frame)[1] for frame in frames]
    assert all(isinstance(message, Publish) for message in messages)
    return [(message.address.encode(), message.value) for message in messages]  # type: ignore[union-attr]


def expected(
    kept: list[tuple[bytes, bytes, int]], pattern: Pattern, mask: int, count: int
) -> list[tuple[bytes, bytes]]:
    """The newest `count` of each matching address, in their order."""
    matching = [(address, data) for address, data, signal in kept if pattern.matches(address) and mask >> signal & 1]
    chosen = []
    for place, (address, data) in enumerate(matching):
        newer = sum(other == address for other, _ in matching[place + 1 :])
        if newer < count:
            chosen.append((address, data))
    return chosen


@given(
    writes,
    st.sampled_from([0, 8, 256, 1000, 4096]),
    st.sampled_from([b"/**", b"/a", b"/a/**", b"/*"]),
    st.sampled_from([1 << EVENT, 1 << TIMELINE, 0x1F]),
    st.integers(0, 5),
)
def test_keeps_the_newest(
    written: list[tuple[bytes, int, int]], size: int, pattern: bytes, mask: int, count: int
) -> None:
    rig = Rig(history=size)
    line = rig.line(b"writer")
    kept: list[tuple[bytes, bytes, int]] = []
    for number, (address, length, signal) in enumerate(written):
        data = number.to_bytes(2, "big") + b"x" * length
        payload = publish_payload(address, data, signal)
        line.feed([payload])
        if HEADER_BYTES + len(payload) + 4 <= size // 4:
            kept.append((address, data, signal))
    compiled = Pattern(pattern)
    everything = seen(rig.plane.ring.recent(Pattern(b"/**"), 0x1F, 1000))
    # What is left is an unbroken end of what was written, and at least as much as fits whatever the frames' lengths.
    assert everything == [(address, data) for address, data, _ in kept[len(kept) - len(everything) :]]
    fits = int(size * 0.75) // (HEADER_BYTES + 8 + 92 + 20)
    assert len(everything) >= min(len(kept), fits)
    left = kept[len(kept) - len(everything) :]
    assert seen(rig.plane.ring.recent(compiled, mask, count)) == expected(left, compiled, mask, count)
    rig.close()


def test_a_giant_does_not_wipe_out_the_rest() -> None:
    rig = Rig(history=64 << 10)
    line = rig.line(b"writer")
    line.feed([publish_payload(b"/small", b"kept")])
    line.feed([publish_payload(b"/giant", bytes(60_000))])
    assert seen(rig.plane.ring.recent(Pattern(b"/**"), 0x1F, 9)) == [(b"/small", b"kept")]
    rig.close()


@pytest.mark.parametrize("size", [0, 7, 8, 23])
def test_a_ring_too_small_for_anything_keeps_nothing(size: int) -> None:
    rig = Rig(history=size)
    line = rig.line(b"writer")
    line.feed(publish_payload(b"/a") for _ in range(100))
    assert rig.plane.ring.recent(Pattern(b"/**"), 0x1F, 9) == []
    rig.close()


def test_streams_are_not_history_and_params_are() -> None:
    rig = Rig(history=4096)
    line = rig.line(b"writer")
    line.feed([publish_payload(b"/s", b"", STREAM), set_payload(b"/p", 1)])
    frames = rig.plane.ring.recent(Pattern(b"/**"), 0x1F, 9)
    assert [decode(frame)[1].address for frame in frames] == ["/p"]  # type: ignore[union-attr]
    rig.close()


def test_scopes_hide_what_may_not_be_read() -> None:
    class OnlyA:
        def allows(self, action: str, address: bytes) -> bool:
            return action == "read" and address == b"/a"

    rig = Rig(history=4096)
    line = rig.line(b"writer")
    line.feed([publish_payload(b"/a", b"1"), publish_payload(b"/b", b"2")])
    assert seen(rig.plane.ring.recent(Pattern(b"/**"), 0x1F, 9, OnlyA())) == [(b"/a", b"1")]
    rig.close()


def test_a_search_in_parts_finds_what_comes_meanwhile_and_leaves_out_what_is_overwritten() -> None:
    rig = Rig(history=4096)
    line = rig.line(b"writer")

    def write(*numbers: int) -> None:
        line.feed([publish_payload(b"/n/%d" % number, b"%d" % number, EVENT) for number in numbers])

    def values(count: int = -1) -> list[int]:
        return [int(value) for _, value in seen(search.frames(count))]

    write(*range(40))
    search = RingSearch(rig.plane.ring, Pattern(b"/**"), 0x1F, 9, None)
    looked = 1
    while not search.look(10):
        looked += 1
    assert looked == 4
    search.choose(1 << 20)
    assert values(15) == list(range(15))
    assert search.has_more
    write(*range(40, 130))  # of the first 40 some are left
    kept = [int(value) for _, value in seen(rig.plane.ring.recent(Pattern(b"/**"), 0x1F, 9))]
    assert 15 < kept[0] < 40
    assert values() == [number for number in kept if number < 40]
    assert not search.has_more
    assert search.look(1000)
    search.choose(1 << 20)
    assert values() == [number for number in kept if number >= 40]
    write(130)
    assert search.look(1000)
    search.choose(1 << 20)
    assert values() == [130]
    assert search.look(1)
    search.choose(1 << 20)
    assert values() == []
    rig.close()


def test_a_search_in_parts_ends_however_fast_more_comes() -> None:
    rig = Rig(history=4096)
    line = rig.line(b"writer")
    line.feed([publish_payload(b"/n", b"%d" % number, EVENT) for number in range(100)])
    search = RingSearch(rig.plane.ring, Pattern(b"/**"), 0x1F, 9, None)
    looked = 1
    while not search.look(10):
        line.feed([publish_payload(b"/n", b"%d" % number, EVENT) for number in range(30)])
        looked += 1
        assert looked < 20
    search.choose(1 << 20)
    assert [value for _, value in seen(search.frames(-1))] == [b"%d" % number for number in range(21, 30)]
    rig.close()
