"""v3 values: layouts, round trips, bounds and depth (wire.md 2.2)."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire_strategies import floats, texts, values

from clasp_edge.wire import (
    MAX_VALUE_DEPTH,
    WireError,
    decode_typed_value,
    decode_value,
    encode_typed_value,
    encode_value,
)


def nested(depth: int, kind: type) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value] if kind is list else {"k": value}
    return value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, "00"),
        (True, "0101"),
        (False, "0100"),
        (-2, "05fffffffffffffffe"),
        (0.5, "073fe0000000000000"),
        (-0.0, "078000000000000000"),
        ("é", "080002c3a9"),
        (b"\xff", "090001ff"),
        ([1, None], "0a000205000000000000000100"),
        ({"k": [True]}, "0b000100016b0a00010101"),
    ],
)
def test_layouts(value: Any, encoded: str) -> None:
    assert encode_typed_value(value).hex() == encoded
    code, data = encode_value(value)
    assert bytes([code]) + data == bytes.fromhex(encoded)
    assert repr(decode_typed_value(bytes.fromhex(encoded))) == repr(value)


@pytest.mark.parametrize(
    ("code", "data", "value"),
    [(2, "fe", -2), (3, "fffe", -2), (4, "fffffffe", -2), (6, "3f000000", 0.5), (1, "07", True)],
)
def test_widths_that_only_decoders_know(code: int, data: str, value: Any) -> None:
    decoded = decode_value(code, bytes.fromhex(data))
    assert decoded == value
    assert type(decoded) is type(value)


@given(values)
def test_round_trip(value: Any) -> None:
    # repr tells 1 from 1.0 and True, and 0.0 from -0.0, which == does not.
    assert repr(decode_typed_value(encode_typed_value(value))) == repr(value)
    code, data = encode_value(value)
    assert repr(decode_value(code, memoryview(data))) == repr(value)


@given(st.booleans(), st.integers(1, 2**52 - 1))
def test_a_nan_stays_a_nan(negative: bool, fraction: int) -> None:
    value = decode_value(7, (negative << 63 | 0x7FF << 52 | fraction).to_bytes(8))
    assert isinstance(value, float)
    assert math.isnan(value)
    assert math.isnan(struct.unpack(">d", encode_value(value)[1])[0])


@given(st.lists(floats, max_size=5), st.dictionaries(texts, st.integers(0, 9), max_size=5))
def test_what_encoders_take_beyond_what_decoders_give(numbers: list[float], mapping: dict[str, int]) -> None:
    assert encode_value(tuple(numbers)) == encode_value(numbers)
    for raw in (bytearray(b"ab"), memoryview(b"ab")):
        assert encode_value(raw) == encode_value(b"ab")
    assert decode_typed_value(encode_typed_value(mapping)) == mapping


def test_of_a_repeated_key_the_last_one_wins() -> None:
    assert decode_value(11, bytes.fromhex("000200016b0000016b0101")) == {"k": True}


@pytest.mark.parametrize("kind", [list, dict])
def test_depth(kind: type) -> None:
    deepest = nested(MAX_VALUE_DEPTH, kind)
    encoded = encode_typed_value(deepest)
    assert decode_typed_value(encoded) == deepest
    with pytest.raises(WireError) as refusal:
        encode_value([deepest])
    assert refusal.value.kind == "depth"
    with pytest.raises(WireError) as refusal:
        decode_typed_value(b"\x0a\x00\x01" + encoded)
    assert refusal.value.kind == "depth"


def test_a_list_within_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(WireError) as refusal:
        encode_value(loop)
    assert refusal.value.kind == "depth"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (2**63, "out-of-range"),
        (-(2**63) - 1, "out-of-range"),
        ("x" * 65536, "too-large"),
        (bytes(65536), "too-large"),
        ([None] * 65536, "too-large"),
        (dict.fromkeys(map(str, range(65536))), "too-large"),
        ("\ud800", "bad-utf8"),
        (1j, "unencodable"),
        ({1: 2}, "unencodable"),
        ({1, 2}, "unencodable"),
        (object(), "unencodable"),
    ],
)
def test_what_is_no_value(value: Any, kind: str) -> None:
    with pytest.raises(WireError) as refusal:
        encode_value(value)
    assert refusal.value.kind == kind


def test_bytes_after_a_whole_value_are_refused() -> None:
    with pytest.raises(WireError) as refusal:
        decode_typed_value(b"\x00\x00")
    assert refusal.value.kind == "length-mismatch"


@given(values, st.data())
def test_a_value_cut_anywhere_is_refused(value: Any, data: st.DataObject) -> None:
    encoded = encode_typed_value(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(WireError) as refusal:
        decode_typed_value(encoded[:cut])
    assert refusal.value.kind == "truncated-payload"
