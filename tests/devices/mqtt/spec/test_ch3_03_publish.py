"""MQTT 5.0 chapter 3.3: PUBLISH: topics, flags, properties that are passed on, topic aliases."""

from __future__ import annotations

import time

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, MqttClient, fresh
from support.mqtt_packets import V5, V311, Publish


def pair(broker: Broker, version: int, topic: str, options: int = 2) -> tuple[MqttClient, MqttClient]:
    """A sender, and a receiver that is subscribed to this topic."""
    receiver = broker.client(version)
    receiver.subscribe(topic, options=options)
    return broker.client(version), receiver


PAYLOADS = {
    "empty": b"",
    "text": b"hello",
    "number": b"21.50",
    "exponent": b"1E+3",
    "json": b'{ "a" : [1, 2.0, null] }',
    "spaces": b"  7 ",
    "nul": b"\0",
    "not-utf8": b"\xff\xfe\x00\x80",
    "every-byte": bytes(range(256)),
    "large": bytes(i * 7 % 256 for i in range(50_000)),
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqtt_3_3_3_payload_is_not_touched(broker: Broker, version: int, qos: int, payload: bytes) -> None:
    topic = fresh()
    sender, receiver = pair(broker, version, topic)
    sender.publish(topic, payload, qos=qos)
    found = receiver.receive()
    assert (found.topic, found.payload, found.qos, found.retain, found.dup) == (topic, payload, qos, False, False)
    assert receiver.sync() == []


def test_mqtt_3_3_1_3_dup_is_not_passed_on(broker: Broker, version: int) -> None:
    topic = fresh()
    sender, receiver = pair(broker, version, topic)
    sender.publish(topic, b"x", qos=1, dup=True)
    assert not receiver.receive(b"x").dup


def test_mqtt_3_3_1_2_dup_at_qos_0(broker: Broker, version: int) -> None:
    """The sender must not; a server may close, or ignore the flag, but not pass it on."""
    topic = fresh()
    sender, receiver = pair(broker, version, topic)
    sender.send(mqtt.publish(version, topic, b"x", dup=True))
    try:
        sender.sync()
    except Exception:
        sender.vanish()
    assert all(not found.dup for found in receiver.publishes())


def test_mqtt_3_3_1_4_qos_3(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.send(mqtt.packet(mqtt.PUBLISH, 6, mqtt.text(fresh()) + b"\0\1\0x"))
    client.expect_closed(0x81, 0x82, 0x9B)


@pytest.mark.parametrize("topic", ["#", "+", "a/+", "a/#", "a/+/b", "a+b", "a#"])
def test_mqtt_3_3_2_2_wildcards_in_a_topic(broker: Broker, version: int, topic: str) -> None:
    client = broker.client(version)
    client.send(mqtt.publish(version, topic, b"x"))
    client.expect_closed(0x81, 0x82, 0x90)


def test_mqtt_4_7_3_1_empty_topic(broker: Broker, version: int) -> None:
    """[MQTT-3.3.2-1]; in 5.0 it is allowed with a topic alias only."""
    client = broker.client(version)
    client.send(mqtt.publish(version, "", b"x"))
    client.expect_closed(0x81, 0x82, 0x90)


@pytest.mark.parametrize(
    "form", ["{}/a b", "{}/ä/ö", "/{}", "{}/", "{}//b", "{}/.", "{}/..", "{}/*", "{}/**/x", "{}/a%20"]
)
def test_mqtt_3_3_2_3_unusual_topics_pass_unchanged(broker: Broker, version: int, form: str) -> None:
    """[MQTT-4.7.3-4]: no normalisation, no substitution."""
    topic = form.format(fresh())
    sender, receiver = pair(broker, version, topic)
    sender.publish(topic, b"x", qos=1)
    assert receiver.receive(b"x").topic == topic


def test_mqtt_3_3_2_long_topic(broker: Broker, version: int) -> None:
    topic = fresh() + "/" + "x" * 900
    sender, receiver = pair(broker, version, topic)
    sender.publish(topic, b"x", qos=1)
    assert receiver.receive(b"x").topic == topic


def test_mqtt_3_3_4_publisher_gets_its_own_message(broker: Broker, version: int) -> None:
    topic = fresh()
    client = broker.client(version)
    client.subscribe(topic)
    client.send(mqtt.publish(version, topic, b"echo"))
    assert [found.payload for found in client.publishes()] == [b"echo"]


def test_mqtt_4_6_0_5_order_is_kept(broker: Broker, version: int) -> None:
    topic = fresh()
    sender, receiver = pair(broker, version, topic, options=0)
    wanted = [b"%d" % number for number in range(500)]
    sender.send(*(mqtt.publish(version, topic, payload) for payload in wanted))
    assert sender.sync() == []
    assert [receiver.receive().payload for _ in wanted] == wanted
    assert receiver.sync() == []


# ---- 3.3.2.3: properties ----

PASSED_ON = {
    "nothing": {},
    "payload-format-text": {"payload_format_indicator": 1},
    "content-type": {"content_type": "application/json"},
    "response-topic": {"response_topic": "answers/für/me"},
    "correlation-data": {"correlation_data": bytes(range(256))},
    "empty-correlation-data": {"correlation_data": b""},
    "user-property": {"user_property": [("key", "value")]},
    "user-properties-in-order": {"user_property": [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("ü", "ß")]},
    "everything": {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "a/b",
        "correlation_data": b"42",
        "user_property": [("a", "1"), ("b", "2")],
    },
}


@pytest.mark.parametrize("props", PASSED_ON.values(), ids=PASSED_ON.keys())
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqtt_3_3_2_4_15_16_17_18_20_properties_pass_unaltered(
    broker: Broker, qos: int, props: dict[str, object]
) -> None:
    """[MQTT-3.3.2-4], [-15] response topic, [-16] correlation data, [-17], [-18] user properties, [-20] type."""
    topic = fresh()
    sender, receiver = pair(broker, V5, topic)
    sender.publish(topic, b"text", qos=qos, props=props)
    assert receiver.receive(b"text").properties == props


@pytest.mark.parametrize("props", PASSED_ON.values(), ids=PASSED_ON.keys())
def test_mqtt_3_3_2_properties_of_a_retained_message(broker: Broker, props: dict[str, object]) -> None:
    topic = fresh()
    broker.client(V5).publish(topic, b"text", qos=1, retain=True, props=props)
    (found,) = broker.client(V5).subscribe_with_retained(topic)[1]
    assert found.properties == props
    broker.client(V5).publish(topic, retain=True)


def test_mqtt_3_3_2_properties_do_not_reach_311(broker: Broker) -> None:
    """And the other way round: a message of 3.1.1 has none."""
    topic = fresh()
    old, new = broker.client(V311), broker.client(V5)
    old.subscribe(topic)
    new.subscribe(topic)
    broker.client(V5).publish(topic, b"from 5", props=PASSED_ON["everything"])
    assert old.receive(b"from 5").properties == {}
    assert new.receive(b"from 5").properties == PASSED_ON["everything"]
    broker.client(V311).publish(topic, b"from 3")
    assert old.receive(b"from 3").topic == topic
    assert new.receive(b"from 3").properties == {}


@pytest.mark.parametrize("bad", ["a/+", "#"])
def test_mqtt_3_3_2_14_wildcards_in_a_response_topic(broker: Broker, bad: str) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, fresh(), b"x", props={"response_topic": bad}))
    client.expect_closed(0x81, 0x82, 0x90)


