"""The walk over MessagePack structure finds the same end as the library, and refuses what must not be built."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.wire import WireError
from clasp_edge.wire.errors import Kind
from clasp_edge.wire.legacy import decode_payload
from clasp_edge.wire.msgpack_scan import MAX_NESTING, end_of_object

anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=300))
    | st.builds(msgpack.Timestamp, st.integers(0, 2**40), st.integers(0, 10**9 - 1)),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
    max_leaves=30,
)


@given(anything, st.binary(max_size=4))
def test_the_end_of_any_object(thing: Any, rest: bytes) -> None:
    packed = msgpack.packb(thing)
    assert end_of_object(packed + rest) == len(packed)


@given(anything, st.data())
def test_an_object_cut_anywhere_is_malformed(thing: Any, data: st.DataObject) -> None:
    packed = msgpack.packb(thing)
    with pytest.raises(WireError) as refusal:
        end_of_object(packed[: data.draw(st.integers(0, len(packed) - 1))])
    assert refusal.value.kind == "msgpack-malformed"


@pytest.mark.parametrize(
    "header",
    ["c403", "c50003", "c600000003", "c70301", "c8000301", "c90000000301", "d903", "da0003", "db00000003"],
)
def test_lengths_of_all_widths(header: str) -> None:
    packed = bytes.fromhex(header) + b"abc"
    assert end_of_object(packed + b"?") == len(packed)


def test_a_short_float() -> None:
    assert end_of_object(bytes.fromhex("ca3f000000") + b"?") == 5


@pytest.mark.parametrize("header", ["dc0003", "dd00000003"])
def test_counts_of_all_widths(header: str) -> None:
    assert end_of_object(bytes.fromhex(header) + b"\x01\x02\x03\x04") == len(header) // 2 + 3


@given(st.binary(max_size=40))
def test_agrees_with_the_library_on_arbitrary_bytes(data: bytes) -> None:
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=100, object_pairs_hook=list)
    unpacker.feed(data)
    try:
        unpacker.skip()
        expected: int | None = unpacker.tell()
    except (msgpack.UnpackException, ValueError):
        expected = None
    try:
        end: int | None = end_of_object(data)
    except WireError as refusal:
        assert refusal.kind == "msgpack-malformed"
        end = None
    assert end == expected


def test_nesting() -> None:
    assert end_of_object(b"\x91" * MAX_NESTING + b"\xc0") == MAX_NESTING + 1
    with pytest.raises(WireError) as refusal:
        end_of_object(b"\x91" * (MAX_NESTING + 1) + b"\xc0")
    assert refusal.value.kind == "depth"


def test_claimed_counts_allocate_nothing() -> None:
    # The library alone would allocate 60 lists of 65 535 entries for these 186 bytes: 31 MB.
    claims = b"\x81\xa4type" + b"\xdc\xff\xff" * 60
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode_payload(claims + bytes(65535 - len(claims)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("value", [[None] * 32_000, [[]] * 5_000, [{}] * 5_000, [[[[1]]]] * 2_000])
def test_what_would_take_long_to_build_is_refused(value: object) -> None:
    packed = msgpack.packb(value)
    assert len(packed) < 65_535
    with pytest.raises(WireError) as caught:
        end_of_object(packed)
    assert caught.value.kind is Kind.TOO_LARGE


@pytest.mark.parametrize(
    "value", [[0.5] * 7_280, [{"type": "SET", "address": "/a", "value": None}] * 2_300, [[]] * 3_000]
)
def test_what_fills_a_payload_is_not(value: object) -> None:
    packed = msgpack.packb(value)
    assert end_of_object(packed) == len(packed)
