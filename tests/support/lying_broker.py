"""An MQTT broker that does not do what a broker does, on loopback: the other end of a bridge, byte by byte.

A broker is a function that is given each connection after its CONNECT. Knows nothing of what a bridge makes of it.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

CONNACK = b"\x20\x03\x00\x00\x00"
"""Of MQTT 5: accepted, no session, no properties."""

SESSION_PRESENT = b"\x20\x03\x01\x00\x00"
WAIT_S = 60.0


def length(number: int) -> bytes:
    """A variable byte integer (MQTT 5.0, 1.5.5)."""
    encoded = b""
    while True:
        number, low = number >> 7, number & 0x7F
        encoded += bytes((low | (0x80 if number else 0),))
        if not number:
            return encoded


def published(
    topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, packet_id: int = 1, properties: bytes = b""
) -> bytes:  # fmt: skip
    """A PUBLISH of MQTT 5."""
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + (struct.pack(">H", packet_id) if qos else b"")
    body += length(len(properties)) + properties + payload
    return bytes((0x30 | qos << 1 | retain,)) + length(len(body)) + body


def granted(packet_id: bytes, code: int) -> bytes:
    """A SUBACK of MQTT 5 for one filter, with this reason code."""
    return b"\x90\x04" + packet_id + bytes((0, code))


def user_property(name: str, value: str) -> bytes:
    one, other = name.encode(), value.encode()
    return b"\x26" + struct.pack(">H", len(one)) + one + struct.pack(">H", len(other)) + other


class Connection:
    """One connection of a bridge, its CONNECT read. `say` waits while the bridge does not read."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.said_bytes = 0
        self.ended = threading.Event()

    def say(self, *packets: bytes) -> None:
        self._send(b"".join(packets))

    def _send(self, data: bytes | bytearray) -> None:
        self.sock.sendall(data)
        self.said_bytes += len(data)

    def flood(self, packets: Iterable[bytes]) -> None:
        """All of them, many at a time."""
        gathered = bytearray()
        for packet in packets:
            gathered += packet
            if len(gathered) > 65_536:
                self._send(gathered)
                gathered.clear()
        self._send(gathered)

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """What the bridge says, until it is gone: the first byte of each packet, and what follows its length."""
        data = b""
        while more := self.sock.recv(65_536):
            data += more
            while len(data) > 1:
                size, at = 0, 1
                while at < len(data) and data[at] & 0x80:
                    size |= (data[at] & 0x7F) << 7 * (at - 1)
                    at += 1
                if at == len(data) or len(data) < at + 1 + (size := size | data[at] << 7 * (at - 1)):
                    break
                yield data[0], data[at + 1 : at + 1 + size]
                data = data[at + 1 + size :]

    def read_on(self) -> None:
        """Read whatever the bridge says, beside what follows."""

        def read() -> None:
            with suppress(OSError):
                while self.sock.recv(65_536):
                    pass
            self.ended.set()

        threading.Thread(target=read, daemon=True).start()


class LyingBroker:
    """Serves `behave` to each connection. A context manager; `url` is its, `done` is set when `behave` has returned."""

    def __init__(self, behave: Callable[[Connection], None]) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections: list[Connection] = []
        self.done = threading.Event()
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = Connection(self._listener.accept()[0])
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with suppress(OSError):
            connection.sock.settimeout(WAIT_S)
            connection.sock.recv(65_536)
            self._behave(connection)
            self.done.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._listener, *(connection.sock for connection in self.connections)):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
