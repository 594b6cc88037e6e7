"""Values to OSC arguments and back: what must not be lost is not lost, and python-osc reads the same."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage

from clasp_edge.devices.osc.decode import decode_message
from clasp_edge.devices.osc.encode import MAX_FRACTIONS, Encoder, Floats, Kind
from clasp_edge.wire import Value, ValueType, decode_value
from clasp_edge.wire.pattern import Pattern
from clasp_edge.wire.values import encode_value

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | texts | st.binary(max_size=40)
nested = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5), max_leaves=15)


def tags_of(packet: bytes) -> bytes:
    return packet[packet.index(b",") :].split(b"\0")[0]


def back(packet: bytes) -> Value:
    _, _, value_type, value = decode_message(packet)
    return decode_value(value_type, value)


def same(a: Value, b: Value) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack(">d", a) == struct.pack(">d", b) or (a != a and b != b)
    return type(a) is type(b) and a == b


def flat(value: Value) -> Value:
    """What is left of a value's shape where nested arrays become one row of arguments."""

    def row(values: list[Value]) -> list[Value]:
        return [leaf for v in values for leaf in (row(v) if isinstance(v, list) else [v])]

    if not isinstance(value, list):
        return value
    leaves = row(value)
    return leaves if len(leaves) > 1 else leaves[0] if leaves else None


def test_an_address_of_fractions_stays_one_of_floats() -> None:
    """A page's fader says 0.5 and then, in JavaScript, 1: no other type to a device."""
    encoder = Encoder()

    def told(value: Value, address: bytes = b"/fader") -> bytes:
        return tags_of(encoder.message(address, value))

    assert [told(value) for value in (1, 0.5, 1, 0, -1)] == [b",i", b",f", b",f", b",f", b",f"]
    assert told(1, b"/other") == b",i"
    assert [told(value) for value in (True, None, "x", 2**25, 1)] == [b",T", b",N", b",s", b",i", b",f"]
    assert back(encoder.message(b"/fader", 3)) == 3.0
    assert [told(value, b"/button") for value in (1.0, 0.0, 1)] == [b",f", b",f", b",i"], "no fraction"
    assert [told(value, b"/odd") for value in (math.inf, math.nan, 1)] == [b",f", b",f", b",i"]


def test_rows_with_fractions_stay_rows_of_floats() -> None:
    encoder = Encoder()

    def told(value: Value) -> bytes:
        return tags_of(encoder.message(b"/xy", value))

    assert [told(row) for row in ([1, 1], [0.5, 1], [1, 0.25], [1, 0])] == [b",ii", b",fi", b",ff", b",ff"]
    assert told([1, 1, 1]) == b",iii", "another row"
    assert told(1) == b",i"
    assert told([1, 1]) == b",ff"


def test_what_an_address_wants_is_not_learnt() -> None:
    encoder = Encoder(kinds=[(Pattern(b"/on"), "bool-as-int")])
    assert [tags_of(encoder.message(b"/on", value)) for value in (0.5, 1, True)] == [b",f", b",i", b",i"]


def test_addresses_of_fractions_are_bounded() -> None:
    encoder = Encoder()
    for number in range(MAX_FRACTIONS + 1):
        encoder.message(b"/%d" % number, 0.5)
    assert tags_of(encoder.message(b"/0", 1)) == b",i"
    assert tags_of(encoder.message(b"/1", 1)) == b",f"


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (None, b",N"),
        (True, b",T"),
        (False, b",F"),
        (2**31 - 1, b",i"),
        (-(2**31), b",i"),
        (2**31, b",h"),
        (0.5, b",f"),
        (0.1, b",f"),
        (math.inf, b",f"),
        (math.nan, b",f"),
        (1e300, b",f"),
        ("text", b",s"),
        ("a\0b", b",b"),
        (b"bytes", b",b"),
        ([1, 2.5, "x"], b",ifs"),
        ([1, [2, [3]]], b",iii"),
        ([], b","),
        ({"a": 1}, b",s"),
    ],
)
def test_the_tags_of_each_type(value: Value, tags: bytes) -> None:
    assert tags_of(Encoder().message(b"/a", value)) == tags


