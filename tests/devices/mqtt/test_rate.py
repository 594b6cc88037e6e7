"""The limit of messages per second over MQTT: a client over it is read more slowly, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311, Publish


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, messages_per_second=200) as running:
        yield running


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_a_burst_arrives_whole_and_in_order(mqtt: Broker, version: int) -> None:
    """Its own PINGREQ behind it is answered once and in time, which may be ahead of acknowledgements. The keep alive
    does not strike meanwhile."""
    topic = fresh()
    receiver, sender = mqtt.client(version), mqtt.client(version, keep_alive=1)
    receiver.subscribe(topic, options=1)
    burst = [packets.publish(version, topic, b"%d" % number, qos=1, packet_id=number + 1) for number in range(700)]
    sender.send(*burst, packets.pingreq())
    answers = [sender.recv() for _ in range(701)]
    answers.remove(packets.Pingresp())
    assert answers == [packets.Ack(packets.PUBACK, number + 1) for number in range(700)]
    for number in range(700):
        assert receiver.receive(b"%d" % number).qos == 1


def test_others_are_not_slowed_down(mqtt: Broker) -> None:
    topic = fresh()
    receiver, noisy, quiet = mqtt.client(V5), mqtt.client(V5), mqtt.client(V5)
    receiver.subscribe(f"{topic}/quiet")
    noisy.send(*(packets.publish(V5, f"{topic}/noise", b"x") for _ in range(2000)))
    quiet.publish(f"{topic}/quiet", b"at once")
    # It comes while the noisy client's burst is still being read, or the limit would be one of all clients together.
    receiver.receive(b"at once")
    watcher = mqtt.client(V5)
    watcher.subscribe(f"{topic}/noise")
    assert isinstance(watcher.recv(), Publish)
