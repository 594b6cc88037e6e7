"""The hub of the router under test: does what a hub does, well enough for the link to come up, and lies."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from fuzz import corpus, mutate

from clasp_edge.federation.shared import extensions
from clasp_edge.wire import (
    Ack,
    Bundle,
    FederationOp,
    FederationSync,
    Hello,
    Message,
    Ping,
    Pong,
    Publish,
    Set,
    Snapshot,
    Welcome,
    WireError,
    decode,
    encode,
)
from clasp_edge.wire.extensions import with_extensions

LIES_AT_ONCE = 200
BROKEN = 0.15
"""How many are broken, too: the others are well made and only untrue, or a link would end after a few."""


class LyingHub:
    """A TCP listener of plain CLASP; one connection at a time, each of which is a clasp-edge's or the reference's."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._closing = False
        self.said = 0
        self.links = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._server.close()

    def _serve(self) -> None:
        while not self._closing:
            with suppress(OSError):
                connection, _ = self._server.accept()
                with connection:
                    connection.settimeout(0.2)
                    self.links += 1
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        is_edge = self._chance.random() < 0.7
        received = b""
        while not self._closing:
            try:
                more = connection.recv(1 << 16)
                if not more:
                    return
                received += more
            except TimeoutError:
                pass
            while len(received) >= 4 and len(received) >= 4 + int.from_bytes(received[:4], "big"):
                size = int.from_bytes(received[:4], "big")
                with suppress(WireError):
                    for answer in self._answers(decode(received[4 : 4 + size])[1], is_edge):
                        connection.sendall(len(answer).to_bytes(4, "big") + answer)
                received = received[4 + size :]
            connection.sendall(b"".join(self._lie() for _ in range(LIES_AT_ONCE)))
            self.said += LIES_AT_ONCE

    def _lie(self) -> bytes:
        lies = corpus.federation()
        lie = self._chance.choice(lies)
        if self._chance.random() < BROKEN:
            return mutate.stream(self._chance, mutate.mutated(self._chance, lie, lies))
        return (len(lie) + 4).to_bytes(4, "big") + b"S\0" + len(lie).to_bytes(2, "big") + lie

    def _answers(self, message: Message, is_edge: bool) -> list[bytes]:
        match message:
            case Hello():
                welcome = encode(Welcome(version=1, session="s", name="liar", features=corpus.FEATURES[:-1], time=1))
                peer = FederationSync(FederationOp.PEER, origin="liar", since_revision=1)
                return [with_extensions(welcome), encode(Snapshot(())), encode(peer)] if is_edge else [
                    welcome, encode(Snapshot(())),
                ]  # fmt: skip
            case FederationSync(op=FederationOp.REQUEST_SYNC):
                done = FederationSync(FederationOp.SYNC_COMPLETE, patterns=message.patterns, origin="liar")
                return [encode(Snapshot(())), encode(done)]
            case FederationSync(op=FederationOp.DECLARE_NAMESPACES) | Bundle():
                return [encode(Ack())]
            case Set():
                return [encode(Ack(address=message.address, revision=1))]
            case Publish():
                return [extensions.reached_frame(self._chance.randrange(50)), extensions.stored_frame(3)]
            case Ping():
                return [encode(Pong())]
            case _:
                return []
