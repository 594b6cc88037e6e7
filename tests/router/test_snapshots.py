"""The state reaches every newcomer whole, whatever its size and whatever happens meanwhile (router.md 3.6, 3.7)."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from support.client import Client, TcpClient
from support.daemon import Daemon
from support.live import Crowd, of_type, params_of, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import MAX_FRAME, Qos

PARAMS = 100_000
PADDING = "a name of ordinary length"


def address_of(number: int) -> str:
    return f"/big/{number % 100}/{PADDING}/{number}"


@pytest.fixture(scope="module")
def large_daemon() -> Iterator[Daemon]:
    """100,000 params of ordinary size, and two strings of 40 KB."""
    with Daemon(tcp=True, sets={"state.max_params": 200_000}) as daemon:
        with TcpClient(daemon.tcp_address).hello() as writer:
            batch: list[wire.Message] = []
            for number in range(PARAMS):
                batch.append(wire.Set(address_of(number), float(number)))
                if len(batch) == 1000:
                    writer.send(wire.Bundle(batch))
                    batch = []
                    writer.recv_type(wire.Ack)
            for name in ("one", "two"):
                put(writer, f"/giant/{name}", name * 13_334)
        yield daemon


@pytest.fixture
def large(large_daemon: Daemon) -> Iterator[Crowd]:
    crowd = Crowd(large_daemon)
    yield crowd
    crowd.leave()


def collect(client: Client, count: int = PARAMS + 2) -> list[wire.ParamValue]:
    """So many lines of SNAPSHOTs, in frames that clients can take."""
    params: list[wire.ParamValue] = []
    while len(params) < count:
        frame = client.recv_raw(20)
        assert len(frame) <= MAX_FRAME
        message = wire.decode(frame)[1]
        assert isinstance(message, wire.Snapshot)
        assert 0 < len(message.params) <= 800
        params += message.params
    return params


def join(client: Client) -> Client:
    """HELLO and WELCOME; the state is still to come."""
    client.send(wire.Hello(1, "late"))
    client.recv_type(wire.Welcome)
    return client


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_a_late_joiner_gets_everything(large: Crowd, transport: str) -> None:
    client = join(large.ws(greet=False) if transport == "ws" else large.tcp(greet=False))
    params = collect(client)
    assert len(params) == PARAMS + 2
    assert {param.address: param.value for param in params} == {
        address_of(number): float(number) for number in range(PARAMS)
    } | {f"/giant/{name}": name * 13_334 for name in ("one", "two")}
    assert client.sync() == []


def test_a_subscription_gets_what_matches_and_no_more(large: Crowd) -> None:
    client = join(large.tcp(greet=False))
    # The first snapshot is still on its way: what is asked for now comes in addition.
    client.send(wire.Subscribe(1, "/big/7/**"))
    params = collect(client, PARAMS + 2 + PARAMS // 100)
    assert sum(param.address.startswith("/big/7/") for param in params) == 2 * PARAMS // 100
    assert client.sync() == []


def test_no_older_revision_after_a_newer_one(large: Crowd) -> None:
    stop = threading.Event()
    writer = join(large.tcp(greet=False))
    collect(writer)

    def write() -> None:
        number = 0
        while not stop.is_set():
            for _ in range(200):
                number = (number + 7919) % PARAMS
                writer.send(wire.Set(address_of(number), -1.0), Qos.FIRE)
            writer.sync(20)

    reader = large.tcp(greet=False)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        join(reader)
        reader.send(wire.Subscribe(1, "/**"))
        newest: dict[str, int] = {}
        sets = lines = 0
        while lines < 2 * (PARAMS + 2):
            message = reader.recv(20)
            if isinstance(message, wire.Snapshot):
                seen = [(param.address, param.revision) for param in message.params]
                lines += len(seen)
            else:
                assert isinstance(message, wire.Set)
                assert message.revision is not None
                seen = [(message.address, message.revision)]
                sets += 1
            for address, revision in seen:
                assert revision >= newest.get(address, 0), address
                newest[address] = revision
        assert len(newest) == PARAMS + 2
        assert sets > 0
    finally:
        stop.set()
        thread.join()


def test_a_big_snapshot_holds_up_nobody(large: Crowd) -> None:
    slow, quick, writer = (join(large.tcp(greet=False)) for _ in range(3))
    for client in (quick, writer):
        collect(client)
    subscribe(quick, "/giant/one")
    for revision in range(2, 50):
        writer.send(wire.Set("/giant/one", revision), Qos.FIRE)
        assert quick.recv_type(wire.Set).revision == revision
    # Slow has not read a byte of the state so far, and still gets it all.
    assert len(collect(slow)) == PARAMS + 2


def test_an_event_subscription_still_gets_the_params(clients: Crowd, base: str) -> None:
    put(clients.ws(), f"{base}/a", 1)
    answers = subscribe(clients.ws(), f"{base}/**", types=[wire.SignalType.EVENT])
    assert [param.value for param in params_of(answers)] == [1]


def test_the_pattern_with_a_trailing_wildcard_includes_its_root(clients: Crowd, base: str) -> None:
    writer = clients.ws()
    put(writer, base, 1)
    put(writer, f"{base}/a", 2)
    assert len(params_of(subscribe(clients.ws(), f"{base}/**"))) == 2
    assert of_type(subscribe(clients.ws(), f"{base}/nothing"), wire.Snapshot) == []


def test_get_of_a_pattern_gives_all_that_match(clients: Crowd, base: str) -> None:
    client = clients.ws()
    for name in ("a", "b", "b/c"):
        put(client, f"{base}/{name}", name)
    client.send(wire.Get(f"{base}/*"))
    assert {param.value for param in params_of(client.sync())} == {"a", "b"}
    client.send(wire.Get(f"{base}/nothing/*"))
    assert client.sync() == [wire.Snapshot(())]
