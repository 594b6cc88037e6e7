"""The socket that paho-mqtt is given: many packets for one call of the system, both ways.

paho asks for a packet's first byte, its length and its rest one by one, and sends each packet by itself.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Any

READ_BYTES = 65_536
MOST_UNSENT_BYTES = 65_536
"""With more than this waiting, `send` refuses: what is not taken stays in the bridge's queue."""

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class BufferedSocket:
    """Around a connected socket, with TLS or without. What is sent goes out with `flush`, or before it is closed."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self._read = b""
        self._at = 0
        self._unsent = bytearray()

    def recv(self, size: int) -> bytes:
        """Some bytes, b"" at the end. Raises as the socket's own."""
        if self._at >= len(self._read):
            self._read = b""  # in case the next line raises
            self._at = 0
            self._read = self.raw.recv(READ_BYTES)
        data: bytes = self._read[self._at : self._at + size]
        self._at += len(data)
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Take all of it. Raises BlockingIOError where too much waits, else as the socket's own."""
        if len(self._unsent) >= MOST_UNSENT_BYTES:
            self.flush()
            if len(self._unsent) >= MOST_UNSENT_BYTES:
                raise BlockingIOError
        self._unsent += data
        return len(data)

    def flush(self) -> None:
        """Send what waits, as much of it as goes now. Raises OSError."""
        with suppress(*_NOT_NOW):
            while self._unsent:
                del self._unsent[: self.raw.send(self._unsent)]

    @property
    def unsent(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._unsent)

    @property
    def buffered(self) -> bool:
        """Whether something has been read that nobody has asked for yet."""
        return self._at < len(self._read)

    def pending(self) -> int:
        """Bytes that the descriptor no longer shows."""
        more = self.raw.pending() if isinstance(self.raw, ssl.SSLSocket) else 0
        return len(self._read) - self._at + more

    def fileno(self) -> int:
        return int(self.raw.fileno())

    def setblocking(self, flag: bool) -> None:
        self.raw.setblocking(flag)

    def set_no_delay(self) -> None:
        """A single message must not wait for the acknowledgement of the one before."""
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """What waits goes first, if it goes at once."""
        with suppress(OSError):
            self.flush()
        self.raw.close()
