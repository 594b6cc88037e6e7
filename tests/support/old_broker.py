"""A broker that knows no MQTT 5: Mosquitto behind a door that turns away every CONNECT of another version than 3.1.1.

Some brokers say so in a CONNACK, others only close; the door does either.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

REFUSED = b"\x20\x02\x00\x01"
"""CONNACK of MQTT 3.1.1: unacceptable protocol version."""

VERSION_AT = 8
"""Of a CONNECT whose length takes one byte: packet type, length, and `MQTT` with its own length go before."""

MQTT_3_1_1 = 4


class OldBroker:
    """A port of its own in front of another; `polite`: refuses with a CONNACK. `refused` counts. A context manager."""

    def __init__(self, behind: int, *, polite: bool = True) -> None:
        self._behind = behind
        self._polite = polite
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.refused = 0
        self.port = int(self._listener.getsockname()[1])
        self.url = f"mqtt://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        start = client.recv(4096)
        at = VERSION_AT + (1 if len(start) > 1 and start[1] & 0x80 else 0)
        if len(start) <= at or start[at] != MQTT_3_1_1:
            self.refused += 1
            if self._polite:
                client.sendall(REFUSED)
            client.close()
            return
        broker = socket.create_connection(("127.0.0.1", self._behind))
        self._sockets.append(broker)
        broker.sendall(start)
        threading.Thread(target=self._pass_on, args=(broker, client), daemon=True).start()
        self._pass_on(client, broker)

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        try:
            with suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
        finally:
            for one in (source, target):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            one.close()
