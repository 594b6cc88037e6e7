"""Packets on streams: whatever is wrapped comes out again, however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.osc.framing import (
    MAX_PACKET_BYTES,
    FramingError,
    FramingName,
    LengthSplitter,
    SlipSplitter,
    splitter,
    wrap,
)

framings = st.sampled_from(["slip", "length"])
packets = st.lists(
    st.binary(min_size=1, max_size=30) | st.text("\xc0\xdb\xdc\xddx", min_size=1).map(lambda t: t.encode("latin-1"))
)


@given(framings, packets, st.integers(1, 7))
def test_what_is_wrapped_comes_out(framing: FramingName, sent: list[bytes], step: int) -> None:
    stream = b"".join(wrap(framing, packet) for packet in sent)
    reader = splitter(framing)
    found = [packet for at in range(0, len(stream), step) for packet in reader.feed(stream[at : at + step])]
    assert found == sent


def test_slip_bytes_are_those_of_rfc_1055() -> None:
    assert wrap("slip", b"a\xc0\xdbb") == b"\xc0a\xdb\xdc\xdb\xddb\xc0"
    assert SlipSplitter().feed(b"one\xc0two\xc0\xc0three\xc0") == [b"one", b"two", b"three"]


def test_length_bytes_are_big_endian() -> None:
    assert wrap("length", b"/a\0\0") == b"\0\0\0\x04/a\0\0"


@pytest.mark.parametrize("stream", [b"a\xdbx\xc0", b"a\xdb\xc0", b"\xdb\xdb\xc0"])
def test_a_stray_escape_ends_it(stream: bytes) -> None:
    with pytest.raises(FramingError):
        SlipSplitter().feed(stream)


def test_what_never_ends_is_given_up() -> None:
    reader = SlipSplitter()
    reader.feed(b"x" * 2 * MAX_PACKET_BYTES)
    with pytest.raises(FramingError):
        reader.feed(b"x")


@pytest.mark.parametrize("size", [MAX_PACKET_BYTES + 1, 0xFFFFFFFF])
def test_a_length_beyond_any_packet_is_refused(size: int) -> None:
    with pytest.raises(FramingError):
        LengthSplitter().feed(size.to_bytes(4, "big"))


@given(framings, st.lists(st.binary(max_size=20)))
def test_garbage_gives_packets_or_an_end(framing: FramingName, stream: list[bytes]) -> None:
    reader = splitter(framing)
    try:
        for data in stream:
            for packet in reader.feed(data):
                assert len(packet) <= MAX_PACKET_BYTES
    except FramingError as error:
        assert str(error)
