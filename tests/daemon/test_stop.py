"""The end of the process: what clients are told, how long it takes, what it says to the shell."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest
from support.client import TcpClient, WsClient
from support.daemon import PROJECT_ROOT, Daemon
from support.live import Crowd, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import Qos

STOP_WITHIN_S = 2.5
"""The promise is 2 s; a busy machine gets a little more."""


def stop(daemon: Daemon, number: signal.Signals = signal.SIGTERM) -> float:
    """Send the signal, wait for status 0, and return how long it took."""
    process = daemon._process
    assert process is not None
    started_s = time.monotonic()
    daemon.signal(number)
    assert process.wait(10) == 0
    return time.monotonic() - started_s


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clients_are_told_and_the_status_is_0(number: signal.Signals) -> None:
    daemon = Daemon(tcp=True).start()
    try:
        crowd = Crowd(daemon)
        clients = [crowd.ws(), crowd.ws(), crowd.ws(greet=False)]
        over_tcp = crowd.tcp()
        assert stop(daemon, number) < STOP_WITHIN_S
        for client in clients:
            closed = client.wait_closed()
            assert (closed.code, closed.reason) == (1001, "router stops")
        assert over_tcp.wait_closed() is not None
        crowd.leave()
    finally:
        daemon.close()


def test_what_was_acknowledged_and_queued_still_arrives() -> None:
    daemon = Daemon(tcp=True).start()
    try:
        crowd = Crowd(daemon)
        writer, reader = crowd.tcp(), crowd.tcp()
        subscribe(reader, "/**")
        for number in range(500):
            writer.send(wire.Set("/a", number), Qos.FIRE)
        writer.sync()
        stop(daemon)
        assert [reader.recv_type(wire.Set).value for _ in range(500)] == list(range(500))
        assert reader.wait_closed() is not None
        crowd.leave()
    finally:
        daemon.close()


def test_clients_that_do_not_react_do_not_hold_it_up() -> None:
    daemon = Daemon(tcp=True).start()
    try:
        deaf = TcpClient(daemon.tcp_address).hello()
        subscribe(deaf, "/**")
        silent = [socket.create_connection(daemon.ws_address) for _ in range(10)]
        # A WebSocket client that never answers the close: its library is not allowed to speak.
        mute = WsClient(daemon.ws_url).hello()
        mute.ws.protocol.data_to_send = list  # type: ignore[method-assign]
        writer = TcpClient(daemon.tcp_address).hello()
        for _ in range(200):
            writer.send(wire.Set("/a", b"x" * 60_000), Qos.FIRE)
        writer.sync()
        assert stop(daemon) < STOP_WITHIN_S
        for sock in silent:
            sock.close()
        for client in (deaf, mute, writer):
            client.close()
    finally:
        daemon.close()


def test_the_port_is_free_again_at_once_and_the_state_is_gone() -> None:
    with Daemon() as daemon:
        with WsClient(daemon.ws_url).hello() as client:
            put(client, "/a", 1)
        daemon.stop()
        daemon.start()
        with WsClient(daemon.ws_url) as client:
            client.hello()
            assert client.sync() == []


def test_a_port_in_use_is_one_line_and_status_2() -> None:
    with Daemon() as daemon:
        taken = daemon.ws_url.removeprefix("ws://")
        second = subprocess.run(
            [sys.executable, "-m", "clasp_edge", "run", "--set", f"websocket.listen={taken}"],
            capture_output=True,
            text=True,
            timeout=20,
            cwd=PROJECT_ROOT,
            check=False,
        )
        assert second.returncode == 2
        assert second.stdout == ""
        assert second.stderr.count("\n") == 1
        assert taken in second.stderr