@pytest.mark.parametrize(
    ("floats", "value", "tags"),
    [("exact", 0.1, b",d"), ("single", 0.1, b",f"), ("double", 0.5, b",d"), ("single", 1e300, b",f")],
)
def test_floats_as_configured(floats: Floats, value: float, tags: bytes) -> None:
    assert tags_of(Encoder(floats).message(b"/a", value)) == tags


@pytest.mark.parametrize(
    ("kind", "value", "tags", "arguments"),
    [
        ("float", 1, b",f", [1.0]),
        ("float", True, b",f", [1.0]),
        ("float", [1, "x", 0.5], b",fsf", [1.0, "x", 0.5]),
        ("int", 0.9999, b",i", [1]),
        ("int", True, b",i", [1]),
        ("int", math.nan, b",f", None),
        ("double", 0.5, b",d", [0.5]),
        ("whole-as-int", 3.0, b",i", [3]),
        ("whole-as-int", 0.5, b",f", [0.5]),
        ("whole-as-int", -1e19, b",f", None),
        ("int", [1e300, 1], b",fi", None),
        ("bool-as-int", False, b",i", [0]),
        ("bool-as-int", 0.5, b",f", [0.5]),
        ("string", 0.5, b",s", ["0.5"]),
        ("string", None, b",s", [""]),
        ("brackets", [1, [2]], b",i[i]", [1, [2]]),
        ("flat", [1, [2]], b",ii", [1, 2]),
    ],
)
def test_what_an_address_wants(kind: Kind, value: Value, tags: bytes, arguments: list[Value] | None) -> None:
    encoder = Encoder(kinds=[(Pattern(b"/a/**"), kind)])
    packet = encoder.message(b"/a/x", value)
    assert tags_of(packet) == tags
    if arguments is not None:
        assert same(list(OscMessage(packet).params), arguments)
    assert encoder.message(b"/b", value) == Encoder().message(b"/b", value), (
        "other addresses want nothing in particular"
    )


def test_what_a_single_cannot_hold_becomes_infinite() -> None:
    assert back(Encoder("single").message(b"/a", -1e300)) == -math.inf


@pytest.mark.parametrize(
    ("value", "tags"), [([], b",[]"), ([1], b",[i]"), ([1, [2, [3]]], b",i[i[i]]"), ([[]], b",[[]]"), (1, b",i")]
)
def test_arrays_in_brackets(value: Value, tags: bytes) -> None:
    assert tags_of(Encoder(arrays="brackets").message(b"/a", value)) == tags


def test_a_map_is_json_text_with_bytes_as_numbers() -> None:
    value = {"b": b"\x01\xff", "n": [None, math.nan], "m": {"x": 1.5}}
    assert back(Encoder().message(b"/a", value)) == '{"b":[1,255],"n":[null,null],"m":{"x":1.5}}'


@given(scalars)
def test_no_scalar_loses_anything(value: Value) -> None:
    assert same(back(Encoder("exact").message(b"/some/where", value)), value)


@given(nested)
def test_brackets_lose_no_shape(value: Value) -> None:
    assert same(back(Encoder("exact", arrays="brackets").message(b"/a", value)), value)


@given(nested)
def test_flat_arrays_lose_their_shape_and_nothing_else(value: Value) -> None:
    assert same(back(Encoder("exact").message(b"/a", value)), flat(value))


@given(st.lists(scalars, min_size=2, max_size=6))
def test_python_osc_reads_the_same(values: list[Value]) -> None:
    packet = Encoder("exact").message(b"/some/where", values)
    assert len(packet) % 4 == 0
    message = OscMessage(packet)
    assert message.address == "/some/where"
    assert same(message.params, values)


