"""What a stranger makes the router keep is on an account: refused in time, told, counted, and given back."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, subscribe
from support.mqtt_client import Broker

from clasp_edge import wire
from clasp_edge.wire import FederationOp, FederationSync

QUOTA_EXCEEDED = 0x97


@pytest.fixture
def small() -> Iterator[Daemon]:
    """A daemon that keeps at most one MiB for everybody."""
    with Daemon(mqtt=True, sets={"limits.memory_mib": 1, "limits.messages_per_second": 0}) as running:
        yield running


@pytest.fixture
def crowd(small: Daemon) -> Iterator[Crowd]:
    one = Crowd(small)
    yield one
    one.leave()


def memory(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = ask(daemon.control_path, request="status")["result"]["memory"]
    return found


def given_back(daemon: Daemon) -> None:
    eventually(lambda: memory(daemon)["kept_bytes"] < 20_000)


@pytest.mark.parametrize("topic_filter", ["$0{}{}", "$share/g{}{}/x", "plain/{}{}"])
def test_filters_of_every_kind(small: Daemon, topic_filter: str) -> None:
    broker = Broker(small.mqtt_address)
    client = broker.client()
    long = "x" * (60_000 if topic_filter[0] == "$" else 800)
    for number in range(1000):
        if client.subscribe(topic_filter.format(number, long)).codes == [QUOTA_EXCEEDED]:
            break
    else:
        pytest.fail("a thousand filters were taken")
    told = memory(small)
    assert told["refused"] >= 1
    assert 0 < told["kept_by_kind"]["subscriptions"] < 600_000, "about half, and the last one may be large"
    assert "host 127.0.0.1" in told["kept_by_principal"]
    assert small.stderr.count("refused memory") == 1
    broker.leave()
    given_back(small)


def test_subscriptions_and_their_filters(small: Daemon, crowd: Crowd) -> None:
    client = crowd.ws()
    for number in range(1000):
        answers = subscribe(client, f"/{number}/" + "y" * 500, id=number)
        if answers:
            assert answers[0].code == 429  # type: ignore[attr-defined]
            break
    else:
        pytest.fail("a thousand patterns were taken")
    client.close()
    given_back(small)


def test_read_buffers_of_websockets(small: Daemon, crowd: Crowd) -> None:
    """A frame that never ends is kept by the parser, in a buffer that grows with it: no more of them than there is
    room for, and a buffer that has grown stays charged until its client leaves."""
    unfinished = b"\x82\xfe" + struct.pack("!H", 60_000) + bytes(4) + b"x" * 50_000
    hung = [crowd.ws()]
    hung[0].ws.socket.sendall(unfinished)
    eventually(lambda: memory(small)["kept_by_kind"].get("input", 0) > 50_000)
    for _ in range(20):
        hung.append(crowd.ws())
        hung[-1].ws.socket.sendall(unfinished)
    eventually(lambda: memory(small)["refused"] > 0)
    eventually(lambda: 50_000 < memory(small)["kept_by_kind"]["input"] < 1 << 20)
    for client in hung:
        with contextlib.suppress(OSError):  # the router was faster
            client.ws.socket.shutdown(socket.SHUT_RDWR)
    given_back(small)


def test_beginnings_of_mqtt_packets(small: Daemon) -> None:
    """Below 16 KiB too, before CONNECT and after it: what has no room costs its client the connection, and everybody
    gives back what it held."""
    broker = Broker(small.mqtt_address)
    hung = [broker.client().socket for _ in range(20)]
    for sock in hung:
        sock.sendall(b"\x30\xa0\x7d\0\1a" + b"x" * 14_000)  # of a PUBLISH of 16,032 bytes
    eventually(lambda: 14_000 * 20 < memory(small)["kept_by_kind"].get("input", 0) < 16_000 * 20)
    strangers = [socket.create_connection(small.mqtt_address) for _ in range(60)]
    for sock in strangers:
        with contextlib.suppress(OSError):  # the router was faster
            sock.sendall(b"\x10\xa0\x7d\0\4MQTT" + b"x" * 14_000)
    eventually(lambda: memory(small)["refused"] > 0)
    assert memory(small)["kept_by_kind"]["input"] < 1 << 20
    for sock in (*hung, *strangers):
        sock.close()
    given_back(small)


def test_beginnings_of_osc_packets() -> None:
    """Over TCP, in either framing and in none: who has no room for more loses the connection."""
    sets = {"limits.memory_mib": 1, "osc.tcp_listen": "127.0.0.1:0"}
    with Daemon(osc=True, sets=sets) as running:
        hung = [socket.create_connection(running.osc_tcp_address) for _ in range(20)]
        for number, sock in enumerate(hung):
            begin = (b"\xc0/a", b"\0\0\xf0\0/a", b"/a")[number % 3]
            with contextlib.suppress(OSError):  # the router was faster
                sock.sendall(begin + b"x" * 50_000)
        eventually(lambda: memory(running)["refused"] > 0)
        assert 50_000 < memory(running)["kept_by_kind"]["input"] < 1 << 20
        for sock in hung:
            sock.close()
        eventually(lambda: memory(running)["kept_by_kind"]["input"] == 0)


def test_bundles_that_wait(small: Daemon, crowd: Crowd) -> None:
    """Also when the client that sent them has left."""
    many = tuple(wire.Set(f"/b/{number}", None) for number in range(1000))
    for _ in range(30):
        client = crowd.ws()
        client.send(wire.Bundle(many, timestamp=int((time.time() + 3000) * 1e6)))
        found = client.sync()
        client.close()
        if found:
            assert found[0].code == 503  # type: ignore[attr-defined]
            break
    else:
        pytest.fail("thirty bundles were taken")
    assert memory(small)["kept_by_kind"]["schedule"] > 100_000


def test_announces(small: Daemon, crowd: Crowd) -> None:
    client = crowd.ws()
    for number in range(1000):
        client.send(wire.Announce("n", (wire.Signal(f"/s/{number}/" + "y" * 900, wire.SignalType.PARAM),)))
    errors = [message for message in client.sync() if isinstance(message, wire.Error)]
    assert errors
    assert errors[0].code == 429


def test_what_a_router_declares(small: Daemon, crowd: Crowd) -> None:
    client = crowd.ws()
    client.send(wire.Hello(1, "peer", ("federation",)))
    client.sync()
    patterns = tuple(f"/{'a' * 20}/{number}/**" for number in range(1000))
    client.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=patterns, origin="x"))
    assert [message.code for message in client.sync() if isinstance(message, wire.Error)] == [429]
    client.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=patterns[:10], origin="x"))
    assert not [message for message in client.sync() if isinstance(message, wire.Error)]
    client.close()
    given_back(small)
