"""MQTT 5.0 chapters 3.12 to 3.15: PINGREQ, DISCONNECT, AUTH."""

from __future__ import annotations

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, Closed, fresh
from support.mqtt_packets import V5, Pingresp, Will


def test_mqtt_3_12_4_1_pingresp(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(mqtt.pingreq() * 3)
    for _ in range(3):
        client.expect(Pingresp)


def test_mqtt_3_14_4_2_server_closes_after_disconnect(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(mqtt.disconnect(version))
    with pytest.raises(Closed):
        client.recv_raw()


def test_mqtt_3_14_4_nothing_after_disconnect_is_processed(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    client = broker.client(version)
    client.send(mqtt.disconnect(version), mqtt.publish(version, topic, b"must not come"))
    with pytest.raises(Closed):
        client.recv_raw()
    assert watcher.sync() == []


def test_mqtt_3_14_4_what_was_sent_before_disconnect_counts(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    client = broker.client(version)
    client.send(mqtt.publish(version, topic, b"last words"), mqtt.disconnect(version))
    client.vanish()
    watcher.receive(b"last words")


def test_mqtt_3_14_2_1_disconnect_with_will(broker: Broker) -> None:
    """Reason code 0x04: the will is published."""
    topic = fresh()
    watcher = broker.client(V5)
    watcher.subscribe(topic)
    broker.client(V5, will=Will(topic, b"gone")).disconnect(0x04)
    watcher.receive(b"gone")


def test_mqtt_3_14_4_3_an_error_code_leaves_the_will(broker: Broker) -> None:
    """Section 3.1.2.5: only a DISCONNECT with 0x00 takes it back."""
    topic = fresh()
    watcher = broker.client(V5)
    watcher.subscribe(topic)
    broker.client(V5, will=Will(topic, b"gone")).disconnect(0x80)
    watcher.receive(b"gone")


def test_mqtt_3_14_4_3_reason_code_0_written_out(broker: Broker) -> None:
    topic = fresh()
    watcher = broker.client(V5)
    watcher.subscribe(topic)
    for body in (b"\0", b"\0\0"):
        client = broker.client(V5, will=Will(topic, b"must not come"))
        client.send(mqtt.packet(mqtt.DISCONNECT, 0, body))
        client.drain()
    assert watcher.sync() == []


def test_mqtt_3_14_2_2_2_session_expiry_can_be_changed(broker: Broker) -> None:
    """To 0: the session ends with the connection."""
    name = fresh("c")
    props = {"session_expiry_interval": 60}
    broker.client(V5, name, clean=False, props=props).disconnect(0, {"session_expiry_interval": 0})
    assert not broker.client(V5, name, clean=False, props=props).connack.session_present


def test_mqtt_3_14_2_2_2_session_expiry_can_be_lengthened(broker: Broker) -> None:
    name = fresh("c")
    client = broker.client(V5, name, clean=False, props={"session_expiry_interval": 1})
    client.disconnect(0, {"session_expiry_interval": 60})
    assert broker.client(V5, name, clean=False).connack.session_present


def test_mqtt_3_14_2_2_2_session_expiry_cannot_be_introduced(broker: Broker) -> None:
    """It was 0 in CONNECT: anything else now is a protocol error."""
    name = fresh("c")
    client = broker.client(V5, name)
    client.send(mqtt.disconnect(V5, 0, {"session_expiry_interval": 60}))
    client.expect_closed(0x82)
    assert not broker.client(V5, name, clean=False).connack.session_present


def test_mqtt_3_14_2_2_disconnect_with_text_and_user_properties(broker: Broker) -> None:
    broker.client(V5).disconnect(0, {"reason_string": "tired", "user_property": [("a", "b")]})


def test_mqtt_3_14_1_1_reserved_flags_of_disconnect(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    client = broker.client(version, will=Will(topic, b"gone"))
    client.send(mqtt.packet(mqtt.DISCONNECT, 1))
    client.expect_closed(0x81, 0x82)
    watcher.receive(b"gone")


def test_mqtt_3_14_disconnect_with_a_body_in_311(broker: Broker) -> None:
    client = broker.client(mqtt.V311)
    client.send(mqtt.packet(mqtt.DISCONNECT, 0, b"\0\0"))
    client.expect_closed()


def test_mqtt_4_12_0_7_auth_without_a_method(broker: Broker) -> None:
    """No authentication method was agreed on: a protocol error."""
    for body in (b"", b"\x18\0", b"\x19\0"):
        client = broker.client(V5)
        client.send(mqtt.packet(mqtt.AUTH, 0, body))
        client.expect_closed(0x82, 0x81, 0x8C)


def test_mqtt_3_15_1_1_reserved_flags_of_auth(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.packet(mqtt.AUTH, 1))
    client.expect_closed(0x81, 0x82)
