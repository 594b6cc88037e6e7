"""The daemon is killed and comes back on the same port: each client finds it again by its own means."""

from __future__ import annotations

import asyncio

from support.client import WsClient
from support.daemon import Daemon
from support.javascript import JavaScriptClient
from support.python_client import PythonClient
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from clasp_edge import wire

RECONNECT_TIMEOUT_S = 15.0
"""Several attempts with the growing pauses of the JavaScript client, on a busy machine."""


def set_by_another(daemon: Daemon, address: str, value: wire.Value) -> None:
    with WsClient(daemon.ws_url) as other:
        other.hello()
        other.send(wire.Set(address, value))
        other.recv_type(wire.Ack)


def test_javascript_comes_back_with_its_subscriptions(daemon: Daemon) -> None:
    with JavaScriptClient(daemon.ws_url, reconnectInterval=100) as client:
        client.connect()
        heard = client.subscribe("/fader/*")
        before = client.call("session")
        daemon.kill()
        client.events.wait_for(lambda event: event["event"] == "disconnect")
        client.events.clear()
        daemon.start()
        client.events.wait_for(lambda event: event["event"] == "connect", RECONNECT_TIMEOUT_S)
        assert client.call("session") != before
        client.settle()
        set_by_another(daemon, "/fader/1", 0.5)
        assert heard.wait() == [("/fader/1", 0.5)]
        client.set("/fader/2", 1)
        assert heard.wait(2)[1] == ("/fader/2", 1)


def test_python_comes_back_and_subscribes_again(daemon: Daemon) -> None:
    # It tries once, after its pause, and leaves it to the program to subscribe again. The restart happens on the
    # client's own loop, so that the one attempt is never too early.
    with PythonClient(daemon.ws_url, reconnect_interval=0.05) as client:
        client.connect()
        old = client.subscribe("/fader/*")
        before = client.client.session_id
        client.call(daemon.restart)
        client.events.wait_for(lambda event: event == "disconnect", RECONNECT_TIMEOUT_S)
        assert client.events.wait(3, RECONNECT_TIMEOUT_S) == ["connect", "disconnect", "connect"]
        assert client.client.session_id != before
        heard = client.subscribe("/fader/*")
        set_by_another(daemon, "/fader/1", 0.5)
        client.set("/fader/2", 1)
        assert heard.wait(2) == [("/fader/1", 0.5), ("/fader/2", 1)]
        assert old.wait(2) == heard.items


def test_the_iterator_of_websockets_comes_back(daemon: Daemon) -> None:
    async def connect_three_times() -> list[str]:
        sessions: list[str] = []
        async with asyncio.timeout(RECONNECT_TIMEOUT_S):
            async for connection in connect(daemon.ws_url, proxy=None):
                try:
                    await connection.send(wire.encode(wire.Hello(version=1, name="raw")))
                    welcome = wire.decode(bytes(await connection.recv(decode=False)))[1]
                    assert isinstance(welcome, wire.Welcome)
                    sessions.append(welcome.session)
                    if len(sessions) == 3:
                        await connection.close()
                        return sessions
                    # On this loop, so that the next attempt finds it running: the pauses after a failure are long.
                    daemon.restart()
                    async for _ in connection:
                        pass
                except ConnectionClosedError:
                    continue
        raise AssertionError("the iterator ended")

    assert len(set(asyncio.run(connect_three_times()))) == 3


def test_a_polite_stop_is_told_to_all(daemon: Daemon) -> None:
    with (
        JavaScriptClient(daemon.ws_url, reconnectInterval=100) as js,
        PythonClient(daemon.ws_url, reconnect=False) as py,
        WsClient(daemon.ws_url) as raw,
    ):
        js.connect()
        py.connect()
        raw.hello()
        daemon.stop()
        closed = raw.wait_closed()
        assert closed.code == 1001
        told = js.events.wait_for(lambda event: event["event"] == "disconnect")
        assert told["reason"] == closed.reason != ""
        py.events.wait_for(lambda event: event == "disconnect")
        js.events.clear()
        daemon.start()
        js.events.wait_for(lambda event: event["event"] == "connect", RECONNECT_TIMEOUT_S)
