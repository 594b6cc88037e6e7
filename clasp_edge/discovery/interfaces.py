"""The IPv4 interfaces of this machine that can reach others: their addresses, and where all on the link are reached.

Asks the kernel (netdevice(7)) and no library.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import NamedTuple

_SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFBRDADDR = 0x8913, 0x8915, 0x8919
_BROADCAST, _LOOPBACK, _RUNNING, _MULTICAST = 0x2, 0x8, 0x40, 0x1000
_IFREQ = struct.Struct("16s24x")

MAX_INTERFACES = 16
"""Asked; a machine with more has containers, not networks."""

LOOPBACK_BROADCAST = "127.255.255.255"


class Interface(NamedTuple):
    """`broadcast` is "" where there is none."""

    name: str
    address: str
    broadcast: str
    multicast: bool
    loopback: bool


def interfaces() -> list[Interface]:
    """Those that are up and have an IPv4 address, loopback last."""
    found: list[Interface] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = _IFREQ.pack(name.encode())
            try:
                (flags,) = struct.unpack_from("=H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)
                address = socket.inet_ntoa(fcntl.ioctl(sock, _SIOCGIFADDR, request)[20:24])
                broadcast = ""
                if flags & _BROADCAST:
                    broadcast = socket.inet_ntoa(fcntl.ioctl(sock, _SIOCGIFBRDADDR, request)[20:24])
            except OSError:
                continue  # without an IPv4 address, or gone meanwhile
            if not flags & _RUNNING:
                continue
            loopback = bool(flags & _LOOPBACK)
            if broadcast in ("", "0.0.0.0"):
                broadcast = LOOPBACK_BROADCAST if loopback else "255.255.255.255"
            found.append(Interface(name, address, broadcast, bool(flags & _MULTICAST) and not loopback, loopback))
    found.sort(key=lambda each: each.loopback)
    return found[:MAX_INTERFACES]
