"""A message without the retain flag is a param for CLASP, and for MQTT clients a message that nobody gets again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, get, put, subscribe
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311

from clasp_edge import wire

EVENTS = ["cmnd/#", "+/set", "/mqtt/button/**"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, config=f"[mqtt]\nevents = {EVENTS}\n") as running:
        yield running


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_a_late_clasp_client_has_the_value_and_a_late_mqtt_client_nothing(
    mqtt: Broker, clasp: Crowd, version: int
) -> None:
    topic = fresh()
    mqtt.client(version).publish(topic, b"21.50", qos=1)
    found = get(clasp.ws(), f"/mqtt/{topic}")
    assert found is not None
    assert found.value == 21.5
    assert mqtt.client(version).subscribe_with_retained(topic, "#")[1] == []


def test_what_is_retained_stays_so_beside_a_newer_value(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    device = mqtt.client()
    device.publish(topic, b"007", qos=1, retain=True)
    device.publish(topic, b"008", qos=1)
    device.publish(topic, b"009", qos=1)
    found = get(clasp.ws(), f"/mqtt/{topic}")
    assert found is not None
    assert found.value == 9
    (kept,) = mqtt.client().subscribe_with_retained(topic)[1]
    assert (kept.payload, kept.retain) == (b"007", True)
    device.publish(topic, b"010", qos=1, retain=True)
    (kept,) = mqtt.client().subscribe_with_retained(topic)[1]
    assert kept.payload == b"010"


def test_a_clasp_value_stays_retained_beside_an_mqtt_message(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    put(clasp.ws(), f"/mqtt/{topic}", {"on": True})
    mqtt.client().publish(topic, b"OFF", qos=1)
    (kept,) = mqtt.client().subscribe_with_retained(topic)[1]
    assert kept.payload.replace(b" ", b"") == b'{"on":true}'
    put(clasp.ws(), f"/mqtt/{topic}", "new")
    (kept,) = mqtt.client().subscribe_with_retained(topic)[1]
    assert kept.payload == b"new"


def test_clearing_takes_both_away(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    device = mqtt.client()
    device.publish(topic, b"1", qos=1, retain=True)
    device.publish(topic, b"2", qos=1)
    device.publish(topic, b"", qos=1, retain=True)
    assert get(clasp.ws(), f"/mqtt/{topic}") is None
    assert mqtt.client().subscribe_with_retained(topic)[1] == []


def test_a_subscriber_gets_each_message_once(mqtt: Broker) -> None:
    topic = fresh()
    lamp = mqtt.client(client_id=fresh("lamp"), clean=False, props={"session_expiry_interval": 60})
    lamp.subscribe(topic, options=1)
    desk = mqtt.client()
    for _ in range(3):
        desk.publish(topic, b"TOGGLE", qos=1)
    for _ in range(3):
        assert not lamp.receive(b"TOGGLE").retain
    assert lamp.publishes() == []


@pytest.mark.parametrize("topic", ["cmnd/{}/POWER", "{}/set", "button/{}"])
def test_events_stay_events(mqtt: Broker, clasp: Crowd, topic: str) -> None:
    name = topic.format(fresh())
    listener = clasp.ws()
    subscribe(listener, f"/mqtt/{name}")
    device = mqtt.client()
    device.publish(name, b"1", qos=1)
    device.publish(name, b"1", qos=1)
    for _ in range(2):
        assert listener.recv_type(wire.Publish).value == 1
    assert get(clasp.ws(), f"/mqtt/{name}") is None


def test_neither_after_a_restart() -> None:
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}) as daemon:
        broker = Broker(daemon.mqtt_address)
        device = broker.client()
        device.publish("a", b"GO", qos=1)
        device.publish("b", b"21.50", qos=1, retain=True)
        device.publish("b", b"22.50", qos=1)
        lamp = broker.client(client_id="lamp", clean=False, props={"session_expiry_interval": 60})
        lamp.subscribe("#", options=1)
        lamp.publishes()
        broker.leave()
        daemon.restart()
        broker = Broker(daemon.mqtt_address)
        again = broker.client(client_id="lamp", clean=False, props={"session_expiry_interval": 60})
        assert again.connack.session_present
        assert [found.payload for found in again.publishes() if not found.dup] == []
        late = broker.client()
        assert [found.payload for found in late.subscribe_with_retained("#", at_least=1)[1]] == [b"21.50"]
        broker.leave()


def test_an_event_that_says_nothing_has_no_value(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    listener = clasp.ws()
    subscribe(listener, f"/mqtt/cmnd/{topic}")
    mqtt.client().publish(f"cmnd/{topic}", b"")
    heard = listener.recv_type(wire.Publish)
    assert (heard.signal, heard.value) == (wire.SignalType.EVENT, wire.ABSENT)
