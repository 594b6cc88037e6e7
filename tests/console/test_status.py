"""`status`: what clients and devices really do is what it says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, put, refused, subscribe
from support.mqtt_client import Broker
from support.mqtt_packets import V311
from support.osc import Device
from support.prometheus import read_metrics, value

from clasp_edge import wire
from clasp_edge.console.sources import COUNTER, Family, StatusSources
from clasp_edge.version import __version__
from clasp_edge.wire import FederationOp, FederationSync, SignalType


@pytest.fixture
def own() -> Iterator[Daemon]:
    """One whose numbers nobody else changes."""
    with Daemon(tcp=True, mqtt=True, osc=True, sets={"limits.max_subscriptions_per_session": 3}) as running:
        yield running


def status(daemon: Daemon) -> dict[str, Any]:
    result: dict[str, Any] = ask(daemon.control_path, request="status")["result"]
    return result


def test_the_router_itself(daemon: Daemon) -> None:
    before_s = time.time()
    found = status(daemon)
    router = found["router"]
    assert router["version"] == __version__
    assert router["pid"] == daemon.pid
    assert router["healthy"] is True
    assert router["security"] == "open"
    assert 0 <= router["uptime_s"] < 100
    assert abs(router["started"] + router["uptime_s"] - before_s) < 5
    assert found["listeners"].keys() == {"ws", "mqtt", "osc"}
    assert found["listeners"]["ws"] == "{}:{}".format(*daemon.ws_address)
    assert status(daemon)["router"]["uptime_s"] >= router["uptime_s"]


def test_memory_is_what_the_kernel_says(daemon: Daemon) -> None:
    memory = status(daemon)["memory"]
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    (resident_kib,) = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    assert memory["resident_bytes"] == pytest.approx(resident_kib * 1024, rel=0.1)
    assert memory["arena_used_bytes"] == 0
    assert 15 << 20 < memory["arena_bytes"] <= 16 << 20


def test_sessions_and_messages_of_every_kind(own: Daemon) -> None:
    crowd, broker = Crowd(own), Broker(own.mqtt_address)
    one, two, tcp = crowd.ws(), crowd.ws(), crowd.tcp()
    silent = crowd.ws(greet=False)
    device = broker.client()
    broker.client(V311, clean=False).disconnect()
    subscribe(two, "/a/**")
    for level in range(5):
        put(one, "/a/b", level)
    for _ in range(3):
        one.send(wire.Publish("/a/e", SignalType.EVENT))
    tcp.send(wire.Publish("/a/s", SignalType.STREAM, value=1))
    tcp.sync()
    one.sync()
    device.publish("lamp", b"1", retain=True, qos=1)
    device.publish("event", b"1")
    with Device(own.osc_address) as osc:
        osc.say("/fader", 1)
        osc.say("/fader", 2)
        eventually(lambda: status(own)["osc"]["messages"] == 2)
        found = status(own)
        assert found["osc"]["sources"] == 1
    assert found["sessions"]["by_kind"] == {"websocket": 2, "tcp": 1, "quic": 0, "mqtt": 1, "osc": 0}
    assert found["sessions"]["half_open"] == 1
    assert found["sessions"]["subscriptions"] == 1
    assert found["params"]["count"] == 4
    assert found["messages"]["by_signal"] == {"param": 9, "event": 3, "stream": 1, "gesture": 0, "timeline": 0}
    assert found["messages"]["deliveries"] == 9
    assert (found["mqtt"]["connected"], found["mqtt"]["kept"]) == (1, 1)
    assert (found["mqtt"]["received"], found["mqtt"]["sent"]) == (2, 0)
    assert silent
    crowd.leave()
    broker.leave()
    eventually(lambda: sum(status(own)["sessions"]["by_kind"].values()) == 0)
    assert status(own)["sessions"]["half_open"] == 0


def test_errors_by_code_and_drops_by_cause(own: Daemon) -> None:
    crowd = Crowd(own)
    client = crowd.ws()
    assert set(status(own)["drops"].values()) == {0}
    for number in range(4):
        subscribe(client, f"/s/{number}", id=number)
    put(client, "/a", 1)
    refused(client, "/a", 2, revision=77)
    refused(client, "no slash", 1)
    assert status(own)["errors"] == {"200": 1, "400": 1, "429": 1}
    crowd.leave()


def test_messages_over_the_rate_are_counted() -> None:
    with Daemon(messages_per_second=10) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        for _ in range(100):
            client.send(wire.Set("/a", 1))
        client.drain()
        dropped = status(daemon)["drops"]["rate_limit"]
        accepted = status(daemon)["messages"]["by_signal"]["param"]
        assert dropped > 50
        assert dropped + accepted == 100
        crowd.leave()


def test_federation_peers_that_dialled_in(own: Daemon) -> None:
    crowd = Crowd(own)
    peer = crowd.ws(greet=False)
    peer.hello("leaf", features=("param", "federation"))
    assert status(own)["federation"] == {"count": 0, "remembered": 0, "peers": {}}
    patterns = tuple(f"/site-a/{number}/**" for number in range(30))
    peer.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=patterns, origin="site-a"))
    assert peer.recv() == wire.Ack()
    found = status(own)["federation"]
    assert found["count"] == 1
    told = found["peers"]["site-a"]
    assert told["remote"].startswith("127.0.0.1:")
    assert (told["up"], told["kind"], told["patterns"]) == (True, "reference", 30)
    assert told["owns"] == list(patterns[:20])
    crowd.leave()
    eventually(lambda: status(own)["federation"]["count"] == 0)
    assert status(own)["federation"]["peers"]["site-a"]["up"] is False


def test_uplinks() -> None:
    """One that reaches its hub, one that does not."""
    with Daemon() as hub:
        url = "ws://{}:{}/clasp".format(*hub.ws_address)
        config = f"""
        [uplink.venue]
        url = "{url}"
        owns = ["/stage-left/**"]
        [uplink.nowhere]
        url = "ws://127.0.0.1:9/clasp"
        owns = ["/stage-left/**"]
        """
        with Daemon(config=config) as leaf:
            eventually(lambda: status(leaf)["uplinks"]["venue"]["up"])
            eventually(lambda: status(leaf)["uplinks"]["nowhere"]["failures"])
            found = status(leaf)["uplinks"]
            assert found["venue"]["hub"].startswith("ws://127.0.0.1:")
            assert (found["venue"]["connects"], found["nowhere"]["up"]) == (1, False)
            assert found["nowhere"]["last_error"]
            peers = status(hub)["federation"]
            assert peers["count"] == 1
            (told,) = peers["peers"].values()
            assert (told["kind"], told["owns"]) == ("clasp-edge", ["/stage-left", "/stage-left/**"])
            metrics = read_metrics(ask(leaf.control_path, request="metrics")["result"])
            assert value(metrics, "uplink_up", uplink="venue") == 1
            assert value(metrics, "uplink_up", uplink="nowhere") == 0
            assert value(metrics, "uplink_connect_failures_total", uplink="nowhere") >= 1
            assert value(metrics, "dropped_messages_total", cause="uplink_queue") == 0


def test_osc_targets(own: Daemon) -> None:
    with Device(own.osc_address) as device:
        device.say("/clasp/subscribe", "/x", 60)
        device.hear()
        assert status(own)["osc"]["targets"] == {
            f"127.0.0.1:{device.port}": {"patterns": 1, "reachable": True, "sent": 0}
        }


def test_bridges_and_the_journal() -> None:
    config = """
    [bridge.site]
    brokers = ["mqtt://127.0.0.1:9"]
    [[bridge.site.map]]
    topic = "a"
    address = "/a"
    """
    with Daemon(config=config, sets={"journal.mode": "strict"}) as daemon:
        eventually(lambda: status(daemon)["bridges"]["site"]["last_error"])
        bridge = status(daemon)["bridges"]["site"]
        assert bridge["up"] is False
        assert bridge["broker"] == "mqtt://127.0.0.1:9"
        assert bridge["dropped"] == 0
        crowd = Crowd(daemon)
        put(crowd.ws(), "/a", 1)
        journal = status(daemon)["journal"]
        assert (journal["mode"], journal["state"], journal["storing"]) == ("strict", "ok", True)
        assert (journal["records"], journal["lost_records"]) == (1, 0)
        assert eventually(lambda: status(daemon)["bridges"]["site"]["queued"]) == 1
        crowd.leave()


def test_parts_that_are_off_have_no_section() -> None:
    with Daemon() as daemon:
        found = status(daemon)
        assert not found.keys() & {"mqtt", "osc", "journal"}
        assert found["bridges"] == {}


def test_a_part_that_fails_to_tell_is_one_section_less(caplog: pytest.LogCaptureFixture) -> None:
    sources = StatusSources()

    def fails() -> dict[str, int]:
        raise RuntimeError("broken")

    sources.add("one", lambda: {"a": 1})
    sources.add("two", fails)
    sources.add("three", lambda: {"b": 2}, [Family("x_total", COUNTER, "X.", ("b",))])
    assert sources.report() == {"one": {"a": 1}, "three": {"b": 2}}
    assert "the section 'two' of the status could not be made" in caplog.text
    assert [family.path for family in sources.families] == [("three", "b")]
    sources.remove("three")
    assert sources.report().keys() == {"one"}
    assert sources.families == []


def test_parts_tell_what_they_lost() -> None:
    sources = StatusSources()
    lost = [3]
    sources.add_drop("uplink_queue", lambda: lost[0])
    assert sources.drops() == {"uplink_queue": 3}
    lost[0] = 4
    assert sources.drops() == {"uplink_queue": 4}


def test_several_ports_of_one_kind_are_all_told() -> None:
    with Daemon(osc=True, sets={"osc.also_listen": ["127.0.0.1:0"]}) as daemon:
        first, second = status(daemon)["listeners"]["osc"].split(", ")
        assert first != second
        assert all(one.startswith("127.0.0.1:") for one in (first, second))
