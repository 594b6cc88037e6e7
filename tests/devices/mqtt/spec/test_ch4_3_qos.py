"""MQTT 5.0 chapters 3.4 to 3.7, 4.3 and 4.4: acknowledgements, delivery at QoS 1 and 2, and redelivery."""

from __future__ import annotations

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, MqttClient, fresh
from support.mqtt_packets import V5, Ack, Publish

EXPIRY = {"session_expiry_interval": 60}


class Sleeper:
    """A client whose session outlives its connections."""

    def __init__(self, broker: Broker, version: int) -> None:
        self.broker, self.version, self.name = broker, version, fresh("c")

    def wake(self, **options: object) -> MqttClient:
        return self.broker.client(self.version, self.name, clean=False, props=EXPIRY, **options)


@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_mqtt_3_8_4_8_the_lesser_qos(broker: Broker, version: int, published: int, granted: int) -> None:
    """3.1.1: [MQTT-3.8.4-6]."""
    topic = fresh()
    receiver = broker.client(version)
    assert receiver.subscribe(topic, options=granted).codes == [granted]
    broker.client(version).publish(topic, b"x", qos=published)
    found = receiver.receive(b"x")
    assert found.qos == min(published, granted)
    assert receiver.sync() == []


def test_mqtt_4_3_2_4_puback(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-4.3.2-2]. Also where nobody is subscribed; 5.0 may then say 0x10."""
    client = broker.client(version)
    for packet_id in (1, 65535, 77, 1):
        client.send(mqtt.publish(version, fresh(), b"x", qos=1, packet_id=packet_id))
        assert client.expect_ack(mqtt.PUBACK, packet_id).reason in (0, 0x10)


def test_mqtt_4_3_2_5_same_identifier_again_is_a_new_publication(broker: Broker, version: int) -> None:
    topic = fresh()
    receiver, sender = broker.client(version), broker.client(version)
    receiver.subscribe(topic)
    for payload, dup in ((b"1", False), (b"2", False), (b"3", True)):
        sender.publish(topic, payload, qos=1, packet_id=5, dup=dup)
    assert [receiver.receive().payload for _ in range(3)] == [b"1", b"2", b"3"]


def test_mqtt_4_3_3_8_pubrec_and_pubcomp(broker: Broker, version: int) -> None:
    """[MQTT-4.3.3-11]."""
    client = broker.client(version)
    client.send(mqtt.publish(version, fresh(), b"x", qos=2, packet_id=9))
    assert client.expect_ack(mqtt.PUBREC, 9).reason in (0, 0x10)
    client.send(mqtt.ack(mqtt.PUBREL, 9))
    assert client.expect_ack(mqtt.PUBCOMP, 9).reason == 0


def test_mqtt_4_3_3_10_publish_again_before_pubrel(broker: Broker, version: int) -> None:
    """3.1.1: [MQTT-4.3.3-2]: acknowledged again, delivered once."""
    topic = fresh()
    receiver, sender = broker.client(version), broker.client(version)
    receiver.subscribe(topic)
    for dup in (False, True, True):
        sender.send(mqtt.publish(version, topic, b"once", qos=2, packet_id=9, dup=dup))
        sender.expect_ack(mqtt.PUBREC, 9)
    sender.send(mqtt.ack(mqtt.PUBREL, 9))
    sender.expect_ack(mqtt.PUBCOMP, 9)
    assert [found.payload for found in receiver.publishes()] == [b"once"]


def test_mqtt_4_3_3_10_publish_again_on_another_connection(broker: Broker, version: int) -> None:
    """What has been received is part of the session."""
    topic = fresh()
    receiver = broker.client(version)
    receiver.subscribe(topic)
    sleeper = Sleeper(broker, version)
    sender = sleeper.wake()
    sender.send(mqtt.publish(version, topic, b"once", qos=2, packet_id=9))
    sender.expect_ack(mqtt.PUBREC, 9)
    sender.vanish()
    sender = sleeper.wake()
    assert sender.connack.session_present
    sender.send(mqtt.publish(version, topic, b"once", qos=2, packet_id=9, dup=True))
    sender.expect_ack(mqtt.PUBREC, 9)
    sender.send(mqtt.ack(mqtt.PUBREL, 9))
    sender.expect_ack(mqtt.PUBCOMP, 9)
    assert [found.payload for found in receiver.publishes()] == [b"once"]


def test_mqtt_3_3_1_1_what_is_said_for_the_first_time_is_new(broker: Broker, version: int) -> None:
    """A client that has lost its part of the session begins again with identifiers that the other part still holds:
    what comes without DUP on another connection is none of what came before. Within a connection [MQTT-4.3.3-10]."""
    topic = fresh()
    receiver = broker.client(version)
    receiver.subscribe(topic)
    sleeper = Sleeper(broker, version)
    sender = sleeper.wake()
    for packet_id in (1, 2):
        sender.send(mqtt.publish(version, topic, b"before", qos=2, packet_id=packet_id))
        sender.expect_ack(mqtt.PUBREC, packet_id)
    sender.vanish()
    sender = sleeper.wake()
    assert sender.connack.session_present
    for payload, packet_id, dup in ((b"before", 2, True), (b"new", 1, False), (b"new", 1, False), (b"new", 1, True)):
        sender.send(mqtt.publish(version, topic, payload, qos=2, packet_id=packet_id, dup=dup))
        assert sender.expect_ack(mqtt.PUBREC, packet_id).reason in (0, 0x10)
    for packet_id in (1, 2):
        sender.send(mqtt.ack(mqtt.PUBREL, packet_id))
        assert sender.expect_ack(mqtt.PUBCOMP, packet_id).reason == 0
    sender.publish(topic, b"next", qos=2, packet_id=1)
    assert [found.payload for found in receiver.publishes()] == [b"before", b"before", b"new", b"next"]


def test_mqtt_4_3_3_12_same_identifier_after_pubcomp(broker: Broker, version: int) -> None:
    topic = fresh()
    receiver, sender = broker.client(version), broker.client(version)
    receiver.subscribe(topic)
    sender.publish(topic, b"1", qos=2, packet_id=9)
    sender.publish(topic, b"2", qos=2, packet_id=9)
    assert [found.payload for found in receiver.publishes()] == [b"1", b"2"]


def test_mqtt_4_3_3_11_pubrel_of_an_unknown_identifier(broker: Broker, version: int) -> None:
    """Answered, so that a client whose PUBCOMP was lost can finish; 5.0 has code 0x92 for it."""
    client = broker.client(version)
    client.send(mqtt.ack(mqtt.PUBREL, 1234))
    assert client.expect_ack(mqtt.PUBCOMP, 1234).reason in (0, 0x92)


def test_mqtt_4_3_3_11_pubrel_again(broker: Broker, version: int) -> None:
    client = broker.client(version)
    client.publish(fresh(), b"x", qos=2, packet_id=9)
    client.send(mqtt.ack(mqtt.PUBREL, 9))
    client.expect_ack(mqtt.PUBCOMP, 9)


def test_mqtt_4_3_3_interleaved_identifiers(broker: Broker, version: int) -> None:
    topic = fresh()
    receiver, sender = broker.client(version), broker.client(version)
    receiver.subscribe(topic)
    ids = list(range(10, 25))
    sender.send(*(mqtt.publish(version, topic, b"%d" % packet_id, qos=2, packet_id=packet_id) for packet_id in ids))
    for packet_id in ids:
        sender.expect_ack(mqtt.PUBREC, packet_id)
    sender.send(*(mqtt.ack(mqtt.PUBREL, packet_id) for packet_id in ids))
    for packet_id in ids:
        sender.expect_ack(mqtt.PUBCOMP, packet_id)
    assert [found.payload for found in receiver.publishes()] == [b"%d" % packet_id for packet_id in ids]


@pytest.mark.parametrize("kind", [mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP])
def test_mqtt_3_4_acknowledgement_of_an_unknown_identifier(broker: Broker, version: int, kind: int) -> None:
    """No trouble: the connection stays. PUBREC may be answered by PUBREL, in 5.0 with 0x92."""
    client = broker.client(version)
    client.send(mqtt.ack(kind, 4321))
    for found in client.sync():
        assert isinstance(found, Ack)
        assert (found.kind, found.packet_id) == (mqtt.PUBREL, 4321)
        assert kind == mqtt.PUBREC


@pytest.mark.parametrize("reason", [0x00, 0x10, 0x80, 0x97])
def test_mqtt_4_4_0_2_puback_with_a_reason(broker: Broker, reason: int) -> None:
    """Acknowledged, whatever the code: never sent again."""
    topic = fresh()
    sleeper = Sleeper(broker, V5)
    client = sleeper.wake()
    client.subscribe(topic, options=1)
    broker.client(V5).publish(topic, b"x", qos=1)
    found = client.expect(Publish)
    assert found.packet_id is not None
    client.send(mqtt.ack(mqtt.PUBACK, found.packet_id, V5, reason, {"reason_string": "because"}))
    assert client.sync() == []
    client.vanish()
    assert sleeper.wake().sync() == []


def test_mqtt_4_4_0_2_pubrec_with_an_error(broker: Broker) -> None:
    """Ends the exchange: no PUBREL follows, and nothing is sent again."""
    topic = fresh()
    sleeper = Sleeper(broker, V5)
    client = sleeper.wake()
    client.subscribe(topic, options=2)
    broker.client(V5).publish(topic, b"x", qos=2)
    found = client.expect(Publish)
    assert found.packet_id is not None
    client.send(mqtt.ack(mqtt.PUBREC, found.packet_id, V5, 0x97))
    assert client.sync() == []
    client.vanish()
    assert sleeper.wake().sync() == []


def test_mqtt_3_4_2_1_reason_code_that_puback_does_not_have(broker: Broker) -> None:
    """Malformed; a server that does not look at it may go on. The bystander notices neither."""
    client = broker.client(V5)
    client.send(mqtt.packet(mqtt.PUBACK, 0, b"\0\1\x05"), mqtt.pingreq())
    found = client.recv()
    assert found == mqtt.Pingresp() or (isinstance(found, mqtt.Disconnect) and found.reason in (0x81, 0x82))


# ---- 4.4: redelivery ----


@pytest.mark.parametrize("qos", [1, 2])
def test_mqtt_4_4_0_1_unacknowledged_publish_comes_again(broker: Broker, version: int, qos: int) -> None:
    """[MQTT-3.3.1-1]: with DUP set, under the same identifier."""
    topic = fresh()
    sleeper = Sleeper(broker, version)
    client = sleeper.wake()
    client.subscribe(topic, options=2)
    broker.client(version).publish(topic, b"x", qos=qos)
    first = client.expect(Publish)
    assert not first.dup
    client.vanish()
    client = sleeper.wake()
    again = client.receive(b"x")
    assert (again.dup, again.qos, again.packet_id) == (True, qos, first.packet_id)
    assert client.sync() == []
    client.vanish()
    assert sleeper.wake().sync() == []


def test_mqtt_4_4_0_1_never_within_a_connection(broker: Broker, version: int) -> None:
    topic = fresh()
    client = broker.client(version)
    client.subscribe(topic, options=1)
    broker.client(version).publish(topic, b"x", qos=1)
    client.expect(Publish)
    with pytest.raises(TimeoutError):
        client.recv(1.0)


def test_mqtt_4_4_0_1_unacknowledged_pubrel_comes_again(broker: Broker, version: int) -> None:
    """[MQTT-4.3.3-6]: the PUBREL, not the PUBLISH."""
    topic = fresh()
    sleeper = Sleeper(broker, version)
    client = sleeper.wake()
    client.subscribe(topic, options=2)
    broker.client(version).publish(topic, b"x", qos=2)
    found = client.expect(Publish)
    assert found.packet_id is not None
    client.send(mqtt.ack(mqtt.PUBREC, found.packet_id))
    client.expect_ack(mqtt.PUBREL, found.packet_id)
    client.vanish()
    client = sleeper.wake()
    client.expect_ack(mqtt.PUBREL, found.packet_id)
    client.send(mqtt.ack(mqtt.PUBCOMP, found.packet_id))
    assert client.sync() == []
    client.vanish()
    assert sleeper.wake().sync() == []


def test_mqtt_4_6_0_5_order_of_redelivery(broker: Broker, version: int) -> None:
    """What was in flight first, then what has waited, all in the order published."""
    topic = fresh()
    sleeper = Sleeper(broker, version)
    client = sleeper.wake()
    client.subscribe(topic, options=1)
    sender = broker.client(version)
    for number in range(5):
        sender.publish(topic, b"%d" % number, qos=1)
    ids = [client.expect(Publish).packet_id for _ in range(5)]
    client.disconnect()
    for number in range(5, 10):
        sender.publish(topic, b"%d" % number, qos=1)
    client = sleeper.wake()
    got = [client.receive() for _ in range(10)]
    assert [found.payload for found in got] == [b"%d" % number for number in range(10)]
    assert [found.packet_id for found in got[:5]] == ids
    assert [found.dup for found in got] == [True] * 5 + [False] * 5


def test_mqtt_4_4_0_1_only_what_is_unacknowledged(broker: Broker, version: int) -> None:
    topic = fresh()
    sleeper = Sleeper(broker, version)
    client = sleeper.wake()
    client.subscribe(topic, options=1)
    sender = broker.client(version)
    for number in range(4):
        sender.publish(topic, b"%d" % number, qos=1)
    got = [client.expect(Publish) for _ in range(4)]
    for found in got[::2]:
        client.acknowledge(found)
    client.sync()
    client.vanish()
    client = sleeper.wake()
    assert [client.receive().payload for _ in range(2)] == [b"1", b"3"]
    assert client.sync() == []


def test_mqtt_4_3_3_acknowledgements_in_any_order(broker: Broker, version: int) -> None:
    topic = fresh()
    client, sender = broker.client(version), broker.client(version)
    client.subscribe(topic, options=2)
    for number in range(10):
        sender.publish(topic, b"%d" % number, qos=1 + number % 2)
    got = [client.expect(Publish) for _ in range(10)]
    for found in reversed(got):
        client.acknowledge(found)
    assert client.sync() == []


def test_mqtt_4_4_0_1_qos_0_is_not_sent_again(broker: Broker, version: int) -> None:
    topic = fresh()
    sleeper = Sleeper(broker, version)
    client = sleeper.wake()
    client.subscribe(topic, options=1)
    broker.client(version).publish(topic, b"x")
    client.receive(b"x")
    client.vanish()
    assert sleeper.wake().sync() == []
