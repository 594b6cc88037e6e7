"""MQTT 5.0 chapter 4.9, sections 3.1.2.11.3 and 3.1.2.11.4: receive maximum and maximum packet size, both ways."""

from __future__ import annotations

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311, Ack, Publish


@pytest.mark.parametrize("qos", [1, 2])
def test_mqtt_3_3_4_9_receive_maximum_of_the_client(broker: Broker, qos: int) -> None:
    """[MQTT-4.9.0-1], [MQTT-4.9.0-2]: no more in flight than that; each acknowledgement makes room for one."""
    topic = fresh()
    client, sender = broker.client(V5, props={"receive_maximum": 3}), broker.client(V5)
    client.subscribe(topic, options=2)
    for number in range(8):
        sender.publish(topic, b"%d" % number, qos=qos)
    waiting = client.publishes()
    assert [found.payload for found in waiting] == [b"0", b"1", b"2"]
    for number in range(3, 8):
        client.acknowledge(waiting.pop(0))
        waiting.append(client.expect(Publish))
        assert waiting[-1].payload == b"%d" % number
    assert client.sync() == []
    for found in waiting:
        client.acknowledge(found)
    assert client.sync() == []


def test_mqtt_4_9_0_3_other_packets_at_the_limit(broker: Broker) -> None:
    """[MQTT-3.3.4-10]: QoS 0, SUBACK and PINGRESP do not wait."""
    topic = fresh()
    client, sender = broker.client(V5, props={"receive_maximum": 1}), broker.client(V5)
    client.subscribe(topic, options=1)
    sender.publish(topic, b"in flight", qos=1)
    sender.publish(topic, b"waits", qos=1)
    sender.publish(topic, b"qos 0")
    assert [found.payload for found in client.publishes()] == [b"in flight", b"qos 0"]
    client.subscribe(fresh())
    client.publish(fresh(), b"x", qos=2)


def test_mqtt_3_1_2_11_3_receive_maximum_is_of_the_connection(broker: Broker) -> None:
    """A session that is resumed with a smaller one keeps to the smaller one."""
    topic, name = fresh(), fresh("c")
    expiry = {"session_expiry_interval": 60}
    client = broker.client(V5, name, clean=False, props=expiry)
    client.subscribe(topic, options=1)
    client.disconnect()
    sender = broker.client(V5)
    for number in range(6):
        sender.publish(topic, b"%d" % number, qos=1)
    client = broker.client(V5, name, clean=False, props=expiry | {"receive_maximum": 2})
    assert [found.payload for found in client.publishes()] == [b"0", b"1"]
    client.vanish()
    client = broker.client(V5, name, clean=False, props=expiry | {"receive_maximum": 10})
    assert [client.receive().payload for _ in range(6)] == [b"%d" % number for number in range(6)]


def test_mqtt_3_3_4_7_receive_maximum_of_the_server(broker: Broker) -> None:
    """More unacknowledged QoS 2 messages than it takes: 0x93. As many as it takes are no trouble."""
    client = broker.client(V5)
    most = client.connack.properties.get("receive_maximum", 65535)
    if most == 65535:
        return  # as many as there are identifiers: nobody can send more
    topic = fresh()
    client.send(*(mqtt.publish(V5, topic, b"x", qos=2, packet_id=number + 1) for number in range(most)))
    for number in range(most):
        client.expect_ack(mqtt.PUBREC, number + 1)
    client.send(mqtt.publish(V5, topic, b"x", qos=2, packet_id=most + 1))
    client.expect_closed(0x93)


def test_mqtt_3_3_4_7_receive_maximum_of_the_server_is_of_the_connection(broker: Broker) -> None:
    """A client that has lost its half of a session is not closed for what it had under way before, for ever."""
    topic, name, kept = fresh(), fresh("c"), {"session_expiry_interval": 60}
    client = broker.client(V5, name, clean=False, props=kept)
    most = client.connack.properties.get("receive_maximum", 65535)
    if most > 60_000:
        return  # there are no identifiers beside these
    client.send(*(mqtt.publish(V5, topic, b"x", qos=2, packet_id=number + 1) for number in range(most)))
    for number in range(most):
        client.expect_ack(mqtt.PUBREC, number + 1)
    client.vanish()
    client = broker.client(V5, name, clean=False, props=kept)
    client.send(mqtt.publish(V5, topic, b"x", qos=2, packet_id=most + 1))
    client.expect_ack(mqtt.PUBREC, most + 1)
    numbers = range(most + 2, 2 * most + 2)
    client.send(*(mqtt.publish(V5, topic, b"x", qos=2, packet_id=number) for number in numbers))
    for number in numbers[:-1]:
        client.expect_ack(mqtt.PUBREC, number)
    client.expect_closed(0x93)


