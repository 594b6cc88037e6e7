"""Ways to a device: a datagram from the socket we listen on, so that answers come back to it. TCP has its own."""

from __future__ import annotations

import errno
import socket
import sys
from ipaddress import ip_address
from typing import Protocol

from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.encode import MAX_PACKET_BYTES

MULTICAST_HOPS = 8
"""Routers that a packet to a group may pass; a stage has one or two."""


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

    @property
    def where(self) -> str:
        """HOST:PORT that is sent to."""
        host, port = self._address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

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


def join(sock: socket.socket, group: str, interface: int) -> None:
    """Hear what is sent to a multicast group at an interface (by its number). Raises OSError, but not where that is so
    already."""
    address = ip_address(group)
    number = interface.to_bytes(4, sys.byteorder)
    try:
        if address.version == 4:
            # struct ip_mreqn: group, no address of the interface, its number (ip(7)).
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, address.packed + bytes(4) + number)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, address.packed + number)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise


def allow_groups(sock: socket.socket) -> None:
    """Let packets to broadcast addresses and groups out."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, MULTICAST_HOPS)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, MULTICAST_HOPS)


def is_ours(sock: socket.socket, host: str, port: int) -> bool:
    """Whether a packet from there was sent by this socket: what goes to a group or to everybody comes back to us."""
    own_host, own_port = sock.getsockname()[:2]
    if port != own_port:
        return False
    if not ip_address(own_host.partition("%")[0]).is_unspecified:
        return bool(host == own_host.removeprefix("::ffff:"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Only addresses of this machine can be bound, and its port at them is ours.
            probe.bind((host.partition("%")[0], 0))
        except OSError:
            return False
    return True
