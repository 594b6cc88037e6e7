"""A link over plain TCP: each frame after a big-endian u32 with its length (wire.md 6.2)."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from clasp_edge.federation.upstream.resolve import ConnectError
from clasp_edge.federation.upstream.socket_connection import SocketConnection
from clasp_edge.federation.upstream.tls import said
from clasp_edge.picows_core import beneath
from clasp_edge.wire import Ping, encode

if TYPE_CHECKING:
    from clasp_edge.federation.upstream import framing
else:
    framing = beneath("clasp_edge.federation.upstream.framing")

INITIAL_BUFFER_BYTES = 16_384
FULL_BUFFER_BYTES = 262_144
"""Of what is read at once; above the largest frame."""

PING = encode(Ping())
"""There is no ping below CLASP here; its own is answered by every router."""

_RTT_OFFSET = 68
"""Of `tcpi_rtt` in `struct tcp_info` (linux/tcp.h): microseconds, u32."""


class TcpConnection(SocketConnection):
    """See `Connection`."""

    async def _take(self, sock: socket.socket) -> None:
        try:
            await self._loop.create_connection(lambda: _Protocol(self), sock=sock)
        except OSError as error:
            raise ConnectError(said(error)) from None

    def accept(self, transport: asyncio.Transport) -> None:
        """The protocol has its transport."""
        self._connected(transport)
        self._opened()

    def _packed(self, frames: list[bytes]) -> bytes:
        return framing.tcp_messages(frames)

    def _probe(self) -> None:
        info = self._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        self.rtt_s = struct.unpack_from("=I", info, _RTT_OFFSET)[0] / 1e6
        # Before the handshake it would be a wrong first message; that has a deadline of its own.
        if self.established:
            self._write(framing.tcp_messages([PING]))

    def _say_goodbye(self, reason: str) -> None:
        # Only our half: a socket that is closed answers what still comes with a reset, which throws away what the other
        # end has not read yet. Its end of file, or the timer, ends the rest.
        self._transport.write_eof()


class _Protocol(asyncio.BufferedProtocol):
    def __init__(self, link: TcpConnection) -> None:
        self._link = link
        self._buffer = bytearray(INITIAL_BUFFER_BYTES)
        self._filled = 0
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link.accept(cast("asyncio.Transport", transport))

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._link.read(nbytes)
        if self._over:
            return
        self._filled += nbytes
        frames: list[bytes] = []
        try:
            used = framing.cut_stream(self._buffer, self._filled, frames)
        except framing.NoFrame as error:
            self._over = True
            self._filled = 0
            self._deliver(frames)  # what came before is good
            self._link.garbage(str(error))
            return
        rest = self._buffer[used : self._filled]
        self._filled -= used
        size = len(self._buffer)
        if nbytes > size // 2 or self._filled > size // 2:
            # A new object, because the loop may still hold the old one.
            self._buffer = bytearray(min(FULL_BUFFER_BYTES, size * 2))
        self._buffer[: len(rest)] = rest
        self._deliver(frames)

    def _deliver(self, frames: list[bytes]) -> None:
        if frames:
            self._link.received(frames)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost(exc)

    def pause_writing(self) -> None:
        self._link.filled()

    def resume_writing(self) -> None:
        self._link.drained()