def test_mqtt_3_3_2_13_ill_formed_response_topic(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, fresh(), b"x", props={"response_topic": b"\xff"}))
    client.expect_closed(0x81, 0x82, 0x90)


def test_mqtt_3_3_2_4_payload_format_indicator_2(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, fresh(), b"x", props={"payload_format_indicator": 2}))
    client.expect_closed(0x81, 0x82)


def test_mqtt_3_3_4_6_subscription_identifier_from_a_client(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, fresh(), b"x", props={"subscription_identifier": 1}))
    client.expect_closed(0x81, 0x82)


def test_mqtt_3_3_2_6_message_expiry_is_passed_on(broker: Broker) -> None:
    topic = fresh()
    sender, receiver = pair(broker, V5, topic)
    sender.publish(topic, b"x", qos=1, props={"message_expiry_interval": 1000})
    assert receiver.receive(b"x").properties["message_expiry_interval"] in (999, 1000)


def test_mqtt_3_3_2_5_expired_message_is_not_delivered(broker: Broker) -> None:
    """It waits for a client that comes back too late; one without expiry is still there."""
    topic, name = fresh(), fresh("c")
    props = {"session_expiry_interval": 60}
    client = broker.client(V5, name, clean=False, props=props)
    client.subscribe(topic, options=1)
    client.disconnect()
    sender = broker.client(V5)
    sender.publish(topic, b"expires", qos=1, props={"message_expiry_interval": 1})
    sender.publish(topic, b"stays", qos=1)
    sender.publish(topic, b"expires late", qos=1, props={"message_expiry_interval": 100})
    time.sleep(2.1)
    client = broker.client(V5, name, clean=False, props=props)
    client.receive(b"stays")
    # [MQTT-3.3.2-6]: less the time that it has waited.
    assert 90 <= client.receive(b"expires late").properties["message_expiry_interval"] <= 98
    assert client.sync() == []


