"""The compiled reading and printing of payloads agrees with the definition in Python, `devices.values`."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clasp_edge.dataplane.payload import event_frame, printed_value, typed_payload, use_converters
from clasp_edge.devices.values import encoded_value_of, payload_of
from clasp_edge.wire import Publish, decode, decode_value


@pytest.fixture(autouse=True)
def converters() -> None:
    use_converters(encoded_value_of, lambda value_type, data: payload_of(decode_value(value_type, data)))


pieces = st.sampled_from(
    [b"0", b"1", b"9", b"-", b"+", b".", b"e", b"E", b"inf", b"nan", b"true", b"null", b" ", b'"', b"{", b"}", b"[1]",
     b"a", b"\xff", b"\xc3\xa4", b"9223372036854775807", b"9223372036854775808", b"\0", b"7" * 330, b"0" * 401]
)  # fmt: skip
payloads = st.lists(pieces, max_size=5).map(b"".join) | st.binary(max_size=30)


@given(payloads)
@example(b"\x01\xff")
@example(b" \xff \n")
@example(b"x\n")
@example(b"\x00")
@example(b"\x1f5")
@example(b" 5")
@example(b"-9223372036854775808")
@example(b"-0")
@example(b"1e400")
@example(b"00")
@example(b"7" * 330)
@example(b" " + b"7" * 330)
@example(b"7" * 500)
@example(b"1." + b"0" * 500)
@example(b"[" + b"7" * 330 + b"]")
@example(b'{"a": -' + b"7" * 500 + b"}")
def test_typing(payload: bytes) -> None:
    value_type, data, _ = typed_payload(payload)
    assert (value_type, data) == encoded_value_of(payload)


@given(payloads)
@example(b"7" * 500)
@example(b"1." + b"0" * 500)
def test_exact_means_that_printing_gives_the_payload_back(payload: bytes) -> None:
    value_type, data, exact = typed_payload(payload)
    assert not exact or printed_value(value_type, data) == payload


@given(payloads)
@example(b"7" * 330)
@example(b"7" * 500)
@example(b"[" + b"7" * 330 + b"]")
def test_printing(payload: bytes) -> None:
    value_type, data, _ = typed_payload(payload)
    assert printed_value(value_type, data) == payload_of(decode_value(value_type, data))


@given(st.floats(allow_nan=False))
def test_floats_print_as_python_prints_them(number: float) -> None:
    assert printed_value(0x07, struct.pack(">d", number)) == repr(number).encode()


@given(payloads)
def test_the_frame_of_an_event(payload: bytes) -> None:
    frame = event_frame(b"/mqtt/a", payload)
    assert frame is not None
    _, message = decode(frame)
    assert isinstance(message, Publish)
    assert message.address == "/mqtt/a"


def test_a_payload_no_value_can_hold() -> None:
    frame = event_frame(b"/mqtt/a", b"x" * 65536)
    assert frame is not None
    said = decode(frame)[1]
    assert isinstance(said, Publish)
    assert said.value == {"too_large": 65536}
    with pytest.raises(ValueError, match="too long"):
        typed_payload(b"x" * 65536)
