"""What is printed when everything runs: where clients connect, by an address that others can really use.

Asks the kernel which addresses this machine has, and no name service, which could be slow or away. Knows nothing of
sockets that listen: it is told what was bound.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv6Address
from pathlib import Path

from clasp_edge.config.listen import Listen
from clasp_edge.config.model import Config
from clasp_edge.version import __version__

# netdevice(7)
_SIOCGIFFLAGS = 0x8913
_SIOCGIFADDR = 0x8915
_IFF_LOOPBACK = 0x8
_IFF_RUNNING = 0x40
_IFREQ = struct.Struct("16s24x")


def greeting(
    config: Config,
    addresses: Sequence[str],
    kept: str = "",
    control: Path | None = None,
    files: Sequence[Path] = (),
) -> list[str]:
    """The lines before `ready`. `addresses` are those that were bound, as `scheme://host:port`;
    `kept` is what the journal says of itself; `control` is the control socket; `files` are those of the
    configuration."""
    lines = [f"clasp-edge {__version__} ({config.name})"]
    lines += [f"  config      {path}" for path in files] or ["  config      none: every option has its default"]
    fault = storage_fault(config.data_dir)
    if fault is None:
        lines.append(f"  data in     {config.data_dir}")
    else:
        lines.append(f"  warning     nothing can be stored in {config.data_dir}: {fault}")
    lines.append(f"  journal     {kept or 'off'}")
    if control is not None:
        lines.append(f"  control     {control}")
    open_to_all = "open: everybody may do everything; clasp-edge claim makes it yours"
    lines.append(f"  security    {open_to_all if config.security.mode == 'open' else config.security.mode}")
    lines += [f"  listens on  {address}" for address in addresses]
    by_scheme = dict(address.split("://", 1) for address in addresses)
    if config.websocket.listen is not None:
        url = f"ws://{reachable(by_scheme['ws'], config.websocket.listen)}"
        lines.append(f'  connect     JavaScript: new Clasp("{url}")   Python: Clasp("{url}")')
    elif config.tcp.listen is not None:
        # The published clients speak WebSocket only.
        at = reachable(by_scheme["tcp"], config.tcp.listen)
        lines.append(f"  connect     TCP: {at}, each frame after its length (4 bytes, big-endian)")
    return lines


def reachable(bound: str, listen: Listen) -> str:
    """The bound `host:port` with an address of this machine in place of "every interface"; where it has none but
    loopback, that one."""
    host, _, port = bound.rpartition(":")
    if host == "[::]" and listen.host:
        host = f"[{own_ipv6() or '::1'}]"  # a host that was asked for by name is bound for IPv6 alone
    elif host == "[::]":
        ipv6 = own_ipv6()
        host = own_ipv4() or (f"[{ipv6}]" if ipv6 else "127.0.0.1")
    elif host == "0.0.0.0":
        host = own_ipv4() or "127.0.0.1"
    return f"{host}:{port}"


def own_ipv4() -> str | None:
    """The address of the first interface that is up, connected and not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = _IFREQ.pack(name.encode())
            try:
                (flags,) = struct.unpack_from("=H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)
                if flags & _IFF_LOOPBACK or not flags & _IFF_RUNNING:
                    continue
                return socket.inet_ntoa(fcntl.ioctl(sock, _SIOCGIFADDR, request)[20:24])
            except OSError:
                continue  # without an IPv4 address, or gone meanwhile
    return None


def own_ipv6() -> str | None:
    """The first address that needs no interface's name beside it and is not loopback (proc_net(5), if_inet6)."""
    try:
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        digits, _, _, scope, *_ = line.split()
        if scope == "00":  # neither the link's nor this machine's own
            return str(IPv6Address(bytes.fromhex(digits)))
    return None


def storage_fault(directory: Path) -> str | None:
    """Why nothing could be stored in the directory, which need not exist yet, or None. Creates nothing."""
    existing = directory
    while not os.path.exists(existing):  # unlike Path.exists, False also where we may not look
        existing = existing.parent
    if not existing.is_dir():
        return f"{existing} is not a directory"
    if not os.access(existing, os.W_OK | os.X_OK):
        return "it cannot be written" if existing == directory else f"it cannot be created in {existing}"
    return None
