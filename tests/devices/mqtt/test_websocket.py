"""MQTT over WebSocket (MQTT 5.0 chapter 6) on the daemon's WebSocket port, beside CLASP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.live import Crowd, get
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V5, V311
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol


@pytest.fixture(params=[V311, V5], ids=["v311", "v5"])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def ws(daemon: Daemon) -> Iterator[ClientConnection]:
    with open_ws(daemon) as connection:
        yield connection


def open_ws(daemon: Daemon, *subprotocols: str, path: str = "/mqtt") -> ClientConnection:
    offered = [Subprotocol(name) for name in subprotocols or ("mqtt",)]
    return connect(daemon.ws_url + path, subprotocols=offered, compression=None, proxy=None, close_timeout=2)


def receive(ws: ClientConnection, version: int, count: int = 1) -> list[packets.Packet]:
    """The next packets, however they are spread over frames."""
    data = bytearray()
    found: list[packets.Packet] = []
    while len(found) < count:
        frame = ws.recv(5)
        assert isinstance(frame, bytes), "a text frame (6.0.0-1)"
        data += frame
        while (whole := packets.split(data)) is not None:
            kind, flags, body, length = whole
            del data[:length]
            found.append(packets.read(kind, flags, body, version))
    assert not data
    assert len(found) == count
    return found


def expect_closed(ws: ClientConnection) -> None:
    """Pass over what still comes; the server must close within the wait."""
    with suppress(ConnectionClosed):
        while True:
            ws.recv(5)


@pytest.mark.parametrize("path", ["/", "/mqtt", "/clasp", "/some/where?x=y"])
def test_mqtt_6_0_0_4_subprotocol(daemon: Daemon, path: str) -> None:
    with open_ws(daemon, path=path) as ws:
        assert ws.subprotocol == "mqtt"
        ws.send(packets.connect(fresh("c"), V5))
        (connack,) = receive(ws, V5)
        assert isinstance(connack, packets.Connack)
        assert connack.code == 0


def test_mqtt_6_0_0_3_offered_among_others(daemon: Daemon) -> None:
    with open_ws(daemon, "mqttv3.1", "mqtt") as ws:
        assert ws.subprotocol == "mqtt"


def test_clasp_stays_clasp(daemon: Daemon) -> None:
    with open_ws(daemon, "clasp") as ws:
        assert ws.subprotocol == "clasp"


def test_mqtt_6_0_0_2_packets_and_frames_are_not_aligned(ws: ClientConnection, version: int) -> None:
    topic = fresh()
    everything = b"".join(
        [
            packets.connect(fresh("c"), version),
            packets.subscribe(version, 1, [(topic, 0)]),
            packets.publish(version, topic, b"x" * 300),
            packets.pingreq(),
        ]
    )
    for start in range(0, len(everything), 7):
        ws.send(everything[start : start + 7])
    found = receive(ws, version, 4)
    assert [type(packet) for packet in found] == [packets.Connack, packets.Suback, packets.Publish, packets.Pingresp]


def test_mqtt_6_0_0_2_one_frame_in_fragments(ws: ClientConnection, version: int) -> None:
    whole = packets.connect(fresh("c"), version) + packets.pingreq()
    ws.send(whole[start : start + 5] for start in range(0, len(whole), 5))
    found = receive(ws, version, 2)
    assert isinstance(found[1], packets.Pingresp)


def test_mqtt_6_0_0_1_text_frames_end_the_connection(ws: ClientConnection, version: int) -> None:
    ws.send(packets.connect(fresh("c"), version))
    receive(ws, version)
    ws.send("text")
    expect_closed(ws)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_both_transports_share_everything(
    mqtt: Broker, clasp: Crowd, ws: ClientConnection, version: int, qos: int
) -> None:
    topic = fresh()
    device = mqtt.client(version)
    device.subscribe(topic, options=qos)
    ws.send(packets.connect(fresh("c"), version))
    ws.send(packets.publish(version, topic, b"21.50", qos=qos, retain=True, packet_id=3))
    if qos == 2:  # a server may wait for it with the delivery
        ws.send(packets.ack(packets.PUBREL, 3))
    assert device.receive(b"21.50").qos == qos
    found = get(clasp.ws(), f"/mqtt/{topic}")
    assert found is not None
    assert found.value == 21.5


@pytest.mark.parametrize("size", [40_000, 228_184, 1_000_000])
def test_a_large_message_in_one_frame(ws: ClientConnection, version: int, size: int) -> None:
    topic = fresh()
    ws.send(packets.connect(fresh("c"), version))
    ws.send(packets.subscribe(version, 1, [(topic, 0)]))
    receive(ws, version, 2)
    payload = (bytes(range(251)) * (size // 251 + 1))[:size]
    ws.send(packets.publish(version, topic, payload))
    (found,) = receive(ws, version)
    assert isinstance(found, packets.Publish)
    assert found.payload == payload


def test_disconnect_closes(ws: ClientConnection, version: int) -> None:
    ws.send(packets.connect(fresh("c"), version))
    receive(ws, version)
    ws.send(packets.disconnect(version))
    with pytest.raises(ConnectionClosed):
        ws.recv(5)


def test_a_lost_connection_publishes_the_will(mqtt: Broker, daemon: Daemon, version: int) -> None:
    topic = fresh()
    device = mqtt.client(version)
    device.subscribe(topic)
    with open_ws(daemon) as ws:
        ws.send(packets.connect(fresh("c"), version, will=packets.Will(topic, b"gone")))
        receive(ws, version)
        ws.socket.shutdown(2)
        device.receive(b"gone")


def test_a_session_moves_between_transports(mqtt: Broker, daemon: Daemon, version: int) -> None:
    topic, name = fresh(), fresh("c")
    props = {"session_expiry_interval": 60}
    client = mqtt.client(version, name, clean=False, props=props)
    client.subscribe(topic, options=1)
    with open_ws(daemon) as ws:
        ws.send(packets.connect(name, version, clean=False, props=props))
        (connack,) = receive(ws, version)
        assert isinstance(connack, packets.Connack)
        assert connack.session_present
        client.expect_closed(0x8E)
        ws.send(packets.publish(version, topic, b"x"))
        (found,) = receive(ws, version)
        assert isinstance(found, packets.Publish)


def test_keep_alive_holds_here_too(ws: ClientConnection, version: int) -> None:
    ws.send(packets.connect(fresh("c"), version, keep_alive=1))
    expect_closed(ws)
