"""MQTT 5.0 section 3.1.2.5 and 3.1.3.2: the will message, its delay and its properties."""

from __future__ import annotations

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, Publish, Will


def test_mqtt_3_1_2_8_will_after_a_lost_connection(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, will=Will(topic, b"gone")).vanish()
    found = watcher.receive(b"gone")
    assert (found.topic, found.qos, found.retain) == (topic, 0, False)


def test_mqtt_3_1_2_8_will_after_a_reset(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, will=Will(topic, b"gone")).reset()
    watcher.receive(b"gone")


def test_mqtt_3_1_2_8_will_after_a_protocol_error(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    client = broker.client(version, will=Will(topic, b"gone"))
    client.send(mqtt.packet(0, 0))
    client.expect_closed()
    watcher.receive(b"gone")


def test_mqtt_3_1_2_8_will_after_a_take_over(broker: Broker, version: int) -> None:
    """Section 3.1.4: the old connection's will is published, since its delay is 0."""
    topic, name = fresh(), fresh("c")
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, name, will=Will(topic, b"taken over"))
    broker.client(version, name)
    watcher.receive(b"taken over")


def test_mqtt_3_1_2_10_no_will_after_disconnect(broker: Broker, version: int) -> None:
    """[MQTT-3.14.4-3]; 3.1.1: [MQTT-3.14.4-3]."""
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, will=Will(topic, b"must not come")).disconnect()
    assert watcher.sync() == []


def test_mqtt_3_1_2_10_the_will_comes_once(broker: Broker, version: int) -> None:
    """Not again when the next connection of the same client, without a will, is lost."""
    topic, name = fresh(), fresh("c")
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, name, will=Will(topic, b"once")).vanish()
    watcher.receive(b"once")
    client = broker.client(version, name)
    client.send(mqtt.packet(0, 0))
    client.expect_closed()
    assert watcher.sync() == []


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqtt_3_1_2_9_will_qos(broker: Broker, version: int, qos: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic, options=2)
    broker.client(version, will=Will(topic, b"gone", qos=qos)).vanish()
    assert watcher.receive(b"gone").qos == qos
    assert watcher.sync() == []


def test_mqtt_3_1_2_14_will_that_is_not_retained(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.2-16]."""
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, will=Will(topic, b"gone")).vanish()
    watcher.receive(b"gone")
    assert broker.client(version).subscribe_with_retained(topic)[1] == []


def test_mqtt_3_1_2_15_will_that_is_retained(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-3.1.2-17]."""
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, will=Will(topic, b"gone", qos=1, retain=True)).vanish()
    assert not watcher.receive(b"gone").retain
    (found,) = broker.client(version).subscribe_with_retained(topic, options=1)[1]
    assert (found.payload, found.retain, found.qos) == (b"gone", True, 1)
    broker.client(version).publish(topic, retain=True)


def test_mqtt_3_1_2_9_empty_will_message(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, will=Will(topic)).vanish()
    watcher.receive(b"")


def test_mqtt_3_1_2_15_empty_retained_will_clears(broker: Broker, version: int) -> None:
    topic = fresh()
    watcher = broker.client(version)
    watcher.publish(topic, b"here", retain=True)
    watcher.subscribe_with_retained(topic)
    broker.client(version, will=Will(topic, retain=True)).vanish()
    watcher.receive(b"")
    assert broker.client(version).subscribe_with_retained(topic)[1] == []


def test_mqtt_3_1_2_9_will_with_credentials_beside_it(broker: Broker, version: int) -> None:
    """[MQTT-3.1.3-1]: the order of the payload's fields."""
    topic = fresh()
    watcher = broker.client(version)
    watcher.subscribe(topic)
    broker.client(version, will=Will(topic, b"\0\1\2"), username="user", password=b"secret").vanish()
    watcher.receive(b"\0\1\2")


