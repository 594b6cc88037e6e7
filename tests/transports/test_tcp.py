"""The TCP listener: length prefixes, however the bytes come (wire.md 6.2)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from support.client import TcpClient
from support.live import Crowd, Witness, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import MAX_FRAME, Qos

PING = wire.encode(wire.Ping())


def prefixed(frame: bytes) -> bytes:
    return struct.pack(">I", len(frame)) + frame


@pytest.fixture
def witness(clients: Crowd) -> Iterator[Witness]:
    bystander = Witness(clients)
    yield bystander
    bystander.assert_undisturbed()


@pytest.fixture
def client(clients: Crowd) -> TcpClient:
    joined = clients.tcp()
    joined.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return joined


def test_byte_by_byte(client: TcpClient) -> None:
    for byte in prefixed(PING) * 5:
        client.send_bytes(bytes((byte,)))
    assert [client.recv() for _ in range(5)] == [wire.Pong()] * 5


def test_many_frames_in_one_segment(client: TcpClient) -> None:
    client.send_bytes(prefixed(PING) * 5000)
    assert [client.recv() for _ in range(5000)] == [wire.Pong()] * 5000


@pytest.mark.parametrize("size", [1000, 2040, 2048, 4096, 30_000, 65_000])
def test_frames_of_every_size_cut_in_odd_places(client: TcpClient, base: str, size: int) -> None:
    frame = wire.encode(wire.Set(f"{base}/a", b"x" * size))
    stream = (prefixed(frame) + prefixed(PING)) * 4
    step = 1237
    for start in range(0, len(stream), step):
        client.send_bytes(stream[start : start + step])
    for revision in range(1, 5):
        assert client.recv() == wire.Ack(f"{base}/a", revision)
        assert client.recv() == wire.Pong()


def test_the_largest_frame_with_a_timestamp(client: TcpClient, base: str) -> None:
    payload = wire.encode_payload(wire.Set(f"{base}/a", "x" * 65_000))
    frame = b"\x53\x61" + struct.pack(">HQ", len(payload), 1) + payload
    frame += b"\x00" * (MAX_FRAME - len(frame))  # what follows a frame in its message is ignored
    client.send_raw(frame)
    assert client.recv() == wire.Ack(f"{base}/a", 1)


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("length", [MAX_FRAME + 1, 2**31, 2**32 - 1])
def test_a_length_that_no_frame_has_ends_the_connection(
    clients: Crowd, witness: Witness, length: int, greeted: bool
) -> None:
    client = clients.tcp(greet=greeted)
    client.send_bytes(struct.pack(">I", length) + b"x" * 100)
    client.wait_closed()


def test_what_came_before_a_bad_length_counts(clients: Crowd, base: str) -> None:
    client, reader = clients.tcp(), clients.tcp()
    subscribe(reader, f"{base}/**")
    client.send_bytes(prefixed(wire.encode(wire.Set(f"{base}/a", 1), Qos.FIRE)) + b"\xff" * 8)
    client.wait_closed()
    assert len(reader.sync()) == 1


def test_length_zero_is_garbage_but_not_the_end(client: TcpClient, witness: Witness) -> None:
    client.send_bytes(b"\x00" * 4)
    (error,) = client.sync()
    assert isinstance(error, wire.Error)
    assert error.code == 100


def test_websocket_on_the_tcp_port_and_the_other_way_round(clients: Crowd, witness: Witness) -> None:
    client = clients.tcp(greet=False)
    client.send_bytes(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
    client.wait_closed()
    with socket.create_connection(clients.daemon.ws_address, 5) as sock:
        sock.sendall(prefixed(wire.encode(wire.Hello(1, "lost"))))
        assert sock.recv(100).startswith(b"HTTP/1.1 400")


def test_who_closes_only_its_sending_side_is_done(clients: Crowd, witness: Witness) -> None:
    client = clients.tcp()
    client.socket.shutdown(socket.SHUT_WR)
    client.wait_closed()


def test_a_reset_connection_leaves_nothing(clients: Crowd, witness: Witness, base: str) -> None:
    for _ in range(20):
        client = clients.tcp()
        subscribe(client, f"{base}/**")
        client.abort()
    put(clients.tcp(), f"{base}/a", 1)
