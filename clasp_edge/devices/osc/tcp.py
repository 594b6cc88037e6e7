"""OSC over TCP: packets on a stream (framing.py), each connection a source like any sender of datagrams."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, cast

from clasp_edge.devices.osc.framing import FramingError, FramingName, splitter, wrap
from clasp_edge.devices.osc.receiver import Source

if TYPE_CHECKING:
    from clasp_edge.devices.osc.server import OscServer

log = logging.getLogger("clasp_edge.osc")

BACKLOG_BYTES = 65536
"""What may wait in a connection for its reader before it counts as blocked: then values wait in the pacer, the newest
of each address only."""


class OscConnection(asyncio.Protocol):
    """One connection. Also the `links.Link` back to the device."""

    def __init__(self, server: OscServer, framing: FramingName) -> None:
        self._server = server
        self._framing = framing
        self._splitter = splitter(framing)
        self._transport: asyncio.Transport | None = None
        self._source: Source | None = None
        self._blocked_since_s = 0.0

    # ---- asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        host, port = str(peer[0]).removeprefix("::ffff:"), int(peer[1])
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._source = self._server.connected(host, port, self)
        if self._source is None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        source = self._source
        if source is None or source.dropped:
            return
        self._server.active(source)
        core = self._server.router.core
        core.begin_pass()
        try:
            for packet in self._splitter.feed(data):
                self._server.intake.packet(source, packet)
        except FramingError as error:
            self._server.bad_packet(source, str(error))
            self.abort()
        finally:
            core.end_pass()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.router.places.give_back(self)
        if self._source is not None:
            self._server.disconnected(self._source)

    # ---- places.Holder ----

    @property
    def heard_us(self) -> int:
        """When the device was last heard (monotonic)."""
        return self._source.heard_us if self._source is not None else 0

    def give_up_place(self, reason: str) -> None:
        """Somebody else gets the place: OSC has no word for it."""
        log.info("OSC %s: %s", self._source.name if self._source is not None else "?", reason)
        self.abort()

    # ---- Link ----

    def send(self, packet: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return True
        if transport.get_write_buffer_size() > BACKLOG_BYTES:
            now_s = self._server.router.clock.monotonic_s()
            self._blocked_since_s = self._blocked_since_s or now_s
            if now_s - self._blocked_since_s > self._server.router.config.limits.slow_client_timeout_s:
                self.abort()
            return False
        self._blocked_since_s = 0.0
        transport.write(wrap(self._framing, packet))
        return True

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()
