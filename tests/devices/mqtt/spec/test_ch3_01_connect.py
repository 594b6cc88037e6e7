"""MQTT 5.0 chapter 3.1: CONNECT, but for wills and the life of sessions."""

from __future__ import annotations

import time

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, Closed, fresh
from support.mqtt_packets import V5, V311, Will


@pytest.mark.parametrize(
    "first",
    [
        mqtt.pingreq(),
        mqtt.publish(V311, "a", b"x"),
        mqtt.subscribe(V311, 1, [("a", 0)]),
        mqtt.disconnect(V311),
        mqtt.packet(mqtt.AUTH, 0),
        mqtt.packet(0, 0),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of a TLS handshake
    ],
    ids=["pingreq", "publish", "subscribe", "disconnect", "auth", "reserved", "http", "tls"],
)
def test_mqtt_3_1_0_1_first_packet_must_be_connect(broker: Broker, first: bytes) -> None:
    client = broker.open()
    client.send(first)
    with pytest.raises(Closed):
        client.recv_raw()


def test_mqtt_3_1_0_2_second_connect(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(mqtt.connect(fresh("c"), version))
    client.expect_closed(0x82)


def test_mqtt_3_1_0_2_second_connect_publishes_the_will(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    name = fresh("c")
    client = broker.client(version, name, will=Will(topic, b"protocol error"))
    client.send(mqtt.connect(name, version))
    client.expect_closed(0x82)
    watcher.receive(b"protocol error")


@pytest.mark.parametrize("protocol", ["MQTX", "mqtt", "MQTTT", "", "HTTP"])
def test_mqtt_3_1_2_1_protocol_name(broker: Broker, version: int, protocol: str) -> None:
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, protocol=protocol))
    kind = client.recv_raw_or_closed()[0]
    if kind is not None:
        # Allowed; in which version is not said, since there is none in common.
        assert kind == mqtt.CONNACK
        with pytest.raises(Closed):
            client.recv_raw()


@pytest.mark.parametrize("level", [0, 2, 6, 127, 255])
def test_mqtt_3_1_2_2_protocol_version(broker: Broker, level: int) -> None:
    """3.1.1: [MQTT-3.1.2-2], code 1. In the form of 3.1.1, or of 5.0 with code 0x84."""
    client = broker.open()
    client.send(mqtt.connect(fresh("c"), level))
    try:
        kind, _, body = client.recv_raw()
    except Closed:
        return
    assert kind == mqtt.CONNACK
    assert body[0] == 0
    assert body[1] in (0x01, 0x84)
    with pytest.raises(Closed):
        client.recv_raw()


def test_mqtt_3_1_2_3_reserved_flag(broker: Broker, version: int) -> None:
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, flags=0x03))
    client.expect_refused(0x81, 0x82)


def test_mqtt_3_1_2_11_will_qos_without_will(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.2-13]."""
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, flags=0x02 | 0x08))
    client.expect_refused(0x81, 0x82)


def test_mqtt_3_1_2_13_will_retain_without_will(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.2-15]."""
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, flags=0x02 | 0x20))
    client.expect_refused(0x81, 0x82)


def test_mqtt_3_1_2_12_will_qos_3(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.2-14]."""
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, will=Will("t", b"x", qos=3)))
    client.expect_refused(0x81, 0x82)


def test_mqtt_3_1_2_16_user_name_flag_without_a_user_name(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.2-19]: the payload ends before the user name."""
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, flags=0x82))
    client.expect_refused(0x81, 0x82)


def test_mqtt_3_1_2_22_password_needs_a_user_name_in_311(broker: Broker) -> None:
    """[MQTT-3.1.2-22] of 3.1.1 alone."""
    client = broker.open(V311)
    client.send(mqtt.connect(fresh("c"), V311, password=b"secret"))
    client.expect_refused(4)


def test_mqtt_3_1_4_1_bytes_after_the_payload(broker: Broker, version: int) -> None:
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, extra=b"\0\3abc"))
    client.expect_refused(0x81, 0x82)


