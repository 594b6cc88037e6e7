"""Plain TCP for small devices: each frame after a big-endian u32 with its length (wire.md 6.2)."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from clasp_edge.config.listen import Listen
from clasp_edge.dataplane import Framing
from clasp_edge.dataplane.account import Charge
from clasp_edge.router.link import CloseCode
from clasp_edge.router.router import Router
from clasp_edge.router.session import Session
from clasp_edge.transports.bind import bind, name_of, no_delay, peer_of
from clasp_edge.wire import MAX_FRAME, Ping

_LENGTH_BYTES = 4
INITIAL_BUFFER_BYTES = 2048
"""Read buffer of a quiet connection; it grows to one frame of the largest size when such a frame comes."""

FULL_BUFFER_BYTES = _LENGTH_BYTES + MAX_FRAME

CLOSE_TIMEOUT_S = 0.5


class TcpConnection(asyncio.BufferedProtocol):
    """One client. Implements `router.link.Link`."""

    def __init__(self, server: TcpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._buffer = bytearray(INITIAL_BUFFER_BYTES)
        self._filled = 0
        self._reading = True
        self.remote = "?"

    # ---- asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.remote = peer_of(transport)
        if not self._server.router.open_to(self.remote):
            self._transport.abort()
            return
        sock = transport.get_extra_info("socket")
        no_delay(sock)
        self._session = self._server.router.connect(self, sock.fileno(), Framing.TCP)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        session = self._session
        if session is None:
            return
        self._filled += nbytes
        try:
            used = session.receive_stream(self._buffer, self._filled)
        except ValueError as error:
            session.close(CloseCode.PROTOCOL_ERROR, str(error))
            self._filled = 0
            return
        rest = self._buffer[used : self._filled]
        self._filled -= used
        size = len(self._buffer)
        if nbytes > size // 2 or self._filled > size // 2:
            # A new object, because the loop may still hold the old one. Never above one frame: what a peer can make us
            # hold is bounded.
            larger = min(FULL_BUFFER_BYTES, size * 2)
            if larger > size and not session.holding.charge(larger - size, Charge.INPUT):
                self._filled = 0
                session.close(CloseCode.TRY_AGAIN_LATER, self._server.router.memory_full())
                return
            self._buffer = bytearray(larger)
        self._buffer[: len(rest)] = rest

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._session is not None:
            self._session.disconnected()
        self._buffer = bytearray()  # whoever still knows the connection need not keep it

    # ---- Link ----

    def pause_reading(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def ping(self) -> None:
        # There is no ping below CLASP on a plain TCP connection; its own is answered by every client (wire.md 8).
        if self._session is not None and self._session.greeted:
            self._session.reply(Ping())

    def close(self, code: CloseCode, reason: str) -> None:
        # The protocol has no close message. What is queued still goes out, then the connection ends.
        assert self._transport is not None
        if self._session is not None and self._session.blocked:
            self._server.router.loop.call_soon(self.abort)
        else:
            self._server.router.loop.call_soon(self._transport.close)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class TcpServer:
    """The listener."""

    def __init__(self, router: Router, listen: Listen | None) -> None:
        self.router = router
        self._listen = listen
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Bind and listen; returns the address as `host:port`. Raises `bind.BindError`."""
        assert self._listen is not None
        sock = bind(self._listen, socket.SOCK_STREAM)
        self._server = await self.router.loop.create_server(self.accepted, sock=sock, backlog=1024)
        return name_of(sock)

    def accepted(self) -> asyncio.BufferedProtocol:
        """The protocol of a new connection."""
        return TcpConnection(self)

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._server is not None and self._server.is_serving()

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