@given(nested, st.sampled_from(["exact", "single", "double"]))
def test_every_message_can_be_read(value: Value, floats: Floats) -> None:
    address, is_pattern, _, _ = decode_message(Encoder(floats).message(b"/a", value))
    assert (address, is_pattern) == (b"/a", False)


any_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
everything = st.recursive(scalars | any_text, lambda inner: st.lists(inner, max_size=5), max_leaves=15)
rows = st.lists(
    st.sampled_from([0, 1, 2**24, 2**24 + 1, -3, 0.5, 1.0, 0.1, math.inf, True, None, [0.5], [2, 3]]), max_size=3
)


@given(
    st.lists(st.tuples(st.sampled_from([b"/a", b"/b", b"/cde"]), everything | rows), max_size=8),
    st.sampled_from(["single", "exact", "double"]),
)
def test_what_is_made_without_decoding_is_the_same(told: list[tuple[bytes, Value]], floats: Floats) -> None:
    """Also where an address has become one of floats, by the one or by the other."""
    one, other = Encoder(floats), Encoder(floats)
    for address, value in told:
        assert one.plain(address, *encode_value(value)) == other.message(address, value)
        assert one.has_fractions(address) == other.has_fractions(address)
    assert one.learned == other.learned


@given(st.floats(width=32), st.integers(-(2**31), 2**31 - 1), st.sampled_from(["single", "exact", "double"]))
def test_so_is_what_has_fewer_bytes(single: float, whole: int, floats: Floats) -> None:
    one, other = Encoder(floats), Encoder(floats)
    narrow = ((whole >> 24, ValueType.I8, ">b"), (whole >> 16, ValueType.I16, ">h"), (whole, ValueType.I32, ">i"))
    parts = [struct.pack(">B", value_type) + struct.pack(form, value) for value, value_type, form in narrow]
    parts += [struct.pack(">Bf", ValueType.F32, single), bytes([ValueType.NULL]), bytes([ValueType.BOOL, 2])]
    row = len(parts).to_bytes(2, "big") + b"".join(parts)
    for value_type, data in (*((part[0], part[1:]) for part in parts), (ValueType.ARRAY, row)):
        assert one.plain(b"/a", value_type, data) == other.message(b"/a", decode_value(value_type, data))


@pytest.mark.parametrize("floats", ["single", "exact", "double"])
def test_a_long_row_of_small_numbers_that_go_out_as_floats(floats: Floats) -> None:
    """Each takes two bytes as it is and up to eight as it goes out."""
    one, other = Encoder(floats), Encoder(floats)
    fractions: list[Value] = [0.5] * 7000
    small = (7000).to_bytes(2, "big") + bytes((ValueType.I8, 3)) * 7000
    assert one.plain(b"/a", *encode_value(fractions)) == other.message(b"/a", fractions)
    assert one.plain(b"/a", ValueType.ARRAY, small) == other.message(b"/a", [3] * 7000)


@pytest.mark.parametrize(
    "encoder", [Encoder(arrays="brackets"), Encoder(kinds=[(Pattern(b"/a"), "int")])], ids=["brackets", "kinds"]
)
def test_who_wants_something_in_particular_gets_that(encoder: Encoder) -> None:
    assert encoder.plain(b"/a", *encode_value([1.5])) is None


def test_a_map_is_decoded_and_so_is_what_cannot_be_read() -> None:
    encoder = Encoder()
    assert encoder.plain(b"/a", *encode_value({"k": 1})) is None
    assert encoder.plain(b"/a", *encode_value([1, {"k": 1}])) is None
    for value in (1, 0.5, "text", b"blob", [1, [2, "three"]], True):
        value_type, data = encode_value(value)
        for end in range(len(data)):
            assert encoder.plain(b"/a", value_type, data[:end]) is None
    assert encoder.plain(b"/a", 0x0C, b"") is None
    assert encoder.plain(b"/a", ValueType.ARRAY, b"\0\1\x0a" * 70 + b"\0\0") is None, "deeper than any value is"
