"""MQTT clients and CLASP clients share one state: what one publishes the other hears, and finds again."""

from __future__ import annotations

import math

import pytest
from support import mqtt_packets
from support.live import Crowd, get, of_type, params_of, put, subscribe
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311, Will
from support.received import same

from clasp_edge import wire

# payload, and the value that it means (router.md 9.2)
MEANINGS: list[tuple[bytes, wire.Value]] = [
    (b"21.50", 21.5),
    (b"7", 7),
    (b"-9223372036854775808", -(2**63)),
    (b"1e3", 1000.0),
    (b"true", True),
    (b"false", False),
    (b"null", None),
    (b'"quoted"', "quoted"),
    (b"plain text", "plain text"),
    ("Bühne".encode(), "Bühne"),
    (b"[1, 2.5, null]", [1, 2.5, None]),
    (b'{"on": true, "level": 0.25}', {"on": True, "level": 0.25}),
    (b"\xff\x00\xfe", b"\xff\x00\xfe"),
    (b"ON", "ON"),
]

# value, and the payload that a device gets
FORMS: list[tuple[wire.Value, bytes]] = [
    (21.5, b"21.5"),
    (7, b"7"),
    (True, b"true"),
    (None, b"null"),
    ("text", b"text"),
    (b"\x00\xff", b"\x00\xff"),
]


def ids(cases: list[tuple[object, object]]) -> list[str]:
    return [repr(case[0])[:24] for case in cases]


@pytest.mark.parametrize(("payload", "value"), MEANINGS, ids=ids(MEANINGS))  # type: ignore[arg-type]
@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_retained_becomes_a_param(mqtt: Broker, clasp: Crowd, version: int, payload: bytes, value: wire.Value) -> None:
    topic = fresh()
    listener = clasp.ws()
    subscribe(listener, f"/mqtt/{topic}")
    mqtt.client(version).publish(topic, payload, qos=1, retain=True)
    heard = listener.recv_type(wire.Set)
    assert heard.address == f"/mqtt/{topic}"
    assert same(heard.value, value)
    found = get(clasp.ws(), f"/mqtt/{topic}")
    assert found is not None
    assert same(found.value, value)
    # Back over MQTT the bytes are the ones published.
    (kept,) = mqtt.client(version).subscribe_with_retained(topic)[1]
    assert kept.payload == payload


@pytest.mark.parametrize(("payload", "value"), MEANINGS, ids=ids(MEANINGS))  # type: ignore[arg-type]
def test_not_retained_becomes_a_param_that_mqtt_does_not_retain(
    mqtt: Broker, clasp: Crowd, payload: bytes, value: wire.Value
) -> None:
    topic = fresh()
    listener = clasp.ws()
    subscribe(listener, f"/mqtt/{topic}")
    mqtt.client().publish(topic, payload)
    heard = listener.recv_type(wire.Set)
    assert heard.address == f"/mqtt/{topic}"
    assert same(heard.value, value)
    found = get(clasp.ws(), f"/mqtt/{topic}")
    assert found is not None
    assert same(found.value, value)
    assert mqtt.client().subscribe_with_retained(topic)[1] == []


