"""A small blocking client for tests, over WebSocket (the `websockets` library) and over plain TCP.

Sends any message or any bytes, and hands out what comes back, one message at a time, in order. Has no protocol logic
of its own: no PONGs, no reconnection, no waiting for ACKs. Every wait is bounded.
"""

from __future__ import annotations

import socket
import struct
import time
from ssl import SSLContext
from types import TracebackType
from typing import Self, TypeVar

from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from clasp_edge import wire

DEFAULT_TIMEOUT_S = 20.0
"""Bound of a wait for what must come: generous, since it costs time only where a test fails."""

QUIET_S = 0.2
"""How long nothing must come for a client to count as drained."""

M = TypeVar("M", bound=wire.Message)

_LENGTH = struct.Struct(">I")


class Closed(Exception):
    """The router closed the connection. ``code`` and ``reason`` are those of a WebSocket close, None over TCP."""

    def __init__(self, code: int | None = None, reason: str = "") -> None:
        super().__init__(f"closed {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class Client:
    """What both transports share; construct a `WsClient` or a `TcpClient`."""

    welcome: wire.Welcome
    """The answer to `hello`."""

    snapshot: list[wire.ParamValue]
    """The params of the SNAPSHOT that came with the first byte after WELCOME."""

    # ---- transport ----

    def send_raw(self, frame: bytes) -> None:
        """Send bytes as one frame (WebSocket: one binary message; TCP: the length goes before them)."""
        raise NotImplementedError

    def recv_raw(self, timeout: float = DEFAULT_TIMEOUT_S) -> bytes:
        """Return the next frame. Raises TimeoutError, `Closed`."""
        raise NotImplementedError

    def close(self) -> None:
        """Close politely."""
        raise NotImplementedError

    def abort(self) -> None:
        """Vanish without a close frame."""
        raise NotImplementedError

    # ---- messages ----

    def hello(
        self,
        name: str = "test",
        *,
        features: tuple[str, ...] = ("param", "event", "stream", "gesture", "timeline"),
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Self:
        """Say HELLO and take the WELCOME and the first SNAPSHOT that follow."""
        self.send(wire.Hello(version=1, name=name, features=features, token=token))
        self.welcome = self.recv_type(wire.Welcome, timeout)
        self.snapshot = list(self.recv_type(wire.Snapshot, timeout).params)
        return self

    def send(self, message: wire.Message, qos: int | None = None) -> None:
        """Send a message, with the QoS of its type unless ``qos`` says otherwise."""
        self.send_raw(wire.encode(message, qos))

    def recv(self, timeout: float = DEFAULT_TIMEOUT_S) -> wire.Message:
        """Return the next message. Raises TimeoutError, `Closed`."""
        return wire.decode(self.recv_raw(timeout))[1]

    def recv_type(self, kind: type[M], timeout: float = DEFAULT_TIMEOUT_S) -> M:
        """Return the next message, which must be of this type."""
        message = self.recv(timeout)
        assert isinstance(message, kind), f"expected {kind.__name__}, got {message!r}"
        return message

    def recv_until(self, kind: type[M], timeout: float = DEFAULT_TIMEOUT_S) -> M:
        """Return the next message of this type, passing over others. Raises TimeoutError, `Closed`."""
        deadline_s = time.monotonic() + timeout
        while True:
            message = self.recv(max(0.0, deadline_s - time.monotonic()))
            if isinstance(message, kind):
                return message

    def drain(self, quiet: float = QUIET_S) -> list[wire.Message]:
        """Everything that comes until nothing has come for ``quiet`` seconds. Raises `Closed`."""
        messages: list[wire.Message] = []
        while True:
            try:
                messages.append(self.recv(quiet))
            except TimeoutError:
                return messages

    def sync(self, timeout: float = DEFAULT_TIMEOUT_S) -> list[wire.Message]:
        """Send a PING and return everything that came before its PONG: what was sent before has been dealt with.

        Quicker and surer than `drain` for "and nothing else came": replies keep the order of their requests. What
        the router sends later of its own accord (timers, other clients) is not waited for.
        """
        self.send(wire.Ping())
        messages: list[wire.Message] = []
        deadline_s = time.monotonic() + timeout
        while True:
            message = self.recv(max(0.0, deadline_s - time.monotonic()))
            if isinstance(message, wire.Pong):
                return messages
            messages.append(message)

    def wait_closed(self, timeout: float = DEFAULT_TIMEOUT_S) -> Closed:
        """Pass over what still comes and return how the router closed. Raises TimeoutError."""
        deadline_s = time.monotonic() + timeout
        while True:
            try:
                self.recv_raw(max(0.0, deadline_s - time.monotonic()))
            except Closed as closed:
                return closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class WsClient(Client):
    """Over WebSocket; connected by construction. ``path`` follows the URL; ``subprotocol`` None offers none; ``source``
    is the address to come from."""

    def __init__(
        self,
        url: str,
        *,
        path: str = "/clasp",
        subprotocol: str | None = "clasp",
        max_size: int | None = None,
        source: str = "",
        ssl: SSLContext | None = None,
    ) -> None:
        # Entered by hand: recent releases want the connection used as a context manager.
        try:
            self.ws: ClientConnection = connect(
                url + path,
                ssl=ssl,
                subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
                compression=None,
                ping_interval=None,
                max_size=max_size,
                open_timeout=DEFAULT_TIMEOUT_S,
                close_timeout=2.0,
                proxy=None,
                source_address=(source, 0),
            ).__enter__()
        except ConnectionClosed as error:  # in the middle of the handshake
            raise _closed(error) from None
        except InvalidMessage as error:
            if isinstance(error.__cause__, EOFError):  # the same, a moment earlier
                raise Closed from error
            raise

    def send_raw(self, frame: bytes) -> None:
        try:
            self.ws.send(frame)
        except ConnectionClosed as error:
            raise _closed(error) from None

    def recv_raw(self, timeout: float = DEFAULT_TIMEOUT_S) -> bytes:
        try:
            frame = self.ws.recv(timeout)
        except ConnectionClosed as error:
            raise _closed(error) from None
        assert isinstance(frame, bytes), f"a text message: {frame!r}"
        return frame

    def close(self) -> None:
        self.ws.close()

    def abort(self) -> None:
        self.ws.socket.shutdown(socket.SHUT_RDWR)
        self.ws.close()


class TcpClient(Client):
    """Over TCP, each frame after a big-endian u32 with its length; connected by construction. ``source`` is the address
    to come from."""

    def __init__(self, address: tuple[str, int], *, source: str = "") -> None:
        self.socket = socket.create_connection(address, DEFAULT_TIMEOUT_S, source_address=(source, 0))
        self._received = bytearray()

    def send_raw(self, frame: bytes) -> None:
        self.send_bytes(_LENGTH.pack(len(frame)) + frame)

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, without a length."""
        self.socket.settimeout(DEFAULT_TIMEOUT_S)
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def recv_raw(self, timeout: float = DEFAULT_TIMEOUT_S) -> bytes:
        deadline_s = time.monotonic() + timeout
        while True:
            if len(self._received) >= _LENGTH.size:
                end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
                if len(self._received) >= end:
                    frame = bytes(self._received[_LENGTH.size : end])
                    del self._received[:end]
                    return frame
            # Zero would make the socket non-blocking, which raises another error than a timeout.
            self.socket.settimeout(max(0.001, deadline_s - time.monotonic()))
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                raise Closed from None
            if not data:
                raise Closed
            self._received += data

    def close(self) -> None:
        self.socket.close()

    def abort(self) -> None:
        # Lingering for no time turns the close into a reset.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def _closed(error: ConnectionClosed) -> Closed:
    received = error.rcvd
    return Closed(received.code, received.reason) if received is not None else Closed()
