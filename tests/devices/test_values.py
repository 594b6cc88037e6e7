"""Payloads and values: what each stands for, and that nothing is lost on the way there and back that text can carry."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.values import encoded_value_of, payload_of, value_of
from clasp_edge.wire import Kind, Value, ValueType, WireError, decode_value, encode_value

I64 = st.integers(-(2**63), 2**63 - 1)
LEAVES = st.none() | st.booleans() | I64 | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def same(one: Value, other: Value) -> bool:
    """Equal, of the same type all the way down, and with the same sign of zero."""
    return repr(one) == repr(other) and type(one) is type(other)


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"42", 42),
        (b" 42 ", 42),
        (b"42.5", 42.5),
        (b"1.0", 1.0),
        (b"-0.0", -0.0),
        (b"1e3", 1000.0),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", float(2**63)),
        (b"[99999999999999999999999]", [1e23]),
        (b"7" * 330, math.inf),
        (b"7" * 500, "7" * 500),
        (b"1." + b"0" * 500, "1." + "0" * 500),
        (b"[" + b"7" * 330 + b"]", "[" + "7" * 330 + "]"),
        (b"true", True),
        (b"null", None),
        (b'"42"', "42"),
        (b'{"a": [1, 2.0, "x"]}', {"a": [1, 2.0, "x"]}),
        (b"+5", 5.0),
        (b".5", 0.5),
        (b"5.", 5.0),
        (b"inf", math.inf),
        (b"-Infinity", -math.inf),
        (b"on", "on"),
        (b"", ""),
        (b"1_000", "1_000"),
        ("٣".encode(), "٣"),
        (b"tru", "tru"),
        (b'{"a": ', '{"a": '),
        (b"21 C", "21 C"),
        (b"\xff\x00", b"\xff\x00"),
    ],
)
def test_what_a_payload_stands_for(payload: bytes, value: Value) -> None:
    assert same(value_of(payload), value)


def test_not_a_number_is_one_float() -> None:
    found = value_of(b"NaN")
    assert isinstance(found, float)
    assert math.isnan(found)
    assert payload_of(found) == b"nan"


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        (None, b"null"),
        (True, b"true"),
        (7, b"7"),
        (1.0, b"1.0"),
        ("plain text", b"plain text"),
        ("tablet", b"tablet"),
        ("42", b'"42"'),
        ("true", b'"true"'),
        ('"quoted"', b'"\\"quoted\\""'),
        ("[1]", b'"[1]"'),
        (b"\xff", b"\xff"),
        ([1, b"\x01\x02", math.nan], b"[1,[1,2],null]"),
        ({"a": 1.5}, b'{"a":1.5}'),
    ],
)
def test_what_a_value_looks_like(value: Value, payload: bytes) -> None:
    assert payload_of(value) == payload


@given(VALUES)
def test_a_value_survives_the_way_there_and_back(value: Value) -> None:
    assert same(value_of(payload_of(value)), value)


@given(st.sampled_from([math.inf, -math.inf]))
def test_infinities_survive_on_their_own(value: float) -> None:
    assert value_of(payload_of(value)) == value


@given(st.floats(width=32, allow_nan=False))
def test_a_narrow_float_keeps_its_exact_value(value: float) -> None:
    assert same(value_of(payload_of(value)), value)


@given(st.binary(max_size=200))
def test_every_payload_has_an_encodable_value_of_the_same_meaning(payload: bytes) -> None:
    code, data = encoded_value_of(payload)
    value = decode_value(code, data)
    again = value_of(payload_of(value))
    assert repr(again) == repr(value) or isinstance(value, bytes)


@given(st.binary(max_size=40).filter(lambda data: not data.isascii()))
def test_bytes_that_are_no_text_survive(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        assert value_of(payload_of(data)) == data


def test_json_that_nests_too_deep_stays_text() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    assert encoded_value_of(deep) == encode_value(deep.decode())
    assert encoded_value_of(b"[" * 60 + b"]" * 60)[0] in (ValueType.STRING, ValueType.ARRAY)


def test_more_than_a_string_can_have_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        encoded_value_of(b"x" * 65536)
    assert caught.value.kind is Kind.TOO_LARGE
