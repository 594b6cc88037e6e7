"""Another namespace than `/mqtt`: honoured in both directions, and in what subscriptions see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, get, put
from support.mqtt_client import Broker, fresh


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, sets={"mqtt.namespace": "/stage/devices"}) as running:
        yield running


def test_topics_are_below_it(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    mqtt.client().publish(topic, b"1.5", qos=1, retain=True)
    found = get(clasp.ws(), f"/stage/devices/{topic}")
    assert found is not None
    assert found.value == 1.5
    assert get(clasp.ws(), f"/mqtt/{topic}") is None


def test_live_topics_match_the_subscription(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    device = mqtt.client()
    device.subscribe(f"{topic}/+")
    writer = clasp.ws()
    put(writer, f"/stage/devices/{topic}/a", 1)
    put(writer, f"/mqtt/{topic}/b", 2)
    put(writer, f"/stage/{topic}/c", 3)
    assert [(found.topic, found.payload) for found in device.publishes()] == [(f"{topic}/a", b"1")]


def test_retained_topics_match_the_subscription(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    put(clasp.ws(), f"/stage/devices/{topic}", "x")
    (found,) = mqtt.client().subscribe_with_retained(topic)[1]
    assert (found.topic, found.payload) == (topic, b"x")
