"""Which broker, which version of MQTT, and whether it may be believed: fail-over, fallback, TLS, and reloading."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support import mqtt_packets as mqtt
from support.bridged import Bridged, Map, Onlooker, bridge_config
from support.certificates import Authority
from support.live import eventually, of_type
from support.load import Load
from support.mosquitto import Mosquitto
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311
from support.old_broker import OldBroker
from support.ports import free_port

from clasp_edge import wire
from clasp_edge.devices.mqtt_bridge.envelope import VALUE_OF_CLIENT, Content, sealed
from clasp_edge.devices.mqtt_bridge.ordering import HOLD_S

LATEST: Map = {"topic": "site/#", "address": "/s/**"}
LOG: Map = {"topic": "log/#", "address": "/log/**", "policy": "log"}


def test_the_next_broker_takes_over_and_a_working_link_is_kept() -> None:
    with Mosquitto() as first, Mosquitto() as second:
        config = bridge_config([first.url, second.url], [LATEST])
        with Bridged(config) as left, Bridged(config) as right:
            assert left.status("broker") == right.status("broker") == first.url
            left.put("/s/old", 1)
            right.wait_value("/s/old", 1)
            with Load(left.crowd.ws("load"), ["/s/n"]) as load:
                first.kill()
                eventually(lambda: left.status("broker") == second.url)
                eventually(lambda: right.status("broker") == second.url)
                left.wait_state("up")
                right.wait_state("up")
                load.more(100)
            right.wait_value("/s/n", load.newest()["/s/n"])
            # The second broker has everything that the first one had, for whoever comes.
            with Onlooker(second.port, "site/#") as device:
                eventually(lambda: device.payloads("site/old") == [b"1"])
            # The first one is preferred, but not at the price of a link that works.
            since = left.status("since")
            first.start()
            left.put("/s/after", 1)
            right.wait_value("/s/after", 1)
            assert left.status("broker") == second.url
            assert left.status("since") == since
            second.kill()
            eventually(lambda: left.status("broker") == first.url and left.status("state") == "up", 20.0)
            left.put("/s/back", 1)
            right.wait_value("/s/back", 1)


def test_brokers_are_tried_in_order_and_without_end(broker: Mosquitto) -> None:
    nobody = [f"mqtt://127.0.0.1:{free_port()}", "mqtt://no-such-host.invalid:1883"]
    with Bridged(bridge_config(nobody, [LATEST]), wait=False) as lost:
        eventually(lambda: lost.status("state") == "down")
        tried = lost.listener("/clasp-edge/bridges/site/broker")
        for _ in range(2):
            for url in nobody:
                while tried.recv_until(wire.Set).value != url:
                    pass
        assert lost.status("last_error")
    with Bridged(bridge_config([*nobody, broker.url], [LATEST])) as found:
        assert found.status("broker") == broker.url


@pytest.mark.parametrize("polite", [True, False])
def test_a_broker_without_mqtt5_is_spoken_to_in_3_1_1(broker: Mosquitto, polite: bool) -> None:
    with OldBroker(broker.port, polite=polite) as old:
        config = bridge_config([old.url], [LOG, LATEST])
        with Bridged(config) as left, Bridged(config) as right:
            assert old.refused == 2
            there, back = right.listener("/log/**"), left.listener("/log/**")
            # Its own messages come back to each of them, and are recognised.
            for number in range(200):
                left.put("/log/n", number % 7)
            right.put("/log/end", "end")
            left.wait_value("/log/end", "end")
            right.wait_sent()
            left.wait_sent()
            right.wait_value("/log/n", 199 % 7)
            left.put("/log/left", "end")
            right.wait_value("/log/left", "end")
            assert [m.value for m in of_type(there.sync(), wire.Set) if m.address == "/log/n"] == [
                number % 7 for number in range(200)
            ]
            assert [m.value for m in of_type(back.sync(), wire.Set) if m.address == "/log/n"] == [
                number % 7 for number in range(200)
            ]


def test_both_sides_converge_without_mqtt5_and_clasp_edges_say_each_event_once(broker: Mosquitto) -> None:
    maps: list[Map] = [
        LATEST,
        {"topic": "st/#", "address": "/st/**", "payload": "clasp"},
        {"topic": "ev/#", "address": "/ev/**", "payload": "clasp", "policy": "log", "retain": False},
    ]
    with OldBroker(broker.port) as old, Onlooker(broker.port, "ev/#", "st/#") as repeater:
        config = bridge_config([old.url], maps)
        with Bridged(config) as left, Bridged(config) as right:
            heard = right.listener("/ev/**")
            for number in range(100):
                for address in ("/s/shared", "/st/shared"):
                    left.put(address, f"left {number}")
                    right.put(address, f"right {number}")
            left.put("/st/text", "42")  # which the value alone would make a number
            left.put("/st/bytes", b"text")
            for number in range(3):
                left.client.send(wire.Publish("/ev/go", wire.SignalType.EVENT, number))
            left.client.send(wire.Publish("/ev/go", wire.SignalType.EVENT))
            eventually(lambda: len(repeater.payloads("ev/go")) == 4)
            # A broker that is not sure, or a bridge that was not told, says it again.
            for payload in repeater.payloads("ev/go") + repeater.payloads("st/shared")[:3]:
                repeater.publish("ev/go" if payload in repeater.payloads("ev/go") else "st/shared", payload)
            repeater.publish("ev/go", b"STOP")  # nobody's who says who he is
            left.put("/st/gone", 1)
            right.wait_value("/st/gone", 1)
            left.client.send(wire.Publish("/ev/end", wire.SignalType.EVENT, "end"))
            events = [heard.recv_until(wire.Publish).value for _ in range(5)]
            assert events == [0, 1, 2, wire.ABSENT, "end"]
            # What nobody can take does not take with it what has waited for it.
            for number, kind in ((1, VALUE_OF_CLIENT), (3, VALUE_OF_CLIENT), (2, 200)):
                content = Content("other", number, "event", 0, False, ["o"], kind, b"%d" % number, -1, b"")
                repeater.publish("ev/other", sealed(content))
            assert [heard.recv_until(wire.Publish).value for _ in range(2)] == [1, 3]
            repeater.publish("ev/go", b"STOP")
            eventually(lambda: right.status("last_error").startswith("not taken: ev/go"))
            right.wait_value("/st/text", "42")
            right.wait_value("/st/bytes", b"text")
            assert right.status("last_error").startswith("not taken: ev/go: its payload is not that of a clasp-edge")
            left.wait_sent()
            right.wait_sent()
            for address in ("/s/shared", "/st/shared"):
                eventually(lambda at=address: left.value(at) == right.value(at))
                assert left.value(address) in ("left 99", "right 99")


def test_commands_arrive_each_and_are_not_retained_without_mqtt5(broker: Mosquitto) -> None:
    topic = f"site/{fresh()}"
    with (
        OldBroker(broker.port) as old,
        Bridged(bridge_config([old.url], [LATEST | {"address": "/mqtt/**"}]), mqtt=True) as box,
    ):
        devices = Broker(box.daemon.mqtt_address)
        lamp = devices.client(V311)
        lamp.subscribe("#", options=1)
        with Onlooker(broker.port, topic) as desk:
            for _ in range(3):
                desk.publish(topic, b"TOGGLE")
            for _ in range(3):
                assert not lamp.receive(b"TOGGLE").retain
        assert devices.client(V311).subscribe_with_retained("#")[1] == []
        devices.leave()


def test_an_event_that_is_too_large_holds_up_no_other() -> None:
    with Mosquitto(extra=["max_packet_size 2000"]) as broker:
        clasp: Map = {"topic": "ev/#", "address": "/ev/**", "payload": "clasp", "policy": "log", "retain": False}
        config = bridge_config([broker.url], [clasp])
        with Bridged(config) as left, Bridged(config) as right:
            heard = right.listener("/ev/**")
            began_s = time.monotonic()
            for value in (1, "x" * 3000, 2):
                left.client.send(wire.Publish("/ev/go", wire.SignalType.EVENT, value))
            assert [heard.recv_until(wire.Publish).value for _ in range(2)] == [1, 2]
            assert time.monotonic() - began_s < HOLD_S / 2
            eventually(lambda: left.status("last_error") == "larger than the broker takes: ev/go")


def test_what_an_earlier_life_left_half_said_swallows_nothing(broker: Mosquitto) -> None:
    """Killed between PUBREC and PUBREL: the broker still holds the packet identifiers, and the router begins with the
    first again."""
    client = Broker(("127.0.0.1", broker.port)).client(V5, "edge", clean=False, props={"session_expiry_interval": 60})
    for packet_id in range(1, 4):
        client.send(mqtt.publish(V5, "cmd/a", b"1", qos=2, packet_id=packet_id))
        client.expect_ack(mqtt.PUBREC, packet_id)
    client.vanish()
    out: Map = {"topic": "cmd/#", "address": "/cmd/**", "qos": 2, "policy": "log", "retain": False, "direction": "out"}
    with (
        Onlooker(broker.port, "cmd/#") as onlooker,
        Bridged(bridge_config([broker.url], [out], client_id="edge")) as daemon,
    ):
        for _ in range(3):
            daemon.put("/cmd/a", 1)
        daemon.put("/cmd/a", 2)
        eventually(lambda: b"2" in onlooker.payloads("cmd/a"))
        assert onlooker.payloads("cmd/a") == [b"1"] * 6 + [b"2"]


@pytest.mark.parametrize("extra", [["retain_available false"], ["max_inflight_messages 2"]])
def test_params_that_are_cleared_leave_nothing_under_way(extra: list[str]) -> None:
    with Mosquitto(extra=extra) as broker:
        clasp: Map = {"topic": "st/#", "address": "/mqtt/**", "payload": "clasp", "qos": 2}
        config = bridge_config([broker.url], [clasp])
        with Bridged(config, mqtt=True) as left, Bridged(config, mqtt=True) as right:
            devices = Broker(left.daemon.mqtt_address)
            lamp = devices.client()
            since = left.status("since")
            for payload in (b"1", b""):
                for number in range(20):
                    lamp.publish(f"lamp/{number}", payload, qos=1, retain=True)
                if payload:
                    right.wait_value("/mqtt/lamp/19", 1)
            lamp.publish("lamp/last", b"2", qos=1, retain=True)
            right.wait_value("/mqtt/lamp/last", 2)
            left.wait_sent()
            assert left.status("since") == since, "the broker has had no more at a time than it takes"
            assert [right.value(f"/mqtt/lamp/{number}") for number in range(20)] == [None] * 20
            devices.leave()


def test_a_ring_of_bridges_comes_to_rest_without_mqtt5(broker: Mosquitto) -> None:
    ring = [{"topic": "ring/#", "address": "/ring/**", "policy": "log"}]
    with OldBroker(broker.port) as old:
        config = "".join(bridge_config([old.url], ring, name) for name in ("one", "two"))
        with Bridged(config) as daemon, Onlooker(broker.port, "ring/#") as seen:
            for number in range(20):
                daemon.put("/ring/n", number)

            def at_rest() -> bool:
                before = len(seen.messages)
                daemon.wait_sent("one")
                daemon.wait_sent("two")
                return len(seen.messages) == before

            eventually(at_rest, 20.0)
            daemon.put("/ring/n", "after")
            eventually(lambda: b"after" in seen.payloads("ring/n"), 20.0)
            eventually(at_rest, 20.0)
            assert daemon.value("/ring/n") == "after"


def test_tls_with_a_private_authority(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    certificate, key = ours.issue("broker")
    stage, stage_key = ours.issue("stage")
    server = [f"cafile {ours.certificate}", f"certfile {certificate}", f"keyfile {key}", "require_certificate true"]
    with Mosquitto(extra=server) as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        known = {"tls_ca": ours.certificate, "tls_cert": stage, "tls_key": stage_key}
        with (
            Bridged(bridge_config([url], [LATEST], **known)) as left,
            Bridged(bridge_config([url], [LATEST], **known)) as right,
        ):
            with Load(left.crowd.ws("load"), ["/s/a", "/s/b"], pause_s=0.0) as load:
                load.more(500)
            for address, value in load.newest().items():
                right.wait_value(address, value)
        for wrong, complaint in (
            (known | {"tls_ca": others.certificate}, "certificate verify failed"),
            ({"tls_ca": ours.certificate}, ""),
            (known | {"tls_ca": tmp_path / "missing.pem"}, "No such file"),
        ):
            with Bridged(bridge_config([url], [LATEST], **wrong), wait=False) as refused:
                eventually(lambda: refused.status("state") == "down" and refused.status("last_error"))
                assert complaint in str(refused.status("last_error"))


def test_a_wrong_password_is_said_and_tried_again(tmp_path: Path) -> None:
    with Mosquitto(extra=["allow_anonymous false"]) as broker:
        config = bridge_config([broker.url], [LATEST], username="u", password="very-secret")
        with Bridged(config, wait=False) as refused:
            eventually(lambda: "Not authorized" in str(refused.status("last_error")))
            assert refused.status("state") in ("down", "connecting")
            assert "very-secret" not in refused.daemon.stderr


def test_bridges_come_and_go_with_the_configuration(broker: Mosquitto) -> None:
    kept = bridge_config([broker.url], [LATEST], "kept")
    with Bridged(kept) as daemon, Onlooker(broker.port, "#") as device:
        since = daemon.status("since", "kept")
        path = daemon.daemon.directory / "clasp-edge.toml"
        path.write_text(kept + bridge_config([broker.url], [LOG], "new"))
        daemon.daemon.hangup()
        daemon.wait_state("up", "new")
        daemon.put("/log/n", 1)
        eventually(lambda: device.payloads("log/n"))
        path.write_text(kept)
        daemon.daemon.hangup()
        daemon.wait_state("stopped", "new")
        daemon.put("/log/n", 2)
        daemon.put("/s/n", 3)
        eventually(lambda: device.payloads("site/n"))
        assert device.payloads("log/n") == [b"1"]
        assert daemon.status("since", "kept") == since


def test_events_of_a_bridge_that_a_reload_has_changed_are_not_taken_for_repeated(broker: Mosquitto) -> None:
    clasp: Map = {"topic": "ev/#", "address": "/ev/**", "payload": "clasp", "policy": "log", "retain": False}
    config = bridge_config([broker.url], [clasp])
    with Bridged(config) as left, Bridged(config) as right:
        heard = right.listener("/ev/**")
        for first in (0, 3):
            for number in range(first, first + 3):
                left.client.send(wire.Publish("/ev/go", wire.SignalType.EVENT, number))
            assert [heard.recv_until(wire.Publish).value for _ in range(3)] == list(range(first, first + 3))
            since = left.status("since")
            (left.daemon.directory / "clasp-edge.toml").write_text(
                bridge_config([broker.url], [clasp], queue_kib=99 + first)
            )
            left.daemon.hangup()
            eventually(lambda at=since: left.status("since") != at)
            left.wait_state("up")
