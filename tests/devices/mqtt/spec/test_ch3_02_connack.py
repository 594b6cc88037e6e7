"""MQTT 5.0 chapter 3.2: CONNACK."""

from __future__ import annotations

from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311

EXPIRY = {"session_expiry_interval": 60}


def test_mqtt_3_2_0_1_connack_is_first(broker: Broker, version: int) -> None:
    """Also where a session with waiting messages is resumed."""
    name, topic = fresh("c"), fresh()
    client = broker.client(version, name, clean=False, props=EXPIRY)
    client.subscribe(topic, options=1)
    client.disconnect()
    broker.client(version).publish(topic, b"waiting", qos=1)
    client = broker.client(version, name, clean=False, props=EXPIRY)  # takes the CONNACK first, or fails
    client.receive(b"waiting")


def test_mqtt_3_2_0_2_one_connack(broker: Broker, version: int) -> None:
    client = broker.client(version)
    assert client.sync() == []


def test_mqtt_3_2_2_1_bytes_of_a_plain_connack_in_311(broker: Broker) -> None:
    client = broker.open(V311)
    client.send(mqtt.connect(fresh("c"), V311))
    assert client.recv_raw() == (mqtt.CONNACK, 0, b"\0\0")


def test_the_connack_of_3_1_has_no_flags(broker: Broker) -> None:
    """Its first byte is reserved there (3.1, 3.2), also where the session was kept."""
    name, topic = fresh("c"), fresh()
    for _ in range(2):
        client = broker.open(V311)
        client.send(mqtt.connect(name, 3, protocol="MQIsdp", clean=False))
        assert client.recv_raw() == (mqtt.CONNACK, 0, b"\0\0")
        client.subscribe(topic, options=1)
        client.disconnect()
    broker.client(V311).publish(topic, b"waiting", qos=1)
    client = broker.open(V311)
    client.send(mqtt.connect(name, 3, protocol="MQIsdp", clean=False))
    assert client.recv_raw() == (mqtt.CONNACK, 0, b"\0\0")
    client.receive(b"waiting")


def test_a_client_of_3_1_says_what_it_repeats(broker: Broker) -> None:
    """PUBREL, SUBSCRIBE and UNSUBSCRIBE have the DUP flag there (3.1, 2.1); in 3.1.1 it ends the connection."""
    name, topic = fresh("c"), fresh()
    connect = mqtt.connect(name, 3, protocol="MQIsdp", clean=False)
    again = 0x08
    first = broker.open(V311)
    first.send(connect)
    first.recv_raw()
    first.send(mqtt.publish(topic, b"once", qos=2, packet_id=7))
    assert first.recv_raw()[0] == mqtt.PUBREC
    first.send(mqtt.packet(mqtt.PUBREL, 2 | again, b"\0\7"))
    assert first.recv_raw() == (mqtt.PUBCOMP, 0, b"\0\7")
    first.vanish()
    client = broker.open(V311)
    client.send(connect)
    client.recv_raw()
    client.send(mqtt.packet(mqtt.PUBREL, 2 | again, b"\0\7"))
    assert client.recv_raw() == (mqtt.PUBCOMP, 0, b"\0\7")
    filter_ = len(topic).to_bytes(2, "big") + topic.encode()
    client.send(mqtt.packet(mqtt.SUBSCRIBE, 2 | again, b"\0\x08" + filter_ + b"\1"))
    assert client.recv_raw() == (mqtt.SUBACK, 0, b"\0\x08\1")
    client.send(mqtt.packet(mqtt.UNSUBSCRIBE, 2 | again, b"\0\x09" + filter_))
    assert client.recv_raw() == (mqtt.UNSUBACK, 0, b"\0\x09")
    newer = broker.client(V311)
    newer.send(mqtt.packet(mqtt.PUBREL, 2 | again, b"\0\7"))
    newer.expect_closed()


def test_mqtt_3_2_2_2_clean_start_has_no_session(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.2.2-1]."""
    name = fresh("c")
    broker.client(version, name, clean=False, props=EXPIRY).disconnect()
    assert not broker.client(version, name, clean=True).connack.session_present


def test_mqtt_3_2_2_3_session_present(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.2.2-2], [MQTT-3.2.2-3]."""
    name = fresh("c")
    client = broker.client(version, name, clean=False, props=EXPIRY)
    assert not client.connack.session_present
    client.disconnect()
    assert broker.client(version, name, clean=False, props=EXPIRY).connack.session_present


def test_mqtt_3_2_2_3_session_present_after_a_lost_connection(broker: Broker, version: int) -> None:
    name = fresh("c")
    broker.client(version, name, clean=False, props=EXPIRY).vanish()
    assert broker.client(version, name, clean=False, props=EXPIRY).connack.session_present


def test_mqtt_3_2_2_3_session_present_after_a_take_over(broker: Broker, version: int) -> None:
    name = fresh("c")
    broker.client(version, name, clean=False, props=EXPIRY)
    assert broker.client(version, name, clean=False, props=EXPIRY).connack.session_present


def test_mqtt_3_2_2_3_a_session_can_be_resumed_in_the_other_version(broker: Broker) -> None:
    name = fresh("c")
    broker.client(V311, name, clean=False).disconnect()
    assert broker.client(V5, name, clean=False, props=EXPIRY).connack.session_present


def test_mqtt_3_2_2_9_maximum_qos_is_said_only_where_it_is_not_2(broker: Broker) -> None:
    """Section 3.2.2.3.4: a value of 2 is a protocol error."""
    assert broker.client(V5).connack.properties.get("maximum_qos", 0) in (0, 1)
    assert "maximum_qos" not in broker.client(V5).connack.properties, "this server offers QoS 2"


def test_mqtt_3_2_2_3_what_is_announced_is_sensible(broker: Broker) -> None:
    """Section 3.2.2.3: values that the properties may not have."""
    found = broker.client(V5).connack.properties
    assert found.get("receive_maximum", 1) > 0
    assert found.get("maximum_packet_size", 1) > 0
    for name in (
        "retain_available",
        "wildcard_subscription_available",
        "subscription_identifier_available",
        "shared_subscription_available",
    ):
        assert found.get(name, 1) == 1, f"{name}: this server offers it"
    assert "authentication_method" not in found  # 4.12.0-6
    assert "response_information" not in found  # 3.1.2-28


def test_mqtt_3_2_2_21_keep_alive_is_left_to_the_client(broker: Broker) -> None:
    found = broker.client(V5, keep_alive=60).connack.properties
    assert found.get("server_keep_alive", 60) == 60


def test_mqtt_3_2_2_19_reason_string_stays_within_the_packet_size(broker: Broker) -> None:
    """[MQTT-3.2.2-19], [MQTT-3.2.2-20]: what a small client cannot take is left out."""
    client = broker.open(V5)
    client.connect(expect=None, props={"maximum_packet_size": 40, "authentication_method": "x"})
    assert client.connack.code in (0x8C, 0x87)