def test_mqtt_3_1_3_2_will_properties_are_passed_on(broker: Broker) -> None:
    """Sections 3.1.3.2.3 to 3.1.3.2.8, [MQTT-3.1.3-10]."""
    topic = fresh()
    watcher = broker.client(V5)
    watcher.subscribe(topic)
    props = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "answers/here",
        "correlation_data": b"\0\xff",
        "user_property": [("b", "1"), ("a", "2"), ("b", "3")],
    }
    broker.client(V5, will=Will(topic, b"gone", properties=props)).vanish()
    assert watcher.receive(b"gone").properties == props


def test_mqtt_3_1_3_2_4_will_message_expiry(broker: Broker) -> None:
    topic = fresh()
    watcher = broker.client(V5)
    watcher.subscribe(topic)
    broker.client(V5, will=Will(topic, b"gone", properties={"message_expiry_interval": 500})).vanish()
    assert watcher.receive(b"gone").properties["message_expiry_interval"] in (499, 500)


def test_mqtt_3_1_3_2_will_property_that_is_not_one(broker: Broker) -> None:
    client = broker.open(V5)
    client.send(mqtt.connect(fresh("c"), V5, will=Will("t", b"x", properties={"receive_maximum": 5})))
    client.expect_refused(0x81, 0x82)


def test_mqtt_3_1_3_9_will_delay(broker: Broker) -> None:
    """The will comes, and not before its delay has passed: a message published meanwhile comes first."""
    topic = fresh()
    watcher, other = broker.client(V5), broker.client(V5)
    watcher.subscribe(topic)
    props = {"session_expiry_interval": 60}
    broker.client(V5, props=props, will=Will(topic, b"late", properties={"will_delay_interval": 1})).vanish()
    other.publish(topic, b"first")
    assert [watcher.receive().payload, watcher.receive().payload] == [b"first", b"late"]


def test_mqtt_3_1_3_9_return_within_the_will_delay(broker: Broker) -> None:
    topic, name = fresh(), fresh("c")
    watcher = broker.client(V5)
    watcher.subscribe(topic)
    props = {"session_expiry_interval": 60}
    will = Will(topic, b"must not come", properties={"will_delay_interval": 1})
    broker.client(V5, name, props=props, will=will).vanish()
    client = broker.client(V5, name, clean=False, props=props)
    assert client.connack.session_present
    with pytest.raises(TimeoutError):
        watcher.recv(2.5)


def test_mqtt_3_1_2_8_will_delay_ends_with_the_session(broker: Broker) -> None:
    """Whichever is first: here the session ends with the connection."""
    topic = fresh()
    watcher = broker.client(V5)
    watcher.subscribe(topic)
    broker.client(V5, will=Will(topic, b"gone", properties={"will_delay_interval": 600})).vanish()
    watcher.receive(b"gone")


def test_mqtt_3_1_2_8_will_delay_ends_with_a_clean_start(broker: Broker) -> None:
    """Section 3.1.4: a new connection with Clean Start ends the old session, and so its will is due."""
    topic, name = fresh(), fresh("c")
    watcher = broker.client(V5)
    watcher.subscribe(topic)
    props = {"session_expiry_interval": 600}
    broker.client(V5, name, props=props, will=Will(topic, b"gone", properties={"will_delay_interval": 600})).vanish()
    broker.client(V5, name)
    watcher.receive(b"gone")


def test_mqtt_3_1_2_5_will_reaches_a_sleeping_session(broker: Broker, version: int) -> None:
    topic, name = fresh(), fresh("c")
    options = {"clean": False, "props": {"session_expiry_interval": 60}}
    watcher = broker.client(version, name, **options)
    watcher.subscribe(topic, options=1)
    watcher.disconnect()
    broker.client(version, will=Will(topic, b"gone", qos=1)).vanish()
    client = broker.client(version)
    client.sync()
    watcher = broker.client(version, name, **options)
    found = watcher.expect(Publish)
    assert found.payload == b"gone"
    watcher.acknowledge(found)
