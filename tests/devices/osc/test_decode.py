"""OSC packets read by hand-made bytes, against python-osc as an independent writer, and as garbage."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_message_builder import OscMessageBuilder

from clasp_edge.devices.osc.decode import OscError, count_messages, decode_message
from clasp_edge.devices.osc.encode import padded
from clasp_edge.devices.osc.packets import unix_time_us
from clasp_edge.wire import Value, decode_value

BUNDLE = b"#bundle\0"
NOW = bytes(7) + b"\x01"


def message(tags: str, data: bytes = b"", address: bytes = b"/a") -> bytes:
    return padded(address) + padded(b"," + tags.encode()) + data


def bundle(*elements: bytes, tag: bytes = NOW) -> bytes:
    return BUNDLE + tag + b"".join(struct.pack(">I", len(element)) + element for element in elements)


def value_of(packet: bytes) -> Value:
    _, _, value_type, value = decode_message(packet)
    return decode_value(value_type, value)


def reason(packet: bytes) -> str:
    with pytest.raises(OscError) as raised:
        decode_message(packet)
    return str(raised.value)


@pytest.mark.parametrize(
    ("tags", "data", "value"),
    [
        ("", b"", None),
        ("i", struct.pack(">i", -5), -5),
        ("h", struct.pack(">q", -(2**40)), -(2**40)),
        ("f", struct.pack(">f", 0.1), struct.unpack(">f", struct.pack(">f", 0.1))[0]),
        ("d", struct.pack(">d", 0.1), 0.1),
        ("s", b"abc\0", "abc"),
        ("s", b"\0\0\0\0", ""),
        ("S", b"sym\0", "sym"),
        ("s", "é".encode() + b"\0\0", "é"),
        ("s", "é".encode("latin-1") + b"\0\0\0", "é"),
        ("b", b"\0\0\0\x05hello\0\0\0", b"hello"),
        ("b", b"\0\0\0\0", b""),
        ("c", b"\0\0\0A", "A"),
        ("c", struct.pack(">I", 0x1F600), "\U0001f600"),
        ("c", struct.pack(">I", 0xD800), "\ufffd"),
        ("c", struct.pack(">I", 0xFFFFFFFF), "\ufffd"),
        ("r", bytes([1, 2, 254, 255]), [1, 2, 254, 255]),
        ("m", bytes([0, 0x90, 60, 127]), [0, 0x90, 60, 127]),
        ("t", bytes(8), None),
        ("T", b"", True),
        ("F", b"", False),
        ("N", b"", None),
        ("I", b"", math.inf),
        ("ii", struct.pack(">ii", 1, 2), [1, 2]),
        ("[]", b"", []),
        ("[i]", struct.pack(">i", 1), [1]),
        ("i[T[F]]N", struct.pack(">i", 1), [1, [True, [False]], None]),
    ],
)
def test_each_type(tags: str, data: bytes, value: Value) -> None:
    assert value_of(message(tags, data)) == value


def test_the_address_is_given_as_it_stands() -> None:
    assert decode_message(message("", address=b"/a/b c"))[:2] == (b"/a/b c", False)


@pytest.mark.parametrize("address", [b"/a/*", b"/a?", b"/[ab]", b"/{x,y}"])
def test_wildcards_are_seen(address: bytes) -> None:
    assert decode_message(message("", address=address))[:2] == (address, True)


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"", "neither a message nor a bundle"),
        (b"hello\0\0\0", "neither a message nor a bundle"),
        (b"/a bc", "it ends too early"),
        (b"/abc\0\0\0\0,i", "it ends too early"),
        (message("i", b"\0\0"), "it ends too early"),
        (message("h", bytes(6)), "it ends too early"),
        (message("si", b"no end"), "it ends too early"),
        (message("b", b"\0\0"), "it ends too early"),
        (message("b", b"\0\0\0\x09hello\0\0\0"), "it ends too early"),
        (message("b", b"\xff\xff\xff\xffhello\0\0\0"), "it ends too early"),
        (padded(b"/a") + struct.pack(">i", 1), "arguments without a type tag string"),
        (message("q"), "an argument of an unknown type"),
        (message("]"), "brackets of arrays that do not match"),
        (message("[i", struct.pack(">i", 1)), "brackets of arrays that do not match"),
        (message("[" * 33 + "]" * 33), "nested too deep"),
        (message("r" * 4000, bytes(16000)), "a value too large for CLASP"),
        (message("b", struct.pack(">I", 65536) + bytes(65536)), "a value too large for CLASP"),
    ],
)
def test_what_cannot_be_read_is_said(packet: bytes, why: str) -> None:
    assert reason(packet) == why


@pytest.mark.parametrize(
    ("packet", "value"),
    [
        (b"/a\0", None),  # no type tags, and nothing that would need them
        (b"/a\0\0,s\0\0abc\0", "abc"),
        (b"/a\0\0,s\0\0ab\0", "ab"),  # padding missing at the very end
        (b"/a\0\0,b\0\0\0\0\0\x01x", b"x"),
        (b"/a\0\0,i\0\0\0\0\0\x01extra", 1),
    ],
)
def test_what_is_sloppy_but_clear_is_taken(packet: bytes, value: Value) -> None:
    assert value_of(packet) == value


def test_a_long_text_fits_if_its_utf8_does() -> None:
    text = "x" * 40_000
    assert value_of(message("s", padded(text.encode()))) == text
    assert reason(message("s", padded(b"\xe9" * 40_000))) == "a value too large for CLASP"


@pytest.mark.parametrize(
    ("packet", "value"),
    [
        (b"/abc", None),
        (b"/a\0\0,s\0\0text", "text"),
        (b"/a\0\0,s\0\0no end", "no end"),
        (b"/a\0\0,i\0\0\0\0\x05", 5),
        (b"/a\0\0,b\0\0\x01\0\0\0x\0\0\0", b"x"),
        (b"/a\0\0,b\0\0\0\0\0\x01x", b"x"),
        (b"/a\0\0,i i\0\0\0\0\0\0\0\x01\0\0\0\x02", [1, 2]),
        (b"/a\0\0i\0\0\0\0\0\0\x07", 7),
    ],
)
def test_what_is_sloppy_and_can_mean_one_thing_only(packet: bytes, value: Value) -> None:
    assert value_of(packet) == value


# Bundles


def test_messages_of_bundles_within_bundles_are_counted() -> None:
    one = message("")
    assert count_messages(bundle()) == 0
    assert count_messages(bundle(one, bundle(one, one), bundle())) == 3


def test_nesting_is_bounded() -> None:
    packet = message("")
    for _ in range(16):
        packet = bundle(packet)
    assert count_messages(packet) == 1
    with pytest.raises(OscError, match="nested too deep"):
        count_messages(bundle(packet))


@pytest.mark.parametrize(
    "packet",
    [
        b"#bundle\0",
        BUNDLE + NOW + b"\0\0",
        BUNDLE + NOW + b"\0\0\0\x05/a\0\0",
        BUNDLE + NOW + b"\xff\xff\xff\xff" + message(""),
        bundle(bundle(b"", message(""))),
    ],
)
def test_a_bundle_whose_elements_do_not_fit_is_refused_as_a_whole(packet: bytes) -> None:
    with pytest.raises(OscError):
        count_messages(packet)


# Time tags


@pytest.mark.parametrize(
    ("seconds", "fraction", "unix_us"),
    [
        (0, 1, 0),
        (0, 0, 0),
        (2208988800, 0, 0),
        (2208988801, 1 << 31, 1_500_000),
        (0xFFFFFFFF, 0, (0xFFFFFFFF - 2208988800) * 1_000_000),
        (0, 2, ((1 << 32) - 2208988800) * 1_000_000),  # the next era, from February 2036
        (2**31 - 1, 0, ((1 << 32) + 2**31 - 1 - 2208988800) * 1_000_000),
        (2**31, 0, 0),  # 1968
    ],
)
def test_time_tags(seconds: int, fraction: int, unix_us: int) -> None:
    assert unix_time_us(seconds, fraction) == unix_us


# Against an independent implementation

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)
arguments = st.recursive(
    st.booleans()
    | st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32)
    | texts
    | st.binary(min_size=1, max_size=40),  # python-osc writes no empty blob
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def same(a: Value, b: Value) -> bool:
    """Equal, with NaN equal to itself and no int equal to a bool."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b)
    return type(a) is type(b) and a == b


