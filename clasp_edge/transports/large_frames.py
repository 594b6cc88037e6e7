"""WebSocket frames of MQTT clients cut into fragments that the parser takes (RFC 6455, 5.4).

The parser wants each frame whole, in memory that nobody is charged for, and takes no larger one than a CLASP message.
A packet of MQTT may be larger, and its clients send it in one frame. Cut on the way to the parser, each piece of it is
handed on, and charged, as it comes. Knows no MQTT.
"""

from __future__ import annotations

import asyncio
from typing import Any

PIECE_BYTES = 32_768
"""Larger frames are cut. A multiple of four: the mask begins anew with each piece (5.3)."""

_FIN, _MASKED, _CONTROL = 0x80, 0x80, 0x08
_SIZE_16, _SIZE_64 = 126, 127


class LargeFrames(asyncio.Protocol):
    """Between the transport and its `parser` (a buffered protocol). What is no frame goes through as it is."""

    def __init__(self, transport: asyncio.Transport, parser: Any) -> None:
        self._transport = transport
        self._parser = parser
        self._head = b""
        """The beginning of a frame whose header is not whole yet."""
        self._left = 0
        """Bytes of the payload, or of the present piece of it, that are still to come."""
        self._rest = 0
        """Those of the pieces after it."""
        self._fin = 0
        self._mask = b""

    def data_received(self, data: bytes) -> None:
        feed(self._transport, self._parser, self.cut(data))

    def eof_received(self) -> bool | None:
        kept_open: bool | None = self._parser.eof_received()
        return kept_open

    def connection_lost(self, exc: Exception | None) -> None:
        self._parser.connection_lost(exc)

    def pause_writing(self) -> None:
        self._parser.pause_writing()

    def resume_writing(self) -> None:
        self._parser.resume_writing()

    def cut(self, data: bytes) -> bytes:
        """The same messages with no frame above PIECE_BYTES; `data` begins where the last call's ended."""
        if self._head:
            data, self._head = self._head + data, b""
        size = len(data)
        at = begin = 0
        out: list[bytes] = []
        while True:
            step = min(self._left, size - at)
            at += step
            self._left -= step
            if self._left or (at >= size and not self._rest):
                break
            if self._rest:
                out += (data[begin:at], self._next_piece(0))
                begin = at
                continue
            header = _header_size(data, at)
            if at + header > size:
                out.append(data[begin:at])
                self._head = data[at:]
                return b"".join(out)
            length = int.from_bytes(data[at + 2 : at + header - 4], "big") if header > 6 else data[at + 1] & 0x7F
            if length <= PIECE_BYTES or length >> 63 or not data[at + 1] & _MASKED or data[at] & _CONTROL:
                self._left = length
            else:
                self._rest, self._fin, self._mask = length, data[at] & _FIN, data[at + header - 4 : at + header]
                out += (data[begin:at], self._next_piece(data[at] & ~_FIN))
                begin = at + header
            at += header
        if not out and not begin:
            return data
        out.append(data[begin:])
        return b"".join(out)

    def _next_piece(self, first: int) -> bytes:
        """The header of the next piece; `first` is its first byte but for FIN: 0 where it continues a message."""
        size = self._left = min(self._rest, PIECE_BYTES)
        self._rest -= size
        if not self._rest:
            first |= self._fin
        if size < _SIZE_16:
            return bytes((first, _MASKED | size)) + self._mask
        return bytes((first, _MASKED | _SIZE_16)) + size.to_bytes(2, "big") + self._mask


def _header_size(data: bytes, at: int) -> int:
    """Of the frame at `at`: more than there is where it is not whole."""
    if at + 2 > len(data):
        return 2
    size = data[at + 1] & 0x7F
    masked = 4 if data[at + 1] & _MASKED else 0
    return 2 + (8 if size == _SIZE_64 else 2 if size == _SIZE_16 else 0) + masked


def feed(transport: asyncio.Transport, parser: Any, data: bytes) -> None:
    """Hand bytes to a buffered protocol as if they had just come in."""
    rest = memoryview(data)
    while rest and not transport.is_closing():
        room = parser.get_buffer(-1)
        piece, rest = rest[: len(room)], rest[len(room) :]
        room[: len(piece)] = piece
        parser.buffer_updated(len(piece))
