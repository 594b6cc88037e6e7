"""Listening sockets: bound before anything else starts, so that a port in use stops a start before it has begun."""

from __future__ import annotations

import asyncio
import socket

from clasp_edge.config.listen import Listen

RECEIVE_BUFFER_BYTES = 65536
"""Kernel receive buffer per connection (the kernel doubles it). A read buffer grows until a read no longer fills it, so
this bounds what one flooding peer can make us hold."""


class BindError(OSError):
    """The listener cannot be had. The text names the address and the reason."""


def bind(listen: Listen, kind: socket.SocketKind) -> socket.socket:
    """Bind the address; a name that resolves to several addresses gets its first. An empty host means every interface
    of both families, by one IPv6 socket where IPv6 exists."""
    host = listen.host
    try:
        if host == "":
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            address: tuple[str | int | bytes, ...] = ("::" if dual else "0.0.0.0", listen.port)
        else:
            info = socket.getaddrinfo(host, listen.port, type=kind, flags=socket.AI_PASSIVE)
            # Whole, because a link-local address is none without its interface.
            family, address = info[0][0], info[0][4]
        sock = socket.socket(family, kind)
        try:
            if kind == socket.SOCK_STREAM:
                # Not for datagrams: there it would let two programs share a port, and one of them hear nothing.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "" else 1)
            sock.setblocking(False)
            sock.bind(address)
            if kind == socket.SOCK_STREAM:
                sock.listen(1024)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise BindError(error.errno or 0, f"cannot listen on {listen}: {error.strerror or error}") from error
    return sock


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Where a connection comes from, as `host:port`; "local" for a socket without such a name."""
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "local"


def name_of(sock: socket.socket) -> str:
    """The bound address as `host:port`."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
