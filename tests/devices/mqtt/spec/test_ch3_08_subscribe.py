"""MQTT 5.0 chapters 3.8 to 3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK."""

from __future__ import annotations

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311, Publish, Suback, Unsuback

NO_LOCAL = 0x04
RETAIN_AS_PUBLISHED = 0x08


@pytest.mark.parametrize("flags", [0, 1, 3, 10])
def test_mqtt_3_8_1_1_reserved_flags_of_subscribe(broker: Broker, version: int, flags: int) -> None:
    client = broker.client(version)
    client.send(mqtt.subscribe(version, 1, [(fresh(), 0)], flags=flags))
    client.expect_closed(0x81, 0x82)


@pytest.mark.parametrize("flags", [0, 1, 3, 10])
def test_mqtt_3_10_1_1_reserved_flags_of_unsubscribe(broker: Broker, version: int, flags: int) -> None:
    client = broker.client(version)
    client.send(mqtt.unsubscribe(version, 1, [fresh()], flags=flags))
    client.expect_closed(0x81, 0x82)


def test_mqtt_3_8_3_2_no_filter(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.8.3-3]."""
    client = broker.client(version)
    client.send(mqtt.subscribe(version, 1, []))
    client.expect_closed(0x81, 0x82)


def test_mqtt_3_10_3_2_no_filter_to_unsubscribe(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(mqtt.unsubscribe(version, 1, []))
    client.expect_closed(0x81, 0x82)


@pytest.mark.parametrize("options", [0x03, 0x40, 0x80, 0xC0])
def test_mqtt_3_8_3_5_reserved_bits_of_the_options(broker: Broker, version: int, options: int) -> None:
    """3.1.1: [MQTT-3.8.3-4]."""
    client = broker.client(version)
    client.send(mqtt.subscribe(version, 1, [(fresh(), options)]))
    client.expect_closed(0x81, 0x82)


@pytest.mark.parametrize("options", [0x04, 0x08, 0x10])
def test_mqtt_3_8_3_4_options_of_5_are_reserved_in_311(broker: Broker, options: int) -> None:
    """[MQTT-3.8.3-4] of 3.1.1."""
    client = broker.client(V311)
    client.send(mqtt.subscribe(V311, 1, [(fresh(), options)]))
    client.expect_closed()


def test_mqtt_3_8_3_filter_without_options(broker: Broker, version: int) -> None:
    client = broker.client(version)
    whole = mqtt.subscribe(version, 1, [("abc", 0)])
    client.send(mqtt.packet(mqtt.SUBSCRIBE, 2, whole[2:-1]))
    client.expect_closed(0x81, 0x82)


@pytest.mark.parametrize("packet_id", [1, 256, 65535])
def test_mqtt_3_8_4_2_suback_has_the_identifier(broker: Broker, version: int, packet_id: int) -> None:
    client = broker.client(version)
    client.send(mqtt.subscribe(version, packet_id, [(fresh(), 1)]))
    assert client.expect(Suback) == Suback(packet_id, [1], {})


def test_mqtt_3_8_4_6_one_code_for_each_filter_in_order(broker: Broker, version: int) -> None:
    """[MQTT-3.9.3-1]; 3.1.1: [MQTT-3.8.4-5]."""
    client = broker.client(version)
    wanted = [0, 2, 1, 1, 0, 2]
    client.send(mqtt.subscribe(version, 5, [(fresh(), qos) for qos in wanted]))
    assert client.expect(Suback).codes == wanted


def test_mqtt_3_8_4_5_a_refused_filter_does_not_touch_the_others(broker: Broker, version: int) -> None:
    """A server may also close for the invalid one; if it answers, in order."""
    topic = fresh()
    client = broker.client(version)
    client.send(mqtt.subscribe(version, 5, [(topic, 1), (f"{topic}/#/x", 1), (f"{topic}/b", 0)]))
    try:
        found = client.recv()
    except Exception:
        return
    if isinstance(found, Suback):
        assert found.codes == [1, 0x80 if version == V311 else 0x8F, 0]
        client.send(mqtt.publish(version, topic, b"x"))
        assert [got.payload for got in client.publishes()] == [b"x"]


@pytest.mark.parametrize("pattern", ["a/#/b", "a#", "#a", "a/b#", "a+", "+a", "a/+b/c", "##", "++", ""])
def test_mqtt_4_7_1_1_invalid_filters(broker: Broker, version: int, pattern: str) -> None:
    """[MQTT-4.7.1-2], [MQTT-4.7.3-1]: refused by code, or by closing."""
    client = broker.client(version)
    client.send(mqtt.subscribe(version, 1, [(pattern, 0)]))
    kind, _, body = client.recv_raw_or_closed()
    if kind == mqtt.SUBACK:
        assert body[-1] in ((0x80,) if version == V311 else (0x80, 0x8F))
    else:
        assert kind in (None, mqtt.DISCONNECT)


def test_mqtt_3_8_4_3_the_same_filter_again_replaces(broker: Broker, version: int) -> None:
    topic = fresh()
    client = broker.client(version)
    client.subscribe(topic, options=0)
    client.subscribe(topic, options=1)
    broker.client(version).publish(topic, b"x", qos=1)
    assert client.receive(b"x").qos == 1
    assert client.sync() == []
    client.subscribe(topic, options=0)
    broker.client(version).publish(topic, b"y", qos=1)
    assert client.receive(b"y").qos == 0
    assert client.sync() == []


def test_mqtt_3_8_4_3_twice_in_one_packet(broker: Broker, version: int) -> None:
    topic = fresh()
    client = broker.client(version)
    client.send(mqtt.subscribe(version, 1, [(topic, 1), (topic, 0)]))
    assert client.expect(Suback).codes == [1, 0]
    broker.client(version).publish(topic, b"x", qos=1)
    assert client.receive(b"x").qos == 0
    assert client.sync() == []


def test_mqtt_3_3_4_2_overlapping_subscriptions(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.3.5-1]: the greatest QoS of all that match; once, or once for each."""
    topic = fresh()
    client = broker.client(version)
    client.subscribe(f"{topic}/#", options=0)
    client.subscribe(f"{topic}/+", options=2)
    client.subscribe(f"{topic}/a", options=1)
    broker.client(version).publish(f"{topic}/a", b"x", qos=2)
    got = client.publishes()
    assert 1 <= len(got) <= 3
    assert max(found.qos for found in got) == 2
    if len(got) > 1:
        assert sorted(found.qos for found in got) == [0, 1, 2]


