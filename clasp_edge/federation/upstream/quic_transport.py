"""An uplink's end of a QUIC connection: one stream of bytes that looks like a transport, over a UDP socket of its own.

qh3 is the engine, datagrams in and out; here are its socket, its timer, and what a network that changes means: another
socket, and the connection goes on (RFC 9000, 9). Knows nothing of frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from typing import Any, Protocol

from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    PingAcknowledged,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

# It tells at WARNING what a peer has said when it closed.
logging.getLogger("quic").setLevel(logging.CRITICAL)

STREAM = 0

UNSENT_BYTES = 65_536
"""Bytes given to the engine before it has sent those ahead of them; the rest waits here, where it can be counted."""

DATAGRAMS_AT_ONCE = 64

KEEP_ALIVE_S = 5.0


class User(Protocol):
    """Whose connection it is."""

    def handshaken(self, alpn: str) -> None: ...

    def stream_data(self, data: bytes) -> None: ...

    def ping_answered(self, number: int) -> None: ...

    def filled(self) -> None: ...

    def drained(self) -> None: ...

    def lost(self, error: BaseException | None) -> None: ...

    def closed_by_peer(self, reason: str) -> None: ...


class QuicTransport:
    """Connected to `address`. Has what of `asyncio.Transport` an uplink uses."""

    def __init__(
        self,
        user: User,
        loop: asyncio.AbstractEventLoop,
        family: socket.AddressFamily,
        address: tuple[Any, ...],
        configuration: QuicConfiguration,
    ) -> None:
        self._user = user
        self._loop = loop
        self._family = family
        self._address = address
        self._quic = QuicConnection(configuration=configuration)
        self._sock: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._unsent = bytearray()
        self._end_stream = False
        self._high, self._low = 262_144, 65_536
        self._is_full = False
        self._reading = True
        self._held: list[bytes] = []
        self._over = False
        self._refusal: OSError | None = None

    def connect(self) -> None:
        """Begin the handshake. Raises OSError where there is no way to the address."""
        self._open_socket()
        self._quic.connect(self._address, time.monotonic())
        self._flush()

    def _open_socket(self) -> None:
        sock = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._address)
        except BaseException:
            sock.close()
            raise
        self._sock = sock
        if self._reading:
            self._loop.add_reader(sock, self._read)

    def _close_socket(self) -> None:
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def move(self) -> bool:
        """The address it comes from is gone: go on from another one. False where there is none yet."""
        if self._over:
            return False
        self._close_socket()
        try:
            self._open_socket()
        except OSError:
            return False
        with contextlib.suppress(Exception):  # the router has given no further id, which is no hindrance
            self._quic.change_connection_id()
        self.ping(0)
        return True

    # ---- as asyncio.Transport ----

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return self._address
        if name == "sockname" and self._sock is not None:
            return self._sock.getsockname()
        return self._sock if name == "socket" else default

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self._high, self._low = high, low

    def get_write_buffer_size(self) -> int:
        return len(self._unsent) + self._quic.get_send_buffer_size(STREAM)

    def write(self, data: bytes) -> None:
        if self._over:
            return
        self._unsent += data
        self._flush_soon()
        if not self._is_full and len(self._unsent) > self._high:
            self._is_full = True
            self._user.filled()

    def write_eof(self) -> None:
        self._end_stream = True
        self._flush_soon()

    def is_closing(self) -> bool:
        return self._over

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        # Nothing is taken from the socket meanwhile: the library would tell the hub to go on.
        self._reading = False
        if self._sock is not None:
            self._loop.remove_reader(self._sock)

    def resume_reading(self) -> None:
        self._reading = True
        if self._sock is not None:
            self._loop.add_reader(self._sock, self._read)
        held, self._held = self._held, []
        if held:
            self._loop.call_soon(self._user.stream_data, b"".join(held))

    def close(self) -> None:
        self._finish("")

    def abort(self) -> None:
        self._finish("")

    def ping(self, number: int) -> None:
        """Ask the router for a sign of life; `ping_answered` tells of it."""
        if not self._over:
            with contextlib.suppress(Exception):
                self._quic.send_ping(number)
            self._flush_soon()

    # ---- datagrams ----

    def _read(self) -> None:
        datagrams: list[bytes] = []
        assert self._sock is not None
        try:
            while len(datagrams) < DATAGRAMS_AT_ONCE:
                datagrams.append(self._sock.recv(65536))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._refusal = error  # of an earlier datagram: nobody is at home there, perhaps not yet
        if datagrams:
            try:
                self._quic.receive_many_datagrams(datagrams, self._address, time.monotonic())
            except Exception as error:
                self._lost(OSError(f"QUIC: {error}"))
                return
        elif self._refusal is not None and not self._established():
            self._lost(self._refusal)
            return
        self._take_events()
        self._flush()

    def _established(self) -> bool:
        return self._quic.tls is not None and self._alpn is not None

    _alpn: str | None = None

    def _take_events(self) -> None:
        data: list[bytes] = []
        ended = ""
        while (event := self._quic.next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                if event.stream_id == STREAM:
                    data.append(event.data)
                    if event.end_stream:
                        ended = "the other end closed the stream"
            elif isinstance(event, HandshakeCompleted):
                self._alpn = event.alpn_protocol or ""
                self._user.handshaken(self._alpn)
            elif isinstance(event, PingAcknowledged):
                self._user.ping_answered(event.uid)
            elif isinstance(event, StreamReset | StopSendingReceived) and event.stream_id == STREAM:
                ended = "the other end reset the stream"
            elif isinstance(event, ConnectionTerminated):
                ended = event.reason_phrase or f"QUIC error 0x{event.error_code:x}"
                if not event.error_code and not event.reason_phrase:
                    ended = "the other end closed the connection"
        if data:
            if self._reading:
                self._user.stream_data(data[0] if len(data) == 1 else b"".join(data))
            else:
                self._held += data
        if ended and not self._over:
            self._user.closed_by_peer(ended)
            self._lost(OSError(ended))

    def _flush_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._scheduled = False
        self._flush()

    def _flush(self) -> None:
        if self._over:
            return
        now_s = time.monotonic()
        try:
            self._hand_over()
            for data, _ in self._quic.datagrams_to_send(now_s):
                with contextlib.suppress(OSError):  # lost, as datagrams are
                    if self._sock is not None:
                        self._sock.send(data)
            if self._unsent and self._quic.get_send_buffer_size(STREAM) < UNSENT_BYTES // 2:
                self._flush_soon()
            due_s = self._quic.get_timer()
        except Exception as error:
            self._lost(OSError(f"QUIC: {error}"))
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if due_s is not None:
            self._timer = self._loop.call_later(max(0.001, due_s - now_s), self._fire)
        if self._is_full and len(self._unsent) < self._low:
            self._is_full = False
            self._user.drained()

    def _hand_over(self) -> None:
        room = UNSENT_BYTES - self._quic.get_send_buffer_size(STREAM)
        if self._unsent and room > 0:
            self._quic.send_stream_data(STREAM, self._unsent[:room])
            del self._unsent[:room]
        if self._end_stream and not self._unsent:
            self._end_stream = False
            self._quic.send_stream_data(STREAM, b"", end_stream=True)

    def _fire(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        try:
            due_s = self._quic.get_timer()
            if due_s is not None and due_s <= now_s:
                self._quic.handle_timer(now_s)
        except Exception as error:
            self._lost(OSError(f"QUIC: {error}"))
            return
        self._take_events()
        self._flush()

    # ---- the end ----

    def _finish(self, reason: str) -> None:
        """Say goodbye, and be gone."""
        if self._over:
            return
        with contextlib.suppress(Exception):
            self._quic.close(error_code=0, reason_phrase=reason)
            for data, _ in self._quic.datagrams_to_send(time.monotonic()):
                if self._sock is not None:
                    self._sock.send(data)
        self._lost(None)

    def _lost(self, error: OSError | None) -> None:
        if self._over:
            return
        self._over = True
        self._close_socket()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loop.call_soon(self._user.lost, error)
