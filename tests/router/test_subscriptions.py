"""SUBSCRIBE and UNSUBSCRIBE: ids, limits, refusals, and which patterns hear what (router.md 4)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.live import Crowd, get, of_type, params_of, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import Qos, SignalType


@pytest.fixture(scope="module")
def narrow_daemon() -> Iterator[Daemon]:
    with Daemon(sets={"limits.max_subscriptions_per_session": 3}) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def crowded_daemon() -> Iterator[Daemon]:
    with Daemon(sets={"limits.max_subscriptions": 3}) as daemon:
        yield daemon


@pytest.fixture
def narrow(narrow_daemon: Daemon) -> Iterator[Crowd]:
    crowd = Crowd(narrow_daemon)
    yield crowd
    crowd.leave()


def test_an_id_used_again_replaces_the_subscription(clients: Crowd, base: str) -> None:
    client, writer = clients.ws(), clients.ws()
    subscribe(client, f"{base}/old/**", id=7)
    subscribe(client, f"{base}/new/**", id=7)
    put(writer, f"{base}/old/a", 1)
    assert client.sync() == []
    put(writer, f"{base}/new/a", 1)
    assert len(client.sync()) == 1
    client.send(wire.Unsubscribe(7))
    put(writer, f"{base}/new/a", 2)
    put(writer, f"{base}/old/a", 2)
    assert client.sync() == []


def test_replacing_replaces_the_mask_too(clients: Crowd, base: str) -> None:
    client, writer = clients.ws(), clients.ws()
    subscribe(client, f"{base}/**", types=[SignalType.PARAM])
    subscribe(client, f"{base}/**", types=[SignalType.EVENT])
    put(writer, f"{base}/a", 1)
    writer.send(wire.Publish(f"{base}/a", SignalType.EVENT))
    writer.sync()
    assert [type(message) for message in client.sync()] == [wire.Publish]


@pytest.mark.parametrize("number", [0, 1, 50_000, 2**32 - 1])
def test_ids_are_any_u32_and_belong_to_the_session(clients: Crowd, base: str, number: int) -> None:
    one, two, writer = clients.ws(), clients.ws(), clients.ws()
    subscribe(one, f"{base}/**", id=number)
    subscribe(two, f"{base}/**", id=number)
    one.send(wire.Unsubscribe(number))
    one.sync()
    put(writer, f"{base}/a", 1)
    assert one.sync() == []
    assert len(two.sync()) == 1


def test_overlapping_masks_add_up_to_one_copy_each(clients: Crowd, base: str) -> None:
    client, writer = clients.ws(), clients.ws()
    subscribe(client, f"{base}/**", id=1, types=[SignalType.PARAM, SignalType.EVENT])
    subscribe(client, f"{base}/a", id=2, types=[SignalType.EVENT, SignalType.STREAM])
    subscribe(client, f"{base}/*", id=3, types=[SignalType.EVENT], max_rate=1000)
    writer.send(wire.Set(f"{base}/a", 1), Qos.FIRE)
    for signal in SignalType:
        writer.send(wire.Publish(f"{base}/a", signal, value=1))
    writer.sync()
    assert [type(message) for message in client.drain()] == [wire.Set, *[wire.Publish] * 3]


def test_dropping_one_of_two_keeps_the_other(clients: Crowd, base: str) -> None:
    client, writer = clients.ws(), clients.ws()
    subscribe(client, f"{base}/**", id=1)
    subscribe(client, f"{base}/*", id=2)
    client.send(wire.Unsubscribe(1))
    client.sync()
    put(writer, f"{base}/a", 1)
    put(writer, f"{base}/a/b", 1)
    assert [message.address for message in of_type(client.sync(), wire.Set)] == [f"{base}/a"]


def test_beyond_the_limit_429_and_the_others_stay(narrow: Crowd, base: str) -> None:
    client = narrow.ws()
    for number in range(3):
        assert subscribe(client, f"{base}/{number}", id=number) == []
    assert subscribe(client, f"{base}/x", id=3) == [wire.Error(429, "Subscription limit reached (max 3)", f"{base}/x")]
    # An id in use may be replaced, and a place that was given up is free again.
    assert subscribe(client, f"{base}/y", id=1) == []
    client.send(wire.Unsubscribe(0))
    assert subscribe(client, f"{base}/x", id=3) == []
    put(narrow.ws(), f"{base}/y", 1)
    assert len(client.sync()) == 1


def test_all_clients_together_have_a_limit_too(crowded_daemon: Daemon, base: str) -> None:
    crowd = Crowd(crowded_daemon)
    one, two = crowd.ws(), crowd.ws()
    for number in range(3):
        assert subscribe(one, f"{base}/{number}", id=number) == []
    text = "Subscription limit reached (max 3 of all clients together)"
    assert subscribe(two, f"{base}/x") == [wire.Error(429, text, f"{base}/x")]
    assert subscribe(one, f"{base}/y", id=1) == []
    one.send(wire.Unsubscribe(0))
    one.sync()
    assert subscribe(two, f"{base}/x") == []
    crowd.leave()


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a",
        " /a",
        "**",
        "*",
        "//",
        "//a",
        "/a//b",
        "/a//",
        "a/b",
        "é/a",
        "/" + "x" * 2000,
        "/a" * 65,
        "/" + "y" * 60_000,
    ],
    ids=lambda pattern: repr(pattern[:8]) + (f"…{len(pattern)}" if len(pattern) > 8 else ""),
)
def test_what_is_no_pattern_gets_202(clients: Crowd, pattern: str) -> None:
    client = clients.ws()
    (error,) = of_type(subscribe(client, pattern), wire.Error)
    assert error.code == 202
    assert error.address == pattern[:256]


@pytest.mark.parametrize("pattern", ["/", "/a/", "/a*b/**c", "/{a,b}/*", "/ä/ö", "/with space/*", "/***"])
def test_what_is_odd_but_a_pattern_is_taken(clients: Crowd, pattern: str) -> None:
    assert of_type(subscribe(clients.ws(), pattern), wire.Error) == []


def test_deliveries_snapshots_and_gets_agree_with_the_shared_pairs(clients: Crowd, data: Path) -> None:
    pairs = json.loads((data / "patterns.json").read_text(encoding="utf-8"))
    expected: dict[str, dict[str, bool]] = defaultdict(dict)
    for pair in pairs:
        if pair["route"] is not None and pair["segment"] is not None:
            expected[pair["pattern"]][pair["address"]] = pair["route"]
    writer = clients.tcp("writer")
    valid: set[str] = set()
    for address in sorted({address for known in expected.values() for address in known}):
        writer.send(wire.Set(address, address))
        if isinstance(writer.recv(), wire.Ack):
            valid.add(address)
    assert len(valid) > 50
    compared = 0
    for pattern, known in expected.items():
        client = clients.tcp("reader")
        told = {param.address for param in params_of(subscribe(client, pattern))}
        for address in known.keys() & valid:
            assert (address in told) == known[address], (pattern, address)
            put(writer, address, address)
            delivered = [message.address for message in of_type(client.sync(), wire.Set)]
            assert delivered == ([address] if known[address] else []), (pattern, address)
            compared += 1
        client.close()
    assert compared > 100


def test_order_is_kept_for_every_subscriber(clients: Crowd, base: str) -> None:
    readers = [clients.tcp() for _ in range(20)]
    for reader in readers:
        subscribe(reader, f"{base}/**")
    writers = [clients.tcp() for _ in range(2)]
    for number in range(300):
        for which, writer in enumerate(writers):
            writer.send(wire.Set(f"{base}/shared", [which, number]), Qos.FIRE)
            writer.send(wire.Publish(f"{base}/event/{which}", SignalType.EVENT, value=number))
    for writer in writers:
        writer.sync()
    for reader in readers:
        messages = reader.sync()
        assert [message.revision for message in of_type(messages, wire.Set)] == list(range(1, 601))
        for which in (0, 1):
            own = [message.value[1] for message in of_type(messages, wire.Set) if message.value[0] == which]
            events = [m.value for m in of_type(messages, wire.Publish) if m.address.endswith(str(which))]
            assert own == events == list(range(300))
    assert get(writers[0], f"{base}/shared").revision == 600
