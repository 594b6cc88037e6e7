"""MQTT 5.0 chapter 4.1, sections 3.1.2.4 and 3.1.2.11.2: the life of a session and what waits in it."""

from __future__ import annotations

import time

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311

EXPIRY = {"session_expiry_interval": 60}


@pytest.mark.parametrize("qos", [1, 2])
def test_mqtt_3_1_2_5_messages_wait_for_a_sleeping_session(broker: Broker, version: int, qos: int) -> None:
    """[MQTT-4.5.0-1]; 3.1.1: [MQTT-3.1.2-4], [MQTT-3.1.2-5]."""
    topic, name = fresh(), fresh("c")
    client = broker.client(version, name, clean=False, props=EXPIRY)
    client.subscribe(topic, options=2)
    client.disconnect()
    sender = broker.client(version)
    for number in range(20):
        sender.publish(topic, b"%d" % number, qos=qos)
    client = broker.client(version, name, clean=False, props=EXPIRY)
    got = [client.receive() for _ in range(20)]
    assert [found.payload for found in got] == [b"%d" % number for number in range(20)]
    assert not any(found.dup for found in got)
    assert client.sync() == []


def test_mqtt_3_1_2_5_subscriptions_outlive_the_connection(broker: Broker, version: int) -> None:
    topic, name = fresh(), fresh("c")
    broker.client(version, name, clean=False, props=EXPIRY).subscribe(topic, options=1)
    client = broker.client(version, name, clean=False, props=EXPIRY)
    broker.client(version).publish(topic, b"x", qos=1)
    client.receive(b"x")


def test_mqtt_3_1_2_5_unsubscribed_stays_unsubscribed(broker: Broker, version: int) -> None:
    topic, name = fresh(), fresh("c")
    client = broker.client(version, name, clean=False, props=EXPIRY)
    client.subscribe(topic, options=1)
    client.unsubscribe(topic)
    client.disconnect()
    broker.client(version).publish(topic, b"x", qos=1)
    assert broker.client(version, name, clean=False, props=EXPIRY).sync() == []


