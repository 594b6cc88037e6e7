"""An address that some can say and others cannot: NUL, by every door."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.leaves import ALL_FEATURES
from support.live import Crowd, get, put, refused
from support.mqtt_client import MqttClient

from clasp_edge import wire
from clasp_edge.wire import Announce, Bundle, Error, FederationOp, FederationSync, Publish, Set, Signal, SignalType

BAD = "/osc/x\0y"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True, mqtt=True, osc=True) as running:
        yield running


@pytest.mark.parametrize(
    "message",
    [
        Set(BAD, 1),
        Publish(BAD, signal=SignalType.EVENT, value=1),
        Publish(BAD, signal=SignalType.GESTURE, value=1, id=1),
        Bundle([Set("/osc/good", 1), Set(BAD, 1)]),
        wire.Get(BAD),
        wire.Subscribe(1, BAD),
        wire.Subscribe(1, "/osc/x\0*"),
        wire.Query("/osc/\0/**"),
        wire.Replay("/osc/\0/**"),
        Announce("/osc", [Signal(BAD, SignalType.PARAM)]),
    ],
    ids=lambda message: type(message).__name__,
)
def test_clasp(clients: Crowd, message: wire.Message) -> None:
    client = clients.tcp()
    client.send(message, 1)
    (error,) = client.sync()
    assert isinstance(error, Error), error
    assert get(client, "/osc/good") is None


def test_a_router_that_dials_in(clients: Crowd) -> None:
    peer = clients.tcp(greet=False).hello("box", features=ALL_FEATURES)
    peer.sync()
    peer.send(FederationSync(FederationOp.PEER, patterns=("/osc/**",), origin="box", since_revision=1))
    peer.recv_until(FederationSync)
    peer.send(Set(BAD, 1), 1)
    assert "NUL" in peer.recv_until(Error).message


def test_mqtt(daemon: Daemon) -> None:
    """5.0, 1.5.4: a text with U+0000 is malformed, and closes the connection."""
    for send in ("publish", "subscribe"):
        with MqttClient(daemon.mqtt_address).connect() as device:
            try:
                getattr(device, send)("x\0y")
            except Exception:  # the server hung up in the middle
                continue
            device.expect_closed()


def test_what_others_are_told_stays_whole(daemon: Daemon, clients: Crowd) -> None:
    """Where one was stored, an OSC device was told nothing that came behind it."""
    writer = clients.tcp()
    put(writer, "/osc/a", 1)
    assert "NUL" in refused(writer, BAD, 1).message
    put(writer, "/osc/b", 2)
    told = [param.address for param in clients.tcp("late").snapshot]
    assert [address for address in told if address.startswith("/osc/")] == ["/osc/a", "/osc/b"]
    assert "Traceback" not in daemon.stderr
