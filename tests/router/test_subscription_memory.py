"""The memory that subscriptions take is bounded, whoever makes them and whatever their patterns are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, put, subscribe
from support.mqtt_client import Broker
from support.osc import Device

from clasp_edge import wire
from clasp_edge.wire import FederationOp, FederationSync

FULL = "max 1 MiB of all clients together"
DEEPEST = 64


@pytest.fixture
def small() -> Iterator[Daemon]:
    """A daemon whose subscriptions may take one MiB, some forty of the deepest."""
    with Daemon(mqtt=True, osc=True, sets={"limits.max_subscriptions_mib": 1}) as running:
        yield running


def deep(number: int, segments: int = DEEPEST) -> str:
    return "".join(f"/{number:x}s{at:x}" for at in range(segments))


def sessions(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = ask(daemon.control_path, request="status")["result"]["sessions"]
    return found


def fill(crowd: Crowd) -> tuple[Any, int]:
    """Subscribe until it is refused; the client and how many were taken."""
    client = crowd.ws()
    for number in range(1000):
        answers = subscribe(client, deep(number), id=number)
        if answers:
            assert answers == [wire.Error(429, f"Subscription limit reached ({FULL})", deep(number)[:256])]
            return client, number
    pytest.fail("a thousand of the deepest patterns were taken")


def test_the_deepest_patterns_are_refused_in_time(small: Daemon) -> None:
    crowd = Crowd(small)
    client, taken = fill(crowd)
    assert 30 < taken < 60
    assert 1 << 20 <= sessions(small)["subscription_bytes"] < (1 << 20) + 40_000
    # Those that were taken serve, others are refused too, and who leaves makes room.
    put(crowd.ws(), deep(0), 1)
    assert [message.address for message in client.sync()] == [deep(0)]
    other = crowd.ws()
    assert subscribe(other, "/a")[0].code == 429  # type: ignore[attr-defined]
    for number in range(3):
        client.send(wire.Unsubscribe(number))
    assert client.sync() == []
    assert subscribe(other, "/a") == []
    client.close()
    eventually(lambda: sessions(small)["subscriptions"] == 1)
    assert sessions(small)["subscription_bytes"] < 2000
    assert subscribe(other, deep(5), id=2) == []
    crowd.leave()


def test_short_ones_cannot_be_replaced_by_long_ones_without_end(small: Daemon) -> None:
    crowd = Crowd(small)
    client = crowd.ws()
    for number in range(100):
        assert subscribe(client, f"/{number}", id=number) == []
    refusals = [answers for number in range(100) if (answers := subscribe(client, deep(number), id=number))]
    assert len(refusals) > 40
    assert sessions(small)["subscription_bytes"] < (1 << 20) + 40_000
    # What could not be replaced is still there.
    put(crowd.ws(), "/99", 1)
    assert [message.address for message in client.sync()] == ["/99"]
    crowd.leave()


def test_other_protocols_meet_the_same_limit(small: Daemon) -> None:
    crowd, broker = Crowd(small), Broker(small.mqtt_address)
    fill(crowd)
    assert broker.client().subscribe("a/b").codes == [0x97]  # quota exceeded
    with Device(small.osc_address) as device:
        device.say("/clasp/subscribe", "/a", 60)
        assert device.hear() == ("/clasp/error", ["/clasp/subscribe", f"subscription limit reached ({FULL})"])
    peer = crowd.ws(greet=False)
    peer.hello("leaf", features=("param", "federation"))
    peer.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/a/**",), origin="site"))
    assert peer.recv() == wire.Error(400, f"too many namespace patterns: no room for more ({FULL})")
    crowd.leave()
    broker.leave()


def test_devices_of_other_protocols_count(small: Daemon) -> None:
    broker = Broker(small.mqtt_address)
    client = broker.client()
    before = sessions(small)["subscription_bytes"]
    client.subscribe(deep(1, DEEPEST - 1)[1:])
    assert sessions(small)["subscription_bytes"] - before > 15_000
    broker.leave()
    eventually(lambda: sessions(small)["subscription_bytes"] == before)


def test_the_limit_changes_with_a_reload() -> None:
    with Daemon(config="[limits]\nmax_subscriptions_mib = 1\n") as daemon:
        crowd = Crowd(daemon)
        client, taken = fill(crowd)
        (daemon.directory / "clasp-edge.toml").write_text("[limits]\nmax_subscriptions_mib = 0\n")
        daemon.hangup()
        eventually(lambda: "applied: limits.max_subscriptions_mib" in daemon.stderr)
        for number in range(taken, 3 * taken):
            assert subscribe(client, deep(number), id=number) == []
        crowd.leave()
