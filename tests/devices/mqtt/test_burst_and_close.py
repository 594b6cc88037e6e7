"""What a client sends above its rate before it closes counts, its DISCONNECT too; however it closes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.mqtt_client import DEFAULT_TIMEOUT_S, Broker, MqttClient, fresh
from support.mqtt_packets import V5, V311, Connack, Publish, Suback

RATE = 1000
COUNT = 3000
"""Above what a second's worth of the rate holds, so that most of it waits."""

FRAME_BYTES = 30_000

Write = Callable[[Daemon, bytes, bytes], None]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    sets: dict[str, object] = {"mqtt.tls_listen": "127.0.0.1:0", "mqtt.events": ["burst/#"]}
    with Daemon(mqtt=True, messages_per_second=RATE, sets=sets) as running:
        yield running


def _take_connack(sock: socket.socket) -> None:
    sock.settimeout(DEFAULT_TIMEOUT_S)
    assert sock.recv(4096)[0] >> 4 == packets.CONNACK


def _await_end(sock: socket.socket) -> None:
    sock.settimeout(DEFAULT_TIMEOUT_S)
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass


def over_tcp(daemon: Daemon, hello: bytes, burst: bytes) -> None:
    with socket.create_connection(daemon.mqtt_address) as sock:
        sock.sendall(hello)
        _take_connack(sock)
        sock.sendall(burst)


def over_tcp_half_closed(daemon: Daemon, hello: bytes, burst: bytes) -> None:
    """It goes on reading until we close."""
    with socket.create_connection(daemon.mqtt_address) as sock:
        sock.sendall(hello)
        _take_connack(sock)
        sock.sendall(burst)
        sock.shutdown(socket.SHUT_WR)
        _await_end(sock)


def over_tcp_in_one_breath(daemon: Daemon, hello: bytes, burst: bytes) -> None:
    """CONNECT and everything else in one write, half closed."""
    with socket.create_connection(daemon.mqtt_address) as sock:
        sock.sendall(hello + burst)
        sock.shutdown(socket.SHUT_WR)
        _await_end(sock)


def over_tls(daemon: Daemon, hello: bytes, burst: bytes) -> None:
    context = ssl.create_default_context(cafile=str(daemon.data_dir / "tls" / "certificate.pem"))
    with (
        socket.create_connection(daemon.address_pair("mqtts")) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as sock,
    ):
        sock.sendall(hello)
        _take_connack(sock)
        sock.sendall(burst)


def over_websocket(daemon: Daemon, hello: bytes, burst: bytes) -> None:
    """The close frame behind it in the same write; a mask of zeros leaves the bytes as they are."""

    def frame(opcode: int, payload: bytes) -> bytes:
        size = bytes((0xFE,)) + struct.pack("!H", len(payload)) if len(payload) > 125 else bytes((0x80 | len(payload),))
        return bytes((0x80 | opcode,)) + size + bytes(4) + payload

    with socket.create_connection(daemon.ws_address) as sock:
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += sock.recv(4096)
        pieces = [burst[at : at + FRAME_BYTES] for at in range(0, len(burst), FRAME_BYTES)]
        sock.sendall(frame(2, hello) + b"".join(frame(2, piece) for piece in pieces) + frame(8, b""))
        _await_end(sock)


def _watcher(mqtt: Broker, topic: str) -> MqttClient:
    client = mqtt.client(V5)
    client.subscribe(f"{topic}/#")
    return client


def _numbers(client: MqttClient, count: int) -> list[int]:
    return [int(client.receive().payload) for _ in range(count)]


def _burst(version: int, topic: str, **options: object) -> bytes:
    return b"".join(
        packets.publish(version, topic, b"%d" % number, packet_id=number + 1, **options)  # type: ignore[arg-type]
        for number in range(COUNT)
    )


