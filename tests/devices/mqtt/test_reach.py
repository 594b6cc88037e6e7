"""Small things that devices are picky about: names for the server's own use, late acknowledgements of TCP, PINGREQ
behind a burst, a SUBSCRIBE of thousands of filters."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311, Ack, Pingresp, Publish, Suback

TOPIC_NAME_INVALID = 0x90

DELAYED_ACK_S = 0.040
"""What Linux waits at least before it acknowledges by itself (TCP_DELACK_MIN)."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, sets={"mqtt.sys_interval_s": 1}) as running:
        yield running


def test_an_alias_carries_no_dollar_topic_past_the_check(mqtt: Broker) -> None:
    device, reader = mqtt.client(), mqtt.client()
    reader.subscribe("$SYS/fooled", "$x/#", "#")
    for topic in ("$SYS/fooled", "$x/y"):
        device.send(packets.publish(V5, topic, b"1", qos=1, packet_id=1, props={"topic_alias": 1}))
        assert device.expect(Ack).reason == TOPIC_NAME_INVALID
        device.send(packets.publish(V5, "", b"2", qos=1, packet_id=2, props={"topic_alias": 1}))
        assert device.expect(Ack).reason == TOPIC_NAME_INVALID
        device.send(packets.publish(V5, "", b"3", props={"topic_alias": 1}))
    # The alias can stand for something else.
    good = fresh()
    device.send(packets.publish(V5, good, b"4", qos=1, packet_id=3, props={"topic_alias": 1}))
    assert device.expect(Ack).reason == 0
    device.send(packets.publish(V5, "", b"5", qos=1, packet_id=4, props={"topic_alias": 1}))
    assert device.expect(Ack).reason == 0
    found = [one for one in reader.publishes() if not one.topic.startswith("$SYS/broker")]
    assert [(one.topic, one.payload) for one in found] == [(good, b"4"), (good, b"5")]


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_the_numbers_of_the_server_can_be_shared(mqtt: Broker, version: int) -> None:
    one, other = mqtt.client(version), mqtt.client(version)
    assert one.subscribe("$share/g/$SYS/#", options=0).codes == [0]
    assert other.subscribe("$share/g/$SYS/#", options=0).codes == [0]
    ready, _, _ = select.select([one.socket, other.socket], [], [], 5.0)
    assert ready
    found = (one if one.socket in ready else other).expect(Publish)
    assert found.topic.startswith("$SYS/broker/")
    assert not found.retain


def test_a_client_that_waits_for_nagle_is_acknowledged_at_once(mqtt: Broker) -> None:
    topic = fresh()
    device = mqtt.client()
    device.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    fastest_s = float("inf")
    for number in range(60):
        packet = packets.publish(V5, topic, b"x" * 50)
        began_s = time.monotonic()
        # Two writes: the second waits for the acknowledgement of the first. Then whatever makes the server answer.
        device.send(packet[:4])
        device.send(packet[4:])
        device.sync()
        if number >= 40:  # a new connection is acknowledged at once for a while, by itself
            fastest_s = min(fastest_s, time.monotonic() - began_s)
    assert fastest_s < DELAYED_ACK_S * 0.75


def test_a_subscribe_of_thousands_of_filters_lets_others_have_their_turn(mqtt: Broker) -> None:
    hub, other = mqtt.client(), mqtt.client()
    name = fresh()
    whole = packets.subscribe(V5, 5, [(f"homeassistant/sensor/{name}{number}/state", 0) for number in range(10_000)])
    hub.send(whole[:-1])
    other.sync()
    other.sync()  # all but the last byte has been read
    hub.send(whole[-1:])
    served = 0
    while not select.select([hub.socket], [], [], 0)[0]:
        assert other.sync() == []
        served += 1
    found = hub.expect(Suback)
    assert found.codes == [0] * 10_000
    assert served >= 3
    other.publish(f"homeassistant/sensor/{name}9999/state", b"1", qos=1)
    assert hub.receive(b"1").topic == f"homeassistant/sensor/{name}9999/state"


def test_a_ping_behind_a_burst_is_answered_before_the_burst_is_through() -> None:
    with Daemon(mqtt=True, messages_per_second=500) as daemon:
        broker = Broker(daemon.mqtt_address)
        topic = fresh()
        receiver, sender = broker.client(), broker.client()
        receiver.subscribe(topic)
        count = 1500
        sender.send(*(packets.publish(V5, topic, b"%d" % number) for number in range(count)), packets.pingreq())
        assert isinstance(sender.recv(), Pingresp)
        before = len(receiver.publishes())
        assert before < count - 300
        rest = [receiver.receive().payload for _ in range(count - before)]
        assert rest == [b"%d" % number for number in range(before, count)]
        broker.leave()
