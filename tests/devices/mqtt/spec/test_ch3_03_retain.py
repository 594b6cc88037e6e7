"""MQTT 5.0 section 3.3.1.3: retained messages, and what a subscription says about them (3.8.3.1)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, fresh, topics
from support.mqtt_packets import V5, V311

RETAIN_AS_PUBLISHED = 0x08
SEND_IF_NEW = 0x10
DO_NOT_SEND = 0x20


@pytest.fixture
def topic(broker: Broker) -> Iterator[str]:
    """A topic whose retained message is cleared afterwards."""
    name = fresh()
    yield name
    with broker.client(V5) as client:
        client.publish(name, retain=True, qos=1)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqtt_3_3_1_5_retained_message_is_kept(broker: Broker, version: int, topic: str, qos: int) -> None:
    """3.1.1: [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-8]: with its QoS, and with RETAIN set when it comes late."""
    broker.client(version).publish(topic, b"kept", qos=qos, retain=True)
    suback, (found,) = broker.client(version).subscribe_with_retained(topic, options=2)
    assert suback.codes == [2]
    assert (found.topic, found.payload, found.qos, found.retain, found.dup) == (topic, b"kept", qos, True, False)


def test_mqtt_3_3_1_5_retained_at_the_granted_qos(broker: Broker, version: int, topic: str) -> None:
    """[MQTT-3.8.4-8]: the lesser of the two."""
    broker.client(version).publish(topic, b"kept", qos=2, retain=True)
    for granted in (0, 1, 2):
        (found,) = broker.client(version).subscribe_with_retained(topic, options=granted)[1]
        assert found.qos == granted


def test_mqtt_3_3_1_5_newer_replaces_older(broker: Broker, version: int, topic: str) -> None:
    client = broker.client(version)
    for payload in (b"one", b"two", b"three"):
        client.publish(topic, payload, qos=1, retain=True)
    (found,) = broker.client(version).subscribe_with_retained(topic)[1]
    assert found.payload == b"three"


def test_mqtt_3_3_1_5_retained_bytes_are_not_touched(broker: Broker, version: int, topic: str) -> None:
    for payload in (b"21.50", b"\xff\x00", b" [1 , 2]", b"true ", b"00012", b"x" * 20_000):
        broker.client(version).publish(topic, payload, qos=1, retain=True)
        (found,) = broker.client(version).subscribe_with_retained(topic)[1]
        assert found.payload == payload


def test_mqtt_3_3_1_6_empty_payload_clears(broker: Broker, version: int, topic: str) -> None:
    """3.1.1: [MQTT-3.3.1-10]: and is itself delivered to whoever is subscribed."""
    client = broker.client(version)
    client.publish(topic, b"kept", retain=True)
    watcher = broker.client(version)
    watcher.subscribe_with_retained(topic)
    client.publish(topic, retain=True)
    found = watcher.receive(b"")
    assert not found.retain
    assert broker.client(version).subscribe_with_retained(topic)[1] == []


def test_mqtt_3_3_1_7_empty_payload_is_not_kept(broker: Broker, version: int, topic: str) -> None:
    """3.1.1: [MQTT-3.3.1-11]."""
    broker.client(version).publish(topic, retain=True)
    assert broker.client(version).subscribe_with_retained(topic)[1] == []


def test_mqtt_3_3_1_8_without_retain_nothing_is_kept(broker: Broker, version: int, topic: str) -> None:
    """3.1.1: [MQTT-3.3.1-12]."""
    broker.client(version).publish(topic, b"passing", qos=1)
    assert broker.client(version).subscribe_with_retained(topic)[1] == []


@pytest.mark.parametrize("payload", [b"passing", b""])
def test_mqtt_3_3_1_8_without_retain_nothing_is_replaced(
    broker: Broker, version: int, topic: str, payload: bytes
) -> None:
    client = broker.client(version)
    client.publish(topic, b"kept", retain=True)
    client.publish(topic, payload, qos=1)
    (found,) = broker.client(version).subscribe_with_retained(topic)[1]
    assert found.payload == b"kept"


def test_mqtt_3_3_1_12_retain_flag_is_cleared_towards_subscribers(broker: Broker, version: int, topic: str) -> None:
    """3.1.1: [MQTT-3.3.1-9]."""
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version).publish(topic, b"x", retain=True)
    assert not watcher.receive(b"x").retain


def test_mqtt_3_3_1_13_retain_as_published(broker: Broker, topic: str) -> None:
    watcher, sender = broker.client(V5), broker.client(V5)
    watcher.subscribe(topic, options=RETAIN_AS_PUBLISHED)
    sender.publish(topic, b"kept", retain=True)
    assert watcher.receive(b"kept").retain
    sender.publish(topic, b"passing")
    assert not watcher.receive(b"passing").retain


def test_mqtt_3_3_1_12_retained_messages_come_with_retain_set_whatever_the_option(broker: Broker, topic: str) -> None:
    broker.client(V5).publish(topic, b"kept", retain=True)
    for options in (0, RETAIN_AS_PUBLISHED):
        (found,) = broker.client(V5).subscribe_with_retained(topic, options=options)[1]
        assert found.retain


def test_mqtt_3_3_1_9_retained_again_for_each_subscribe(broker: Broker, version: int, topic: str) -> None:
    """[MQTT-3.8.4-4]; 3.1.1: [MQTT-3.8.4-3]."""
    client = broker.client(version)
    client.publish(topic, b"kept", retain=True)
    for _ in range(3):
        _, (found,) = client.subscribe_with_retained(topic)
        assert found.retain


def test_mqtt_3_3_1_10_retain_handling_1(broker: Broker, topic: str) -> None:
    client = broker.client(V5)
    client.publish(topic, b"kept", retain=True)
    assert len(client.subscribe_with_retained(topic, options=SEND_IF_NEW)[1]) == 1
    assert client.subscribe_with_retained(topic, options=SEND_IF_NEW)[1] == []
    client.unsubscribe(topic)
    assert len(client.subscribe_with_retained(topic, options=SEND_IF_NEW)[1]) == 1


def test_mqtt_3_3_1_11_retain_handling_2(broker: Broker, topic: str) -> None:
    client = broker.client(V5)
    client.publish(topic, b"kept", retain=True)
    assert client.subscribe_with_retained(topic, options=DO_NOT_SEND)[1] == []
    client.send(mqtt.publish(V5, topic, b"live"))
    assert [found.payload for found in client.publishes()] == [b"live"]


def test_mqtt_3_3_1_retain_handling_3(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.subscribe(V5, 1, [(fresh(), 0x30)]))
    client.expect_closed(0x81, 0x82)


def test_mqtt_3_3_1_9_all_that_match_a_wildcard(broker: Broker, version: int) -> None:
    base = fresh()
    sender = broker.client(version)
    names = [f"{base}/a", f"{base}/b/c", f"{base}/b", base, f"{base}/b/c/d"]
    for name in names:
        sender.publish(name, name.encode(), retain=True)
    try:
        for pattern, wanted in {
            f"{base}/#": names,
            f"{base}/+": [f"{base}/a", f"{base}/b"],
            f"{base}/+/c": [f"{base}/b/c"],
            f"{base}/+/+/#": [f"{base}/b/c", f"{base}/b/c/d"],
            f"{base}/none/#": [],
        }.items():
            got = broker.client(version).subscribe_with_retained(pattern)[1]
            assert topics(got) == sorted(wanted), pattern
            assert all(found.payload == found.topic.encode() and found.retain for found in got)
    finally:
        for name in names:
            sender.publish(name, retain=True)


def test_mqtt_3_3_1_9_several_hundred_retained(broker: Broker, version: int) -> None:
    base = fresh()
    sender = broker.client(version)
    sender.send(*(mqtt.publish(version, f"{base}/{number}", b"x", retain=True) for number in range(500)))
    sender.sync()
    try:
        got = broker.client(version).subscribe_with_retained(f"{base}/+")[1]
        assert len(got) == 500
    finally:
        sender.send(*(mqtt.publish(version, f"{base}/{number}", retain=True) for number in range(500)))
        sender.sync()


def test_mqtt_3_1_2_retained_messages_outlive_their_sender(broker: Broker, version: int, topic: str) -> None:
    """3.1.1: [MQTT-3.1.2-7]: they are no part of the session."""
    name = fresh("c")
    client = broker.client(version, name)
    client.publish(topic, b"kept", retain=True)
    client.disconnect()
    broker.client(version, name, clean=True).disconnect()
    assert len(broker.client(version).subscribe_with_retained(topic)[1]) == 1


def test_mqtt_3_3_1_retained_messages_across_versions(broker: Broker, topic: str) -> None:
    broker.client(V311).publish(topic, b"3.1.1", qos=1, retain=True)
    assert broker.client(V5).subscribe_with_retained(topic)[1][0].payload == b"3.1.1"
    broker.client(V5).publish(topic, b"5.0", qos=1, retain=True, props={"user_property": [("a", "b")]})
    assert broker.client(V311).subscribe_with_retained(topic)[1][0].payload == b"5.0"


def test_mqtt_3_3_1_publishing_to_a_retained_topic_while_nobody_listens(broker: Broker, topic: str) -> None:
    """A sleeping session gets the message itself, without RETAIN, once."""
    name = fresh("c")
    props = {"session_expiry_interval": 60}
    client = broker.client(V5, name, clean=False, props=props)
    client.subscribe(topic, options=1)
    client.disconnect()
    broker.client(V5).publish(topic, b"kept", qos=1, retain=True)
    client = broker.client(V5, name, clean=False, props=props)
    assert not client.receive(b"kept").retain
    assert client.sync() == []
