"""MQTT 5.0 chapters 1 and 2: strings, lengths, packet types, reserved flags, packet identifiers."""

from __future__ import annotations

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, Closed, fresh
from support.mqtt_packets import V5, V311, Publish

ILL_FORMED = {
    "lone-continuation": b"a\x80b",
    "overlong": b"a\xc0\xaf",
    "surrogate": b"a\xed\xa0\x80",
    "beyond-unicode": b"\xf5\x80\x80\x80",
    "cut-short": b"a\xe2\x82",
}


@pytest.mark.parametrize("name", ILL_FORMED.values(), ids=ILL_FORMED.keys())
def test_mqtt_1_5_4_1_ill_formed_utf8_in_a_topic(broker: Broker, version: int, name: bytes) -> None:
    """3.1.1: [MQTT-1.5.3-1]."""
    client = broker.client(version)
    client.send(mqtt.publish(version, name, b"x"))
    client.expect_closed(0x81, 0x90, 0x82)


@pytest.mark.parametrize("name", ILL_FORMED.values(), ids=ILL_FORMED.keys())
def test_mqtt_1_5_4_1_ill_formed_utf8_in_a_filter(broker: Broker, version: int, name: bytes) -> None:
    client = broker.client(version)
    client.send(mqtt.subscribe(version, 1, [(name, 0)]))
    client.expect_closed(0x81, 0x8F, 0x82)


def test_mqtt_1_5_4_1_ill_formed_utf8_in_a_user_property(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, fresh(), b"x", props={"user_property": [("k", b"\xff")]}))
    client.expect_closed(0x81, 0x82)


def test_mqtt_1_5_4_2_null_character(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-1.5.3-2]."""
    client = broker.client(version)
    client.send(mqtt.publish(version, "a\0b", b"x"))
    client.expect_closed(0x81, 0x90, 0x82)


def test_mqtt_1_5_4_3_byte_order_mark_is_kept(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-1.5.3-3]. The topic with and the topic without are two topics."""
    plain = fresh()
    marked = f"{plain}/\ufeffx"
    client = broker.client(version)
    client.subscribe(f"{plain}/+")
    client.send(mqtt.publish(version, marked, b"x"))
    assert [found.topic for found in client.publishes()] == [marked]