def test_before_5_nobody_can_be_told_of_a_receive_maximum(broker: Broker) -> None:
    """MQTT.js writes whatever it is given at once; it would come back with the same, and be closed again."""
    most = broker.client(V5).connack.properties.get("receive_maximum", 1000)
    client, topic = broker.client(V311), fresh()
    numbers = range(1, min(most + 100, 65536))
    client.send(*(mqtt.publish(V311, topic, b"x", qos=2, packet_id=number) for number in numbers))
    for number in numbers:
        client.expect_ack(mqtt.PUBREC, number)
    client.send(*(mqtt.ack(mqtt.PUBREL, number) for number in numbers))
    for number in numbers:
        client.expect_ack(mqtt.PUBCOMP, number)


def test_mqtt_3_1_2_24_maximum_packet_size_of_the_client(broker: Broker) -> None:
    """[MQTT-3.1.2-25]: what is larger is left out, as if it had been sent."""
    topic = fresh()
    client, sender = broker.client(V5, props={"maximum_packet_size": 200}), broker.client(V5)
    client.subscribe(topic, options=1)
    for qos in (0, 1):
        sender.publish(topic, b"x" * 300, qos=qos)
        sender.publish(topic, b"fits", qos=qos)
        assert client.receive(b"fits").qos == qos
    assert client.sync() == []


def test_mqtt_3_1_2_24_exactly_the_maximum_packet_size(broker: Broker) -> None:
    topic = fresh()
    client, sender = broker.client(V5, props={"maximum_packet_size": 200}), broker.client(V5)
    client.subscribe(topic)
    head = len(mqtt.publish(V5, topic, b"x" * 130)) - 130
    sender.publish(topic, b"x" * (201 - head))
    sender.publish(topic, b"y" * (200 - head))
    assert client.receive().payload == b"y" * (200 - head)
    assert client.sync() == []


def test_mqtt_3_1_2_25_too_large_does_not_use_up_the_window(broker: Broker) -> None:
    topic = fresh()
    client = broker.client(V5, props={"maximum_packet_size": 200, "receive_maximum": 2})
    sender = broker.client(V5)
    client.subscribe(topic, options=1)
    for _ in range(5):
        sender.publish(topic, b"x" * 300, qos=1)
    sender.publish(topic, b"fits", qos=1)
    client.receive(b"fits")


def test_mqtt_3_1_2_24_retained_message_too_large(broker: Broker) -> None:
    topic = fresh()
    sender = broker.client(V5)
    sender.publish(topic, b"x" * 300, retain=True)
    client = broker.client(V5, props={"maximum_packet_size": 200})
    assert client.subscribe_with_retained(topic)[1] == []
    sender.publish(topic, retain=True)


def test_mqtt_3_2_2_15_maximum_packet_size_of_the_server(broker: Broker, version: int) -> None:
    """0x95; the connection ends as soon as the length is known."""
    most = broker.client(V5).connack.properties.get("maximum_packet_size")
    if most is None:
        return  # packets of any size
    client = broker.client(version)
    client.send(bytes([mqtt.PUBLISH << 4]) + mqtt.varint(most + 1))
    client.expect_closed(0x95)


def test_mqtt_3_2_2_15_largest_packet_is_taken(broker: Broker, version: int) -> None:
    most = broker.client(V5).connack.properties.get("maximum_packet_size")
    assert most is not None
    topic = fresh()
    client = broker.client(version)
    head = len(mqtt.publish(version, topic, b"x" * 20_000, qos=1)) - 20_000
    client.send(mqtt.publish(version, topic, b"x" * (most - head), qos=1))
    assert isinstance(client.recv(), Ack)


def test_mqtt_3_1_2_29_no_reason_strings_where_they_are_not_wanted(broker: Broker) -> None:
    """Request Problem Information 0: only CONNACK, PUBLISH and DISCONNECT may carry them."""
    client = broker.client(V5, props={"request_problem_information": 0})
    client.send(mqtt.subscribe(V5, 1, [("a/#/b", 0)]))
    try:
        found = client.recv()
    except Exception:
        return
    assert isinstance(found, mqtt.Disconnect) or not found.properties  # type: ignore[union-attr]
