"""OSC packets on a stream of bytes, without I/O: each behind its length (OSC 1.0) or between SLIP ends (OSC 1.1).

Which of the two a connection speaks is told by its first bytes: a SLIP end or an address, or a size. Programs that
write
the size the wrong way round, or no framing at all, are understood as far as that can be, and named. After a packet that
is too large or damaged the stream is followed from the next end or size on. `wrap` makes a packet ready to send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

FramingName = Literal["slip", "length", "length-le", "raw"]

MAX_PACKET_BYTES = 65535
"""As large as a datagram can be; it also bounds what an unfinished packet can make us hold."""

MAX_SKIPPED_BYTES = 16 * 1024 * 1024
"""A packet that is too large is passed over up to this size; more is no size, but something else."""

_END = b"\xc0"
_ESCAPE = b"\xdb"
_ESCAPED_END = b"\xdb\xdc"
_ESCAPED_ESCAPE = b"\xdb\xdd"

_NAMES = {
    "length-le": "sizes in front of packets are little-endian; OSC has them big-endian",
    "raw": "packets without framing; OSC over TCP is SLIP (1.1) or has a size in front of each packet (1.0)",
}


class FramingError(ValueError):
    """The stream cannot be followed any further; the text says why."""


class Splitter:
    """Cuts one connection's bytes into packets. `framing` is None until the first bytes tell it; `tell(text)` is called
    with what was refused or has to be named."""

    def __init__(self, tell: Callable[[str], None], framing: FramingName | None = None) -> None:
        self.framing = framing
        self._tell = tell
        self._rest = b""
        self._skip = 0
        self._lost = False

    @property
    def undecided(self) -> bool:
        """What came so far may be a whole packet without framing: `settle` when nothing follows."""
        return self.framing is None and bool(self._rest)

    @property
    def held(self) -> int:
        """Bytes of a packet whose end has not come."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that `data` completes. Raises FramingError."""
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        data = self._rest + data
        self._rest = b""
        if self.framing is None:
            self.framing = _told_by(data)
            if self.framing in _NAMES:
                self._tell(_NAMES[self.framing])
        if self.framing is None:
            if len(data) > MAX_PACKET_BYTES:
                raise FramingError("neither a SLIP end nor a size in front of the first packet")
            self._rest = data
            return []
        if self.framing == "slip":
            return self._slip(data)
        if self.framing == "raw":
            return [data] if data else []
        return self._length(data, "big" if self.framing == "length" else "little")

    def settle(self) -> list[bytes]:
        """Nothing has followed for a while: what there is are packets without framing."""
        data, self._rest = self._rest, b""
        self.framing = "raw"
        self._tell(_NAMES["raw"])
        return [data]

    def _slip(self, data: bytes) -> list[bytes]:
        *whole, self._rest = data.split(_END)
        packets = []
        for packet in whole:
            if self._lost:
                self._lost = False  # the end of what was too large
            elif packet:
                try:
                    packets.append(_unescaped(packet))
                except ValueError as error:
                    self._tell(str(error))
        if self._lost:
            self._rest = b""
        elif len(self._rest) > 2 * MAX_PACKET_BYTES:
            self._tell(f"no end of a packet within {2 * MAX_PACKET_BYTES} bytes")
            self._rest = b""
            self._lost = True
        return [packet for packet in packets if self._fits(packet)]

    def _fits(self, packet: bytes) -> bool:
        if len(packet) <= MAX_PACKET_BYTES:
            return True
        self._tell(f"a packet of {len(packet)} bytes; at most {MAX_PACKET_BYTES} are allowed")
        return False

    def _length(self, data: bytes, order: Literal["big", "little"]) -> list[bytes]:
        packets: list[bytes] = []
        at = 0
        while len(data) - at >= 4:
            size = int.from_bytes(data[at : at + 4], order)
            if size > MAX_SKIPPED_BYTES:
                raise FramingError(f"a packet of {size} bytes: this is no size in front of a packet")
            if size > MAX_PACKET_BYTES:
                self._tell(f"a packet of {size} bytes; at most {MAX_PACKET_BYTES} are allowed")
                here = len(data) - at - 4
                self._skip = max(0, size - here)
                at += 4 + min(size, here)
                continue
            if len(data) - at - 4 < size:
                break
            if size:
                packets.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        self._rest = data[at:]
        return packets


def _told_by(data: bytes) -> FramingName | None:
    """The framing that a connection's first bytes show; None while they may still be more than one."""
    if not data:
        return None
    if data[:1] == _END or (data[:1] in (b"/", b"#") and _END in data):
        return "slip"
    if data[:1] in (b"/", b"#"):
        return None  # SLIP whose end is still to come, or no framing at all
    if _ESCAPE in data[:1]:
        return "slip"
    if len(data) < 5:
        return None if len(data) < 4 or data[:2] == b"\0\0" or data[2:4] == b"\0\0" else "length"
    if data[0] and data[2:4] == b"\0\0" and data[4:5] in (b"/", b"#"):
        return "length-le"
    return "length"


def wrap(framing: FramingName, packet: bytes) -> bytes:
    """The packet as it goes onto the stream."""
    if framing == "slip":
        return _END + packet.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_END, _ESCAPED_END) + _END
    if framing == "raw":
        return packet
    return len(packet).to_bytes(4, "big" if framing == "length" else "little") + packet


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
            raise ValueError("an escape that stands for nothing")
    return bytes(out)
