"""Discovery and QUIC on one port: each hears its own, and the port is given back at the end."""

from __future__ import annotations

import socket

from support.daemon import Daemon
from support.ports import free_port

from clasp_edge import wire

REFERENCE_HELLO = bytes.fromhex("530100100101000009446973636f766572790000")
QUIC_INITIAL = b"\xc3\x00\x00\x00\x01" + bytes(1195)


def test_both_answer_on_one_port() -> None:
    at = ("127.0.0.1", free_port())
    listen = f"{at[0]}:{at[1]}"
    with Daemon(sets={"quic.listen": listen, "discovery.listen": listen, "name": "both"}) as daemon:
        assert daemon.address_of("quic") == daemon.address_of("discovery") == listen
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(10)
            asking.sendto(QUIC_INITIAL, at)
            asking.sendto(REFERENCE_HELLO, at)
            answers = []
            while not answers or answers[-1][:1] != b"\x53":
                answers.append(asking.recv(2048))
            welcome = wire.decode(answers[-1])[1]
            assert isinstance(welcome, wire.Welcome)
            assert welcome.name == "both"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(at)
