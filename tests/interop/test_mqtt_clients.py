"""MQTT clients that others have written, against the daemon: paho-mqtt, mosquitto_pub and mosquitto_sub, MQTT.js.

MQTT_TEST_BROKER=HOST:PORT and MQTT_TEST_WEBSOCKET=HOST:PORT name another broker for what asks for MQTT alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support import mosquitto_tools
from support.daemon import Daemon
from support.javascript_mqtt import JavaScriptMqtt
from support.mqtt_client import fresh
from support.mqtt_packets import V5, V311
from support.paho_client import Message, PahoClient

LARGE = bytes(range(256)) * 1000
"""In one WebSocket frame."""

PAYLOADS = [b"", b"21.50", b"text", "Bühne".encode(), b"\x00\xff\xfe", b'{"a": [1, 2.0]}', bytes(range(256)) * 40]


def _given(variable: str) -> tuple[str, int] | None:
    host, _, port = os.environ.get(variable, "").rpartition(":")
    return (host, int(port)) if port else None


@pytest.fixture(scope="module")
def addresses() -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """Of MQTT over TCP and over WebSocket."""
    tcp, websocket = _given("MQTT_TEST_BROKER"), _given("MQTT_TEST_WEBSOCKET")
    if tcp and websocket:
        yield tcp, websocket
        return
    with Daemon(mqtt=True) as running:
        yield running.mqtt_address, running.ws_address


@pytest.fixture
def address(addresses: tuple[tuple[str, int], tuple[str, int]]) -> tuple[str, int]:
    return addresses[0]


@pytest.fixture
def ws_address(addresses: tuple[tuple[str, int], tuple[str, int]]) -> tuple[str, int]:
    return addresses[1]


@pytest.fixture(params=[V311, V5], ids=["v311", "v5"])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


# ---- paho-mqtt ----


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_round_trip(
    addresses: tuple[tuple[str, int], tuple[str, int]], version: int, qos: int, websocket: bool
) -> None:
    topic = fresh()
    with PahoClient(addresses[websocket], version, websocket=websocket) as client:
        assert client.subscribe(f"{topic}/#", qos) == [qos]
        for number, payload in enumerate([*PAYLOADS, LARGE]):
            client.publish(f"{topic}/{number}", payload, qos)
        wanted = [
            Message(f"{topic}/{number}", payload, qos, False) for number, payload in enumerate([*PAYLOADS, LARGE])
        ]
        assert client.received.wait(len(PAYLOADS) + 1) == wanted
        client.unsubscribe(f"{topic}/#")
        client.publish(f"{topic}/0", b"late", qos=2)
        assert len(client.received.items) == len(PAYLOADS) + 1


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_many_messages(address: tuple[str, int], version: int, qos: int) -> None:
    topic = fresh()
    with PahoClient(address, version) as sender, PahoClient(address, version) as receiver:
        receiver.subscribe(topic, qos)
        sent = [sender.client.publish(topic, b"%d" % number, qos) for number in range(800)]
        for one in sent:
            one.wait_for_publish(10)
        got = receiver.received.wait(800)
        assert [int(found.payload) for found in got] == list(range(800))


def test_paho_retained(address: tuple[str, int], version: int) -> None:
    topic = fresh()
    with PahoClient(address, version) as client:
        for payload in PAYLOADS[1:]:
            client.publish(topic, payload, 1, retain=True)
            with PahoClient(address, version) as late:
                late.subscribe(topic, 1)
                assert late.received.wait() == [Message(topic, payload, 1, True)]
        client.publish(topic, b"", 1, retain=True)
        with PahoClient(address, version) as late:
            late.subscribe(topic, 1)
            late.publish(f"{topic}/x", b"", 2)
            assert late.received.items == []


def test_paho_will(address: tuple[str, int], version: int) -> None:
    topic = fresh()
    with PahoClient(address, version) as watcher:
        watcher.subscribe(topic, 2)
        client = PahoClient(address, version, will=Message(topic, b"gone", 1, False))
        with client:
            client.vanish()
        assert watcher.received.wait() == [Message(topic, b"gone", 1, False)]


def test_paho_session_is_resumed(address: tuple[str, int], version: int) -> None:
    topic, name = fresh(), fresh("c")
    with PahoClient(address, version, name, expiry_s=60) as client:
        client.subscribe(topic, 2)
    with PahoClient(address, version) as sender:
        for number in range(50):
            sender.publish(topic, b"%d" % number, 1 + number % 2)
    with PahoClient(address, version, name, expiry_s=60) as client:
        assert client.connected.items == [(0, True)]
        got = client.received.wait(50)
        for qos in (1, 2):  # at QoS 2 paho hands a message on when its handshake is over: the two overtake each other
            wanted = [b"%d" % number for number in range(50) if 1 + number % 2 == qos]
            assert [found.payload for found in got if found.qos == qos] == wanted


def test_paho_properties(address: tuple[str, int]) -> None:
    topic = fresh()
    props = Properties(PacketTypes.PUBLISH)
    props.UserProperty = [("b", "1"), ("a", "2"), ("b", "1")]
    props.ContentType = "text/plain"
    props.ResponseTopic = "answers"
    props.CorrelationData = b"\x00\xff"
    props.PayloadFormatIndicator = 1
    with PahoClient(address) as client:
        client.subscribe(topic, 1)
        client.publish(topic, "text", 1, props=props)
        client.received.wait()
        assert client.raw[0].properties.json() == props.json()


def test_paho_reconnects_by_itself_after_a_take_over(address: tuple[str, int]) -> None:
    topic, name = fresh(), fresh("c")
    with PahoClient(address, V5, name, expiry_s=60) as client:
        client.subscribe(topic, 1)
        with PahoClient(address, V5, name, expiry_s=60) as other:
            assert client.disconnected.wait()[0] in (0x8E, 0x80)  # 0x80: the socket ended without a word
            client.client.disconnect()
            other.publish(topic, b"x", 1)
            assert other.received.wait() == [Message(topic, b"x", 1, False)]


# ---- mosquitto_pub, mosquitto_sub ----


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_tools(address: tuple[str, int], version: int, qos: int) -> None:
    topic = fresh()
    with mosquitto_tools.Subscriber(address, version, "-t", f"{topic}/#", "-q", str(qos)) as subscriber:
        for number, payload in enumerate(PAYLOADS):
            done = mosquitto_tools.publish(address, version, f"{topic}/{number}", payload, "-q", str(qos))
            assert (done.returncode, done.stderr) == (0, b"")
        wanted = [(f"{topic}/{number}", qos, False, payload) for number, payload in enumerate(PAYLOADS)]
        assert subscriber.lines.wait(len(PAYLOADS)) == wanted


def test_mosquitto_tools_retained(address: tuple[str, int], version: int) -> None:
    topic = fresh()
    mosquitto_tools.publish(address, version, topic, b"21.50", "-q", "1", "-r")
    with mosquitto_tools.Subscriber(address, version, "-t", topic) as subscriber:
        assert subscriber.lines.wait() == [(topic, 0, True, b"21.50")]
    mosquitto_tools.publish(address, version, topic, b"", "-q", "1", "-r")
    with mosquitto_tools.Subscriber(address, version, "-t", topic, "-t", f"{topic}/end") as subscriber:
        mosquitto_tools.publish(address, version, f"{topic}/end", b"end", "-q", "1")
        assert [line[3] for line in subscriber.lines.wait()] == [b"end"]


def test_mosquitto_tools_will_and_session(address: tuple[str, int], version: int) -> None:
    topic, name = fresh(), fresh("c")
    keep = ["-c"] if version == V311 else ["-c", "-x", "60"]
    words = ["-i", name, *keep, "-q", "1", "-t", topic]
    with mosquitto_tools.Subscriber(address, version, *words):
        pass
    assert mosquitto_tools.publish(address, version, topic, b"waited", "-q", "1").returncode == 0
    with mosquitto_tools.Subscriber(address, version, *words) as subscriber:
        assert subscriber.lines.wait() == [(topic, 1, False, b"waited")]


# ---- MQTT.js ----


def js_url(address: tuple[str, int], scheme: str) -> str:
    path = "/mqtt" if scheme == "ws" else ""
    return f"{scheme}://{address[0]}:{address[1]}{path}"


@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_javascript_round_trip(
    addresses: tuple[tuple[str, int], tuple[str, int]], version: int, qos: int, scheme: str
) -> None:
    topic = fresh()
    with JavaScriptMqtt(js_url(addresses[scheme == "ws"], scheme), protocolVersion=version) as client:
        assert client.connect() is False
        assert client.subscribe(f"{topic}/#", qos) == [qos]
        for number, payload in enumerate([*PAYLOADS, LARGE]):
            client.publish(f"{topic}/{number}", payload, qos=qos)
        wanted = [(f"{topic}/{number}", payload, qos, False) for number, payload in enumerate([*PAYLOADS, LARGE])]
        assert client.received.wait(len(PAYLOADS) + 1) == wanted
        client.call("end")


def test_javascript_retained_and_properties(address: tuple[str, int]) -> None:
    topic = fresh()
    with JavaScriptMqtt(js_url(address, "mqtt"), protocolVersion=V5) as client:
        client.connect()
        props = {"userProperties": {"unit": "°C"}, "contentType": "text/plain"}
        client.publish(topic, b"21.50", qos=1, retain=True, properties=props)
        client.subscribe(topic, 1)
        assert client.received.wait() == [(topic, b"21.50", 1, True)]
        assert client.properties.wait() == [{"user": {"unit": "°C"}, "contentType": "text/plain"}]
        client.publish(topic, b"", qos=1, retain=True)
        client.call("end")


@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
def test_javascript_will_and_session(
    addresses: tuple[tuple[str, int], tuple[str, int]], version: int, scheme: str
) -> None:
    url, topic, name = js_url(addresses[scheme == "ws"], scheme), fresh(), fresh("c")
    options: dict[str, object] = {"protocolVersion": version, "clean": False, "clientId": name, "reconnectPeriod": 0}
    if version == V5:
        options["properties"] = {"sessionExpiryInterval": 60}
    will = {"topic": f"{topic}/will", "payload": "gone", "qos": 1, "retain": False}
    with PahoClient(addresses[0]) as other:
        other.subscribe(f"{topic}/will", 1)
        with JavaScriptMqtt(url, **options, will=will) as client:
            assert client.connect() is False
            client.subscribe(topic, 1)
            client.call("vanish")
            client.events.wait_for(lambda event: event["event"] == "close")
        assert other.received.wait() == [Message(f"{topic}/will", b"gone", 1, False)]
        other.publish(topic, b"waited", 1)
        with JavaScriptMqtt(url, **options) as client:
            assert client.connect() is True
            assert client.received.wait() == [(topic, b"waited", 1, False)]
            client.call("end")


# ---- one another ----


def test_every_client_hears_every_other(addresses: tuple[tuple[str, int], tuple[str, int]]) -> None:
    topic = fresh()
    address, ws_address = addresses
    with (
        PahoClient(address, V311) as old,
        PahoClient(ws_address, V5, websocket=True) as new,
        JavaScriptMqtt(js_url(address, "mqtt"), protocolVersion=V5) as script,
        mosquitto_tools.Subscriber(address, V5, "-t", topic) as tool,
    ):
        script.connect()
        script.subscribe(topic, 1)
        for client in (old, new):
            client.subscribe(topic, 1)
        old.publish(topic, b"from 3.1.1")
        new.publish(topic, b"from a WebSocket")
        script.publish(topic, b"from JavaScript", qos=1)
        mosquitto_tools.publish(address, V311, topic, b"from a tool", "-q", "1")
        wanted = [b"from 3.1.1", b"from a WebSocket", b"from JavaScript", b"from a tool"]
        for received in (old.received, new.received, script.received):
            assert [found.payload for found in received.wait(4)] == wanted
        assert [line[3] for line in tool.lines.wait(4)] == wanted
        script.call("end")