@given(st.lists(arguments, max_size=6))
def test_what_python_osc_writes_is_read(values: list[Value]) -> None:
    builder = OscMessageBuilder("/some/where")
    for value in values:
        builder.add_arg(value)
    expected: Value = None if not values else values[0] if len(values) == 1 else values
    packet = builder.build().dgram
    assert decode_message(packet)[0] == b"/some/where"
    assert same(value_of(packet), expected)


# Garbage

pieces = st.lists(
    st.binary(max_size=12)
    | st.sampled_from(
        [b"/a\0\0", b"/\0\0\0", b",i\0\0", b",s\0\0", b",b\0\0", b",[[]]\0\0\0", BUNDLE, NOW, b"\0\0\0\x04"]
    )
)


@given(pieces.map(b"".join))
def test_garbage_is_read_or_refused(packet: bytes) -> None:
    try:
        address, _, value_type, value = decode_message(packet)
    except OscError:
        pass
    else:
        assert address == packet.split(b"\0", 1)[0]
        decode_value(value_type, value)  # whatever comes out is a value that every client can read
    try:
        assert count_messages(packet) >= 0
    except OscError as error:
        assert str(error)


@given(st.lists(arguments, min_size=1, max_size=4), st.data())
def test_every_cut_is_noticed_or_harmless(values: list[Value], data: st.DataObject) -> None:
    builder = OscMessageBuilder("/x")
    for value in values:
        builder.add_arg(value)
    packet = builder.build().dgram
    cut = packet[: data.draw(st.integers(0, len(packet) - 1))]
    try:
        address, _, value_type, value_bytes = decode_message(cut)
    except OscError:
        return
    found = decode_value(value_type, value_bytes)
    if len(cut) <= packet.index(b","):
        assert "/x".startswith(address.decode())
        assert found is None, "only the address is left, without arguments"
    else:
        # A string may lack its end, and short padding can be read as the arguments' own bytes; none is missing.
        assert address == b"/x"
        assert len(values) == 1 or (isinstance(found, list) and len(found) == len(values))