@pytest.mark.parametrize("length", [0, 5, 9, 11, 13])
def test_mqtt_3_1_4_1_connect_cut_short(broker: Broker, version: int, length: int) -> None:
    body = mqtt.connect("client", version)[2:]
    client = broker.open(version)
    client.send(mqtt.packet(mqtt.CONNECT, 0, body[:length]))
    client.expect_refused(0x81, 0x82)


def test_mqtt_3_1_1_connect_with_flags_in_the_fixed_header(broker: Broker, version: int) -> None:
    whole = mqtt.connect(fresh("c"), version)
    client = broker.open(version)
    client.send(bytes([whole[0] | 1]) + whole[1:])
    client.expect_refused(0x81, 0x82)


def test_mqtt_3_1_2_22_keep_alive(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.2-24]: silence for one and a half times the keep alive ends the connection."""
    client = broker.client(version, keep_alive=1)
    client.expect_closed(0x8D, timeout=12.0)


def test_mqtt_3_1_2_22_keep_alive_publishes_the_will(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, keep_alive=1, will=Will(topic, b"silent"))
    found = watcher.expect(mqtt.Publish, timeout=12.0)
    assert found.payload == b"silent"


def test_mqtt_3_1_2_22_pings_keep_a_client_alive(broker: Broker, version: int) -> None:
    client = broker.client(version, keep_alive=1)
    for _ in range(5):
        time.sleep(0.5)
        assert client.sync() == []


def test_mqtt_3_1_2_22_any_packet_keeps_a_client_alive(broker: Broker, version: int) -> None:
    client = broker.client(version, keep_alive=1)
    topic = fresh()
    for _ in range(5):
        time.sleep(0.5)
        client.send(mqtt.publish(version, topic, b"x"))
    assert client.sync() == []


@pytest.mark.parametrize("name", ["0", "abcdefghijklmnopqrstuvw", "0123456789ABCDEFGHIJKLM", "XYZxyz"])
def test_mqtt_3_1_3_5_client_identifiers_that_must_be_accepted(broker: Broker, version: int, name: str) -> None:
    assert not broker.client(version, name).connack.session_present


@pytest.mark.parametrize("name", ["a" * 200, "with space", "with/slash", "ünïcode", "a+b#c", "$name"])
def test_mqtt_3_1_3_4_other_client_identifiers(broker: Broker, version: int, name: str) -> None:
    """A server may refuse these; ours takes any text of up to a few hundred bytes, as Mosquitto does."""
    client = broker.client(version, name)
    assert client.sync() == []


def test_mqtt_3_1_3_4_ill_formed_client_identifier(broker: Broker, version: int) -> None:
    client = broker.open(version)
    client.send(mqtt.connect(b"\xff\xfe", version))
    client.expect_refused(2 if version == V311 else 0x85, 0x81, 0x82)


def test_mqtt_3_1_3_6_empty_client_identifier(broker: Broker, version: int) -> None:
    """Each such client gets an identifier of its own: neither takes the other's session over."""
    one, two = broker.client(version, ""), broker.client(version, "")
    assert one.sync() == []
    assert two.sync() == []


def test_mqtt_3_1_3_7_assigned_client_identifier(broker: Broker) -> None:
    """[MQTT-3.2.2-16]."""
    names = {broker.client(V5, "").connack.properties["assigned_client_identifier"] for _ in range(3)}
    assert len(names) == 3
    assert all(names)


def test_mqtt_3_1_3_7_no_assigned_identifier_where_one_was_given(broker: Broker) -> None:
    assert "assigned_client_identifier" not in broker.client(V5).connack.properties


def test_mqtt_3_1_3_8_empty_identifier_needs_a_clean_session_in_311(broker: Broker) -> None:
    """[MQTT-3.1.3-8] of 3.1.1 alone: code 2."""
    client = broker.open(V311).connect("", clean=False, expect=2)
    client.expect_closed()


def test_mqtt_3_1_3_6_empty_identifier_without_clean_start_in_5(broker: Broker) -> None:
    name = broker.client(V5, "", clean=False).connack.properties["assigned_client_identifier"]
    assert name


