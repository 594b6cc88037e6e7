"""The `websockets` library, an implementation of WebSocket that is not the daemon's: what a plain client may do."""

from __future__ import annotations

import urllib.request

import pytest
from support.client import WsClient
from support.daemon import Daemon
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from clasp_edge import wire


def greet(socket: ClientConnection) -> None:
    socket.send(wire.encode(wire.Hello(version=1, name="plain")))
    assert isinstance(answer(socket), wire.Welcome)
    assert isinstance(answer(socket), wire.Snapshot)


def answer(socket: ClientConnection) -> wire.Message:
    return wire.decode(bytes(socket.recv(5, decode=False)))[1]


@pytest.mark.parametrize("path", ["", "/", "/clasp", "/any/where?x=1"])
@pytest.mark.parametrize("subprotocols", [None, ["clasp"], ["other", "clasp"]])
def test_any_path_and_the_subprotocol_when_it_is_offered(
    daemon: Daemon, path: str, subprotocols: list[str] | None
) -> None:
    offered = [Subprotocol(name) for name in subprotocols] if subprotocols else None
    with connect(daemon.ws_url + path, subprotocols=offered, proxy=None) as socket:
        assert socket.subprotocol == ("clasp" if subprotocols else None)
        greet(socket)


def test_everything_at_its_defaults(daemon: Daemon) -> None:
    # Compression is offered, keep-alive pings are on.
    with connect(daemon.ws_url, proxy=None, ping_interval=0.05, ping_timeout=5) as socket:
        greet(socket)
        for number in range(20):
            socket.send(wire.encode(wire.Set("/a", number)))
            assert answer(socket) == wire.Ack("/a", number + 1)
        assert socket.ping().wait(5)


def test_a_message_in_fragments_is_one_frame(daemon: Daemon) -> None:
    frame = wire.encode(wire.Set("/long", "x" * 3000))
    with connect(daemon.ws_url, proxy=None) as socket:
        greet(socket)
        socket.send([frame[:1], frame[1:5], b"", frame[5:2000], frame[2000:]])
        assert answer(socket) == wire.Ack("/long", 1)


def test_a_client_that_closes_gets_its_close_back(daemon: Daemon) -> None:
    with connect(daemon.ws_url, proxy=None) as socket:
        greet(socket)
        socket.close(1000, "done")
        assert socket.protocol.close_rcvd is not None
        assert socket.protocol.close_rcvd.code == 1000


def test_text_is_refused_with_a_reason(daemon: Daemon) -> None:
    # wire.md 6.1: CLASP is binary; who sends JSON learns why nothing happens.
    with WsClient(daemon.ws_url) as client:
        client.hello()
        client.ws.send("hello?")
        assert client.wait_closed().code == 1003


def test_http_on_the_port_is_answered(daemon: Daemon) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(daemon.ws_url.replace("ws://", "http://"), timeout=5) as answer:
        assert answer.status == 200
        assert answer.read().strip() == b"ok"


def test_greeting_twice_keeps_the_connection_and_its_subscriptions_sane(daemon: Daemon) -> None:
    with WsClient(daemon.ws_url) as client, WsClient(daemon.ws_url) as other:
        client.hello("first")
        other.hello()
        client.send(wire.Set("/kept", 1))
        client.recv_type(wire.Ack)
        client.hello("second")
        assert [(param.address, param.value) for param in client.snapshot] == [("/kept", 1)]
        client.send(wire.Subscribe(1, "/kept"))
        client.sync()
        other.send(wire.Set("/kept", 2))
        assert client.recv() == wire.Set("/kept", 2, revision=2)
        assert client.sync() == []


@pytest.mark.parametrize("size", [65_000, 65_400])
def test_values_almost_as_long_as_a_frame(daemon: Daemon, size: int) -> None:
    value = "x" * size
    with WsClient(daemon.ws_url) as client, WsClient(daemon.ws_url) as other:
        client.hello()
        client.send(wire.Set("/long", value))
        assert client.recv() == wire.Ack("/long", 1)
        assert [(param.address, param.value) for param in other.hello().snapshot] == [("/long", value)]
