"""OSC packets on a stream of bytes, without I/O: each behind its length (OSC 1.0) or between SLIP ends (OSC 1.1).

Both sides of each framing: `Splitter.feed` gives the packets in what arrived, `wrap` makes a packet ready to send.
"""

from __future__ import annotations

from typing import Literal, Protocol

FramingName = Literal["slip", "length"]

MAX_PACKET_BYTES = 65535
"""As large as a datagram can be; it also bounds what an unfinished packet can make us hold."""

_END = b"\xc0"
_ESCAPE = b"\xdb"
_ESCAPED_END = b"\xdb\xdc"
_ESCAPED_ESCAPE = b"\xdb\xdd"


class FramingError(ValueError):
    """The stream cannot be followed any further; the text says why."""


class Splitter(Protocol):
    """Cuts one connection's bytes into packets."""

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that `data` completes. Raises FramingError."""


class SlipSplitter:
    """RFC 1055 with an end before and after each packet; empty packets between two ends are none."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *whole, self._rest = (self._rest + data).split(_END)
        if len(self._rest) > 2 * MAX_PACKET_BYTES:
            raise FramingError(f"no end of a packet within {2 * MAX_PACKET_BYTES} bytes")
        return [_unescaped(packet) for packet in whole if packet]


class LengthSplitter:
    """A big-endian i32 with the size in front of each packet."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        data = self._rest + data
        packets: list[bytes] = []
        at = 0
        while len(data) - at >= 4:
            size = int.from_bytes(data[at : at + 4], "big")
            if size > MAX_PACKET_BYTES:
                raise FramingError(f"a packet of {size} bytes; at most {MAX_PACKET_BYTES} are allowed")
            if len(data) - at - 4 < size:
                break
            packets.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        self._rest = data[at:]
        return packets


def splitter(framing: FramingName) -> Splitter:
    """A new splitter for one connection."""
    return SlipSplitter() if framing == "slip" else LengthSplitter()


def wrap(framing: FramingName, packet: bytes) -> bytes:
    """The packet as it goes onto the stream."""
    if framing == "slip":
        return _END + packet.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_END, _ESCAPED_END) + _END
    return len(packet).to_bytes(4, "big") + packet


def _unescaped(packet: bytes) -> bytes:
    if _ESCAPE not in packet:
        return packet
    # One after the other: the byte after an escape must not be taken for the start of another.
    parts = packet.split(_ESCAPE)
    out = bytearray(parts[0])
    for part in parts[1:]:
        if part[:1] == b"\xdc":
            out += _END + part[1:]
        elif part[:1] == b"\xdd":
            out += _ESCAPE + part[1:]
        else:
            raise FramingError("an escape that stands for nothing")
    return bytes(out)