def test_mqtt_3_1_3_11_ill_formed_will_topic(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.3-10]."""
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, will=Will(b"\xff", b"x")))
    client.expect_refused(0x81, 0x82, 0x90)


@pytest.mark.parametrize("topic", ["a/#", "a/+/b", ""])
def test_mqtt_3_1_3_11_will_topic_with_wildcards_or_empty(broker: Broker, version: int, topic: str) -> None:
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, will=Will(topic, b"x")))
    client.expect_refused(0x81, 0x82, 0x90)


def test_mqtt_3_1_3_12_ill_formed_user_name(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.3-11]."""
    client = broker.open(version)
    client.send(mqtt.connect(fresh("c"), version, username=b"\xff\xff", password=b"x"))
    client.expect_refused(4, 0x81, 0x82, 0x86)


def test_mqtt_3_1_4_3_take_over(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.4-2]."""
    name = fresh("c")
    old = broker.client(version, name)
    new = broker.client(version, name)
    said = old.expect_closed(0x8E)
    assert (said is not None) == (version == V5)
    assert new.sync() == []


def test_mqtt_3_1_4_3_take_over_across_versions(broker: Broker) -> None:
    name = fresh("c")
    old = broker.client(V311, name)
    new = broker.client(V5, name)
    assert old.expect_closed() is None
    assert new.sync() == []


def test_mqtt_3_1_4_3_many_take_overs(broker: Broker, version: int) -> None:
    """The newest of many connections with one identifier is the one that stays."""
    name = fresh("c")
    clients = [broker.client(version, name) for _ in range(20)]
    for old in clients[:-1]:
        old.expect_closed(0x8E)
    assert clients[-1].sync() == []


def test_mqtt_3_1_4_6_nothing_after_a_refused_connect_is_processed(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.4-5]."""
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    client = broker.open(version)
    bad = mqtt.connect(fresh("c"), version, flags=0x03)
    client.send(bad, mqtt.publish(version, topic, b"must not be processed"))
    client.expect_refused(0x81, 0x82)
    assert watcher.sync() == []


@pytest.mark.parametrize(
    "props",
    [
        {"receive_maximum": 0},
        {"maximum_packet_size": 0},
        {"request_problem_information": 2},
        {"request_response_information": 2},
        {"topic_alias": 1},
        {"authentication_data": b"x"},
        b"\x11\0\0\0\1\x11\0\0\0\1",
        b"\x11\0\0",
        b"\x7e\0",
    ],
    ids=[
        "receive-maximum-0",
        "packet-size-0",
        "problem-information-2",
        "response-information-2",
        "property-of-publish",
        "data-without-method",
        "expiry-twice",
        "cut-short",
        "unknown",
    ],
)
def test_mqtt_3_1_2_11_connect_properties_that_are_errors(broker: Broker, props: mqtt.Properties | bytes) -> None:
    """Section 3.1.2.11 of 5.0."""
    client = broker.open(V5)
    client.send(mqtt.connect(fresh("c"), V5, props=props))
    client.expect_refused(0x81, 0x82)


def test_mqtt_3_1_2_11_all_connect_properties_together(broker: Broker) -> None:
    props = {
        "session_expiry_interval": 10,
        "receive_maximum": 10,
        "maximum_packet_size": 100_000,
        "topic_alias_maximum": 10,
        "request_response_information": 1,
        "request_problem_information": 1,
        "user_property": [("a", "b"), ("a", "c")],
    }
    client = broker.client(V5, props=props, keep_alive=60, username="u", password=b"p")
    assert client.sync() == []


def test_mqtt_3_1_2_5_password_without_user_name_is_allowed_in_5(broker: Broker) -> None:
    """Section 3.1.2.9 of 5.0: a password alone may carry credentials."""
    client = broker.client(V5, password=b"p")
    assert client.sync() == []


def test_mqtt_3_1_2_30_unknown_authentication_method(broker: Broker) -> None:
    """[MQTT-4.12.0-1]."""
    client = broker.open(V5)
    client.send(mqtt.connect(fresh("c"), V5, props={"authentication_method": "SCRAM-SHA-1"}))
    client.expect_refused(0x8C, 0x87)
