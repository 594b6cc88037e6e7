"""What talks to the board in these tests: sets params and notes which were acknowledged, reads them again."""

from __future__ import annotations

import contextlib
import threading
import time

from support.client import Closed, WsClient

from clasp_edge import wire
from clasp_edge.wire.pattern import Pattern
from hw_tests.boards import Board

REPLY_TIMEOUT_S = 60.0
"""An emulated board that is busy can be that slow."""


def connect(board: Board, name: str = "hw-test") -> WsClient:
    """A client of the board's router, tried again while the board is busy starting."""
    deadline = time.monotonic() + REPLY_TIMEOUT_S
    while True:
        try:
            return WsClient(board.url).hello(name, timeout=REPLY_TIMEOUT_S)
        except (OSError, TimeoutError, Closed):
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def set_params(client: WsClient, values: dict[str, wire.Value]) -> None:
    """Set params, each acknowledged before the next."""
    for address, value in values.items():
        client.send(wire.Set(address=address, value=value))
        client.recv_until(wire.Ack, REPLY_TIMEOUT_S)


def read_params(client: WsClient, pattern: str) -> dict[str, wire.Value]:
    """Everything below a pattern, as a new subscriber is told."""
    wanted = Pattern(pattern.encode())
    client.send(wire.Subscribe(id=1, pattern=pattern))
    found: dict[str, wire.Value] = {}
    for message in client.sync(REPLY_TIMEOUT_S):
        if isinstance(message, wire.Snapshot):
            found.update({param.address: param.value for param in message.params})
        elif isinstance(message, wire.Set):
            found[message.address] = message.value
    # What a client is told at the door may still have been under way.
    return {address: value for address, value in found.items() if wanted.matches(address.encode())}


class Writer(threading.Thread):
    """Writes until the connection breaks, and knows what the router has acknowledged."""

    def __init__(self, board: Board, prefix: str, rate: float = 0.0) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, int] = {}
        self.sent = 0
        self._client = connect(board, "writer")
        self._prefix = prefix
        self._pause_s = 1 / rate if rate else 0.0
        self._stop_asked = threading.Event()

    def run(self) -> None:
        with contextlib.suppress(Closed, OSError, TimeoutError, EOFError):
            next_at = time.monotonic()
            while not self._stop_asked.is_set():
                self.sent += 1
                address = f"{self._prefix}/{self.sent % 200}"
                self._client.send(wire.Set(address=address, value=self.sent))
                self._client.recv_until(wire.Ack, REPLY_TIMEOUT_S)
                self.acknowledged[address] = self.sent
                next_at += self._pause_s
                time.sleep(max(0.0, next_at - time.monotonic()) if self._pause_s else 0)

    def stop(self) -> None:
        """Let it end, and wait for that."""
        self._stop_asked.set()
        self.join(REPLY_TIMEOUT_S)
        with contextlib.suppress(Exception):
            self._client.close()
