"""Uplinks over QUIC: between clasp-edges, pinned, through a network that changes; and none to a router that loses."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from qh3.asyncio import serve
from qh3.quic.configuration import QuicConfiguration
from support.certificates import Authority
from support.daemon import Daemon
from support.federated import await_up, await_value, box, client, state, uplink
from support.live import eventually

from clasp_edge import wire
from clasp_edge.daemon.certificate import fingerprint_of

HUB = {"quic.listen": "127.0.0.1:0", "websocket.listen": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Daemon]:
    with Daemon(sets=HUB) as daemon:
        yield daemon


def certificate_of(hub: Daemon) -> Path:
    return hub.data_dir / "tls" / "certificate.pem"


def quic_url(hub: Daemon, port: int = 0) -> str:
    return f"quic://127.0.0.1:{port or hub.quic_address[1]}"


def link(hub: Daemon, url: str | list[str] = "", **settings: object) -> str:
    pin = fingerprint_of(certificate_of(hub))
    return uplink(url or quic_url(hub), **{"owns": ["/box/**"], "wants": ["/hub/**"], "tls_pin": pin, **settings})  # type: ignore[arg-type]


def both_ways(hub: Daemon, below: Daemon, number: int) -> None:
    with client(below) as writer:
        writer.send(wire.Set("/box/up", number))
        await_value(hub, "/box/up", number)
    with client(hub) as writer:
        writer.send(wire.Set("/hub/down", number))
        await_value(below, "/hub/down", number)


def test_params_go_both_ways_and_much_at_once() -> None:
    with Daemon(sets=HUB) as hub, box(link(hub)) as below:
        await_up(below)
        both_ways(hub, below, 1)
        value = "x" * 20_000
        with client(hub, "reader") as reader, client(below) as writer:
            reader.send(wire.Subscribe(1, "/box/many/**"))
            reader.sync()
            for number in range(100):
                writer.send(wire.Set(f"/box/many/{number}", value))
            heard: set[str] = set()
            while len(heard) < 100:
                if isinstance(message := reader.recv(timeout=15), wire.Set):
                    assert message.value == value
                    heard.add(message.address)


def test_the_hub_may_be_trusted_by_its_certificate(hub: Daemon) -> None:
    with box(link(hub, tls_pin="", tls_ca=str(certificate_of(hub)))) as below:
        await_up(below)


def test_a_hub_with_another_certificate_is_none(hub: Daemon) -> None:
    with box(link(hub, tls_pin="sha256:" + "0" * 64)) as below:
        eventually(lambda: "ingerprint" in str(state(below, key="last_error")), 15.0)


class Relay:
    """A NAT between a box and its hub: datagrams both ways; `forget` gives the box another port outside."""

    def __init__(self, hub: tuple[str, int]) -> None:
        self._hub = hub
        self._inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inside.bind(("127.0.0.1", 0))
        self.port: int = self._inside.getsockname()[1]
        self._outside = self._fresh()
        self._box: tuple[str, int] | None = None
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _fresh(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(self._hub)
        return sock

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()
        self._inside.close()
        self._outside.close()

    def forget(self) -> None:
        before, self._outside = self._outside, self._fresh()
        before.close()

    def _run(self) -> None:
        while not self._over:
            outside = self._outside
            with contextlib.suppress(OSError, ValueError):
                ready, _, _ = select.select([self._inside, outside], [], [], 0.05)
                if self._inside in ready:
                    data, self._box = self._inside.recvfrom(65536)
                    self._outside.send(data)
                if outside in ready and self._box is not None:
                    self._inside.sendto(outside.recv(65536), self._box)


def test_a_link_outlives_the_port_it_comes_from(hub: Daemon) -> None:
    with Relay(hub.quic_address) as relay, box(link(hub, quic_url(hub, relay.port))) as below:
        await_up(below)
        for number in range(3):
            relay.forget()
            both_ways(hub, below, 100 + number)
        assert below.stderr.count("connected to quic://") == 1
        relay.forget()  # once more than the engine follows: the link is made anew
        both_ways(hub, below, 200)


def test_a_hub_that_went_and_came_is_found_again(tmp_path: Path) -> None:
    with Daemon(sets=HUB) as hub, box(link(hub)) as below:
        await_up(below)
        hub.restart()
        both_ways(hub, below, 5)


@contextlib.contextmanager
def reference_like(directory: Path) -> Iterator[int]:
    """A QUIC listener that offers what the reference does; its port."""
    authority = Authority(directory)
    certificate, key = authority.issue("localhost")
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["clasp/2"])
    configuration.load_cert_chain(certificate, key)
    started = threading.Event()
    port = 0

    async def main() -> None:
        nonlocal port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = await serve("127.0.0.1", port, configuration=configuration)
        started.set()
        await asyncio.to_thread(ended.wait)
        server.close()

    ended = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield port
    finally:
        ended.set()
        thread.join(10)


def test_a_hub_that_loses_messages_over_quic_is_named_and_the_next_url_taken(hub: Daemon, tmp_path: Path) -> None:
    with reference_like(tmp_path) as port:
        pin = fingerprint_of(tmp_path / "localhost.pem")
        urls = [f"quic://127.0.0.1:{port}", hub.ws_url]
        with box(link(hub, urls, tls_pin=pin)) as below:
            await_up(below)
            assert "its QUIC loses messages" in below.stderr
            assert str(state(below, key="hub")).startswith("ws://")
