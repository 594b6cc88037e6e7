"""TLS for every listener: a connection is decrypted here and handed on as a plain one, over a pair of local sockets.

What serves a plain connection (WebSocket with MQTT and HTTP, MQTT, TCP) serves this one unchanged, outboxes and their
promises included: a client that does not read fills the pair, and its outbox notices as it does with a socket. Bounds
the handshakes under way in number and time; knows nothing of what is said inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from ssl import SSLContext, SSLError
from typing import cast

from clasp_edge.config.listen import Listen
from clasp_edge.transports.bind import bind, forget_peer, name_of, note_peer, peer_of

log = logging.getLogger("clasp_edge.transports")

BUFFER_BYTES = 262_144
"""Of each direction of a pair: what is under way between a client's outbox and OpenSSL."""

HIGH_WATER_BYTES = 65_536
"""Encrypted bytes that may wait for the client; beyond it nothing more is taken from its outbox."""

Factory = Callable[[str], asyncio.BaseProtocol]
"""Makes the protocol that serves a decrypted connection; takes the client's address as `host:port`."""


class TlsListener:
    """One encrypted listener. `start` binds, `stop` accepts no more; connections that are open stay."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listen: Listen,
        context: SSLContext,
        factory: Factory,
        *,
        max_handshakes: Callable[[], int],
        timeout_s: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._listen = listen
        self._context = context
        self._factory = factory
        self._max_handshakes = max_handshakes
        self._timeout_s = timeout_s
        self._server: asyncio.Server | None = None
        self._handshakes: dict[_Accepted, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed = 0
        """Handshakes that came to nothing, since the start."""

    async def start(self) -> str:
        """Bind and listen; returns the address as `host:port`. Raises `bind.BindError`."""
        sock = bind(self._listen, socket.SOCK_STREAM)
        self._server = await self._loop.create_server(lambda: _Accepted(self), sock=sock, backlog=1024)
        return name_of(sock)

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._server is not None and self._server.is_serving()

    def stop(self) -> None:
        """Accept no more connections."""
        if self._server is not None:
            self._server.close()
        for accepted in list(self._handshakes):
            accepted.abort()

    def accepted(self, accepted: _Accepted, transport: asyncio.Transport) -> None:
        """A TCP connection: begin the handshake. Where too many are under way, the oldest of them goes."""
        while len(self._handshakes) >= self._max_handshakes():
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.abort()
        self._handshakes[accepted] = None
        task = self._loop.create_task(self._serve(accepted, transport))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, accepted: _Accepted, transport: asyncio.Transport) -> None:
        peer = peer_of(transport)
        outer = _Outer()
        try:
            encrypted = await self._loop.start_tls(
                transport, outer, self._context, server_side=True, ssl_handshake_timeout=self._timeout_s()
            )
        except (OSError, SSLError, asyncio.CancelledError) as error:
            self.failed += 1
            log.info("%s: TLS handshake failed: %s", peer, getattr(error, "reason", None) or error or "closed")
            transport.abort()
            return
        finally:
            self._handshakes.pop(accepted, None)
        if encrypted is None or encrypted.is_closing():
            return
        await self._join(outer, encrypted, peer)

    async def _join(self, outer: _Outer, encrypted: asyncio.Transport, peer: str) -> None:
        """Connect the encrypted side with a protocol that serves plain connections."""
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        note_peer(theirs, peer)
        inner = _Inner(encrypted)
        encrypted.set_write_buffer_limits(HIGH_WATER_BYTES)
        plain, _ = await self._loop.create_connection(lambda: inner, sock=ours)
        outer.join(encrypted, plain, inner, lambda: forget_peer(theirs.fileno()))
        outer.fd = theirs.fileno()
        await self._loop.connect_accepted_socket(lambda: self._factory(peer), theirs)


class _Accepted(asyncio.Protocol):
    """A connection whose handshake has not begun."""

    def __init__(self, listener: TlsListener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.accepted(self, self._transport)

    def abort(self) -> None:
        """Others wait for the place."""
        if self._transport is not None:
            self._transport.abort()


class _Outer(asyncio.Protocol):
    """The client's side: what comes decrypted goes into the pair."""

    def __init__(self) -> None:
        self._encrypted: asyncio.Transport | None = None
        self._plain: asyncio.Transport | None = None
        self._inner: _Inner | None = None
        self._early = b""
        self._ended = False
        self.fd = -1

    def join(
        self,
        encrypted: asyncio.Transport,
        plain: asyncio.BaseTransport,
        inner: _Inner,
        forget: Callable[[], None],
    ) -> None:
        """Both sides are there."""
        self._encrypted = encrypted
        self._plain = cast("asyncio.Transport", plain)
        self._plain.set_write_buffer_limits(HIGH_WATER_BYTES)
        self._inner = inner
        if self._early:
            self._plain.write(self._early)
            self._early = b""
        if self._ended:
            self._plain.close()

    def data_received(self, data: bytes) -> None:
        if self._plain is None:
            self._early += data
            return
        self._plain.write(data)
        if self._plain.get_write_buffer_size() > HIGH_WATER_BYTES and self._encrypted is not None:
            assert self._inner is not None
            self._inner.hold(self._encrypted)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        if self._plain is not None:
            self._plain.close()

    def pause_writing(self) -> None:
        if self._plain is not None:
            self._plain.pause_reading()

    def resume_writing(self) -> None:
        if self._plain is not None and not self._plain.is_closing():
            self._plain.resume_reading()


class _Inner(asyncio.Protocol):
    """The router's side: what the outbox has written goes out encrypted."""

    def __init__(self, encrypted: asyncio.Transport) -> None:
        self._encrypted = encrypted
        self._held: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        self._encrypted.write(data)

    def hold(self, encrypted: asyncio.Transport) -> None:
        """The router reads slower than the client writes: read no more from the client for now."""
        if self._held is None:
            self._held = encrypted
            encrypted.pause_reading()

    def resume_writing(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            if not held.is_closing():
                held.resume_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._encrypted.close()
