"""Authenticated mode over MQTT: a token is the password, and its scopes hold for every topic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from support import mosquitto_tools
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put
from support.mqtt_client import Broker, Closed, MqttClient, fresh
from support.mqtt_packets import V5, V311, Ack, Publish, Suback, Will
from support.paho_client import Message, PahoClient

CONFIG = """
[security]
mode = "authenticated"

[[security.token]]
token = "all"
scopes = ["admin:/**"]

[[security.token]]
token = "lights"
subject = "lighting desk"
scopes = ["read:/mqtt/lights/**", "write:/mqtt/lights/**"]

[[security.token]]
token = "eyes"
scopes = ["read:/mqtt/**"]

[[security.token]]
token = "old"
scopes = ["admin:/**"]
expires = 2001-01-01T00:00:00Z
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, config=CONFIG) as running:
        yield running


@pytest.fixture(params=[V311, V5], ids=["v311", "v5"])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


def client(mqtt: Broker, version: int, token: str, **options: Any) -> MqttClient:
    return mqtt.client(version, username="device", password=token, **options)


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"username": "device"},
        {"username": "device", "password": "wrong"},
        {"username": "device", "password": "old"},
    ],
    ids=["none", "no-password", "wrong", "expired"],
)
def test_refused_at_the_door(mqtt: Broker, version: int, credentials: dict[str, str]) -> None:
    """3.1.1: 4 (bad user name or password) or 5 (not authorised); 5.0: 0x86 or 0x87."""
    opened = mqtt.open(version)
    opened.send(packets.connect(fresh("c"), version, **credentials))  # type: ignore[arg-type]
    said = opened.expect_refused(*((4, 5) if version == V311 else (0x86, 0x87)))
    assert said is not None


def test_a_refused_client_does_not_take_a_session_over(mqtt: Broker, version: int) -> None:
    name = fresh("c")
    inside = client(mqtt, version, "all", client_id=name)
    outside = mqtt.open(version)
    outside.send(packets.connect(name, version, username="device", password="wrong"))
    outside.expect_refused(4, 5, 0x86, 0x87)
    assert inside.sync() == []


def test_scopes_of_publish(mqtt: Broker, clasp: Crowd, version: int) -> None:
    """Inside: done. Outside: nothing is written; 5.0 says 0x87, 3.1.1 acknowledges or closes."""
    name = fresh()
    desk, reader = client(mqtt, version, "lights"), clasp.ws(token="all")
    desk.publish(f"lights/{name}", b"1", qos=1, retain=True)
    assert get(reader, f"/mqtt/lights/{name}") is not None
    for qos in (0, 1, 2):
        desk = client(mqtt, version, "lights")
        desk.send(packets.publish(version, f"doors/{name}", b"1", qos=qos, retain=True, packet_id=7), packets.pingreq())
        try:
            answer = desk.recv()
            if qos and version == V5 and isinstance(answer, Ack):
                assert answer.reason == 0x87
        except Closed:
            pass
        assert get(reader, f"/mqtt/doors/{name}") is None


def test_scopes_of_subscribe(mqtt: Broker, version: int) -> None:
    """Outside what may be read, the filter is refused, and nothing comes."""
    name = fresh()
    desk, all_ = client(mqtt, version, "lights"), client(mqtt, version, "all")
    desk.send(packets.subscribe(version, 5, [(f"lights/{name}", 1), (f"doors/{name}", 1)]))
    assert desk.expect(Suback).codes == [1, 0x80 if version == V311 else 0x87]
    all_.publish(f"doors/{name}", b"secret", qos=1)
    all_.publish(f"lights/{name}", b"open", qos=1)
    desk.receive(b"open")
    assert desk.sync() == []


def test_a_wide_filter_delivers_only_what_may_be_read(mqtt: Broker, clasp: Crowd, version: int) -> None:
    """Granted or refused: what is outside never comes, neither live nor retained."""
    name = fresh()
    writer = clasp.ws(token="all")
    put(writer, f"/mqtt/doors/{name}", "kept secret")
    desk = client(mqtt, version, "lights")
    desk.send(packets.subscribe(version, 5, [("#", 0), (f"+/{name}", 0)]))
    put(writer, f"/mqtt/doors/{name}", "secret")
    client(mqtt, version, "all").publish(f"doors/{name}", b"secret")
    seen = [found.topic for found in desk.sync() if isinstance(found, Publish)]
    assert [topic for topic in seen if not topic.startswith("lights/")] == []


