"""Many connections at once: the silent ones delay nobody, and thousands are refused or served (router.md 12-A3)."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator

import pytest
from support.client import Closed
from support.daemon import Daemon
from support.live import Crowd, eventually, put, subscribe

from clasp_edge import wire

PROMPT_S = 2.0
"""One at a time, each silent connection would have cost its handshake timeout of 10 s."""


@pytest.fixture
def many_files() -> Iterator[int]:
    """As many open files as the machine lets this process have; returns how many connections that is good for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 20_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield min(5000, wanted - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("port", ["ws", "tcp"])
@pytest.mark.parametrize(
    "first", [b"", b"GET / HTTP/1.1\r\n", b"\x00\x00"], ids=["silent", "half a head", "half a length"]
)
def test_sixty_silent_connections_delay_nobody(
    daemon: Daemon, clients: Crowd, base: str, port: str, first: bytes
) -> None:
    address = daemon.ws_address if port == "ws" else daemon.tcp_address
    silent = [socket.create_connection(address, 5) for _ in range(60)]
    for sock in silent:
        sock.sendall(first)
    started_s = time.monotonic()
    for client in (clients.ws(), clients.tcp()):
        put(client, f"{base}/a", 1)
    assert time.monotonic() - started_s < PROMPT_S
    for sock in silent:
        sock.close()


def test_silent_connections_beyond_the_cap_cannot_lock_anyone_out(base: str) -> None:
    with Daemon(tcp=True, sets={"limits.max_half_open": 10}) as daemon:
        crowd = Crowd(daemon)
        resident = crowd.ws()
        for address in (daemon.ws_address, daemon.tcp_address):
            silent = [socket.create_connection(address, 10) for _ in range(60)]
            # The longest-waiting ones make room; when the last of those has, all sixty have been accepted.
            for sock in silent[:50]:
                with contextlib.suppress(ConnectionResetError):
                    assert sock.recv(1) == b""
            for _ in range(3):
                put(crowd.ws(), f"{base}/a", 1)
                put(crowd.tcp(), f"{base}/a", 1)
            for sock in silent:
                sock.close()
        assert resident.sync() == []
        crowd.leave()


def test_five_thousand_connections(many_files: int, base: str) -> None:
    with Daemon(tcp=True, sets={"limits.max_sessions": 100}) as daemon:
        crowd = Crowd(daemon)
        resident, writer = crowd.ws("resident"), crowd.tcp("writer")
        subscribe(resident, f"{base}/**")
        hello = wire.encode(wire.Hello(1, "one of many"))
        sockets = []
        for number in range(many_files):
            sock = socket.create_connection(daemon.tcp_address if number % 2 else daemon.ws_address, 10)
            sockets.append(sock)
            if number % 10 == 1:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(len(hello).to_bytes(4, "big") + hello)
            if number % 500 == 0:
                put(writer, f"{base}/a", number)
                assert resident.recv_type(wire.Set).value == number
        assert resident.sync() == []
        for sock in sockets:
            sock.close()
        # Once they are gone there is room again.
        eventually(lambda: _served(crowd))
        crowd.leave()


def _served(crowd: Crowd) -> bool:
    try:
        return crowd.tcp().sync() == []
    except (Closed, TimeoutError):
        return False
