"""With `state.eviction = "reject"`: what a retained message takes beside its value counts before it is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import mqtt_packets as packets
from support.console import ask
from support.daemon import Daemon
from support.mqtt_client import Broker
from support.mqtt_packets import V5, Ack

MIB = 1 << 20
QUOTA_EXCEEDED = 0x97


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    sets = {"state.max_mib": 1, "state.eviction": "reject", "limits.messages_per_second": 0}
    with Daemon(mqtt=True, sets=sets) as running:
        yield running


def test_properties_and_spelling_of_retained_messages_count(daemon: Daemon, mqtt: Broker) -> None:
    """The value of each is the number 1.5; the message has 50 KB around it."""
    client = mqtt.client(V5)

    def publish(topic: str, size: int) -> int:
        props = {"user_property": [("k", "x" * size)]}
        client.send(packets.publish(V5, topic, b"1.50", qos=1, retain=True, packet_id=1, props=props))
        return client.expect(Ack).reason

    assert publish("small", 1) == 0
    codes = [publish(f"big/{number}", 50_000) for number in range(40)]
    assert codes[0] == 0
    assert codes[-1] == QUOTA_EXCEEDED
    # One that is there does not grow beyond the bound either.
    assert publish("small", 50_000) == QUOTA_EXCEEDED
    assert ask(daemon.control_path, request="status")["result"]["params"]["bytes"] <= MIB
    assert publish("small", 2) == 0
