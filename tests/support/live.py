"""What tests against a running daemon have in common: clients that are closed together, waits, and a bystander.

Knows how to ask for things in one line; what must come back is the tests' business.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from support.client import Client, TcpClient, WsClient
from support.daemon import Daemon

from clasp_edge import wire

T = TypeVar("T")
M = TypeVar("M", bound=wire.Message)
C = TypeVar("C", bound=Client)

EVENTUALLY_S = 30.0
POLL_S = 0.02

_numbers = itertools.count(1)


def fresh() -> str:
    """An address prefix that no other test has used."""
    return f"/t{next(_numbers)}"


def _greet(client: C, name: str, token: str | None = None) -> C:
    """HELLO, and the state as it stands, which may take several SNAPSHOTs."""
    client.hello(name, token=token)
    client.snapshot += params_of(client.sync())
    return client


class Crowd:
    """Clients of one daemon, closed together. Each has said HELLO unless `greet` is False."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self._clients: list[Client] = []
        self._pair: tuple[TcpClient, TcpClient] | None = None

    def ws(self, name: str = "test", *, token: str | None = None, greet: bool = True) -> WsClient:
        return self._joined(WsClient(self.daemon.ws_url), name, token, greet)

    def tcp(self, name: str = "test", *, token: str | None = None, greet: bool = True) -> TcpClient:
        return self._joined(TcpClient(self.daemon.tcp_address), name, token, greet)

    def pair(self) -> tuple[TcpClient, TcpClient]:
        """The same two clients each time: for the many examples of one test."""
        if self._pair is None:
            self._pair = self.tcp(), self.tcp()
        return self._pair

    def leave(self) -> None:
        """Close whoever is still connected."""
        for client in self._clients:
            client.close()

    def _joined(self, client: C, name: str, token: str | None, greet: bool) -> C:
        self._clients.append(client)
        if greet:
            _greet(client, name, token)
        return client


def subscribe(
    client: Client,
    pattern: str,
    *,
    id: int = 1,  # noqa: A002 - the field's name
    types: Iterable[wire.SignalType] = (),
    **options: Any,
) -> list[wire.Message]:
    """Subscribe and return what came until the router had dealt with it."""
    wanted = wire.SubscribeOptions(**options) if options else None
    client.send(wire.Subscribe(id=id, pattern=pattern, types=tuple(types), options=wanted))
    return client.sync()


def put(client: Client, address: str, value: wire.Value, **fields: Any) -> wire.Ack:
    """SET, and the ACK that must follow (the client must not be subscribed to it)."""
    client.send(wire.Set(address=address, value=value, **fields))
    return client.recv_type(wire.Ack)


def refused(client: Client, address: str, value: wire.Value, **fields: Any) -> wire.Error:
    """SET, and the ERROR that must follow."""
    client.send(wire.Set(address=address, value=value, **fields))
    return client.recv_type(wire.Error)


def get(client: Client, address: str) -> wire.ParamValue | None:
    """The param, or None for ERROR 201."""
    client.send(wire.Get(address=address))
    while True:
        answer = client.recv()
        if isinstance(answer, wire.Error):
            assert (answer.code, answer.address) == (201, address)
            return None
        assert isinstance(answer, wire.Snapshot)
        # A large greeting goes out in pieces, as there is room and, in strict mode, as they are stored.
        if [param.address for param in answer.params] == [address]:
            return answer.params[0]


def of_type(messages: Iterable[wire.Message], kind: type[M]) -> list[M]:
    return [message for message in messages if isinstance(message, kind)]


def params_of(messages: Iterable[wire.Message]) -> list[wire.ParamValue]:
    """The lines of all SNAPSHOTs."""
    return [param for message in of_type(messages, wire.Snapshot) for param in message.params]


def eventually(check: Callable[[], T], timeout: float = EVENTUALLY_S) -> T:
    """Poll until `check` returns something true, and return that."""
    deadline_s = time.monotonic() + timeout
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline_s, f"still {found!r} after {timeout:g} s"
        time.sleep(POLL_S)


class Witness:
    """A bystander with a subscription of its own: whatever others do, it must notice nothing and stay served."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._area = f"{fresh()}/witness"
        self._beats = 0
        self.client = crowd.ws("witness")
        assert subscribe(self.client, f"{self._area}/**") == []

    def assert_undisturbed(self) -> None:
        """Nothing unasked has come, and a newcomer's write still arrives."""
        assert self.client.sync() == []
        self._beats += 1
        with _greet(WsClient(self._crowd.daemon.ws_url), "newcomer") as newcomer:
            put(newcomer, f"{self._area}/beat", self._beats)
            assert self.client.recv_type(wire.Set).value == self._beats
        self._crowd.daemon.assert_healthy()
