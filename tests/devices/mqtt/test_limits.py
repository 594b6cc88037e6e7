"""Limits that MQTT and CLASP clients share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, subscribe
from support.mqtt_client import Broker
from support.mqtt_packets import V5, V311

from clasp_edge import wire

QUOTA_EXCEEDED = 0x97
FAILURE = 0x80  # all that 3.1.1 has


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, sets={"limits.max_subscriptions": 3}) as running:
        yield running


@pytest.mark.parametrize(("version", "refusal"), [(V311, FAILURE), (V5, QUOTA_EXCEEDED)])
def test_all_subscriptions_count_together(clasp: Crowd, mqtt: Broker, version: int, refusal: int) -> None:
    client, other = mqtt.client(version), clasp.ws()
    assert subscribe(other, "/mqtt/a") == []
    assert client.subscribe("b", "c", "d", "b").codes == [0, 0, refusal, 0]
    text = "Subscription limit reached (max 3 of all clients together)"
    assert subscribe(other, "/mqtt/d", id=2) == [wire.Error(429, text, "/mqtt/d")]
    other.send(wire.Unsubscribe(1))
    other.sync()
    assert client.subscribe("d").codes == [0]
    client.disconnect()
