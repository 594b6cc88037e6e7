"""Ways to a device: a datagram from the socket we listen on, so that answers come back to it. TCP has its own."""

from __future__ import annotations

import socket
from typing import Protocol

from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.encode import MAX_PACKET_BYTES


class Link(Protocol):
    """How packets get to one device."""

    def send(self, packet: bytes) -> bool:
        """Send one packet; False when the way is blocked for the moment. What can never be sent counts as sent."""


class UdpLink:
    """Datagrams to one address, which stays as it was resolved."""

    def __init__(self, sock: socket.socket, host: str, port: int, counters: Counters) -> None:
        self._sock = sock
        self._address = udp_address(sock, host, port)
        self._counters = counters

    def send(self, packet: bytes) -> bool:
        if len(packet) > MAX_PACKET_BYTES:
            self._counters.lost += 1
            return True
        try:
            self._sock.sendto(packet, self._address)
        except BlockingIOError:
            return False
        except OSError:
            # No route, no such interface: nobody gets it, and the next one may go through again.
            self._counters.lost += 1
        return True


def udp_address(sock: socket.socket, host: str, port: int) -> tuple[str, int]:
    """Host and port in the form that the socket's family wants."""
    if sock.family == socket.AF_INET6 and ":" not in host:
        return f"::ffff:{host}", port
    return host, port
