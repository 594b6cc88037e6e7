"""The interfaces of this machine that can reach others: their addresses, and where all on the link are reached.

Asks the kernel (netdevice(7), proc_net(5)) and no library.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path
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
    """Those of IPv4 that are up and have an IPv4 address, loopback last."""
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


class Interface6(NamedTuple):
    """An IPv6 address of an interface, and the number of that."""

    name: str
    address: str
    number: int


IF_INET6 = Path("/proc/net/if_inet6")
_LOOPBACK_SCOPE, _LINK_SCOPE = 0x10, 0x20
_TEMPORARY, _DAD_FAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40


def interfaces6(file: Path = IF_INET6) -> list[Interface6]:
    """Addresses that stay, those of the link first; none of loopback, none that is still tried or is temporary."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return []  # a kernel without IPv6
    found = []
    for line in lines:
        text, index, _, scope, flags, name = line.split()
        if int(scope, 16) == _LOOPBACK_SCOPE:
            continue
        if int(flags, 16) & (_TEMPORARY | _DAD_FAILED | _DEPRECATED | _TENTATIVE):
            continue
        address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(text))
        found.append((int(scope, 16) != _LINK_SCOPE, Interface6(name, address, int(index, 16))))
    return [each for _, each in sorted(found)][:MAX_INTERFACES]
