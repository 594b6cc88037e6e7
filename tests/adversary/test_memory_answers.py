"""Who asks for much and does not read the answers, or has devices told large values: what waits is bounded and given
back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.client import TcpClient
from support.daemon import Daemon
from support.live import eventually
from support.memory_attacks import Rss, framed
from support.osc import packet

from clasp_edge import wire
from clasp_edge.wire import Qos

ARENA_MB = 17
LARGE = "y" * 60_000


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True, osc=True, sets={"journal.mode": "group", "limits.slow_client_timeout_s": 3600}) as running:
        yield running


def fill(daemon: Daemon, count: int, prefix: str) -> None:
    with TcpClient(daemon.tcp_address) as writer:
        writer.hello(timeout=60)
        for number in range(count):
            writer.send(wire.Set(f"{prefix}/{number}", LARGE), Qos.FIRE)
        writer.sync(60)


def deaf(daemon: Daemon, *asks: wire.Message) -> socket.socket:
    """A client that asks and reads no more than the greeting."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.settimeout(60)
    one.connect(daemon.tcp_address)
    one.sendall(framed(wire.Hello(1, "deaf", ("param", "event"))))
    one.recv(4)
    one.sendall(framed(*asks, qos=0))
    return one


@pytest.mark.parametrize(
    "ask",
    [wire.Get("/p/**"), wire.Replay(pattern="/**"), wire.Subscribe(1, "/**")],
    ids=["GET", "REPLAY", "SUBSCRIBE"],
)
def test_answers_that_nobody_reads(daemon: Daemon, ask: wire.Message) -> None:
    """Each piece of an answer has 60 to 130 KB: a hundred clients that ask eight times take no more than the arena, and
    their account, which has a bound of its own."""
    fill(daemon, 60, "/p")
    rss = Rss(daemon)
    clients = []
    try:
        before = rss.now
        clients = [deaf(daemon, *([ask] * 8)) for _ in range(100)]
        with TcpClient(daemon.tcp_address, source="127.0.0.9") as honest:
            honest.hello(timeout=60)
            honest.sync(60)
            assert rss.most - before < ARENA_MB + 24
        for one in clients:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        eventually(lambda: rss.now - before < 12, 40)
    finally:
        rss.stop()


def test_large_values_that_devices_are_told(daemon: Daemon) -> None:
    """What an OSC device was told is remembered, so that it is not believed when it repeats it; of a large value only a
    digest is."""
    daemon.stop()
    daemon.sets["state.max_mib"] = 1
    daemon.start()
    device = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    device.bind(("127.0.0.1", 0))
    rss = Rss(daemon)
    try:
        device.settimeout(20)
        device.sendto(packet("/clasp/subscribe", "/**", 3600), daemon.osc_address)
        device.recv(65536)
        before = rss.now
        fill(daemon, 1500, "/osc/v")
        assert rss.now - before < 60, "1,500 values have 90 MB"
    finally:
        rss.stop()
        device.close()
