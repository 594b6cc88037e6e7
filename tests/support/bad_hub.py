"""Hubs that do not do what a hub does, on loopback: the other end of an uplink, written with `websockets`.

A hub is a function that is given each connection. Knows frames; what a box makes of it is the tests' business.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from clasp_edge import wire
from clasp_edge.wire import FederationOp, FederationSync, ParamValue
from clasp_edge.wire.extensions import with_extensions


class Conversation:
    """One connection of a box."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.heard: list[wire.Message] = []

    def recv(self, timeout: float = 20.0) -> wire.Message:
        data = self.connection.recv(timeout)
        assert isinstance(data, bytes)
        message = wire.decode(data)[1]
        self.heard.append(message)
        return message

    def recv_until(self, kind: type[wire.Message]) -> wire.Message:
        while not isinstance(message := self.recv(), kind):
            pass
        return message

    def say(self, *messages: wire.Message | bytes) -> None:
        for message in messages:
            self.connection.send(message if isinstance(message, bytes) else wire.encode(message))

    def greet(self, *, is_edge: bool = False, session: str = "session") -> None:
        """HELLO, WELCOME and an empty SNAPSHOT."""
        self.recv_until(wire.Hello)
        features = ("param", "event", "stream", "gesture", "timeline")
        welcome = wire.encode(
            wire.Welcome(version=1, session=session, name="Bad Hub", features=features, time=time.time_ns() // 1000)
        )
        self.say(with_extensions(welcome) if is_edge else welcome, wire.Snapshot(params=()))
        if is_edge:
            self.recv_until(FederationSync)
            self.say(FederationSync(FederationOp.PEER, origin="bad-hub", since_revision=1))

    def take_declaration(self) -> None:
        while (
            not isinstance(message := self.recv(), FederationSync) or message.op is not FederationOp.DECLARE_NAMESPACES
        ):
            pass
        self.say(wire.Ack())

    def serve(self, state: dict[str, ParamValue] | None = None) -> None:
        """Answer as the reference does, with this state, as long as the box is there; SETs are acknowledged only."""
        revision = 100
        while True:
            message = self.recv()
            if isinstance(message, wire.Set):
                revision += 1
                echo = wire.Set(message.address, message.value, revision=revision)
                self.say(echo, wire.Ack(address=message.address, revision=revision))
            elif isinstance(message, wire.Bundle):
                self.say(wire.Ack())
            elif isinstance(message, wire.Ping):
                self.say(wire.Pong())
            elif isinstance(message, FederationSync) and message.op is FederationOp.REQUEST_SYNC:
                params = [param for param in (state or {}).values() if message.patterns[0].startswith("/own/**")]
                self.say(wire.Snapshot(params=params))
                self.say(FederationSync(FederationOp.SYNC_COMPLETE, patterns=message.patterns, origin="Bad Hub"))


class BadHub:
    """Serves `behave` to each connection, one after the other or side by side. A context manager; `url` is its."""

    def __init__(self, behave: Callable[[Conversation], None]) -> None:
        self._behave = behave
        self.conversations: list[Conversation] = []
        self._server: Server = serve(
            self._handle, "127.0.0.1", 0, subprotocols=[Subprotocol("clasp")], compression=None, ping_interval=None
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def _handle(self, connection: ServerConnection) -> None:
        conversation = Conversation(connection)
        self.conversations.append(conversation)
        try:
            self._behave(conversation)
            while True:  # until the box has had enough of it
                conversation.recv(60.0)
        except (ConnectionClosed, TimeoutError, wire.WireError):
            pass

    def heard(self) -> list[wire.Message]:
        """Everything that was said on all connections."""
        return [message for conversation in self.conversations for message in conversation.heard]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        for conversation in self.conversations:
            conversation.connection.close()
        self._thread.join(5)