def test_mqtt_3_3_4_3_subscription_identifier(broker: Broker) -> None:
    topic = fresh()
    client = broker.client(V5)
    for number in (1, 127, 128, 268_435_455):
        client.subscribe(topic, props={"subscription_identifier": number})
        broker.client(V5).publish(topic, b"x")
        assert client.receive(b"x").properties == {"subscription_identifier": [number]}
    client.subscribe(topic)
    broker.client(V5).publish(topic, b"x")
    assert client.receive(b"x").properties == {}


def test_mqtt_3_3_4_4_identifiers_of_all_that_match(broker: Broker) -> None:
    """In one copy all of them, or in each copy its own ([MQTT-3.3.4-5])."""
    topic = fresh()
    client = broker.client(V5)
    client.subscribe(f"{topic}/#", props={"subscription_identifier": 10})
    client.subscribe(f"{topic}/a", props={"subscription_identifier": 20})
    client.subscribe(f"{topic}/+")
    broker.client(V5).publish(f"{topic}/a", b"x")
    got = client.publishes()
    assert sorted(n for found in got for n in found.properties.get("subscription_identifier", [])) == [10, 20]


def test_mqtt_3_3_4_3_identifier_with_a_retained_message(broker: Broker) -> None:
    topic = fresh()
    client = broker.client(V5)
    client.publish(topic, b"kept", retain=True)
    client.send(mqtt.subscribe(V5, 9, [(topic, 0)], {"subscription_identifier": 7}))
    found = [got for got in client.sync() if isinstance(got, Publish)]
    assert [got.properties for got in found] == [{"subscription_identifier": [7]}]
    client.unsubscribe(topic)
    client.publish(topic, retain=True)


