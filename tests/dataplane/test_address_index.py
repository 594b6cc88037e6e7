"""The index of params by address (dataplane/address_index.pyx): a scan finds what matches, and looks at little else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.plane_rig import Rig, set_payload

from clasp_edge.wire.compact import decode_payload
from clasp_edge.wire.messages import Snapshot
from clasp_edge.wire.pattern import Pattern

SEGMENTS = [b"a", b"b", b"aa", b"a-b", b"a.b", b"zone1", b"zone12", b"\xc3\xa9"]
WILD = [b"*", b"**", b"zone*", b"a*", b"*1*", b"{a,b}*"]

addresses = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4).map(lambda s: b"/" + b"/".join(s))
patterns = st.lists(st.sampled_from(SEGMENTS + WILD), min_size=1, max_size=5).map(lambda s: b"/" + b"/".join(s))


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def found(rig: Rig, pattern: Pattern, max_scan: int = 100_000, max_bytes: int = 60_000) -> tuple[list[bytes], int]:
    """The addresses of all pieces, and how many pieces it took."""
    cursor, seen, pieces = b"", [], 0
    while True:
        payload, cursor = rig.plane.snapshot(pattern, None, cursor, max_bytes, max_scan)
        pieces += 1
        if payload is not None:
            message = decode_payload(payload)
            assert isinstance(message, Snapshot)
            seen += [param.address.encode() for param in message.params]
        if not cursor:
            return seen, pieces


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(addresses, max_size=60), st.lists(addresses, max_size=30), patterns, st.integers(1, 7))
def test_a_scan_finds_each_match_once(there: list[bytes], gone: list[bytes], text: bytes, max_scan: int) -> None:
    rig = Rig()
    line = rig.line(b"w")
    try:
        line.feed(set_payload(address, 1) for address in there)
        # Cleared again at once, so that the index has to close gaps.
        line.feed(set_payload(address, 1, ttl=0x8000_0000) for address in gone)
        rig.turn(0.002)
        rig.plane.expire()
        pattern = Pattern(text)
        expected = {address for address in set(there) - set(gone) if pattern.matches(address)}
        seen, _ = found(rig, pattern, max_scan, 70)
        assert len(seen) == len(set(seen))
        assert set(seen) == expected
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("text", "most"),
    [(b"/p/17/*", 110), (b"/p/17/**", 110), (b"/*/17/3", 30), (b"/p/*/3", 420), (b"/z/3/*/q", 10), (b"/p/17/5*", 20)],
)
def test_a_narrow_pattern_looks_at_what_it_can_match(rig: Rig, text: bytes, most: int) -> None:
    line = rig.line(b"w")
    for group in range(100):
        line.feed(set_payload(b"/p/%d/%d" % (group, n), n) for n in range(100))
    pattern = Pattern(text)
    seen, pieces = found(rig, pattern, max_scan=1)  # each piece looks at one address
    assert len(seen) == len(set(seen)) > 0 or text.startswith(b"/z")
    assert pieces <= most


def test_what_is_written_between_two_pieces_does_not_disturb_a_scan(rig: Rig) -> None:
    line = rig.line(b"w")
    line.feed(set_payload(b"/p/%04d" % n, n) for n in range(0, 2000, 2))
    cursor, seen, number = b"", [], 1
    while True:
        payload, cursor = rig.plane.snapshot(Pattern(b"/p/*"), None, cursor, 60_000, 50)
        if payload is not None:
            message = decode_payload(payload)
            assert isinstance(message, Snapshot)
            seen += [param.address.encode() for param in message.params]
        if not cursor:
            break
        line.feed(set_payload(b"/p/%04d" % (n % 2000), n) for n in range(number, number + 300, 2))
        line.feed(set_payload(b"/a/%04d" % n, n, ttl=0x8000_0000) for n in range(number, number + 100))
        number += 300
    assert len(seen) == len(set(seen))
    assert set(seen) >= {b"/p/%04d" % n for n in range(0, 2000, 2)}
