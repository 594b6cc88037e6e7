"""TLS between a socket and a connection that knows nothing of it, in memory.

Not the event loop's own: that has none in a process that was started without (daemon.no_tls), and a bridge may come
with a reload. Imports OpenSSL, so it is imported for `mqtts://` alone.
"""

from __future__ import annotations

import ssl
from asyncio import AbstractEventLoop, BaseTransport, BufferedProtocol, Future, Transport
from typing import Any, cast

READ_BYTES = 65_536


class Encryption(BufferedProtocol, Transport):
    """The protocol of the socket, and the transport of `inner` once `established` is done: with the other end's
    certificate (as `ssl.SSLObject.getpeercert` has it), or with an OSError."""

    def __init__(self, loop: AbstractEventLoop, inner: BufferedProtocol, context: ssl.SSLContext, host: str) -> None:
        super().__init__()
        self.established: Future[Any] = loop.create_future()
        self._loop = loop
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._buffer = bytearray(READ_BYTES)
        self._transport: Transport | None = None
        self._paused = False

    # ---- as a transport ----

    def write(self, data: Any) -> None:
        self._tls.write(data)
        self._flush()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()
            self._loop.call_soon(self._decrypt)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # ---- as a protocol ----

    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast("Transport", transport)
        self._step()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.established.done():
            self.established.set_exception(exc or ConnectionResetError("TLS: the connection was closed"))
        elif not self.established.cancelled() and self.established.exception() is None:
            self._inner.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.write(memoryview(self._buffer)[:nbytes])
        self._step()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    # ---- OpenSSL ----

    def _step(self) -> None:
        if self.established.cancelled():
            return
        if not self.established.done():
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                return
            except OSError as error:
                self._flush()  # its alert
                self.established.set_exception(error)
                return
            self._flush()
            self.established.set_result(self._tls.getpeercert())
            self._inner.connection_made(self)
        self._decrypt()

    def _decrypt(self) -> None:
        while not self._paused and self._transport is not None:
            try:
                size = self._tls.read(READ_BYTES, cast("bytearray", self._inner.get_buffer(-1)))
            except ssl.SSLWantReadError:
                break
            except OSError:
                self.abort()
                return
            if not size:
                self.close()
                return
            self._inner.buffer_updated(cast("int", size))
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())
