"""The frame header, byte by byte (wire.md 1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.wire import WireError
from clasp_edge.wire.frame import MAX_FRAME, MAX_PAYLOAD, FrameHeader, decode_frame, encode_frame


def test_a_ping() -> None:
    assert encode_frame(b"\x41").hex() == "5301000141"


def test_the_timestamp_stands_before_the_payload_and_is_not_counted() -> None:
    frame = encode_frame(b"\x41", qos=1, timestamp=42)
    assert frame.hex() == "53610001" + "000000000000002a" + "41"
    header, view = decode_frame(frame)
    assert header == FrameHeader(1, 1, False, False, 42)
    assert bytes(view) == b"\x41"


@given(payload=st.binary(max_size=64), qos=st.integers(0, 2), timestamp=st.none() | st.integers(0, 2**64 - 1))
def test_round_trip(payload: bytes, qos: int, timestamp: int | None) -> None:
    header, view = decode_frame(encode_frame(payload, qos, timestamp))
    assert (bytes(view), header.qos, header.timestamp, header.version) == (payload, qos, timestamp, 1)


def test_the_largest_frame() -> None:
    frame = encode_frame(bytes(MAX_PAYLOAD), timestamp=0)
    assert len(frame) == MAX_FRAME == 65547
    assert len(decode_frame(frame)[1]) == MAX_PAYLOAD == 65535


def test_the_payload_is_a_view_not_a_copy() -> None:
    data = bytearray(encode_frame(b"\x41"))
    view = decode_frame(data)[1]
    data[4] = 0x42
    assert bytes(view) == b"\x42"


def test_bytes_after_the_payload_are_ignored() -> None:
    assert bytes(decode_frame(encode_frame(b"\x41") + encode_frame(b"\x42"))[1]) == b"\x41"


def test_reserved_qos_reads_as_fire() -> None:
    assert decode_frame(bytes.fromhex("53c1000141"))[0].qos == 0


def test_encrypted_and_compressed_bits_are_told_but_change_nothing() -> None:
    header, payload = decode_frame(bytes.fromhex("5319000141"))
    assert (header.encrypted, header.compressed, bytes(payload)) == (True, True, b"\x41")


@pytest.mark.parametrize(
    ("payload", "qos", "timestamp", "kind"),
    [
        (bytes(MAX_PAYLOAD + 1), 0, None, "too-large"),
        (b"\x41", 3, None, "out-of-range"),
        (b"\x41", -1, None, "out-of-range"),
        (b"\x41", 0, -1, "out-of-range"),
        (b"\x41", 0, 2**64, "out-of-range"),
    ],
)
def test_what_a_frame_cannot_carry(payload: bytes, qos: int, timestamp: int | None, kind: str) -> None:
    with pytest.raises(WireError) as refusal:
        encode_frame(payload, qos, timestamp)
    assert refusal.value.kind == kind


@pytest.mark.parametrize("cut", range(len(encode_frame(b"\x41", timestamp=1))))
def test_a_frame_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(WireError) as refusal:
        decode_frame(encode_frame(b"\x41", timestamp=1)[:cut])
    assert refusal.value.kind == ("truncated-header" if cut < 4 else "length-mismatch")


def test_an_error_says_where() -> None:
    with pytest.raises(WireError, match=r"0x53, got 0x54 \(at byte 0\)") as refusal:
        decode_frame(b"\x54\x01\x00\x00")
    assert refusal.value.offset == 0