def test_mqtt_3_1_2_4_clean_start_forgets(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.2-6]."""
    topic, name = fresh(), fresh("c")
    client = broker.client(version, name, clean=False, props=EXPIRY)
    client.subscribe(topic, options=1)
    client.disconnect()
    sender = broker.client(version)
    sender.publish(topic, b"x", qos=1)
    client = broker.client(version, name, clean=True)
    sender.publish(topic, b"y", qos=1)
    assert client.sync() == []


def test_mqtt_3_1_2_6_a_clean_session_leaves_nothing_in_311(broker: Broker) -> None:
    topic, name = fresh(), fresh("c")
    client = broker.client(V311, name, clean=True)
    client.subscribe(topic, options=1)
    client.disconnect()
    assert not broker.client(V311, name, clean=False).connack.session_present


def test_mqtt_3_1_2_11_2_without_expiry_the_session_ends(broker: Broker) -> None:
    """Absent is 0, also without Clean Start."""
    name = fresh("c")
    broker.client(V5, name, clean=False).disconnect()
    assert not broker.client(V5, name, clean=False).connack.session_present


def test_mqtt_3_1_2_11_2_clean_start_with_an_expiry_is_kept(broker: Broker) -> None:
    """Clean Start is about the past, the expiry about the future."""
    topic, name = fresh(), fresh("c")
    client = broker.client(V5, name, clean=True, props=EXPIRY)
    client.subscribe(topic, options=1)
    client.disconnect()
    broker.client(V5).publish(topic, b"x", qos=1)
    client = broker.client(V5, name, clean=False, props=EXPIRY)
    assert client.connack.session_present
    client.receive(b"x")


def test_mqtt_4_1_0_2_session_expires(broker: Broker) -> None:
    name = fresh("c")
    props = {"session_expiry_interval": 1}
    broker.client(V5, name, clean=False, props=props).vanish()
    time.sleep(2.2)
    assert not broker.client(V5, name, clean=False, props=props).connack.session_present


def test_mqtt_4_1_0_1_session_does_not_expire_while_connected(broker: Broker) -> None:
    topic, name = fresh(), fresh("c")
    client = broker.client(V5, name, clean=False, props={"session_expiry_interval": 1})
    client.subscribe(topic)
    time.sleep(2.2)
    broker.client(V5).publish(topic, b"x")
    client.receive(b"x")


def test_mqtt_4_1_0_2_the_newest_expiry_counts(broker: Broker) -> None:
    name = fresh("c")
    broker.client(V5, name, clean=False, props={"session_expiry_interval": 600}).disconnect()
    broker.client(V5, name, clean=False).disconnect()
    assert not broker.client(V5, name, clean=False).connack.session_present


def test_mqtt_3_1_2_11_2_largest_expiry_means_never(broker: Broker) -> None:
    name = fresh("c")
    props = {"session_expiry_interval": 0xFFFF_FFFF}
    broker.client(V5, name, clean=False, props=props).disconnect()
    client = broker.client(V5, name, clean=False, props=props)
    assert client.connack.session_present
    client.disconnect(0, {"session_expiry_interval": 0})


def test_mqtt_4_5_qos_0_need_not_wait(broker: Broker, version: int) -> None:
    """A server may keep QoS 0 messages for a sleeping session or drop them; what follows at QoS 1 comes."""
    topic, name = fresh(), fresh("c")
    client = broker.client(version, name, clean=False, props=EXPIRY)
    client.subscribe(topic, options=1)
    client.disconnect()
    sender = broker.client(version)
    sender.publish(topic, b"maybe")
    sender.publish(topic, b"surely", qos=1)
    client = broker.client(version, name, clean=False, props=EXPIRY)
    got = client.publishes()
    assert [found.payload for found in got if found.qos] == [b"surely"]


def test_mqtt_3_1_3_2_sessions_are_told_apart(broker: Broker, version: int) -> None:
    """By the whole identifier, upper and lower case included."""
    name, topic = fresh("c"), fresh()
    client = broker.client(version, name, clean=False, props=EXPIRY)
    client.subscribe(topic, options=1)
    client.disconnect()
    for other in (name.upper(), name + "x", name[:-1]):
        assert not broker.client(version, other, clean=False).connack.session_present
    assert broker.client(version, name, clean=False, props=EXPIRY).connack.session_present


def test_mqtt_4_1_a_long_queue_is_bounded_but_in_order(broker: Broker, version: int) -> None:
    """Whatever the bound is, what comes is in order, without holes in what is kept, and the server stays well."""
    topic, name = fresh(), fresh("c")
    client = broker.client(version, name, clean=False, props=EXPIRY)
    client.subscribe(topic, options=1)
    client.disconnect()
    sender = broker.client(version)
    count, at_once = 1500, 20
    for start in range(0, count, at_once):
        numbers = range(start, start + at_once)
        sender.send(*(mqtt.publish(version, topic, b"%d" % n, qos=1, packet_id=n + 1) for n in numbers))
        for number in numbers:
            sender.expect_ack(mqtt.PUBACK, number + 1)
    client = broker.client(version, name, clean=False, props=EXPIRY)
    got: list[int] = []
    while waiting := client.publishes():
        for found in waiting:
            got.append(int(found.payload))
            client.acknowledge(found)
    assert got == sorted(got)
    assert len(got) >= 100
    assert got == list(range(got[0], got[0] + len(got)))


def test_mqtt_4_1_taken_over_while_messages_are_in_flight(broker: Broker, version: int) -> None:
    """The session moves to the new connection with all that is unacknowledged."""
    topic, name = fresh(), fresh("c")
    client = broker.client(version, name, clean=False, props=EXPIRY)
    client.subscribe(topic, options=1)
    sender = broker.client(version)
    for number in range(10):
        sender.publish(topic, b"%d" % number, qos=1)
    client.sync()
    client = broker.client(version, name, clean=False, props=EXPIRY)
    assert [client.receive().payload for _ in range(10)] == [b"%d" % number for number in range(10)]
