"""The measuring scan against the decoder that builds the value, and against Python's UTF-8."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.wire_strategies import values

from clasp_edge.dataplane.clasp_receiver import FAULTS
from clasp_edge.dataplane.scan import measure_value
from clasp_edge.wire import MAX_VALUE_DEPTH, WireError, encode_value
from clasp_edge.wire.primitives import Reader
from clasp_edge.wire.values import read_value

ARRAY, MAP, STRING = 0x0A, 0x0B, 0x08

# Bytes that mean something: type codes, small counts, the edges of UTF-8.
_TELLING = (*range(0x0E), 0x7F, 0x80, 0xBF, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xFF)
telling = st.sampled_from([bytes((code,)) for code in _TELLING])
plausible = st.lists(telling | st.binary(max_size=9), max_size=40).map(b"".join)


def decoded(code: int, data: bytes) -> int | str:
    """The size of the value by the decoder, or the class of its refusal."""
    reader = Reader(data)
    try:
        read_value(reader, code)
    except WireError as error:
        return str(error.kind)
    return reader.pos


def measured(code: int, data: bytes) -> int | str:
    size = measure_value(code, data)
    return FAULTS[size] if size < 0 else size


def nested(depth: int) -> bytes:
    """The data of an array that holds arrays, `depth` of them in all."""
    return b"\x00\x01\x0a" * (depth - 1) + b"\x00\x00"


@given(st.integers(0, 0x10), plausible | st.binary(max_size=64))
def test_agrees_with_the_decoder_on_any_bytes(code: int, data: bytes) -> None:
    assert measured(code, data) == decoded(code, data)


@given(values, st.binary(max_size=8), st.integers(min_value=0))
def test_agrees_on_real_values_whole_and_cut(value: object, rest: bytes, cut: int) -> None:
    code, data = encode_value(value)
    assert measured(code, data + rest) == len(data)
    part = data[: cut % (len(data) + 1)]
    assert measured(code, part) == decoded(code, part)


@given(st.binary(max_size=48) | plausible | st.text(max_size=24).map(str.encode))
def test_is_as_strict_as_python_about_utf8(text: bytes) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        expected: int | str = "bad-utf8"
    else:
        expected = 2 + len(text)
    assert measured(STRING, len(text).to_bytes(2, "big") + text) == expected


def test_every_sequence_of_one_lead_byte_and_its_second() -> None:
    for lead in range(0x80, 0x100):
        for second in range(0x100):
            for tail in (b"", b"\x80", b"\x80\x80"):
                for padding in (b"", b"12345678"):
                    text = padding + bytes((lead, second)) + tail
                    data = len(text).to_bytes(2, "big") + text
                    assert measured(STRING, data) == decoded(STRING, data), text


def test_values_nest_as_deep_as_the_wire_allows() -> None:
    assert measured(ARRAY, nested(MAX_VALUE_DEPTH)) == len(nested(MAX_VALUE_DEPTH))
    assert measured(ARRAY, nested(MAX_VALUE_DEPTH + 1)) == "depth"
    assert measured(MAP, b"\x00\x01\x00\x00\x0a" + nested(MAX_VALUE_DEPTH)) == "depth"


def test_depth_is_of_one_branch_and_not_of_all() -> None:
    branch = b"\x0a" + nested(MAX_VALUE_DEPTH - 1)
    data = b"\x00\x03" + branch * 3
    assert measured(ARRAY, data) == len(data)
