"""Listening sockets: bound before anything else starts, so that a port in use stops a start before it has begun.

Where a service manager has sockets ready, they are taken from it (`Supply`).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Protocol

from clasp_edge.config.listen import Listen

RECEIVE_BUFFER_BYTES = 65536
"""Kernel receive buffer per connection (the kernel doubles it). A read buffer grows until a read no longer fills it, so
this bounds what one flooding peer can make us hold."""


Address = tuple[str | int | bytes, ...]


class BindError(OSError):
    """The listener cannot be had. The text names the address and the reason."""


class Supply(Protocol):
    """Sockets that were bound before this process began, and are to stay when it ends."""

    def take(
        self, family: socket.AddressFamily, kind: socket.SocketKind, address: Address, dual: bool
    ) -> socket.socket | None:
        """The socket with exactly this address, listening if it is a stream; None where there is none. `dual`: an IPv6
        socket that takes IPv4 as well."""
        ...

    def keep(self, sock: socket.socket) -> None:
        """A new one listens."""
        ...

    def give_up(self, kind: socket.SocketKind, port: int) -> str:
        """The port is in use: let go of sockets of the supply that have it, or say why that cannot be."""
        ...


_supplies: list[Supply] = []  # one or none


def draw_on(supply: Supply) -> None:
    """From now on `bind` takes sockets from there: they belong to the process, as the supply does."""
    _supplies[:] = [supply]


def bind(listen: Listen, kind: socket.SocketKind) -> socket.socket:
    """Bind the address; a name that resolves to several addresses gets its first. An empty host means every interface
    of both families, by one IPv6 socket where IPv6 exists."""
    host = listen.host
    try:
        if host == "":
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            address: Address = ("::" if dual else "0.0.0.0", listen.port)
        else:
            # As bytes where that says the same: encoding a text would load the tables of international names.
            name = host.encode() if host.isascii() else host
            info = socket.getaddrinfo(name, listen.port, type=kind, flags=socket.AI_PASSIVE)
            # Whole, because a link-local address is none without its interface.
            family, address = info[0][0], info[0][4]
        return _made(family, kind, address, dual=host == "")
    except OSError as error:
        raise BindError(error.errno or 0, f"cannot listen on {listen}: {error.strerror or error}") from error


def _made(family: socket.AddressFamily, kind: socket.SocketKind, address: Address, *, dual: bool) -> socket.socket:
    for supply in _supplies:
        sock = supply.take(family, kind, address, dual and family == socket.AF_INET6)
        if sock is not None:
            _tune(sock, kind)
            return sock
    try:
        sock = _bound(family, kind, address, dual)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _supplies:
            raise
        for supply in _supplies:
            if reason := supply.give_up(kind, int(address[1])):
                raise OSError(error.errno, f"{error.strerror}{reason}") from None
        sock = _bound(family, kind, address, dual)
    if kind == socket.SOCK_STREAM:
        # Connections can wait for the next start; a datagram that comes late may say what nobody means any more.
        for supply in _supplies:
            supply.keep(sock)
    return sock


def _bound(family: socket.AddressFamily, kind: socket.SocketKind, address: Address, dual: bool) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            # Not for datagrams: there it would let two programs share a port, and one of them hear nothing.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        _tune(sock, kind)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(1024)
    except OSError:
        sock.close()
        raise
    return sock


def _tune(sock: socket.socket, kind: socket.SocketKind) -> None:
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    sock.setblocking(False)


def no_delay(sock: socket.socket) -> None:
    """Have the kernel send at once what is written. A local socket knows no such delay."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Peer(str):
    """A `host:port` from which a TLS connection comes, with the names in the certificate that was shown there.

    The names belong to the connection, not to the address: behind a NAT, and to listeners on different ports, two
    connections may have one address at the same time.
    """

    names: tuple[str, ...] = ()


_behind: dict[int, Peer] = {}
"""Where connections come from that reach us over a pair of local sockets, by descriptor."""


def note_peer(sock: socket.socket, peer: Peer) -> None:
    """Remember who is behind one end of a socket pair, until `forget_peer`."""
    _behind[sock.fileno()] = peer


def forget_peer(descriptor: int, peer: Peer) -> None:
    """The pair is closed. Its descriptor may be another pair's by now."""
    if _behind.get(descriptor) is peer:
        del _behind[descriptor]


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Where a connection comes from, as `host:port`; "local" for a socket without such a name."""
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return f"{peer[0]}:{peer[1]}"
    sock = transport.get_extra_info("socket")
    return _behind.get(sock.fileno(), "local") if sock is not None else "local"


def name_of(sock: socket.socket) -> str:
    """The bound address as `host:port`."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
