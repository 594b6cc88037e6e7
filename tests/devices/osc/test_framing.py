"""Packets on streams: whatever is wrapped comes out again, however the stream is cut, whichever framing it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.osc.framing import (
    MAX_PACKET_BYTES,
    MAX_SKIPPED_BYTES,
    FramingError,
    FramingName,
    Splitter,
    wrap,
)

framings = st.sampled_from(["slip", "length"])
bodies = st.binary(max_size=30) | st.text("\xc0\xdb\xdc\xddx", max_size=20).map(lambda t: t.encode("latin-1"))
packets = st.lists(bodies.map(lambda body: b"/" + body))


class Reader:
    """A splitter, and what it named."""

    def __init__(self, framing: FramingName | None = None) -> None:
        self.named: list[str] = []
        self.splitter = Splitter(self.named.append, framing)

    def feed(self, data: bytes) -> list[bytes]:
        return self.splitter.feed(data)


@given(framings, packets, st.integers(1, 7))
def test_what_is_wrapped_comes_out_and_the_framing_is_told_by_itself(
    framing: FramingName, sent: list[bytes], step: int
) -> None:
    stream = b"".join(wrap(framing, packet) for packet in sent)
    reader = Reader()
    found = [packet for at in range(0, len(stream), step) for packet in reader.feed(stream[at : at + step])]
    assert found == sent
    assert reader.splitter.framing == (framing if sent else None)
    assert not reader.named


def test_slip_bytes_are_those_of_rfc_1055() -> None:
    assert wrap("slip", b"a\xc0\xdbb") == b"\xc0a\xdb\xdc\xdb\xddb\xc0"
    assert Reader().feed(b"/one\xc0two\xc0\xc0three\xc0") == [b"/one", b"two", b"three"]


def test_length_bytes_are_big_endian() -> None:
    assert wrap("length", b"/a\0\0") == b"\0\0\0\x04/a\0\0"


def test_little_endian_sizes_are_understood_and_named() -> None:
    reader = Reader()
    assert reader.feed(b"\x04\0\0\0/a\0\0" * 2) == [b"/a\0\0"] * 2
    assert "little-endian" in reader.named[0]
    assert wrap("length-le", b"/a\0\0") == b"\x04\0\0\0/a\0\0", "and answered in kind"


def test_no_framing_at_all_is_understood_and_named() -> None:
    reader = Reader()
    assert reader.feed(b"/a\0\0,\0\0\0") == []
    assert reader.splitter.undecided
    assert reader.splitter.settle() == [b"/a\0\0,\0\0\0"]
    assert "without framing" in reader.named[0]
    assert reader.feed(b"/b\0\0,\0\0\0") == [b"/b\0\0,\0\0\0"]


@pytest.mark.parametrize("stream", [b"a\xdbx\xc0", b"a\xdb\xc0", b"\xdb\xdb\xc0"])
def test_a_stray_escape_costs_one_packet(stream: bytes) -> None:
    reader = Reader("slip")
    assert reader.feed(stream + b"/a\xc0") == [b"/a"]
    assert "escape" in reader.named[0]


def test_what_never_ends_is_passed_over_to_the_next_end() -> None:
    reader = Reader("slip")
    reader.feed(b"/" * 2 * MAX_PACKET_BYTES)
    assert reader.feed(b"x") == []
    assert "no end of a packet" in reader.named[0]
    assert reader.feed(b"y" * 1000) == []
    assert reader.feed(b"the rest\xc0/a\xc0") == [b"/a"]


@pytest.mark.parametrize("size", [MAX_PACKET_BYTES + 1, 1_000_000])
def test_a_packet_that_is_too_large_is_passed_over(size: int) -> None:
    reader = Reader()
    stream = size.to_bytes(4, "big") + b"/" * size + wrap("length", b"/a")
    found = [packet for at in range(0, len(stream), 50_000) for packet in reader.feed(stream[at : at + 50_000])]
    assert found == [b"/a"]
    assert f"a packet of {size} bytes" in reader.named[0]


def test_a_size_that_is_none_ends_the_stream() -> None:
    with pytest.raises(FramingError):
        Reader("length").feed((MAX_SKIPPED_BYTES + 1).to_bytes(4, "big"))


@given(st.none() | framings, st.lists(st.binary(max_size=20)))
def test_garbage_gives_packets_or_an_end(framing: FramingName | None, stream: list[bytes]) -> None:
    reader = Reader(framing)
    try:
        for data in stream:
            for packet in reader.feed(data):
                assert len(packet) <= MAX_PACKET_BYTES
    except FramingError as error:
        assert str(error)
