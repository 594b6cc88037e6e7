"""The QUIC listener: to which connection a datagram belongs, who may begin one, and what goes out (quic.md 6).

A client proves its address by a Retry before anything is kept of it; then it counts as half-open. Datagrams come from a
UDP port that discovery may share (transports/udp.py).
"""

from __future__ import annotations

import logging
import os
import time
from asyncio import TimerHandle
from collections.abc import Callable, Mapping

from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.events import ConnectionTerminated
from qh3.quic.packet import encode_quic_retry, encode_quic_version_negotiation

from clasp_edge.router.principal import host_of, principal_of
from clasp_edge.router.router import Router
from clasp_edge.transports.quic.connection import QuicLink
from clasp_edge.transports.quic.engine import CID_BYTES, CRYPTO_ERROR, MOST_ADDRESSES, SMALLEST_INITIAL
from clasp_edge.transports.quic.handshakes import TURN_S, HandshakeBudget, Waiting
from clasp_edge.transports.quic.header import Initial, NotQuic, read_long_header
from clasp_edge.transports.quic.retry import RetryTokens
from clasp_edge.transports.udp import Address, Datagram, UdpPort
from clasp_edge.wire.extensions import ALPN

log = logging.getLogger("clasp_edge.transports")

VERSION = 1

KEEP_ALIVE_S = 5.0
"""Who has been silent so long is asked whether it is there; most clients ask us."""

HANDSHAKE_FAILURE = CRYPTO_ERROR + 40
NO_APPLICATION_PROTOCOL = CRYPTO_ERROR + 120

ROUNDS = 4
"""Of sending before others get their turn."""