def test_mqtt_1_5_5_remaining_length_of_five_bytes(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(bytes([mqtt.PUBLISH << 4, 0x80, 0x80, 0x80, 0x80, 0x01]))
    client.expect_closed(0x81, 0x82, 0x95)


def test_mqtt_1_5_5_remaining_length_of_five_bytes_in_connect(broker: Broker) -> None:
    client = broker.open()
    client.send(bytes([mqtt.CONNECT << 4, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]))
    with pytest.raises(Closed):
        client.recv_raw()


def test_mqtt_1_5_5_every_length_of_the_length(broker: Broker, version: int) -> None:
    """Remaining lengths of one, two and three bytes, at their borders."""
    topic = fresh()
    client = broker.client(version)
    client.subscribe(topic)
    head = len(mqtt.publish(version, topic)) - 2
    for remaining in (127, 128, 16_383, 16_384, 40_000):
        payload = bytes(i % 251 for i in range(remaining - head))
        client.send(mqtt.publish(version, topic, payload))
        assert client.expect(Publish).payload == payload


def test_mqtt_2_1_packets_arrive_byte_by_byte(broker: Broker, version: int) -> None:
    client = broker.client(version)
    topic = fresh()
    client.subscribe(topic)
    for byte in mqtt.publish(version, topic, b"slowly", qos=1, packet_id=7):
        client.send(bytes([byte]))
    got = client.sync()
    assert {type(found) for found in got} == {Publish, mqtt.Ack}


def test_mqtt_2_1_packets_arrive_together(broker: Broker, version: int) -> None:
    """CONNECT with everything else in the same segment; a client need not wait for CONNACK."""
    topic = fresh()
    client = broker.open(version)
    client.send(
        mqtt.connect(fresh("c"), version),
        mqtt.subscribe(version, 1, [(topic, 0)]),
        *(mqtt.publish(version, topic, b"%d" % number) for number in range(100)),
        mqtt.pingreq(),
    )
    assert isinstance(client.recv(), mqtt.Connack)
    assert isinstance(client.recv(), mqtt.Suback)
    assert [client.expect(Publish).payload for _ in range(100)] == [b"%d" % number for number in range(100)]
    client.expect(mqtt.Pingresp)


@pytest.mark.parametrize("kind", [mqtt.CONNACK, mqtt.SUBACK, mqtt.UNSUBACK, mqtt.PINGRESP])
def test_mqtt_2_1_2_a_type_that_only_servers_send(broker: Broker, version: int, kind: int) -> None:
    client = broker.client(version)
    client.send(mqtt.packet(kind, 0, b"" if kind == mqtt.PINGRESP else b"\0\1\0"))
    client.expect_closed(0x81, 0x82)


def test_mqtt_2_1_2_reserved_type_0(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(mqtt.packet(0, 0))
    client.expect_closed(0x81, 0x82)


def test_mqtt_2_2_1_type_15_is_reserved_in_311(broker: Broker) -> None:
    client = broker.client(V311)
    client.send(mqtt.packet(mqtt.AUTH, 0))
    client.expect_closed()


@pytest.mark.parametrize(
    ("kind", "flags", "body"),
    [
        (mqtt.PUBACK, 1, b"\0\1"),
        (mqtt.PUBREC, 2, b"\0\1"),
        (mqtt.PUBREL, 0, b"\0\1"),
        (mqtt.PUBREL, 3, b"\0\1"),
        (mqtt.PUBCOMP, 8, b"\0\1"),
        (mqtt.PINGREQ, 1, b""),
        (mqtt.DISCONNECT, 4, b""),
    ],
)
def test_mqtt_2_1_3_1_reserved_flags(broker: Broker, version: int, kind: int, flags: int, body: bytes) -> None:
    """3.1.1: [MQTT-2.2.2-1], [MQTT-2.2.2-2]; PUBREL also [MQTT-3.6.1-1]."""
    client = broker.client(version)
    client.send(mqtt.packet(kind, flags, body))
    client.expect_closed(0x81, 0x82)


@pytest.mark.parametrize("qos", [1, 2])
def test_mqtt_2_2_1_3_packet_identifier_0_in_publish(broker: Broker, version: int, qos: int) -> None:
    """3.1.1: [MQTT-2.3.1-1]."""
    client = broker.client(version)
    client.send(mqtt.publish(version, fresh(), b"x", qos=qos, packet_id=0))
    client.expect_closed(0x81, 0x82)


def test_mqtt_2_2_1_3_packet_identifier_0_in_subscribe(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(mqtt.subscribe(version, 0, [(fresh(), 0)]))
    client.expect_closed(0x81, 0x82)


def test_mqtt_2_2_1_3_packet_identifier_0_in_unsubscribe(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(mqtt.unsubscribe(version, 0, [fresh()]))
    client.expect_closed(0x81, 0x82)


def test_mqtt_2_2_1_2_no_packet_identifier_at_qos_0(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-2.3.1-5]. What would be the identifier is payload."""
    topic = fresh()
    client = broker.client(version)
    client.subscribe(topic, options=2)
    client.send(mqtt.publish(version, topic, b"\0\1payload"))
    (found,) = client.publishes()
    assert (found.payload, found.qos, found.packet_id) == (b"\0\1payload", 0, None)


def test_mqtt_2_2_1_4_identifiers_of_a_server_are_unique(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-2.3.1-4]."""
    topic = fresh()
    receiver, sender = broker.client(version), broker.client(version)
    receiver.subscribe(topic, options=1)
    for number in range(15):
        sender.publish(topic, b"%d" % number, qos=1)
    assert len({found.packet_id for found in receiver.publishes()}) == 15


def test_mqtt_2_2_1_5_both_sides_number_independently(broker: Broker, version: int) -> None:
    """A client may use an identifier that the server is using towards it."""
    topic = fresh()
    client, sender = broker.client(version), broker.client(version)
    client.subscribe(topic, options=1)
    sender.publish(topic, b"down", qos=1)
    down = client.expect(Publish)
    assert down.packet_id is not None
    client.send(mqtt.publish(version, fresh(), b"up", qos=1, packet_id=down.packet_id))
    client.expect_ack(mqtt.PUBACK, down.packet_id)
    client.send(mqtt.ack(mqtt.PUBACK, down.packet_id))
    assert client.sync() == []


def test_mqtt_2_2_2_2_unknown_property(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, fresh(), b"x", props=b"\x7f\0"))
    client.expect_closed(0x81, 0x82)


def test_mqtt_2_2_2_2_property_of_another_packet(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, fresh(), b"x", props={"session_expiry_interval": 5}))
    client.expect_closed(0x81, 0x82)


def test_mqtt_2_2_2_2_property_twice(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, fresh(), b"x", props=b"\x01\0\x01\0"))
    client.expect_closed(0x81, 0x82)


def test_mqtt_2_2_2_property_length_beyond_the_packet(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.packet(mqtt.PUBLISH, 0, mqtt.text(fresh()) + b"\x7f\x01\x00"))
    client.expect_closed(0x81, 0x82)


@pytest.mark.parametrize(
    "bad",
    [
        mqtt.packet(mqtt.PUBLISH, 0, b""),
        mqtt.packet(mqtt.PUBLISH, 0, b"\0"),
        mqtt.packet(mqtt.PUBLISH, 0, b"\0\x09ab"),
        mqtt.packet(mqtt.PUBLISH, 2, mqtt.text("ab") + b"\0"),
        mqtt.packet(mqtt.PUBACK, 0, b"\1"),
        mqtt.packet(mqtt.PUBREC, 0, b""),
        mqtt.packet(mqtt.PUBREL, 2, b"\1"),
        mqtt.packet(mqtt.PUBCOMP, 0, b""),
        mqtt.packet(mqtt.SUBSCRIBE, 2, b"\0"),
        mqtt.packet(mqtt.SUBSCRIBE, 2, b"\0\1\0\x08ab"),
        mqtt.packet(mqtt.UNSUBSCRIBE, 2, b"\0"),
        mqtt.packet(mqtt.PINGREQ, 0, b"x"),
    ],
    ids=lambda packet: packet.hex(),
)
def test_mqtt_4_13_1_1_bodies_that_end_early_or_late(broker: Broker, version: int, bad: bytes) -> None:
    client = broker.client(version)
    client.send(bad)
    client.expect_closed(0x81, 0x82, 0x90)


def test_mqtt_4_13_1_1_connection_ends_inside_a_packet(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(mqtt.publish(version, fresh(), b"x" * 100)[:50])
    client.reset()
