"""OSC over TCP: packets on a stream (framing.py), each connection a source like any sender of datagrams."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from clasp_edge.dataplane.account import Charge
from clasp_edge.devices.osc.framing import FramingError, FramingName, Splitter, wrap
from clasp_edge.devices.osc.source import Source

if TYPE_CHECKING:
    from clasp_edge.devices.osc.server import OscServer

log = logging.getLogger("clasp_edge.osc")

BACKLOG_BYTES = 65536
"""What may wait in a connection for its reader before it counts as blocked: then values wait in the pacer, the newest
of each address only."""

SETTLE_S = 0.25
"""A first packet without an end or a size, and nothing after it for so long: there is no framing."""


class OscConnection(asyncio.Protocol):
    """One connection, accepted or made by us (`on_lost` is called when that ends). Also the `links.Link` back to the
    device. `framing` is used until the device's own is known."""

    def __init__(self, server: OscServer, framing: FramingName, on_lost: Callable[[], None] | None = None) -> None:
        self._server = server
        self._framing: FramingName = framing
        self._splitter = Splitter(self._named)
        self._on_lost = on_lost
        self.accepted = on_lost is None
        """Made by the device: it takes a place."""
        self._transport: asyncio.Transport | None = None
        self.source: Source | None = None
        self._blocked_since_s = 0.0
        self._settling: asyncio.TimerHandle | None = None
        self._charged_bytes = 0

    # ---- asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        host, port = str(peer[0]).removeprefix("::ffff:"), int(peer[1])
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.source = self._server.connected(host, port, self)
        if self.source is None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        source = self.source
        if source is None or source.dropped:
            return
        self._server.active(source)
        try:
            self._take(source, self._splitter.feed(data))
        except FramingError as error:
            self._server.bad_packet(source, str(error))
            self.abort()
            return
        if self._splitter.held != self._charged_bytes and not self._charged(source):
            return
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self._splitter.undecided:
            self._settling = self._server.router.loop.call_later(SETTLE_S, self._settle)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.router.places.give_back(self)
        if self._settling is not None:
            self._settling.cancel()
            self._settle()  # nothing more comes
        if self.source is not None:
            self.source.holding.release(self._charged_bytes, Charge.INPUT)
            self._charged_bytes = 0
            self._server.disconnected(self.source)
        if self._on_lost is not None:
            self._on_lost()

    def _charged(self, source: Source) -> bool:
        """Charge the beginning of a packet to who sends it; False, and the end, where there is no room."""
        before, self._charged_bytes = self._charged_bytes, self._splitter.held
        source.holding.release(before, Charge.INPUT)
        if self._charged_bytes and not source.holding.charge(self._charged_bytes, Charge.INPUT):
            self._charged_bytes = 0
            log.info("OSC %s: closed, %s", source.name, self._server.router.memory_full())
            self.abort()
            return False
        return True

    def _settle(self) -> None:
        self._settling = None
        if self.source is not None and not self.source.dropped:
            self._take(self.source, self._splitter.settle())
            self._charged(self.source)

    def _take(self, source: Source, packets: list[bytes]) -> None:
        if self._splitter.framing is not None:
            self._framing = self._splitter.framing
        core = self._server.router.core
        core.begin_pass()
        try:
            for packet in packets:
                self._server.intake.packet(source, packet)
        finally:
            core.end_pass()

    def _named(self, text: str) -> None:
        if self.source is not None:
            self._server.bad_packet(self.source, text)

    # ---- places.Holder ----

    @property
    def heard_us(self) -> int:
        """When the device was last heard (monotonic)."""
        return self.source.heard_us if self.source is not None else 0

    def give_up_place(self, reason: str) -> None:
        """Somebody else gets the place: OSC has no word for it."""
        log.info("OSC %s: %s", self.source.name if self.source is not None else "?", reason)
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