def test_a_reader_cannot_write(mqtt: Broker, clasp: Crowd, version: int) -> None:
    name = fresh()
    eyes = client(mqtt, version, "eyes")
    eyes.subscribe(f"x/{name}")
    eyes.send(packets.publish(version, f"x/{name}", b"1", retain=True))
    with suppress(Closed):
        assert [found for found in eyes.sync() if isinstance(found, Publish)] == []
    assert get(clasp.ws(token="all"), f"/mqtt/x/{name}") is None


def test_scopes_of_a_will(mqtt: Broker, clasp: Crowd, version: int) -> None:
    """Refused at CONNECT, or not published."""
    name = fresh()
    desk = mqtt.open(version)
    will = Will(f"doors/{name}", b"open", qos=1, retain=True)
    desk.send(packets.connect(fresh("c"), version, username="d", password="lights", will=will))
    desk.recv_raw_or_closed()
    desk.reset()
    # A will that is allowed, of a client that is lost later, has come: the first one had its chance.
    watcher = client(mqtt, version, "all")
    watcher.subscribe(f"lights/{name}")
    client(mqtt, version, "lights", will=Will(f"lights/{name}", b"gone")).reset()
    watcher.receive(b"gone")
    assert get(clasp.ws(token="all"), f"/mqtt/doors/{name}") is None


def test_a_token_of_clasp_alone_is_enough_in_5(mqtt: Broker) -> None:
    """A password needs no user name there."""
    assert mqtt.client(V5, password="all").sync() == []


def test_another_identity_does_not_inherit_a_session(mqtt: Broker) -> None:
    """What waits in a session was allowed to its owner, not to whoever comes with its name next."""
    name, topic = fresh("c"), f"doors/{fresh()}"
    props = {"session_expiry_interval": 60}
    owner = client(mqtt, V5, "all", client_id=name, clean=False, props=props)
    owner.subscribe(topic, options=1)
    owner.disconnect()
    client(mqtt, V5, "all").publish(topic, b"secret", qos=1)
    other = mqtt.open(V5)
    other.send(packets.connect(name, V5, clean=False, username="d", password="lights", props=props), packets.pingreq())
    try:
        while not isinstance(found := other.recv(), packets.Pingresp):
            assert not isinstance(found, Publish), "delivered to somebody else"
    except Closed:
        pass


def test_real_clients_with_tokens(daemon: Daemon, version: int) -> None:
    """paho-mqtt and mosquitto's tools, with the right token and with a wrong one."""
    topic = f"lights/{fresh()}"
    with PahoClient(daemon.mqtt_address, version, username="desk", password="lights") as desk:
        assert desk.subscribe(topic, 1) == [1]
        assert desk.subscribe("doors/#", 1) == [0x80 if version == V311 else 0x87]
        words = ["-u", "desk", "-q", "1", "-P"]
        done = mosquitto_tools.publish(daemon.mqtt_address, version, topic, b"21.50", *words, "lights")
        assert done.returncode == 0
        assert desk.received.wait() == [Message(topic, b"21.50", 1, False)]
        refused = mosquitto_tools.publish(daemon.mqtt_address, version, topic, b"x", *words, "wrong")
        assert refused.returncode != 0
    stranger = PahoClient(daemon.mqtt_address, version, username="desk", password="wrong").start()
    code, _ = stranger.connected.wait()[0]
    stranger.client.disconnect()
    stranger.client.loop_stop()
    assert code in (0x86, 0x87)  # what paho makes of 4 and 5, too


def test_who_may_only_read_says_nothing_of_bridges(mqtt: Broker, version: int) -> None:
    states = {token: f"$SYS/broker/connection/{fresh()}/state" for token in ("eyes", "lights")}
    bridges = {token: client(mqtt, version, token, will=Will(topic, b"0", 1, True)) for token, topic in states.items()}
    for token, topic in states.items():
        bridges[token].send(packets.publish(version, topic, b"1", qos=1, packet_id=1))
    assert bridges["lights"].expect(Ack).reason == 0
    with suppress(Closed):  # 3.1.1 has no other way to refuse
        assert bridges["eyes"].expect(Ack).reason != 0 or version == V311

    def told() -> dict[str, bytes]:
        _, found = client(mqtt, version, "all").subscribe_with_retained("$SYS/broker/connection/#")
        return {each.topic: each.payload for each in found if each.topic in states.values()}

    assert told() == {states["lights"]: b"1"}
    bridges["eyes"].reset()
    bridges["lights"].reset()
    eventually(lambda: told() == {states["lights"]: b"0"}, 20)
