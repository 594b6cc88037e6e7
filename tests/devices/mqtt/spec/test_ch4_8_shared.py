"""MQTT 5.0 chapter 4.8.2: shared subscriptions."""

from __future__ import annotations

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311, Publish

NO_LOCAL = 0x04


def test_mqtt_4_8_2_each_message_goes_to_one(broker: Broker, version: int) -> None:
    """Also offered to 3.1.1, as other brokers do. Every member gets some."""
    topic = fresh()
    members = [broker.client(version) for _ in range(3)]
    for member in members:
        assert member.subscribe(f"$share/g/{topic}").codes == [0]
    sender = broker.client(version)
    for number in range(30):
        sender.publish(topic, b"%d" % number)
    got = [[found.payload for found in member.publishes()] for member in members]
    assert sorted(payload for mine in got for payload in mine) == sorted(b"%d" % number for number in range(30))
    assert all(got)


def test_mqtt_4_8_2_groups_and_plain_subscribers_are_independent(broker: Broker) -> None:
    topic = fresh()
    one, two, plain = (broker.client(V5) for _ in range(3))
    one.subscribe(f"$share/one/{topic}")
    two.subscribe(f"$share/two/{topic}")
    plain.subscribe(topic)
    broker.client(V5).publish(topic, b"x")
    for client in (one, two, plain):
        assert [found.payload for found in client.publishes()] == [b"x"]


def test_mqtt_4_8_2_a_client_in_two_ways(broker: Broker) -> None:
    """Member of a group and plain subscriber at once: a message for each, or one for both."""
    topic = fresh()
    client = broker.client(V5)
    client.subscribe(topic, f"$share/g/{topic}")
    broker.client(V5).publish(topic, b"x")
    assert 1 <= len(client.publishes()) <= 2


def test_mqtt_4_8_2_wildcards(broker: Broker) -> None:
    topic = fresh()
    client = broker.client(V5)
    client.subscribe(f"$share/g/{topic}/#")
    broker.client(V5).publish(f"{topic}/a/b", b"x")
    assert client.receive(b"x").topic == f"{topic}/a/b"


def test_mqtt_4_8_2_no_retained_messages(broker: Broker) -> None:
    """Section 3.8.4: none are sent for a shared subscription."""
    topic = fresh()
    client = broker.client(V5)
    client.publish(topic, b"kept", retain=True)
    assert client.subscribe_with_retained(f"$share/g/{topic}")[1] == []
    client.unsubscribe(f"$share/g/{topic}")
    client.publish(topic, retain=True)


def test_mqtt_4_8_2_unsubscribe(broker: Broker) -> None:
    """[MQTT-3.10.4-1]: by the filter as it was given. The others get everything from then on."""
    topic = fresh()
    one, two, sender = (broker.client(V5) for _ in range(3))
    for client in (one, two):
        client.subscribe(f"$share/g/{topic}")
    assert one.unsubscribe(topic).codes == [0x11]
    assert one.unsubscribe(f"$share/g/{topic}").codes == [0]
    for _ in range(6):
        sender.publish(topic, b"x")
    assert one.sync() == []
    assert len(two.publishes()) == 6


def test_mqtt_4_8_2_a_member_leaves(broker: Broker) -> None:
    topic = fresh()
    one, two, sender = (broker.client(V5) for _ in range(3))
    for client in (one, two):
        client.subscribe(f"$share/g/{topic}")
    one.disconnect()
    for _ in range(6):
        sender.publish(topic, b"x")
    assert len(two.publishes()) == 6


def test_mqtt_4_8_2_3_granted_qos(broker: Broker) -> None:
    topic = fresh()
    client = broker.client(V5)
    client.subscribe(f"$share/g/{topic}", options=1)
    sender = broker.client(V5)
    sender.publish(topic, b"x", qos=2)
    assert client.receive(b"x").qos == 1


def test_mqtt_4_8_2_6_refused_message_goes_to_nobody_else(broker: Broker) -> None:
    topic = fresh()
    members = [broker.client(V5) for _ in range(2)]
    for member in members:
        member.subscribe(f"$share/g/{topic}", options=1)
    broker.client(V5).publish(topic, b"x", qos=1)
    (found,) = [got for member in members for got in member.publishes()]
    for member in members:
        member.send(mqtt.ack(mqtt.PUBACK, found.packet_id or 0, V5, 0x80))
    assert [member.sync() for member in members] == [[], []]


def test_mqtt_4_8_2_4_delivery_is_completed_when_the_client_returns(broker: Broker) -> None:
    topic, name = fresh(), fresh("c")
    props = {"session_expiry_interval": 60}
    client = broker.client(V5, name, clean=False, props=props)
    client.subscribe(f"$share/g/{topic}", options=2)
    broker.client(V5).publish(topic, b"x", qos=2)
    first = client.expect(Publish)
    client.vanish()
    client = broker.client(V5, name, clean=False, props=props)
    again = client.receive(b"x")
    assert (again.packet_id, again.dup) == (first.packet_id, True)


@pytest.mark.parametrize("pattern", ["$share//t", "$share/a+b/t", "$share/#/t", "$share/g", "$share/g/", "$share/g/a#"])
def test_mqtt_4_8_2_1_invalid_share_names_and_filters(broker: Broker, pattern: str) -> None:
    """[MQTT-4.8.2-2]: refused by code, or by closing."""
    client = broker.client(V5)
    client.send(mqtt.subscribe(V5, 1, [(pattern, 0)]))
    kind, _, body = client.recv_raw_or_closed()
    if kind == mqtt.SUBACK:
        assert body[-1] in (0x80, 0x8F)
    else:
        assert kind in (None, mqtt.DISCONNECT)


def test_mqtt_3_8_3_4_no_local_on_a_shared_subscription(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.subscribe(V5, 1, [(f"$share/g/{fresh()}", NO_LOCAL)]))
    client.expect_closed(0x82, 0x81)


def test_mqtt_4_8_2_sleeping_members(broker: Broker) -> None:
    """With nobody awake, a message at QoS 1 waits for one member, and is delivered once."""
    topic = fresh()
    props = {"session_expiry_interval": 60}
    names = [fresh("c"), fresh("c")]
    for name in names:
        client = broker.client(V5, name, clean=False, props=props)
        client.subscribe(f"$share/g/{topic}", options=1)
        client.disconnect()
    broker.client(V5).publish(topic, b"x", qos=1)
    got = [found for name in names for found in broker.client(V5, name, clean=False, props=props).publishes()]
    assert [found.payload for found in got] == [b"x"]


def test_mqtt_4_8_2_topics_that_begin_like_a_share(broker: Broker) -> None:
    """`$share` is special in filters only."""
    client = broker.client(V311)
    client.subscribe("$sharex/t")
    assert client.sync() == []
