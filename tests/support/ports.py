"""Ports for servers that are started again on the same one, or that cannot choose one themselves."""

from __future__ import annotations

import contextlib
import random
import socket

HOST = "127.0.0.1"

PORTS = range(10_000, 32_000)
"""Below those that the system gives to outgoing connections: one of these would have it when its server comes back."""

_chance = random.SystemRandom()  # tests seed the other one, and several processes run them
_given: set[int] = set()


def free_port(host: str = HOST) -> int:
    """One that nobody has, over TCP or UDP, and that this process has not given before."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = _chance.choice(PORTS)
        with (
            socket.socket(family) as stream,
            socket.socket(family, socket.SOCK_DGRAM) as datagrams,
            contextlib.suppress(OSError),
        ):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stream.bind((host, port))
            datagrams.bind((host, port))
            if port not in _given:
                _given.add(port)
                return port
