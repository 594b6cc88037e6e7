"""What a client has written before it closes counts, also where it has to wait for its turn."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from support.client import TcpClient, WsClient
from support.daemon import Daemon
from support.live import eventually, get
from support.quic_client import QuicClient

from clasp_edge import wire

PARAMS = 500
"""New ones take several slices of the loop's time, and fit what is read at once."""

TIMES = 10

Write = Callable[[Daemon, list[bytes]], None]


def over_websocket(daemon: Daemon, frames: list[bytes]) -> None:
    """In one write, the close frame behind the messages; a mask of zeros leaves them as they are."""
    with WsClient(daemon.ws_url).hello() as client:
        client.sync()
        data = [bytes((0x82, 0x80 | len(frame), 0, 0, 0, 0)) + frame for frame in frames]
        client.ws.socket.sendall(b"".join(data) + bytes((0x88, 0x80, 0, 0, 0, 0)))
        client.wait_closed()


def over_tcp(daemon: Daemon, frames: list[bytes]) -> None:
    with TcpClient(daemon.tcp_address) as client:
        client.hello()
        client.sync()
        client.send_bytes(b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))
        client.socket.shutdown(socket.SHUT_WR)
        while client.socket.recv(65536):
            pass


def over_quic(daemon: Daemon, frames: list[bytes]) -> None:
    certificate = daemon.data_dir / "tls" / "certificate.pem"
    with QuicClient(daemon.quic_address, certificate) as client:
        client.hello("quic")
        client.write(b"".join(frames), end=True)
        client.closing()


@pytest.mark.parametrize("write", [over_websocket, over_tcp, over_quic])
def test_a_client_writes_much_and_closes(write: Write) -> None:
    sets: dict[str, object] = {"limits.messages_per_second": 0, "quic.listen": "127.0.0.1:0"}
    with Daemon(tcp=True, sets=sets) as daemon, WsClient(daemon.ws_url).hello() as reader:
        reader.drain()
        for time in range(TIMES):
            write(daemon, [wire.encode(wire.Set(f"/many/{time}/{number}", number)) for number in range(PARAMS)])
        for time in range(TIMES):
            last = f"/many/{time}/{PARAMS - 1}"
            assert eventually(lambda last=last: get(reader, last) is not None)  # type: ignore[misc]
