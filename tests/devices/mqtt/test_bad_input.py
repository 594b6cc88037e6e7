"""Odd, oversized and endless input: its sender gets a reason code or loses the connection, nobody else notices."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.live import Crowd, Witness
from support.mqtt_client import Broker, Closed, MqttClient, fresh
from support.mqtt_packets import V5, V311, Suback

LIMITS: dict[str, Any] = {
    "limits.max_subscriptions_per_session": 50,
    "limits.handshake_timeout_s": 1,
    "limits.max_sessions": 60,
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, sets=LIMITS) as running:
        yield running


@pytest.fixture(autouse=True)
def undisturbed(mqtt: Broker, clasp: Crowd) -> Iterator[None]:
    """Whatever a test does, a CLASP client and an MQTT client notice nothing of it and stay served."""
    witness, device = Witness(clasp), mqtt.client(V311)
    topic = fresh("bystander")
    device.subscribe(f"{topic}/#", options=1)
    yield
    assert device.sync() == []
    device.send(packets.publish(V311, f"{topic}/beat", b"still there"))
    assert [found.payload for found in device.publishes()] == [b"still there"]
    witness.assert_undisturbed()


@pytest.fixture(params=[V311, V5], ids=["v311", "v5"])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


def outcome(client: MqttClient) -> None:
    """Pass over whatever comes until the server closes, or answers a PINGREQ; anything else hangs and fails."""
    try:
        client.send(packets.pingreq())
        while client.recv_raw()[0] != packets.PINGRESP:
            pass
    except Closed:
        pass


def finish(client: MqttClient) -> None:
    """Say that nothing more will come, and pass over what still does until the server closes, too."""
    with suppress(OSError):  # it may have closed already
        client.socket.shutdown(socket.SHUT_WR)
    client.drain()
    client.socket.close()


def test_more_subscriptions_than_one_client_may_have(mqtt: Broker, version: int) -> None:
    base = fresh()
    client = mqtt.client(version)
    client.send(packets.subscribe(version, 1, [(f"{base}/{number}", 0) for number in range(60)]))
    codes = client.expect(Suback).codes
    assert codes[:50] == [0] * 50
    assert all(code >= 0x80 for code in codes[50:])
    # One that exists can be replaced, and one given back makes room for another.
    assert client.subscribe(f"{base}/0").codes == [0]
    client.unsubscribe(f"{base}/0")
    assert client.subscribe(f"{base}/new").codes == [0]


def test_a_client_that_never_says_connect(mqtt: Broker) -> None:
    client = mqtt.open()
    with pytest.raises(Closed):
        client.recv_raw(timeout=10.0)


def test_a_client_that_never_ends_its_connect(mqtt: Broker) -> None:
    client = mqtt.open()
    client.send(packets.connect(fresh("c"), V5)[:-3])
    with pytest.raises(Closed):
        client.recv_raw(timeout=10.0)


def test_many_that_never_say_connect(mqtt: Broker) -> None:
    """They are no sessions: others still get in."""
    for _ in range(150):
        mqtt.open()
    assert mqtt.client(V5).sync() == []


def test_more_clients_than_allowed(mqtt: Broker, version: int) -> None:
    """Those over the limit are refused: 3 (server unavailable) or 0x97, 0x88, 0x89 in 5.0."""
    inside: list[MqttClient] = []
    for _ in range(70):
        client = mqtt.open(version).connect(expect=None)
        if client.connack.code:
            assert client.connack.code in ((3,) if version == V311 else (0x97, 0x88, 0x89, 0x9F))
            with pytest.raises(Closed):
                client.recv_raw()
            break
        inside.append(client)
    else:
        pytest.fail("nobody was refused")
    inside.pop().disconnect()


def test_random_bytes(mqtt: Broker) -> None:
    noise = random.Random(1)
    for _ in range(100):
        client = mqtt.open()
        client.send(noise.randbytes(noise.randrange(1, 200)))
        client.reset()


def test_random_bytes_after_connect(mqtt: Broker, version: int) -> None:
    noise = random.Random(2)
    for _ in range(200):
        client = mqtt.client(version)
        client.send(noise.randbytes(noise.randrange(1, 100)))
        client.reset()


def test_mutated_packets(mqtt: Broker, version: int) -> None:
    """Good packets with one byte changed: each is answered, ignored or ends the connection, within the wait."""
    noise = random.Random(3)
    topic = fresh()
    props = {"user_property": [("a", "b")], "message_expiry_interval": 9}
    good = [
        packets.publish(version, topic, b"payload", qos=1, packet_id=9, props=props),
        packets.publish(version, topic, b"payload", qos=2, packet_id=9, retain=True),
        packets.subscribe(version, 3, [(f"{topic}/#", 1), (topic, 0)]),
        packets.unsubscribe(version, 4, [topic, f"{topic}/#"]),
        packets.ack(packets.PUBREL, 9),
        packets.ack(packets.PUBACK, 1),
        packets.disconnect(version),
    ]
    for _ in range(150):
        bad = bytearray(noise.choice(good))
        bad[noise.randrange(len(bad))] = noise.randrange(256)
        client = mqtt.client(version)
        # A length that has grown is filled up, so that nothing waits for the rest.
        client.send(bytes(bad), bytes(300))
        finish(client)


def test_mutated_connects(mqtt: Broker, version: int) -> None:
    noise = random.Random(4)
    will = packets.Will("will/topic", b"x", qos=1, properties={"will_delay_interval": 1})
    for _ in range(200):
        bad = bytearray(packets.connect("mutant", version, will=will, username="u", password="p", keep_alive=9))
        for _ in range(noise.randrange(1, 4)):
            bad[noise.randrange(len(bad))] = noise.randrange(256)
        client = mqtt.open(version)
        client.send(bytes(bad))
        finish(client)


def test_the_longest_topic(mqtt: Broker, version: int) -> None:
    """Longer than an address of CLASP can be: refused by code, dropped, or the end of that connection."""
    client = mqtt.client(version)
    for topic in ("x" * 65535, "a/" * 32000, "/" * 65535):
        client = mqtt.client(version)
        client.send(packets.publish(version, topic, b"x", qos=1, retain=True, packet_id=3))
        outcome(client)
        client = mqtt.client(version)
        client.send(packets.subscribe(version, 3, [(topic, 0)]))
        outcome(client)


def test_filters_with_many_wildcards(mqtt: Broker, version: int) -> None:
    client, sender = mqtt.client(version), mqtt.client(version)
    client.subscribe_with_retained(*("/".join("+" * depth) + "/#" for depth in range(2, 40)))
    topic = "/".join("a" * 50)
    sender.publish(topic, b"x", qos=1)
    assert {found.topic for found in client.publishes()} == {topic}


def test_deeper_than_an_address_may_be(mqtt: Broker, version: int) -> None:
    """A topic of 200 levels is refused in 5.0, dropped in 3.1.1; a filter of so many is refused or matches nothing."""
    client = mqtt.client(version)
    client.send(packets.publish(version, "/".join("a" * 200), b"x", qos=1, retain=True, packet_id=5))
    answer = client.expect_ack(packets.PUBACK, 5)
    assert answer.reason == (0x90 if version == V5 else 0)
    assert client.subscribe_with_retained("/".join("+" * 200))[1] == []


def test_a_large_payload(mqtt: Broker, version: int) -> None:
    """Delivered whole, or refused: 0x95 where the connection is closed, or a code in the acknowledgement."""
    topic = fresh()
    client = mqtt.client(version)
    client.subscribe(topic)
    for size in (65_000, 65_536, 1 << 20):
        try:
            client.send(packets.publish(version, topic, b"x" * size, qos=1, packet_id=5))
            outcome(client)
        except Closed:
            pass
        client = mqtt.client(version)
        client.subscribe(topic)


def test_a_packet_that_never_ends(mqtt: Broker, version: int) -> None:
    """A length of the largest size and then, slowly, bytes: the server does not collect them without bound."""
    client = mqtt.client(version)
    client.send(bytes([packets.PUBLISH << 4]) + packets.varint(268_435_455))
    try:
        for _ in range(200):
            client.send(b"\0" * 65536)
    except Closed:
        return
    outcome(client)


def test_a_subscriber_that_does_not_read(mqtt: Broker, version: int) -> None:
    topic = fresh()
    deaf = mqtt.client(version)
    deaf.subscribe(topic, options=0)
    sender, hears = mqtt.client(version), mqtt.client(version)
    hears.subscribe(f"{topic}/other")
    burst = packets.publish(version, topic, b"x" * 1000) * 500
    for _ in range(20):
        sender.send(burst)
        assert sender.sync() == []
    sender.publish(f"{topic}/other", b"hello")
    hears.receive(b"hello")


def test_who_asks_again_and_again_and_acknowledges_nothing(mqtt: Broker) -> None:
    """A client that subscribes in its loop: its retained messages wait once, not as often as it has asked."""
    topic = fresh()
    sender = mqtt.client(V5)
    for number in range(3):
        sender.publish(f"{topic}/{number}", b"x", qos=1, retain=True)
    client = mqtt.client(V5, props={"receive_maximum": 1})
    got = [packet for _ in range(30) for packet in client.subscribe_with_retained(f"{topic}/+", options=1)[1]]
    unacknowledged = list(got)
    while unacknowledged:
        client.acknowledge(unacknowledged.pop())
        unacknowledged = client.publishes()
        got += unacknowledged
    assert len(got) == 1 + 3, "one, and all of them for the last time of asking"
    for number in range(3):
        sender.publish(f"{topic}/{number}", retain=True)


def test_a_sleeping_session_does_not_grow_without_bound(mqtt: Broker, daemon: Daemon) -> None:
    """Five megabytes for one that sleeps: some are dropped, the newest or the oldest, and the daemon stays small."""
    name, topic = fresh("c"), fresh()
    props = {"session_expiry_interval": 60}
    client = mqtt.client(V5, name, clean=False, props=props)
    client.subscribe(topic, options=1)
    client.disconnect()
    sender = mqtt.client(V5)
    for number in range(0, 5_000, 20):
        numbers = range(number, number + 20)
        sender.send(*(packets.publish(V5, topic, b"%06d" % n + b"x" * 1000, qos=1, packet_id=n + 1) for n in numbers))
        for n in numbers:
            sender.expect_ack(packets.PUBACK, n + 1)
    client = mqtt.client(V5, name, clean=False, props=props)
    got: list[int] = []
    while waiting := client.publishes():
        for found in waiting:
            got.append(int(found.payload[:6]))
            client.acknowledge(found)
    assert got == sorted(got)
    assert 0 < len(got) < 5_000


def test_sleeping_sessions_do_not_grow_in_number_without_bound(mqtt: Broker) -> None:
    """More than there may be clients: the server stays well, and new clients get in."""
    for number in range(300):
        client = mqtt.open(V5)
        client.connect(f"sleeper{number}", clean=False, props={"session_expiry_interval": 600}, expect=None)
        client.send(packets.disconnect(V5))
        client.socket.close()
    assert mqtt.client(V5).sync() == []
    for number in range(300):
        client = mqtt.open(V5).connect(f"sleeper{number}", clean=True, expect=None)
        client.socket.close()
