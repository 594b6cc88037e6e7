"""UDP ports of the process, each with QUIC, discovery or both on one socket (quic.md 6.8).

QUIC is asked first and says whether a datagram is its own: one with a long header, or one of a connection that it
knows. A CLASP frame begins with 0x53, which has the bits of a short header: what QUIC does not know and begins so is
discovery's. What is neither is dropped. Knows no QUIC and no CLASP.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, cast

from clasp_edge.config.listen import Listen
from clasp_edge.transports.bind import bind, name_of

log = logging.getLogger("clasp_edge.transports")

FRAME_MAGIC = 0x53

Address = tuple[Any, ...]
"""Of a socket: (host, port), with IPv6 (host, port, flow, scope)."""


class UdpPort(asyncio.DatagramProtocol):
    """One bound port. `quic(data, address)` says whether the datagram was its own; `discovery(data, address)` gets a
    frame that QUIC did not want. Either may be None."""

    def __init__(self, listen: Listen) -> None:
        self.listen = listen
        self.quic: Callable[[bytes, Address], bool] | None = None
        self.discovery: Callable[[bytes, Address], None] | None = None
        self.dropped = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._name = ""

    async def open(self, loop: asyncio.AbstractEventLoop) -> str:
        """Bind it, unless it is bound; returns `host:port`. Raises BindError."""
        if self._transport is None:
            sock = bind(self.listen, socket.SOCK_DGRAM)
            self._name = name_of(sock)
            transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=sock)
            self._transport = transport
        return self._name

    @property
    def listening(self) -> bool:
        return self._transport is not None

    @property
    def port(self) -> int:
        """The bound port; 0 before."""
        return int(self._name.rpartition(":")[2] or 0)

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram; what the system does not take is lost, as datagrams are."""
        if self._transport is not None:
            self._transport.sendto(data, address)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if not data:
            self.dropped += 1
        elif self.quic is not None and self.quic(data, addr):
            pass
        elif self.discovery is not None and data[0] == FRAME_MAGIC:
            self.discovery(data, addr)
        else:
            self.dropped += 1

    def error_received(self, exc: Exception) -> None:
        # Of an earlier datagram: nobody is at home there. Others are not concerned.
        log.debug("udp %s: %s", self._name, exc)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def close(self) -> None:
        """Give the port back. May be called more than once."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None


class UdpPorts:
    """The ports by where they are bound: who asks for the same address gets the same port."""

    def __init__(self) -> None:
        self._ports: dict[Listen, UdpPort] = {}

    def at(self, listen: Listen) -> UdpPort:
        """The port there, not yet open."""
        if listen.port == 0:
            return UdpPort(listen)  # any free one: nobody means another's
        return self._ports.setdefault(listen, UdpPort(listen))
