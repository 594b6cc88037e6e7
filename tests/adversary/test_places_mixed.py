"""One host, or three, cannot keep others out, whatever protocols they mix; nor can connections that say nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.client import TcpClient, WsClient
from support.console import ask
from support.daemon import Daemon
from support.live import eventually
from support.mqtt_client import Broker
from support.mqtt_packets import V5

PLACES = 12
HONEST = "127.0.0.9"


@pytest.fixture
def crowded() -> Iterator[tuple[Daemon, ExitStack]]:
    sets = {"limits.max_sessions": PLACES, "limits.max_half_open": 8}
    with Daemon(tcp=True, mqtt=True, osc=True, sets=sets) as daemon, ExitStack() as stack:
        yield daemon, stack


def everybody_gets_in(daemon: Daemon, stack: ExitStack) -> None:
    """An honest host, on every transport."""
    assert stack.enter_context(TcpClient(daemon.tcp_address, source=HONEST)).hello().sync() == []
    assert stack.enter_context(WsClient(daemon.ws_url, source=HONEST)).hello().sync() == []
    assert ask(daemon.control_path, request="status")["result"]["sessions"]["moved"] >= 2


def test_one_host_that_mixes_protocols(crowded: tuple[Daemon, ExitStack]) -> None:
    daemon, stack = crowded
    broker = Broker(daemon.mqtt_address)
    stack.callback(broker.leave)
    for _ in range(PLACES // 2):
        broker.client(V5)
        stack.enter_context(TcpClient(daemon.tcp_address)).hello()
    everybody_gets_in(daemon, stack)


def test_three_hosts(crowded: tuple[Daemon, ExitStack]) -> None:
    daemon, stack = crowded
    for number in range(PLACES):
        stack.enter_context(TcpClient(daemon.tcp_address, source=f"127.0.0.{60 + number % 3}")).hello()
    everybody_gets_in(daemon, stack)


def sessions(daemon: Daemon) -> dict[str, int]:
    found: dict[str, int] = ask(daemon.control_path, request="status")["result"]["sessions"]
    return found


@pytest.mark.parametrize("listener", ["ws", "tcp", "mqtt"])
def test_connections_that_say_nothing(crowded: tuple[Daemon, ExitStack], listener: str) -> None:
    """However many there are, each honest one finds time to say who it is."""
    daemon, stack = crowded
    for _ in range(100):
        silent = stack.enter_context(socket.create_connection(getattr(daemon, f"{listener}_address")))
        silent.settimeout(5)
    waiting = TcpClient(daemon.tcp_address, source=HONEST)
    stack.enter_context(waiting)
    for _ in range(50):
        stack.enter_context(socket.create_connection(getattr(daemon, f"{listener}_address")))
    assert waiting.hello().sync() == []
    # Another listener may still be taking up what waits in the kernel.
    eventually(lambda: sessions(daemon)["half_open_evicted"] >= 80, 30)
    assert sessions(daemon)["half_open"] <= 8