def test_mqtt_3_3_2_5_expired_retained_message(broker: Broker) -> None:
    topic = fresh()
    broker.client(V5).publish(topic, b"x", retain=True, props={"message_expiry_interval": 1})
    (found,) = broker.client(V5).subscribe_with_retained(topic)[1]
    assert found.properties["message_expiry_interval"] <= 1
    time.sleep(2.1)
    assert broker.client(V5).subscribe_with_retained(topic)[1] == []


# ---- 3.3.2.3.4: topic aliases ----


def test_mqtt_3_3_2_12_topic_alias(broker: Broker) -> None:
    one, two = fresh(), fresh()
    receiver = broker.client(V5)
    receiver.subscribe(one, two)
    client = broker.client(V5)
    most = client.connack.properties["topic_alias_maximum"]
    client.send(
        mqtt.publish(V5, one, b"1", props={"topic_alias": 1}),
        mqtt.publish(V5, two, b"2", props={"topic_alias": most}),
        mqtt.publish(V5, "", b"3", props={"topic_alias": 1}),
        mqtt.publish(V5, "", b"4", props={"topic_alias": most}, qos=1, packet_id=3),
        mqtt.publish(V5, two, b"5", props={"topic_alias": 1}),
        mqtt.publish(V5, "", b"6", props={"topic_alias": 1}),
    )
    client.sync()
    got = [receiver.receive() for _ in range(6)]
    assert [(found.topic, found.payload) for found in got] == [
        (one, b"1"),
        (two, b"2"),
        (one, b"3"),
        (two, b"4"),
        (two, b"5"),
        (two, b"6"),
    ]
    assert all("topic_alias" not in found.properties for found in got)  # 3.1.2-27


def test_mqtt_3_3_2_8_topic_alias_0(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, fresh(), b"x", props={"topic_alias": 0}))
    client.expect_closed(0x94, 0x82, 0x81)


def test_mqtt_3_3_2_9_topic_alias_above_the_maximum(broker: Broker) -> None:
    client = broker.client(V5)
    most = client.connack.properties.get("topic_alias_maximum", 0)
    client.send(mqtt.publish(V5, fresh(), b"x", props={"topic_alias": most + 1}))
    client.expect_closed(0x94)


def test_mqtt_3_3_2_3_4_topic_alias_that_was_never_set(broker: Broker) -> None:
    client = broker.client(V5)
    client.send(mqtt.publish(V5, "", b"x", props={"topic_alias": 1}))
    client.expect_closed(0x82, 0x94)


def test_mqtt_3_3_2_7_topic_alias_ends_with_the_connection(broker: Broker) -> None:
    name = fresh("c")
    props = {"session_expiry_interval": 60}
    client = broker.client(V5, name, clean=False, props=props)
    client.publish(fresh(), b"x", qos=1, props={"topic_alias": 1})
    client.vanish()
    client = broker.client(V5, name, clean=False, props=props)
    assert client.connack.session_present
    client.send(mqtt.publish(V5, "", b"x", props={"topic_alias": 1}))
    client.expect_closed(0x82, 0x94)


def test_mqtt_3_3_2_11_aliases_from_the_server_stay_within_what_the_client_takes(broker: Broker) -> None:
    """[MQTT-3.1.2-26]: a server need not use any; what it uses must be resolvable."""
    topic = fresh()
    receiver = broker.client(V5, props={"topic_alias_maximum": 1})
    receiver.subscribe(f"{topic}/#")
    sender = broker.client(V5)
    for number in range(6):
        sender.publish(f"{topic}/{number % 3}", b"%d" % number)
    known: dict[int, str] = {}
    got: list[tuple[str, bytes]] = []
    for found in receiver.publishes():
        alias = found.properties.get("topic_alias")
        if alias is not None:
            assert alias == 1
            if found.topic:
                known[alias] = found.topic
        got.append((found.topic or known[alias], found.payload))
    assert got == [(f"{topic}/{number % 3}", b"%d" % number) for number in range(6)]


def test_mqtt_3_3_2_17_user_properties_within_the_packet_size(broker: Broker) -> None:
    """Many of them, in a packet of several ten thousand bytes."""
    topic = fresh()
    sender, receiver = pair(broker, V5, topic)
    wanted = [(f"key {number}", "v" * 100) for number in range(300)]
    sender.publish(topic, b"x", qos=1, props={"user_property": wanted})
    found = receiver.expect(Publish)
    assert found.properties["user_property"] == wanted
