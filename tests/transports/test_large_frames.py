"""Frames above what the parser takes are cut into fragments of the same message, however they arrive."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.transports.large_frames import PIECE_BYTES, LargeFrames

SIZES = [0, 1, 125, 126, 300, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 65_535, 65_536, 3 * PIECE_BYTES + 1]
MASK = b"\x01\x02\x03\x04"

Message = tuple[int, bytes]


def framed(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        header = bytes((first, 0x80 | size))
    elif size < 65_536:
        header = struct.pack("!BBH", first, 0xFE, size)
    else:
        header = struct.pack("!BBQ", first, 0xFF, size)
    return header + MASK + masked(payload)


def masked(payload: bytes) -> bytes:
    key = MASK * (len(payload) // 4 + 1)
    number = int.from_bytes(payload, "big") ^ int.from_bytes(key[: len(payload)], "big")
    return number.to_bytes(len(payload), "big")


def messages(data: bytes) -> list[Message]:
    """What whole messages there are, by RFC 6455."""
    found: list[Message] = []
    under_way: Message | None = None
    at = 0
    while at < len(data):
        first, size = data[at], data[at + 1] & 0x7F
        assert data[at + 1] & 0x80
        at += 2
        if size > 125:
            wide = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + wide], "big")
            at += wide
        assert size <= PIECE_BYTES
        assert data[at : at + 4] == MASK
        payload = masked(data[at + 4 : at + 4 + size])
        at += 4 + size
        if first & 0x08:
            found.append((first, payload))
            continue
        assert (first & 0x0F != 0) == (under_way is None)
        under_way = (first & 0x0F, payload) if under_way is None else (under_way[0], under_way[1] + payload)
        if first & 0x80:
            found.append(under_way)
            under_way = None
    assert under_way is None
    return found


@given(
    st.lists(st.tuples(st.sampled_from(["whole", "fragments", "ping"]), st.sampled_from(SIZES)), max_size=6),
    st.lists(st.sampled_from([1, 2, 3, 13, 1000, 40_000, 200_000]), min_size=1, max_size=8),
)
def test_the_same_messages_in_smaller_frames(kinds: list[tuple[str, int]], steps: list[int]) -> None:
    sent, expected = b"", list[Message]()
    for number, (kind, size) in enumerate(kinds):
        payload = bytes((number + at) % 251 for at in range(size))
        if kind == "ping":
            sent += framed(0x89, payload[:125])
            expected.append((0x89, payload[:125]))
            continue
        half = size // 2 if kind == "fragments" else size
        if half < size:
            sent += framed(0x02, payload[:half]) + framed(0x80, payload[half:])
        else:
            sent += framed(0x82, payload)
        expected.append((2, payload))
    frames = LargeFrames(None, None)  # type: ignore[arg-type]
    passed, at, turn = b"", 0, 0
    while at < len(sent):
        # Small steps at first: one byte at a time through all of it would take too long.
        step = steps[turn % len(steps)] if turn < 200 else 200_000
        passed += frames.cut(sent[at : at + step])
        at, turn = at + step, turn + 1
    assert messages(passed) == expected


def test_what_is_no_frame_goes_through_as_it_is() -> None:
    for data in (b"\x82\x05hello", b"\xff" * 40, struct.pack("!BBQ", 0x82, 0xFF, 1 << 63) + MASK):
        assert LargeFrames(None, None).cut(data) == data  # type: ignore[arg-type]