def test_mqtt_3_3_4_3_identifier_after_the_session_has_slept(broker: Broker) -> None:
    topic, name = fresh(), fresh("c")
    props = {"session_expiry_interval": 60}
    client = broker.client(V5, name, clean=False, props=props)
    client.subscribe(topic, options=1, props={"subscription_identifier": 7})
    client.disconnect()
    broker.client(V5).publish(topic, b"x", qos=1)
    client = broker.client(V5, name, clean=False, props=props)
    assert client.receive(b"x").properties == {"subscription_identifier": [7]}


@pytest.mark.parametrize("props", [b"\x0b\0", b"\x0b\1\x0b\2"], ids=["zero", "twice"])
def test_mqtt_3_8_2_1_2_subscription_identifiers_that_are_errors(broker: Broker, props: bytes) -> None:
    client = broker.client(V5)
    client.send(mqtt.subscribe(V5, 1, [(fresh(), 0)], props))
    client.expect_closed(0x81, 0x82)


def test_mqtt_3_8_2_1_3_user_properties_are_taken(broker: Broker) -> None:
    client = broker.client(V5)
    assert client.subscribe(fresh(), props={"user_property": [("a", "b")]}).codes == [0]


def test_mqtt_3_8_3_3_no_local(broker: Broker) -> None:
    topic = fresh()
    client, other = broker.client(V5), broker.client(V5)
    client.subscribe(topic, options=NO_LOCAL | 1)
    client.send(mqtt.publish(V5, topic, b"own", qos=1, packet_id=9))
    client.expect_ack(mqtt.PUBACK, 9)
    other.publish(topic, b"other's", qos=1)
    client.receive(b"other's")
    assert client.sync() == []


def test_mqtt_3_8_3_3_no_local_beside_another_subscription(broker: Broker) -> None:
    """The other subscription still gets it."""
    topic = fresh()
    client = broker.client(V5)
    client.subscribe(f"{topic}/a", options=NO_LOCAL)
    client.subscribe(f"{topic}/+", options=0)
    client.send(mqtt.publish(V5, f"{topic}/a", b"own"))
    assert [found.payload for found in client.publishes()] == [b"own"]


def test_mqtt_3_8_3_3_no_local_has_no_part_in_what_another_subscription_delivers(broker: Broker) -> None:
    """Its QoS and its Retain As Published count for the messages of others alone."""
    topic = fresh()
    client, other = broker.client(V5), broker.client(V5)
    client.subscribe(f"{topic}/#", options=NO_LOCAL | RETAIN_AS_PUBLISHED | 2)
    client.subscribe(f"{topic}/a", options=0)
    client.send(mqtt.publish(V5, f"{topic}/a", b"own", qos=1, retain=True, packet_id=9))
    got = [found for found in client.sync() if isinstance(found, Publish)]
    assert [(found.payload, found.qos, found.retain) for found in got] == [(b"own", 0, False)]
    other.publish(f"{topic}/a", b"other's", qos=1, retain=True)
    got = client.publishes()
    assert max(found.qos for found in got) == 1
    assert any(found.retain for found in got)
    other.publish(f"{topic}/a", retain=True)


def test_mqtt_3_8_3_3_no_local_and_retained(broker: Broker) -> None:
    """The client's own retained message comes when it subscribes: that is no forwarding."""
    topic = fresh()
    client = broker.client(V5)
    client.publish(topic, b"own", retain=True)
    client.subscribe_with_retained(topic, options=NO_LOCAL)
    client.send(mqtt.publish(V5, topic, b"own again", retain=True))
    assert client.publishes() == []
    client.unsubscribe(topic)
    client.publish(topic, retain=True)


# ---- UNSUBSCRIBE ----


