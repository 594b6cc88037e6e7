"""A small blocking QUIC client for tests, on qh3's engine: what it writes, when, and from which socket is the test's.

Has no protocol logic of its own beyond the frame header. Every wait is bounded.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived, StreamReset

from clasp_edge import wire
from clasp_edge.daemon.certificate import fingerprint_of

M = TypeVar("M", bound=wire.Message)

TIMEOUT_S = 30.0
POLL_S = 0.005


class Closed(AssertionError):
    """The connection has ended; `code` and the text are what the other end said."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed: {code} {reason}")
        self.code, self.reason = code, reason


class QuicClient:
    """One connection. A context manager: connected on entry."""

    def __init__(self, address: tuple[str, int], authority: Path, *, alpn: tuple[str, ...] = ("clasp/2",)) -> None:
        # By the fingerprint: qh3 takes no self-signed certificate for an authority that may also be a client's.
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=list(alpn), server_name="localhost", idle_timeout=30.0,
            assert_fingerprint=fingerprint_of(authority).partition(":")[2], verify_mode=ssl.CERT_NONE,
        )  # fmt: skip
        self.quic = QuicConnection(configuration=configuration)
        self.alpn = ""
        self.handshaken = False
        self.reset_streams: dict[int, int] = {}
        self.ended = False
        self.sent: list[bytes] = []
        """The first datagrams, as they were sent."""
        self.reading = True
        self._address = address
        self._sock = self._socket()
        self._input = bytearray()
        self._closed: Closed | None = None

    @staticmethod
    def _socket() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        return sock

    def __enter__(self) -> Self:
        self.quic.connect(self._address, time.monotonic())
        try:
            self.pump(lambda: self.handshaken)
        except BaseException:
            self._sock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye, if it is still open, and give the socket back."""
        if self._closed is None:
            self.quic.close()
            self.flush()
        self._sock.close()

    def vanish(self) -> None:
        """Gone without a word."""
        self._closed = Closed(0, "vanished")
        self._sock.close()

    def move(self) -> None:
        """From now on from another port, as behind a NAT that has forgotten, or on another network."""
        self._sock.close()
        self._sock = self._socket()

    # ---- out ----

    def flush(self) -> None:
        """Send what the engine has."""
        for data, _ in self.quic.datagrams_to_send(time.monotonic()):
            if len(self.sent) < 8:
                self.sent.append(data)
            with contextlib.suppress(OSError):
                self._sock.sendto(data, self._address)

    def write(self, data: bytes, stream: int = 0, *, end: bool = False) -> None:
        """Bytes on a stream, at once as far as the engine allows."""
        self.quic.send_stream_data(stream, data, end)
        self.flush()

    def send(self, message: wire.Message) -> None:
        """One message, as a write of its own."""
        self.write(wire.encode(message))

    # ---- in ----

    def pump(self, until: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Send and receive until something holds. Raises Closed if the connection ends before."""
        deadline_s = time.monotonic() + timeout_s
        while not until():
            if self._closed is not None:
                raise self._closed
            assert time.monotonic() < deadline_s, "nothing of the kind has come"
            self._turn()

    def _turn(self) -> None:
        self.flush()
        received = False
        while self.reading:
            try:
                data = self._sock.recv(65536)
            except OSError:
                break
            received = True
            self.quic.receive_datagram(data, self._address, time.monotonic())
        due_s = self.quic.get_timer()
        if due_s is not None and due_s <= time.monotonic():
            self.quic.handle_timer(time.monotonic())
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                self.handshaken = True
                self.alpn = event.alpn_protocol or ""
            elif isinstance(event, StreamDataReceived):
                if event.stream_id == 0:
                    self._input += event.data
                    self.ended = self.ended or event.end_stream
            elif isinstance(event, StreamReset):
                self.reset_streams[event.stream_id] = event.error_code
            elif isinstance(event, ConnectionTerminated):
                self._closed = Closed(event.error_code, event.reason_phrase)
        self.flush()
        if not received:
            time.sleep(POLL_S)

    def recv(self, timeout_s: float = TIMEOUT_S) -> wire.Message:
        """The next message."""
        self.pump(lambda: self._frame_size() > 0, timeout_s)
        size = self._frame_size()
        frame = bytes(self._input[:size])
        del self._input[:size]
        return wire.decode(frame)[1]

    def _frame_size(self) -> int:
        """Of the frame that is whole; 0 for none."""
        if len(self._input) < 4:
            return 0
        size = (12 if self._input[1] & 0x20 else 4) + int.from_bytes(self._input[2:4], "big")
        return size if len(self._input) >= size else 0

    def until(self, kind: type[M]) -> M:
        """The next message of a kind; others are passed over."""
        while not isinstance(message := self.recv(), kind):
            pass
        return message

    def hello(self, name: str = "quic") -> wire.Welcome:
        """HELLO, up to the snapshot that follows WELCOME."""
        self.send(wire.Hello(1, name, ()))
        welcome = self.until(wire.Welcome)
        self.until(wire.Snapshot)
        return welcome

    def closing(self) -> Closed:
        """Wait for the end."""
        try:
            self.pump(lambda: False)
        except Closed as closed:
            return closed
        raise AssertionError