class QuicServer:
    """All connections of one listener. `configuration` gives the present one, which a renewed certificate changes."""

    def __init__(self, router: Router, port: UdpPort, configuration: Callable[[], QuicConfiguration]) -> None:
        self.router = router
        self._port = port
        self._configuration = configuration
        self._tokens = RetryTokens()
        self._budget = HandshakeBudget()
        self._waiting: Waiting[tuple[tuple[bytes, bytes], bytes, Address]] = Waiting()
        self._turn_due = False
        self._links: dict[bytes, QuicLink] = {}
        self._touched: list[QuicLink] = []
        self._due: list[QuicLink] = []
        self._flush_scheduled = False
        self._sweep: TimerHandle | None = None
        self._accepting = False
        self._counts = dict.fromkeys(
            ("retries", "tokens_refused", "version_negotiations", "datagrams_dropped", "handshakes_deferred"), 0
        )
        self.connections: set[QuicLink] = set()
        self.handshakes = 0
        self.handshakes_failed = 0
        self.alpn_refused = 0
        self.surplus_streams = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def start(self) -> None:
        """Serve what comes to the port, which is open."""
        self._accepting = True
        self._port.quic = self.take_all
        self._port.on_batch_end = self._end_of_batch
        self._port.on_writable = self.flush
        self._sweep = self.router.loop.call_later(KEEP_ALIVE_S, self._keep_alive)

    def stop(self) -> None:
        """Accept no more connections; those that are open stay."""
        self._accepting = False
        self._waiting.clear()

    def close(self) -> None:
        """End whatever is left, and give the port back."""
        if self._sweep is not None:
            self._sweep.cancel()
        for link in list(self.connections):
            link.abort()
            self.forget(link)
        self._port.quic = self._port.on_batch_end = self._port.on_writable = None

    def numbers(self) -> Mapping[str, int]:
        """For status and metrics."""
        return {
            "connections": len(self.connections),
            "handshakes": self.handshakes,
            "handshakes_failed": self.handshakes_failed,
            "alpn_refused": self.alpn_refused,
            "surplus_streams": self.surplus_streams,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            **self._counts,
        }

    @staticmethod
    def name_of(address: Address) -> str:
        """As `bind.peer_of` names TCP's."""
        return f"{address[0]}:{address[1]}"

    # ---- datagrams in ----

    def take_all(self, datagrams: list[Datagram]) -> list[Datagram]:
        """Take what came together; returns what is not QUIC's."""
        others: list[Datagram] = []
        find = self._links.get
        for datagram in datagrams:
            data, address = datagram
            # Nearly all are of a connection, behind others of the same, from where those came.
            link = find(data[1 : 1 + CID_BYTES])
            if link is not None and link.inbox and link.inbox_address == address and not data[0] & 0x80:
                link.inbox.append(data)
            elif not data or not self._take(data, address):
                others.append(datagram)
        return others

    def _take(self, data: bytes, address: Address) -> bool:
        """Whether the datagram is QUIC's: it has a long header, or is one of a connection that is known."""
        if data[0] & 0x80:
            size = data[5] if len(data) > 5 else 0
            link = self._links.get(data[6 : 6 + size])
            if link is None:
                self._stranger(data, address)
                return True
        else:
            link = self._links.get(data[1 : 1 + CID_BYTES])
            if link is None:
                return False
        if address not in link.addresses:
            if data[0] & 0x80 and link.handshaken:
                self._counts["datagrams_dropped"] += 1  # overheard, and said again: no client moves with these
                return True
            if len(link.addresses) >= MOST_ADDRESSES:
                link.moved_too_often(data, address)
                return True
            link.addresses.add(address)
        if link.inbox:
            if link.inbox_address != address:
                self._absorb(link)  # the client has moved in the middle of a batch
        else:
            self._touched.append(link)
        link.inbox_address = address
        link.inbox.append(data)
        return True

    def _end_of_batch(self) -> None:
        touched, self._touched = self._touched, []
        for link in touched:
            if link.inbox:
                self._absorb(link)
        self.flush()

    def _absorb(self, link: QuicLink) -> None:
        """Let it take in what has come, and pay for it if it is still at its handshake."""
        if link.handshaken:
            link.absorb()
        else:
            began_s = time.perf_counter()
            link.absorb()
            self._budget.spend(link.host, time.perf_counter() - began_s)

    def _stranger(self, data: bytes, address: Address) -> None:
        """The beginning of a connection, or nothing of ours."""
        try:
            packet = read_long_header(data)
        except NotQuic:
            self._counts["datagrams_dropped"] += 1
            return
        if len(data) < SMALLEST_INITIAL or not self._accepting or packet.version == 0:
            self._counts["datagrams_dropped"] += 1
        elif packet.version != VERSION:
            self._counts["version_negotiations"] += 1
            self._port.send(encode_quic_version_negotiation(packet.destination, packet.source, [VERSION]), address)
        elif packet.token is None or len(packet.destination) < CID_BYTES:
            self._counts["datagrams_dropped"] += 1
        elif not packet.token:
            self._retry(packet, address)
        else:
            self._accept(packet, packet.token, data, address)

    def _retry(self, packet: Initial, address: Address) -> None:
        """Have the client show that it gets what is sent to its address. Nothing is kept meanwhile."""
        self._counts["retries"] += 1
        cid = os.urandom(CID_BYTES)
        token = self._tokens.make(address, packet.destination, cid, time.monotonic())
        self._port.send(encode_quic_retry(VERSION, cid, packet.source, packet.destination, token), address)

    def _accept(self, packet: Initial, token: bytes, data: bytes, address: Address) -> None:
        """A beginning from an address that is proved: it waits for its turn, since it costs milliseconds."""
        now_s = time.monotonic()
        cids = self._tokens.check(address, token, now_s)
        if cids is None or cids[1] != packet.destination:
            self._counts["tokens_refused"] += 1
            return
        host = principal_of(host_of(self.name_of(address)))
        if not self._budget.admits(host, now_s) or not self._waiting.put(host, (cids, data, address)):
            self._counts["handshakes_deferred"] += 1
        elif not self._turn_due:
            self._turn_due = True
            self.router.loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        until_s = time.perf_counter() + TURN_S
        while self._waiting and self._accepting and time.perf_counter() < until_s:
            cids, data, address = self._waiting.get()
            if (link := self._links.get(cids[1])) is None:
                link = self._begin(cids, address)
            if link is not None and address in link.addresses:
                link.inbox_address = address
                link.inbox.append(data)
                self._absorb(link)
        self.flush()
        if self._waiting and not self._turn_due:
            self._turn_due = True
            self.router.loop.call_soon(self._turn)

    def _begin(self, cids: tuple[bytes, bytes], address: Address) -> QuicLink | None:
        """The connection to this address with the id it first asked for, and the one it was told by Retry."""
        remote = self.name_of(address)
        host = host_of(remote)
        # Asked again: those that were before it in the queue have been paid for meanwhile.
        if not self._budget.admits(principal_of(host), time.monotonic()):
            self._counts["handshakes_deferred"] += 1
            return None
        quic = QuicConnection(
            configuration=self._configuration(),
            original_destination_connection_id=cids[0],
            retry_source_connection_id=cids[1],
        )
        link = QuicLink(self, quic, remote, principal_of(host))
        self.connections.add(link)
        self.add_cid(cids[1], link)
        self.add_cid(quic.host_cid, link)
        self.router.half_open.add(link, host, link.give_up)
        link.addresses.add(address)
        link.inbox_address = address
        return link

    # ---- connections report ----

    def add_cid(self, cid: bytes, link: QuicLink) -> None:
        """Datagrams to this connection id are the link's."""
        self._links[cid] = link
        link.cids.add(cid)

    def drop_cid(self, cid: bytes, link: QuicLink) -> None:
        """No more."""
        if self._links.get(cid) is link:
            del self._links[cid]
        link.cids.discard(cid)

    def forget(self, link: QuicLink) -> None:
        """Nothing that comes for it means anything any more."""
        for cid in link.cids:
            self._links.pop(cid, None)
        link.cids.clear()
        self.connections.discard(link)
        link.forget()

    def handshake_failed(self, link: QuicLink, event: ConnectionTerminated) -> None:
        """It came to nothing."""
        self.handshakes_failed += 1
        reason = event.reason_phrase or f"error 0x{event.error_code:x}"
        if event.error_code in (HANDSHAKE_FAILURE, NO_APPLICATION_PROTOCOL) and "ALPN" in reason:
            self.alpn_refused += 1
            reason = f'no common ALPN protocol, the client has to offer "{ALPN}"'
        log.info("%s: QUIC handshake failed: %s", link.remote, reason)

    # ---- datagrams out ----

    def due(self, link: QuicLink) -> None:
        """It has something to send: at the end of the batch, or of this turn of the loop."""
        if not link.dirty:
            link.dirty = True
            self._due.append(link)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.router.loop.call_soon(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._flush_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send what is due, as far as the port takes it."""
        for _ in range(ROUNDS):
            if not self._due or self._port.full:
                return
            due, self._due = self._due, []
            for link in due:
                link.dirty = False
                for address, datagrams in link.transmit():
                    self._port.send_many(datagrams, address)
                link.make_room()
        if self._due and not self._flush_scheduled:
            self._flush_scheduled = True
            self.router.loop.call_soon(self._scheduled_flush)

    def _keep_alive(self) -> None:
        self._sweep = self.router.loop.call_later(KEEP_ALIVE_S, self._keep_alive)
        silent_s = time.monotonic() - KEEP_ALIVE_S
        for link in list(self.connections):
            if link.heard_s < silent_s:
                try:
                    link.keep_alive()
                except Exception as error:
                    log.debug("%s: no ping: %r", link.remote, error)