def test_mqtt_3_10_4_1_unsubscribe(broker: Broker, version: int) -> None:
    """[MQTT-3.10.4-2], [MQTT-3.10.4-4]; 3.1.1: [MQTT-3.10.4-1], [MQTT-3.10.4-2]."""
    topic = fresh()
    client, sender = broker.client(version), broker.client(version)
    client.subscribe(topic, f"{topic}/#", options=1)
    sender.publish(f"{topic}/a", b"1")
    client.receive(b"1")
    assert client.unsubscribe(f"{topic}/#").codes == ([] if version == V311 else [0])
    sender.publish(f"{topic}/a", b"2")
    sender.publish(topic, b"3")
    client.receive(b"3")
    assert client.sync() == []


def test_mqtt_3_10_4_2_retained_messages_that_were_still_to_come(broker: Broker) -> None:
    topic = fresh()
    sender, client = broker.client(V5), broker.client(V5, props={"receive_maximum": 3})
    for number in range(20):
        sender.publish(f"{topic}/{number}", b"x", qos=1, retain=True)
    got = client.subscribe_with_retained(f"{topic}/+", options=1)[1]
    assert len(got) == 3
    assert client.unsubscribe(f"{topic}/+").codes == [0]
    for found in got:
        client.acknowledge(found)
    assert client.sync() == []
    for number in range(20):
        sender.publish(f"{topic}/{number}", retain=True)


def test_mqtt_3_10_4_1_compared_character_by_character(broker: Broker, version: int) -> None:
    topic = fresh()
    client, sender = broker.client(version), broker.client(version)
    client.subscribe(f"{topic}/+")
    client.unsubscribe(f"{topic}/a", f"{topic}/#", f"{topic}/*", topic.upper())
    sender.publish(f"{topic}/a", b"still")
    client.receive(b"still")


def test_mqtt_3_10_4_5_unsubscribe_without_a_subscription(broker: Broker, version: int) -> None:
    """In 5.0: 0x11."""
    assert broker.client(version).unsubscribe(fresh()).codes == ([] if version == V311 else [0x11])


def test_mqtt_3_11_3_1_codes_in_order(broker: Broker) -> None:
    """[MQTT-3.10.4-6]."""
    one, two = fresh(), fresh()
    client = broker.client(V5)
    client.subscribe(one, two)
    assert client.unsubscribe(fresh(), one, fresh(), two, one).codes == [0x11, 0, 0x11, 0, 0x11]


def test_mqtt_3_10_4_3_what_is_in_flight_is_completed(broker: Broker, version: int) -> None:
    topic = fresh()
    client, sender = broker.client(version), broker.client(version)
    client.subscribe(topic, options=2)
    sender.publish(topic, b"x", qos=2)
    found = client.expect(Publish)
    client.unsubscribe(topic)
    client.acknowledge(found)
    assert client.sync() == []


def test_mqtt_3_10_4_4_bytes_of_unsuback(broker: Broker) -> None:
    client = broker.client(V311)
    client.send(mqtt.unsubscribe(V311, 513, [fresh()]))
    assert client.recv_raw() == (mqtt.UNSUBACK, 0, b"\x02\x01")
    client = broker.client(V5)
    client.send(mqtt.unsubscribe(V5, 513, [fresh()]))
    assert client.expect(Unsuback) == Unsuback(513, [0x11], {})


def test_mqtt_3_8_4_a_thousand_subscriptions(broker: Broker, version: int) -> None:
    """Each works, in one packet; and each can be ended."""
    base = fresh()
    client, sender = broker.client(version), broker.client(version)
    names = [f"{base}/{number}/+" for number in range(1000)]
    assert client.subscribe(*names).codes == [0] * 1000
    for number in (0, 499, 999):
        sender.publish(f"{base}/{number}/x", b"x")
        client.receive(b"x")
    client.unsubscribe(*names)
    sender.publish(f"{base}/499/x", b"x")
    assert client.sync() == []


@pytest.mark.parametrize("pattern", ["#", "+/#", "+"])
def test_mqtt_3_8_4_subscribing_to_everything(broker: Broker, version: int, pattern: str) -> None:
    topic = fresh()
    client = broker.client(version)
    client.subscribe_with_retained(pattern)
    client.send(mqtt.publish(version, topic, b"x"))
    assert [found.topic for found in client.publishes() if not found.retain] == [topic]
