"""A leaf as a client of a hub: what it says in FEDERATION_SYNC, and what it is told (router.md 8.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from support.client import Client, WsClient
from support.daemon import Daemon

from clasp_edge import wire
from clasp_edge.wire import Ack, Error, FederationOp, FederationSync, ParamValue, Set, Snapshot

ALL_FEATURES = ("param", "event", "stream", "gesture", "timeline", "federation")

Connect = Callable[..., WsClient]


def connecting(daemon: Daemon) -> Iterator[Connect]:
    """For a fixture. `connect(peer=True, to=daemon, token=None)`: a client that has said HELLO."""
    with ExitStack() as stack:

        def connect(*, peer: bool = True, to: Daemon = daemon, token: str | None = None) -> WsClient:
            client = stack.enter_context(WsClient(to.ws_url))
            features = ALL_FEATURES if peer else ALL_FEATURES[:-1]
            return client.hello("leaf", features=features, token=token)

        yield connect


def declare(client: Client, *patterns: str, origin: str | None = "site-a") -> None:
    client.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=patterns, origin=origin))
    assert client.recv() == Ack()


def request(client: Client, *patterns: str, since: int | None = None) -> list[list[ParamValue]]:
    """RequestSync; the params of each SNAPSHOT before SyncComplete."""
    client.send(FederationSync(FederationOp.REQUEST_SYNC, patterns=patterns, since_revision=since))
    snapshots: list[list[ParamValue]] = []
    while isinstance(message := client.recv(), Snapshot):
        snapshots.append(list(message.params))
    assert isinstance(message, FederationSync)
    assert message == FederationSync(FederationOp.SYNC_COMPLETE, patterns=tuple(patterns), origin=message.origin)
    return snapshots


def put(client: Client, address: str, *values: wire.Value) -> None:
    for value in values:
        client.send(Set(address, value), qos=0)
    client.sync()


def refused(client: Client, message: wire.Message) -> tuple[int, str, str | None]:
    """The ERROR that a message gets, and that it gets nothing else."""
    client.send(message)
    (error,) = client.sync()
    assert isinstance(error, Error), error
    return error.code, error.message, error.address


def compare(client: Client, revisions: dict[str, int]) -> list[wire.Message]:
    client.send(FederationSync(FederationOp.REVISION_VECTOR, revisions=revisions))
    return client.sync()
