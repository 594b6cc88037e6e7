"""What MQTT clients reach: the whole tree with `mqtt.namespace = ""`, `[[mqtt.mount]]`, filters wider than a token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.live import Crowd, get, put, subscribe
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311, Ack, Publish

from clasp_edge import wire

NOT_AUTHORIZED = 0x87

MOUNTS = """
[[mqtt.mount]]
topic = "show/#"
address = "/show/**"
rights = "read"

[[mqtt.mount]]
topic = "sensors/+/temp"
address = "/box/*/temperature"

[[mqtt.mount]]
topic = "in/#"
address = "/inbox/**"
rights = "write"
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, config=MOUNTS) as running:
        yield running


def value(clasp: Crowd, address: str) -> wire.Value:
    found = get(clasp.ws(), address)
    return None if found is None else found.value


def test_a_lamp_follows_the_show_and_may_not_write_there(mqtt: Broker, clasp: Crowd) -> None:
    name = fresh()
    put(clasp.ws(), f"/show/{name}/dim", 0.5)
    lamp = mqtt.client(V5)
    (kept,) = lamp.subscribe_with_retained(f"show/{name}/#")[1]
    assert (kept.topic, kept.payload) == (f"show/{name}/dim", b"0.5")
    put(clasp.ws(), f"/show/{name}/dim", 0.25)
    assert lamp.receive(b"0.25").topic == f"show/{name}/dim"
    lamp.send(packets.publish(V5, f"show/{name}/dim", b"1", qos=1, packet_id=77))
    assert lamp.expect(Ack).reason == NOT_AUTHORIZED
    assert value(clasp, f"/show/{name}/dim") == 0.25


def test_who_ends_one_of_two_subscriptions_to_a_mount_gets_what_the_other_one_asks_for(
    mqtt: Broker, clasp: Crowd
) -> None:
    """Both filters are one pattern there; what waits for the first one stays."""
    name = fresh()
    for number in range(3):
        put(clasp.ws(), f"/show/{name}/{number}", number)
    lamp = mqtt.client(V5, props={"receive_maximum": 1})
    got = lamp.subscribe_with_retained(f"+/{name}/#", options=1)[1]
    got += lamp.subscribe_with_retained(f"show/{name}/#", options=1)[1]
    assert lamp.unsubscribe(f"show/{name}/#").codes == [0]
    unacknowledged = list(got)
    while unacknowledged:
        lamp.acknowledge(unacknowledged.pop())
        unacknowledged = lamp.publishes()
        got += unacknowledged
    assert sorted(found.payload for found in got) == [b"0", b"1", b"2"]


def test_a_sensor_writes_where_the_mount_says_and_others_below_the_namespace(mqtt: Broker, clasp: Crowd) -> None:
    name = fresh()
    sensor, reader = mqtt.client(), mqtt.client()
    reader.subscribe(f"sensors/{name}/#")
    sensor.publish(f"sensors/{name}/temp", b"21.50", qos=1, retain=True)
    sensor.publish(f"sensors/{name}/hum", b"40", qos=1)
    assert value(clasp, f"/box/{name}/temperature") == 21.5
    assert value(clasp, f"/mqtt/sensors/{name}/hum") == 40
    assert value(clasp, f"/mqtt/sensors/{name}/temp") is None
    assert [found.payload for found in reader.publishes()] == [b"21.50", b"40"]
    (kept,) = mqtt.client().subscribe_with_retained("sensors/+/temp")[1]
    assert (kept.topic, kept.payload) == (f"sensors/{name}/temp", b"21.50")


def test_what_is_written_only_is_not_read(mqtt: Broker, clasp: Crowd) -> None:
    name = fresh()
    reader = mqtt.client()
    reader.subscribe("#")
    mqtt.client().publish(f"in/{name}", b"1", qos=1, retain=True)
    assert value(clasp, f"/inbox/{name}") == 1
    assert [found.topic for found in reader.publishes() if name in found.topic] == []
    assert mqtt.client().subscribe_with_retained(f"in/{name}")[1] == []


def test_a_filter_over_mounts_and_namespace_takes_each_message_once(mqtt: Broker, clasp: Crowd) -> None:
    name = fresh()
    reader = mqtt.client()
    reader.subscribe(f"+/{name}/#", options=1)
    put(clasp.ws(), f"/show/{name}", 1)
    put(clasp.ws(), f"/box/{name}/temperature", 2)
    put(clasp.ws(), f"/mqtt/x/{name}", 3)
    put(clasp.ws(), f"/show2/{name}", 4)
    assert [reader.receive().topic for _ in range(3)] == [f"show/{name}", f"sensors/{name}/temp", f"x/{name}"]
    assert reader.publishes() == []


# ---- the whole tree ----


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_without_a_namespace_a_topic_is_the_address(version: int) -> None:
    with Daemon(mqtt=True, sets={"mqtt.namespace": ""}) as daemon:
        clasp, mqtt = Crowd(daemon), Broker(daemon.mqtt_address)
        device, listener = mqtt.client(version), clasp.ws()
        subscribe(listener, "/a/b")
        device.publish("a/b", b"007", qos=1, retain=True)
        assert listener.recv_type(wire.Set).value == 7
        put(clasp.ws(), "/c", "x")
        late = mqtt.client(version).subscribe_with_retained("#")[1]
        assert {found.topic: found.payload for found in late} == {"a/b": b"007", "c": b"x"}
        # What the router says of itself is nothing that a device may write.
        device.send(packets.publish(version, "clasp-edge/fooled", b"1", qos=1, packet_id=9))
        assert version == V311 or device.expect(Ack).reason == NOT_AUTHORIZED
        assert value(clasp, "/clasp-edge/fooled") is None
        mqtt.leave()
        clasp.leave()


# ---- tokens ----

TOKENS = """
[security]
mode = "authenticated"

[[security.token]]
token = "lamp-token-lamp-token-lamp-token"
subject = "lamp"
scopes = ["read:/mqtt/lamp/**", "write:/mqtt/lamp/**"]

[[security.token]]
token = "root-token-root-token-root-token"
subject = "root"
scopes = ["admin:/**"]
"""


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_a_filter_wider_than_the_token_is_granted_and_filtered(version: int) -> None:
    with Daemon(mqtt=True, config=TOKENS) as daemon:
        mqtt = Broker(daemon.mqtt_address)
        root = mqtt.client(version, username="root", password=b"root-token-root-token-root-token")
        root.publish("lamp/kept", b"1", qos=1, retain=True)
        root.publish("other/kept", b"2", qos=1, retain=True)
        lamp = mqtt.client(version, username="lamp", password=b"lamp-token-lamp-token-lamp-token")
        suback, kept = lamp.subscribe_with_retained("#", options=1)
        assert suback.codes == [1]
        assert [found.topic for found in kept] == ["lamp/kept"]
        root.publish("other/live", b"3", qos=1)
        root.publish("lamp/live", b"4", qos=1)
        assert lamp.receive().topic == "lamp/live"
        found = lamp.publishes()
        assert [one.topic for one in found if isinstance(one, Publish)] == []
        mqtt.leave()