@pytest.mark.parametrize(
    ("write", "qos"),
    [
        (over_tcp, 0),
        (over_tcp_half_closed, 1),
        (over_tcp_in_one_breath, 1),
        (over_tls, 0),
        (over_websocket, 1),
    ],
)
def test_all_of_it_arrives_and_no_will(daemon: Daemon, mqtt: Broker, write: Write, qos: int) -> None:
    topic = fresh("burst/")
    watcher = _watcher(mqtt, topic)
    will = packets.Will(f"{topic}/will", b"-1")
    hello = packets.connect(fresh("c"), V311, will=will)
    write(daemon, hello, _burst(V311, f"{topic}/value", qos=qos) + packets.disconnect(V311))
    assert _numbers(watcher, COUNT) == list(range(COUNT))
    assert watcher.sync() == []
    # The will would have come by now if the DISCONNECT had not been seen.
    mqtt.client(V5).publish(f"{topic}/last", b"7")
    assert watcher.receive().payload == b"7"


def test_a_reset_is_an_end_without_a_goodbye(mqtt: Broker) -> None:
    """What was read before counts, and then the will. Aliases last as long as that."""
    topic = fresh("burst/")
    watcher = _watcher(mqtt, topic)
    client = mqtt.client(V5, will=packets.Will(f"{topic}/will", b"-1"))
    client.subscribe(f"{topic}/echo")
    first = packets.publish(V5, f"{topic}/value", b"0", props={"topic_alias": 1})
    rest = [packets.publish(V5, "", b"%d" % number, props={"topic_alias": 1}) for number in range(1, COUNT)]
    client.send(first, *rest, packets.pingreq())
    client.expect(packets.Pingresp)  # all has been read
    client.reset()
    assert _numbers(watcher, COUNT + 1) == [*range(COUNT), -1]


def test_a_client_that_is_back_before_its_burst_is_through(daemon: Daemon, mqtt: Broker) -> None:
    """It is greeted behind it: nothing is lost, nothing overtaken."""
    topic = fresh("burst/")
    watcher = _watcher(mqtt, topic)
    client_id = fresh("c")
    hello = packets.connect(client_id, V311, will=packets.Will(f"{topic}/will", b"-1"))
    over_tcp(daemon, hello, _burst(V311, f"{topic}/value") + packets.disconnect(V311))
    client = mqtt.open(V311)
    client.send(packets.connect(client_id, V311))
    assert client.expect(Connack).code == 0
    client.publish(f"{topic}/last", b"7")
    assert _numbers(watcher, COUNT + 1) == [*range(COUNT), 7]


def test_a_subscription_within_the_burst_lasts_with_its_session(daemon: Daemon, mqtt: Broker) -> None:
    topic = fresh("burst/")
    client_id = fresh("c")
    watcher = _watcher(mqtt, topic)
    subscribe = packets.subscribe(V311, COUNT + 1, [(f"{topic}/command", 1)])
    hello = packets.connect(client_id, V311, clean=False)
    over_tcp_in_one_breath(daemon, hello, _burst(V311, f"{topic}/value") + subscribe + packets.disconnect(V311))
    assert _numbers(watcher, COUNT) == list(range(COUNT))
    client = mqtt.open(V311)
    client.send(packets.connect(client_id, V311, clean=False))
    assert client.expect(Connack).session_present
    mqtt.client(V5).publish(f"{topic}/command", b"go", qos=1)
    assert client.receive().payload == b"go"


def test_a_router_that_stops_takes_what_it_has_read() -> None:
    with Daemon(mqtt=True, messages_per_second=10, sets={"journal.mode": "group"}) as daemon:
        topic = fresh("t")
        hello = packets.connect(fresh("c"), V311, will=packets.Will(f"{topic}/will", b"-1", retain=True))
        burst = [packets.publish(V311, f"{topic}/value", b"%d" % n, retain=True) for n in range(100)]
        broker = Broker(daemon.mqtt_address)
        client = broker.open(V311)
        client.send(hello, *burst, packets.pingreq(), packets.disconnect(V311))
        client.expect(Connack)
        client.expect(packets.Pingresp)  # all has been read
        broker.leave()
        daemon.stop()
        daemon.start()
        broker = Broker(daemon.mqtt_address)
        reader = broker.client(V5)
        suback, retained = reader.subscribe_with_retained(f"{topic}/#")
        assert isinstance(suback, Suback)
        assert [(found.topic, found.payload) for found in retained if isinstance(found, Publish)] == [
            (f"{topic}/value", b"99")
        ]
        broker.leave()
