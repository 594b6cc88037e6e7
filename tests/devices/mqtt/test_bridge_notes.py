"""Notifications of Mosquitto's bridges (`$SYS/broker/connection/NAME/state`): who is told what, who may say it, and
that one that is gone never stays "1"."""

from __future__ import annotations

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.mosquitto import Mosquitto
from support.mqtt_client import Broker, MqttClient, fresh
from support.mqtt_packets import V5, V311, Ack, Publish

TOPIC_NAME_INVALID = 0x90
ALL = "$SYS/broker/connection/#"


def _bridge(mqtt: Broker, topic: str, version: int = V5) -> MqttClient:
    return mqtt.client(version, will=packets.Will(topic, b"0", 1, True))


def _state(mqtt: Broker, topic: str) -> list[bytes]:
    """What a new subscriber is told."""
    _, retained = mqtt.client().subscribe_with_retained(ALL)
    return [one.payload for one in retained if one.topic == topic]


def _next(client: MqttClient, topic: str) -> bytes:
    while (found := client.expect(Publish, 30)).topic != topic:
        pass
    return found.payload


@pytest.mark.parametrize("way", ["disconnect", "reset"])
@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_a_bridge_is_there_until_it_has_left(mqtt: Broker, version: int, way: str) -> None:
    topic = f"$SYS/broker/connection/{fresh()}/state"
    reader = mqtt.client(version)
    reader.subscribe("$SYS/broker/connection/+/state", options=0)
    bridge = _bridge(mqtt, topic, version)
    bridge.publish(topic, b"1", qos=1, retain=True)
    assert _next(reader, topic) == b"1"
    assert _state(mqtt, topic) == [b"1"]
    getattr(bridge, way)()
    assert _next(reader, topic) == b"0"
    assert _state(mqtt, topic) == [b"0"]


def test_nobody_else_says_it(mqtt: Broker) -> None:
    topic = f"$SYS/broker/connection/{fresh()}/state"
    bridge = _bridge(mqtt, topic)
    bridge.publish(topic, b"1", qos=1, retain=True)
    liars = [
        mqtt.client(),
        _bridge(mqtt, f"$SYS/broker/connection/{fresh()}/state"),
        _bridge(mqtt, topic),  # its own, but held by one that is connected
    ]
    for liar in liars:
        liar.send(packets.publish(V5, topic, b"0", qos=1, packet_id=1))
        assert liar.expect(Ack).reason == TOPIC_NAME_INVALID
    liars[2].reset()
    assert _state(mqtt, topic) == [b"1"]
    # Neither anything large, nor elsewhere below $SYS.
    bridge.send(packets.publish(V5, topic, bytes(65), qos=1, packet_id=2))
    assert bridge.expect(Ack).reason == TOPIC_NAME_INVALID
    bridge.send(packets.publish(V5, "$SYS/broker/uptime", b"0", qos=1, packet_id=3))
    assert bridge.expect(Ack).reason == TOPIC_NAME_INVALID


def test_those_that_have_left_are_bounded(mqtt: Broker) -> None:
    for _ in range(270):
        with mqtt.open() as bridge:
            topic = f"$SYS/broker/connection/{fresh()}/state"
            bridge.connect(will=packets.Will(topic, b"0", 1, True))
            bridge.send(packets.publish(V5, topic, b"1"))
            bridge.disconnect()
    _, retained = mqtt.client().subscribe_with_retained(ALL)
    assert 0 < len(retained) <= 256


def test_after_a_restart_it_is_gone() -> None:
    topic = f"$SYS/broker/connection/{fresh()}/state"
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}) as daemon:
        broker = Broker(daemon.mqtt_address)
        bridge = broker.client(will=packets.Will(topic, b"0", 1, True), keep_alive=0)  # is waited for a second
        bridge.publish(topic, b"1", qos=1, retain=True)
        bridge.publish(fresh(), b"1", qos=1, retain=True)  # acknowledged when it is stored, and the will with it
        daemon.restart()
        broker.leave()
        broker = Broker(daemon.mqtt_address)
        reader = broker.client()
        reader.subscribe(ALL, options=0)
        assert _next(reader, topic) == b"0"
        broker.leave()


@pytest.mark.parametrize("private", ["true", "false"])
def test_mosquitto_itself(mqtt: Broker, daemon: Daemon, private: str) -> None:
    host, port = daemon.mqtt_address
    name = fresh()
    topic = f"$SYS/broker/connection/{name}/state"
    reader = mqtt.client()
    reader.subscribe(ALL, f"{name}/#", options=0)
    lines = [
        "connection edge", f"address {host}:{port}", f"topic {name}/# both 1", f"remote_clientid {name}",
        f"try_private {private}", "restart_timeout 1",
    ]  # fmt: skip
    with Mosquitto(extra=lines) as other:
        assert _next(reader, topic) == b"1"
        there = Broker((other.host, other.port))
        device = there.client(V311)
        device.subscribe(f"{name}/#", options=0)
        there.client(V311).publish(f"{name}/out", b"1", qos=1, retain=True)
        assert _next(reader, f"{name}/out") == b"1"
        mqtt.client().publish(f"{name}/in", b"2", qos=1)
        # Its own message does not come back to it.
        assert [device.expect(Publish, 30).topic for _ in range(2)] == [f"{name}/out", f"{name}/in"]
    there.leave()
    assert _next(reader, topic) == b"0"
