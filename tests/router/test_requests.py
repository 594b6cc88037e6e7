"""ANNOUNCE, QUERY, SYNC, GET and REPLAY (router.md 2.3, 8.1, 8.3, 8.4)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.client import Client
from support.daemon import Daemon
from support.live import Crowd, put, refused

from clasp_edge import wire
from clasp_edge.router.signals import PAGE_SIGNALS
from clasp_edge.wire import MAX_FRAME, SignalType


def announce(client: Client, namespace: str, signals: list[wire.Signal]) -> wire.Message:
    client.send(wire.Announce(namespace, signals))
    return client.recv()


def found(client: Client, pattern: str) -> list[str]:
    client.send(wire.Query(pattern))
    return [signal.address for signal in client.recv_type(wire.Result).signals]


def test_definitions_outlive_their_client_and_can_be_renewed(clients: Crowd, base: str) -> None:
    client = clients.ws()
    announce(client, base, [wire.Signal(f"{base}/a", SignalType.PARAM, datatype="f32")])
    announce(client, base, [wire.Signal(f"{base}/a", SignalType.STREAM, access="r")])
    client.close()
    asker = clients.ws()
    asker.send(wire.Query(f"{base}/**"))
    assert asker.recv() == wire.Result((wire.Signal(f"{base}/a", SignalType.STREAM, access="r"),))


def test_nothing_is_told_to_others(clients: Crowd, base: str) -> None:
    other = clients.ws()
    other.send(wire.Subscribe(1, "/**"))
    other.drain()
    announce(clients.ws(), base, [wire.Signal(f"{base}/a", SignalType.PARAM)])
    assert other.sync() == []


def test_queries_use_the_one_matcher(clients: Crowd, base: str) -> None:
    client = clients.ws()
    names = ("a", "ab", "b/c", "b/d/c")
    announce(client, base, [wire.Signal(f"{base}/{name}", SignalType.PARAM) for name in names])
    assert found(client, f"{base}/a*") == [f"{base}/a", f"{base}/ab"]
    assert found(client, f"{base}/**/c") == [f"{base}/b/c", f"{base}/b/d/c"]
    assert found(client, f"{base}/*") == [f"{base}/a", f"{base}/ab"]


@pytest.mark.parametrize("address", ["", "x", "//x", "/a//b", "/" + "y" * 1025, "/*"])
def test_one_bad_address_and_nothing_is_stored(clients: Crowd, base: str, address: str) -> None:
    client = clients.ws()
    signals = [wire.Signal(f"{base}/good", SignalType.PARAM), wire.Signal(address, SignalType.PARAM)]
    answer = announce(client, base, signals)
    assert isinstance(answer, wire.Error)
    assert (answer.code, answer.address) == (200, address[:256])
    assert found(client, f"{base}/**") == []


@pytest.mark.parametrize("pattern", ["", "x", "/a//b"])
def test_a_query_for_what_is_no_pattern(clients: Crowd, pattern: str) -> None:
    client = clients.ws()
    client.send(wire.Query(pattern))
    assert client.recv_type(wire.Error).code == 202


def test_thousands_of_signals_come_in_pages(clients: Crowd, base: str) -> None:
    client, asker = clients.ws(), clients.tcp()
    signals = [
        wire.Signal(f"{base}/a long name for a signal/{number}", SignalType.PARAM, datatype="f32", access="rw")
        for number in range(5000)
    ]
    for start in range(0, 5000, 500):
        assert announce(client, base, signals[start : start + 500]) == wire.Ack(address=base)
    asker.send(wire.Query(f"{base}/**"))
    collected: list[wire.Signal] = []
    pages = 0
    while len(collected) < 5000:
        frame = asker.recv_raw()
        assert len(frame) <= MAX_FRAME
        result = wire.decode(frame)[1]
        assert isinstance(result, wire.Result)
        assert len(result.signals) <= PAGE_SIGNALS, "each is made in one part"
        collected += result.signals
        pages += 1
    assert collected == signals
    assert pages > 3
    assert asker.sync() == []


@pytest.fixture(scope="module")
def small_registry() -> Iterator[Daemon]:
    with Daemon(sets={"limits.max_announced_signals": 3}) as daemon:
        yield daemon


def test_the_registry_is_bounded_and_forgets_the_oldest(small_registry: Daemon, base: str) -> None:
    crowd = Crowd(small_registry)
    client = crowd.ws()
    for name in "abcd":
        announce(client, base, [wire.Signal(f"{base}/{name}", SignalType.PARAM)])
    assert found(client, "/**") == [f"{base}/{name}" for name in "bcd"]
    crowd.leave()


def test_sync_tells_the_routers_time(clients: Crowd) -> None:
    client = clients.tcp()
    before_us = time.time_ns() // 1000
    client.send(wire.Sync(t1=2**64 - 1, t2=5, t3=6))
    answer = client.recv_type(wire.Sync)
    after_us = time.time_ns() // 1000
    assert answer.t1 == 2**64 - 1
    assert answer.t2 is not None
    assert answer.t3 is not None
    assert before_us - 1000 <= answer.t2 <= answer.t3 <= after_us + 1000


def test_get_of_what_is_not_there(clients: Crowd, base: str) -> None:
    client = clients.ws()
    client.send(wire.Get(f"{base}/nothing"))
    assert client.recv() == wire.Error(201, "Address not found", f"{base}/nothing")
    client.send(wire.Get("no/slash"))
    assert client.recv_type(wire.Error).code == 200


def test_replay_without_a_journal(clients: Crowd, base: str) -> None:
    client = clients.ws()
    client.send(wire.Replay(f"{base}/**"))
    assert client.recv() == wire.Error(501, "Journal not configured on this router", f"{base}/**")


def test_federation_needs_the_feature(clients: Crowd) -> None:
    client = clients.ws()
    client.send(wire.FederationSync(wire.FederationOp.DECLARE_NAMESPACES, patterns=("/**",)))
    assert client.recv() == wire.Error(403, "FederationSync requires federation feature")


@pytest.mark.parametrize(
    "address", ["", "x", "éa", "//x", "/a//b", "/" + "y" * 1024, "/a" * 65, "/a/*", "/" + "z" * 60_000]
)
@pytest.mark.parametrize("kind", ["SET", "PUBLISH"])
def test_what_is_no_address_gets_200(clients: Crowd, address: str, kind: str) -> None:
    client = clients.ws()
    if kind == "SET":
        error = refused(client, address, 1)
    else:
        client.send(wire.Publish(address, SignalType.EVENT))
        error = client.recv_type(wire.Error)
    assert (error.code, error.address) == (200, address[:256] if address.isascii() else address)
    assert put(client, "/fine", 1)


@pytest.mark.parametrize("field", ["datatype", "access"])
def test_a_definition_is_words_not_volumes(clients: Crowd, base: str, field: str) -> None:
    client = clients.ws()
    answer = announce(client, base, [wire.Signal(f"{base}/a", SignalType.PARAM, **{field: "x" * 257})])
    assert isinstance(answer, wire.Error)
    assert (answer.code, answer.address) == (402, f"{base}/a")
    assert isinstance(
        announce(client, base, [wire.Signal(f"{base}/a", SignalType.PARAM, **{field: "x" * 256})]), wire.Ack
    )
