"""TLS for every listener: a connection is decrypted here and handed on as a plain one, over a pair of local sockets.

What serves a plain connection (WebSocket with MQTT and HTTP, MQTT, TCP) serves this one unchanged, outboxes and their
promises included: a client that does not read fills the pair, and its outbox notices as it does with a socket. Bounds
the handshakes under way in number and time; knows nothing of what is said inside.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from ssl import SSLContext, SSLError
from typing import Any, cast

from clasp_edge.clock import Clock
from clasp_edge.config.listen import Listen
from clasp_edge.security.certificate_time import go_by, time_fault
from clasp_edge.transports.bind import Peer, bind, forget_peer, name_of, no_delay, note_peer

log = logging.getLogger("clasp_edge.transports")

BUFFER_BYTES = 262_144
"""Of each direction of a pair: what is under way between a client's outbox and OpenSSL."""

HIGH_WATER_BYTES = 65_536
"""Encrypted bytes that may wait for the client; beyond it nothing more is taken from its outbox."""

ACCEPTED_AT_ONCE = 64
"""Connections taken before others get their turn."""

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
        clock: Clock,
    ) -> None:
        self._loop = loop
        self._listen = listen
        self._context = context
        self._factory = factory
        self._max_handshakes = max_handshakes
        self._timeout_s = timeout_s
        self._clock = clock
        self._sock: socket.socket | None = None
        self._handshakes: dict[asyncio.Task[None], None] = {}
        self.failed = 0
        """Handshakes that came to nothing, since the start."""

    async def start(self) -> str:
        """Bind and listen; returns the address as `host:port`. Raises `bind.BindError`."""
        self._sock = bind(self._listen, socket.SOCK_STREAM)
        # Accepted by hand: a transport of the loop's would begin to read before TLS is there to take the bytes.
        self._loop.add_reader(self._sock, self._accept)
        return name_of(self._sock)

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._sock is not None

    def stop(self) -> None:
        """Accept no more connections."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        for handshake in list(self._handshakes):
            handshake.cancel()

    def _accept(self) -> None:
        """Take what has come and begin the handshakes. Where too many are under way, the oldest ends."""
        for _ in range(ACCEPTED_AT_ONCE):
            assert self._sock is not None
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no TLS connection can be accepted: %s", error.strerror)
                return
            sock.setblocking(False)
            no_delay(sock)
            while len(self._handshakes) >= self._max_handshakes():
                oldest = next(iter(self._handshakes))
                del self._handshakes[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._serve(sock, Peer(f"{address[0]}:{address[1]}")))
            self._handshakes[task] = None

    async def _serve(self, sock: socket.socket, peer: Peer) -> None:
        outer = _Outer()
        if self._context.verify_mode:
            go_by(self._context, self._clock)
        try:
            encrypted, _ = await self._loop.connect_accepted_socket(
                lambda: outer, sock, ssl=self._context, ssl_handshake_timeout=self._timeout_s()
            )
        except (OSError, SSLError, asyncio.CancelledError) as error:
            self.failed += 1
            reason = getattr(error, "reason", None) or str(error) or "closed to admit others (limits.max_half_open)"
            log.info("%s: TLS handshake failed: %s", peer, reason)
            sock.close()
            return
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._handshakes.pop(task, None)
        fault = time_fault(encrypted.get_extra_info("peercert"), self._clock)
        if fault is not None:
            self.failed += 1
            log.info("%s: TLS handshake failed: %s", peer, fault)
            encrypted.abort()
        elif not encrypted.is_closing():
            await self._join(outer, encrypted, peer)

    async def _join(self, outer: _Outer, encrypted: asyncio.Transport, peer: Peer) -> None:
        """Connect the encrypted side with a protocol that serves plain connections."""
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        peer.names = names_in(encrypted.get_extra_info("peercert"))
        note_peer(theirs, peer)
        inner = _Inner(encrypted, theirs.fileno(), peer)
        encrypted.set_write_buffer_limits(HIGH_WATER_BYTES)
        plain, _ = await self._loop.create_connection(lambda: inner, sock=ours)
        outer.join(encrypted, plain, inner)
        await self._loop.connect_accepted_socket(lambda: self._factory(peer), theirs)


def names_in(certificate: Any) -> tuple[str, ...]:
    """The names that a verified certificate gives its bearer: `CN:...` of the subject, then alternative names, such as
    `DNS:...`, `URI:...` and `email:...`. `certificate` as `ssl.SSLSocket.getpeercert` has it, or None."""
    if not isinstance(certificate, dict):
        return ()
    parts = [part for relative in certificate.get("subject", ()) for part in relative]
    found = [f"CN:{value}" for key, value in parts if key == "commonName"]
    return tuple(dict.fromkeys([*found, *(f"{kind}:{value}" for kind, value in certificate.get("subjectAltName", ()))]))


class _Outer(asyncio.Protocol):
    """The client's side: what comes decrypted goes into the pair."""

    def __init__(self) -> None:
        self._encrypted: asyncio.Transport | None = None
        self._plain: asyncio.Transport | None = None
        self._inner: _Inner | None = None
        self._early = b""
        self._ended = False

    def join(
        self,
        encrypted: asyncio.Transport,
        plain: asyncio.BaseTransport,
        inner: _Inner,
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

    def __init__(self, encrypted: asyncio.Transport, descriptor: int, peer: Peer) -> None:
        self._peer = peer
        self._encrypted = encrypted
        self._descriptor = descriptor
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
        forget_peer(self._descriptor, self._peer)
        self._encrypted.close()