def test_snapshot_of_a_newcomer_has_what_was_retained(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    mqtt.client().publish(f"{topic}/a", b"1.0", qos=1, retain=True)
    newcomer = clasp.ws()
    lines = params_of(subscribe(newcomer, f"/mqtt/{topic}/**"))
    assert [(line.address, line.value) for line in lines] == [(f"/mqtt/{topic}/a", 1.0)]


def test_empty_retained_removes_the_param(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    client = mqtt.client()
    client.publish(topic, b"1", qos=1, retain=True)
    assert get(clasp.ws(), f"/mqtt/{topic}") is not None
    client.publish(topic, b"", qos=1, retain=True)
    assert get(clasp.ws(), f"/mqtt/{topic}") is None


@pytest.mark.parametrize(("value", "payload"), FORMS, ids=ids(FORMS))  # type: ignore[arg-type]
@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_set_reaches_mqtt(mqtt: Broker, clasp: Crowd, version: int, value: wire.Value, payload: bytes) -> None:
    topic = fresh()
    device = mqtt.client(version)
    device.subscribe(topic)
    put(clasp.ws(), f"/mqtt/{topic}", value)
    heard = device.receive()
    assert (heard.topic, heard.payload, heard.retain) == (topic, payload, False)
    (kept,) = mqtt.client(version).subscribe_with_retained(topic)[1]
    assert (kept.payload, kept.retain) == (payload, True)


def test_structures_reach_mqtt_as_json(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    device = mqtt.client()
    device.subscribe(topic)
    put(clasp.ws(), f"/mqtt/{topic}", {"on": True, "levels": [0.5, None, "x"]})
    assert device.receive().payload.replace(b" ", b"") == b'{"on":true,"levels":[0.5,null,"x"]}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_without_a_json_form_reach_mqtt(mqtt: Broker, clasp: Crowd, value: float) -> None:
    topic = fresh()
    device = mqtt.client()
    device.subscribe(topic)
    put(clasp.ws(), f"/mqtt/{topic}", value)
    assert same(float(device.receive().payload), value)


def test_set_reaches_mqtt_at_the_granted_qos(mqtt: Broker, clasp: Crowd) -> None:
    """Also one that sleeps: a SET is a message at the subscription's own QoS."""
    topic, name = fresh(), fresh("c")
    props = {"session_expiry_interval": 60}
    device = mqtt.client(V5, name, clean=False, props=props)
    device.subscribe(topic, options=1)
    writer = clasp.ws()
    put(writer, f"/mqtt/{topic}", 1)
    assert device.receive(b"1").qos == 1
    device.disconnect()
    put(writer, f"/mqtt/{topic}", 2)
    device = mqtt.client(V5, name, clean=False, props=props)
    assert device.receive(b"2").qos == 1


def test_event_reaches_mqtt_and_is_not_kept(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    device = mqtt.client()
    device.subscribe(f"{topic}/+")
    sender = clasp.ws()
    sender.send(wire.Publish(address=f"/mqtt/{topic}/cue", signal=wire.SignalType.EVENT, value="go"))
    assert sender.sync() == []
    heard = device.receive(b"go")
    assert (heard.topic, heard.retain) == (f"{topic}/cue", False)
    assert mqtt.client().subscribe_with_retained(f"{topic}/#")[1] == []


def test_an_event_without_a_value_is_an_empty_message(mqtt: Broker, clasp: Crowd) -> None:
    """A GO button that says no more than that it was pressed; a device that is asked for its state."""
    topic = fresh()
    device = mqtt.client()
    device.subscribe(f"{topic}/#", options=1)
    sender = clasp.ws()
    for signal in (wire.SignalType.EVENT, wire.SignalType.STREAM):
        sender.send(wire.Publish(address=f"/mqtt/{topic}/samples", signal=signal, samples=(0.5,)))
    sender.send(wire.Publish(address=f"/mqtt/{topic}/go", signal=wire.SignalType.EVENT))
    heard = device.receive()
    assert (heard.topic, heard.payload, heard.qos, heard.retain) == (f"{topic}/go", b"", 1, False)


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_a_param_that_is_forgotten_is_an_empty_retained_message(mqtt: Broker, clasp: Crowd, version: int) -> None:
    """As `clasp-edge unset` does it: a lifetime that is over."""
    topic = fresh()
    device = mqtt.client(version)
    device.subscribe(topic, options=9 if version == V5 else 1)  # 8: the retain flag as it was published
    writer = clasp.ws()
    put(writer, f"/mqtt/{topic}", 5)
    put(writer, f"/mqtt/{topic}", None, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 0))
    heard = [device.receive() for _ in range(2)]
    assert [(m.payload, m.retain) for m in heard] == [(b"5", version == V5), (b"", version == V5)]
    assert mqtt.client(version).subscribe_with_retained(topic)[1] == []


def test_a_lifetime_is_a_message_expiry(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    device = mqtt.client()
    device.subscribe(topic, options=1)
    put(clasp.ws(), f"/mqtt/{topic}", 5, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 60))
    (kept,) = mqtt.client().subscribe_with_retained(topic)[1]
    assert 0 < device.receive(b"5").properties["message_expiry_interval"] <= 60
    assert 0 < kept.properties["message_expiry_interval"] <= 60


def test_a_writer_of_either_kind_replaces_the_other(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    device, writer = mqtt.client(), clasp.ws()
    for round_ in range(5):
        device.publish(topic, b"%d.00" % round_, qos=1, retain=True)
        found = get(writer, f"/mqtt/{topic}")
        assert found is not None
        assert same(found.value, float(round_))
        put(writer, f"/mqtt/{topic}", round_ + 0.5)
        (kept,) = mqtt.client().subscribe_with_retained(topic)[1]
        assert kept.payload == b"%d.5" % round_


def test_only_the_namespace_is_seen(mqtt: Broker, clasp: Crowd) -> None:
    """Neither what lies outside it, nor by any filter or topic that tries to get there."""
    name = fresh()
    device = mqtt.client()
    device.subscribe_with_retained("#")
    device.subscribe_with_retained("/#")
    writer = clasp.ws()
    for address in (f"/{name}", f"/lights/{name}", f"/mqttx/{name}", f"/osc/{name}"):
        put(writer, address, 1)
    put(writer, f"/mqtt/{name}", 2)
    assert {(found.topic, found.payload) for found in device.publishes()} == {(name, b"2")}
    mqtt.client().publish(f"../{name}", b"3", retain=True)
    mqtt.client().publish(f"/{name}", b"4", retain=True)
    found = get(writer, f"/{name}")
    assert found is not None
    assert found.value == 1
    for topic in (name, f"../{name}", f"/{name}"):
        mqtt.client().publish(topic, retain=True)


def test_wildcards_of_clasp_see_topics(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    listener = clasp.ws()
    subscribe(listener, f"/mqtt/{topic}/*/temperature")
    device = mqtt.client()
    device.publish(f"{topic}/a/temperature", b"20", qos=1, retain=True)
    device.publish(f"{topic}/a/humidity", b"50", qos=1, retain=True)
    device.publish(f"{topic}/b/temperature", b"21", qos=1, retain=True)
    heard = of_type(listener.sync(), wire.Set)
    assert [(message.address, message.value) for message in heard] == [
        (f"/mqtt/{topic}/a/temperature", 20),
        (f"/mqtt/{topic}/b/temperature", 21),
    ]


def test_a_will_reaches_clasp(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    listener = clasp.ws()
    subscribe(listener, f"/mqtt/{topic}")
    mqtt.client(will=Will(topic, b"offline", qos=1, retain=True)).vanish()
    heard = listener.recv_type(wire.Set)
    assert heard.value == "offline"


def test_a_writer_is_not_told_twice(mqtt: Broker, clasp: Crowd) -> None:
    """One message out for one in, with clients of both kinds subscribed."""
    topic = fresh()
    device, other, listener = mqtt.client(), mqtt.client(), clasp.ws()
    device.subscribe(topic)
    other.subscribe(topic)
    subscribe(listener, f"/mqtt/{topic}")
    other.publish(fresh(), b"x")
    writer = clasp.ws()
    put(writer, f"/mqtt/{topic}", 1)
    assert [found.payload for found in device.publishes()] == [b"1"]
    assert [found.payload for found in other.publishes()] == [b"1"]
    assert [message.value for message in of_type(listener.sync(), wire.Set)] == [1]
    assert writer.sync() == []


def test_many_writes_end_on_the_newest(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    device, writer = mqtt.client(), clasp.ws()
    device.subscribe(f"{topic}/#")
    for number in range(2000):
        writer.send(wire.Set(address=f"/mqtt/{topic}/{number % 10}", value=number), 0)
    writer.sync()
    newest = {found.topic: found.payload for found in device.publishes()}
    assert newest == {f"{topic}/{number % 10}": b"%d" % number for number in range(1990, 2000)}


def test_thousands_of_retained_messages_reach_clasp_in_order(mqtt: Broker, clasp: Crowd) -> None:
    topic = fresh()
    listener = clasp.ws()
    subscribe(listener, f"/mqtt/{topic}")
    device = mqtt.client()
    device.send(*(mqtt_packets.publish(V5, topic, b"%d" % number, retain=True) for number in range(2000)))
    assert device.sync() == []
    values = [message.value for message in of_type(listener.sync(), wire.Set)]
    assert values == sorted(values)  # type: ignore[type-var]
    assert values[-1] == 1999


@pytest.mark.parametrize("address", ["/mqtt/{}/+", "/mqtt/{}/#", "/mqtt/{}/a+b", "/mqtt/{}/a#", "/mqtt", "/mqtt/"])
@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_addresses_that_are_no_topics(mqtt: Broker, clasp: Crowd, version: int, address: str) -> None:
    """Whatever becomes of them, no MQTT client is sent a topic that there cannot be (`mqtt_packets.read` checks)."""
    topic, writer = fresh(), clasp.ws()
    device = mqtt.client(version)
    device.subscribe_with_retained("#")
    address = address.format(topic)
    writer.send(wire.Set(address=address, value=1))
    writer.send(wire.Publish(address=address, signal=wire.SignalType.EVENT, value=2))
    writer.sync()
    device.publishes()
    mqtt.client(version).subscribe_with_retained("#")
    writer.send(wire.Set(address=f"/mqtt/{topic}/good", value=3))
    writer.sync()
    device.receive(b"3")


def test_a_shared_subscription_gets_each_write_once(mqtt: Broker, clasp: Crowd) -> None:
    topic, writer = fresh(), clasp.ws()
    members = [mqtt.client() for _ in range(3)]
    for member in members:
        member.subscribe(f"$share/g/{topic}/#")
    for number in range(30):
        put(writer, f"/mqtt/{topic}/{number % 3}", number)
    got = [int(found.payload) for member in members for found in member.publishes()]
    assert sorted(got) == list(range(30))


def test_properties_survive_the_visit_of_a_clasp_client(mqtt: Broker, clasp: Crowd) -> None:
    """A CLASP client that is told of a message takes nothing away from it; a SET of its own has none."""
    topic, writer = fresh(), clasp.ws()
    subscribe(writer, f"/mqtt/{topic}")
    props = {"user_property": [("unit", "°C")], "content_type": "text/plain"}
    mqtt.client().publish(topic, b"21.50", qos=1, retain=True, props=props)
    assert writer.recv_type(wire.Set).value == 21.5
    (kept,) = mqtt.client().subscribe_with_retained(topic)[1]
    assert (kept.payload, kept.properties) == (b"21.50", props)
    put(clasp.ws(), f"/mqtt/{topic}", 22)
    (kept,) = mqtt.client().subscribe_with_retained(topic)[1]
    assert (kept.payload, kept.properties) == (b"22", {})


def test_streams_and_gestures_do_not_harm_devices(mqtt: Broker, clasp: Crowd) -> None:
    """What has no form in MQTT is left out, or sent as its value; a device goes on being served."""
    topic, sender = fresh(), clasp.ws()
    device = mqtt.client()
    device.subscribe(f"{topic}/#", options=1)
    address = f"/mqtt/{topic}/x"
    sender.send(wire.Publish(address=address, signal=wire.SignalType.STREAM, value=0.5))
    sender.send(wire.Publish(address=address, signal=wire.SignalType.STREAM, samples=(0.1, 0.2), rate=100))
    sender.send(wire.Publish(address=address, signal=wire.SignalType.GESTURE, id=1, phase=wire.Phase.START))
    sender.send(wire.Publish(address=address, signal=wire.SignalType.GESTURE, id=1, phase=wire.Phase.END))
    sender.sync()
    for found in device.publishes():
        device.acknowledge(found)
    put(sender, address, 7)
    device.receive(b"7")
