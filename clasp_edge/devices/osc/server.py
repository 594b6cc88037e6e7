"""The OSC server: one UDP socket for all devices, TCP beside it if wanted, and what is not decided for each message.

Puts the parts together: `intake` reads and writes params, `static` and `leases` know the devices that are sent values,
`timetags` lets bundles wait. Binding sockets is the daemon's business.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from asyncio import TimerHandle
from collections import OrderedDict
from dataclasses import asdict
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from clasp_edge.config.model import Osc, OscTarget
from clasp_edge.dataplane import Verdict
from clasp_edge.devices.osc.allowance import Allowance
from clasp_edge.devices.osc.configured_targets import ConfiguredTargets
from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.encode import Encoder
from clasp_edge.devices.osc.links import Link, UdpLink
from clasp_edge.devices.osc.outgoing import Outgoing
from clasp_edge.devices.osc.pattern import OscPattern
from clasp_edge.devices.osc.receiver import OscReceiver, Party, Source
from clasp_edge.devices.osc.resync import Resyncs, addresses_of
from clasp_edge.devices.osc.subscribers import CONTROL_PREFIX, CONTROLS, COST, Subscribers
from clasp_edge.devices.osc.target import Target
from clasp_edge.devices.osc.tcp import OscConnection
from clasp_edge.devices.osc.timetags import WaitingBundles
from clasp_edge.router.access import Access
from clasp_edge.router.router import Router
from clasp_edge.router.schedule import NotScheduled
from clasp_edge.wire import decode_value
from clasp_edge.wire.pattern import Pattern, PatternError

log = logging.getLogger("clasp_edge.osc")

COMPLAINT_PERIOD_US = 60_000_000
"""What is wrong with a source is logged once in this time."""

IDLE_S = 300.0
"""A sender of datagrams that is silent for so long is forgotten."""

SWEEP_PERIOD_S = 30.0

MAX_MATCHES = 4096
"""Params that one message with wildcards may set: writing them takes some 20 ms, in which nothing else is served."""

PARAMS_PER_MESSAGE = 64
"""Looking at so many params for an address with wildcards counts as one message of the source's rate."""

RECEIVE_BUFFER_BYTES = 1024 * 1024
"""Asked of the kernel for the UDP socket: what arrives while the router is busy with something else."""


class OscServer:
    """`udp` and `tcp` are bound sockets. `access` is what devices may do, None for anything. Start and stop once."""

    def __init__(
        self,
        router: Router,
        config: Osc,
        udp: socket.socket,
        tcp: socket.socket | None = None,
        access: Access | None = None,
    ) -> None:
        self.router = router
        self.counters = Counters()
        self._udp = udp
        self._tcp = tcp
        self._tcp_server: asyncio.Server | None = None
        self._namespace = config.namespace.encode()
        self._outward = Outgoing(self._namespace, Encoder(config.floats, config.arrays))
        self._connections: OrderedDict[bytes, Source] = OrderedDict()
        self._refused_told_us = 0
        self._sweep: TimerHandle | None = None
        self.intake = OscReceiver(router.plane, self, self._namespace, CONTROL_PREFIX)
        self.waiting = WaitingBundles(router, self.intake)
        self._resyncs = Resyncs(router.loop)
        self.static = ConfiguredTargets(router.loop, udp, self.counters, self._new_static, self._found)
        self.leases = Subscribers(
            router.loop, config.namespace, self._new_subscriber, self._link_to, self._left,
            router.no_room_for_subscription,
        )  # fmt: skip
        self._adopt(config, access)

    # ---- configuration ----

    def apply_config(self, config: Osc, access: Access | None) -> None:
        """Take over what can change while running: who may do what and how much, and the configured devices. One that
        has changed starts anew; the others go on undisturbed."""
        self._adopt(config, access)
        for source in self._sources():
            source.scopes = access
            if not self._is_allowed(source.host):
                self.intake.drop(source)
        self.leases.expel(self._is_allowed)
        for target in self.targets().values():
            target.scopes = access
        self.router.plane.scopes_changed()
        self.static.apply(config.target)
        subscribers = set(self.leases.targets().values())
        for source in self._sources():
            if source.party not in subscribers:
                source.party = self.static.party_of(source.host, source.port)

    def _adopt(self, config: Osc, access: Access | None) -> None:
        self._config = config
        self._access = access
        self._allowed = [ip_network(text) for text in config.allow]
        self.intake.rate = config.messages_per_second
        self.intake.max_sources = config.max_sources
        self.intake.silence_us = int(config.silence_s * 1e6)
        self.leases.max_subscribers = config.max_subscribers

    # ---- life ----

    async def start(self) -> None:
        """Serve from now on."""
        loop = self.router.loop
        self._udp.setblocking(False)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        _enlarge(self._udp)
        self.intake.open(self._udp.fileno())
        loop.add_reader(self._udp.fileno(), self.intake.on_readable)
        if self._tcp is not None:
            framing = self._config.tcp_framing
            self._tcp_server = await loop.create_server(lambda: OscConnection(self, framing), sock=self._tcp)
        self.static.apply(self._config.target)

    @property
    def listening(self) -> bool:
        """Whether devices are heard, also over TCP where that is wanted."""
        return self._udp.fileno() >= 0 and (self._tcp_server is None or self._tcp_server.is_serving())

    def stop(self) -> None:
        """Hear and send nothing any more."""
        self.router.loop.remove_reader(self._udp.fileno())
        self.intake.close()
        if self._sweep is not None:
            self._sweep.cancel()
        if self._tcp_server is not None:
            self._tcp_server.close()
        self.waiting.close()
        self._resyncs.close()
        self.leases.close()
        self.static.close()
        for source in self._sources():
            self.intake.drop(source)
        self._udp.close()

    def statistics(self) -> dict[str, int]:
        """Every counter by its name, and how many sources, subscribers and waiting bundles there are now."""
        intake = self.intake
        return asdict(self.counters) | {
            "packets": intake.packets,
            "messages": intake.messages,
            "over_rate": intake.over_rate,
            "sources_evicted": intake.evicted,
            "sources": len(intake),
            "connections": len(self._connections),
            "subscribers": len(self.leases),
            "waiting_bundles": len(self.waiting),
        }

    def targets(self) -> dict[str, Target]:
        """Every device that is sent values: configured ones by name, subscribers by the `host:port` of theirs."""
        return self.leases.targets() | self.static.targets()

    # ---- who is who ----

    def admit(self, key: bytes, host: str, port: int) -> Source | None:
        """A sender that was not known; None where it is not allowed."""
        if not self._is_allowed(host):
            self._refuse(host, port)
            return None
        source = Source(key, host, port)
        source.scopes = self._access
        source.party = self.leases.party_of(host, port) or self.static.party_of(host, port)
        if self._sweep is None:
            self._sweep = self.router.loop.call_later(SWEEP_PERIOD_S, self._sweep_sources)
        return source

    def connected(self, host: str, port: int, link: OscConnection) -> Source | None:
        """A new TCP connection; None where it is not allowed."""
        if not self._is_allowed(host):
            self._refuse(host, port)
            return None
        source = Source(b"tcp" + host.encode() + port.to_bytes(2, "big"), host, port, link)
        source.scopes = self._access
        source.party = self.static.party_of(host, port)
        # Apart from the senders of datagrams: anybody can make up as many of those as it takes to push others out.
        self._connections[source.key] = source
        if len(self._connections) > self._config.max_sources:
            self.intake.drop(self._connections.popitem(last=False)[1])
        return source

    def active(self, source: Source) -> None:
        """Something came over a TCP connection."""
        if source.key in self._connections:
            self._connections.move_to_end(source.key)

    def disconnected(self, source: Source) -> None:
        """A TCP connection is gone."""
        self._connections.pop(source.key, None)
        self.leases.ended(source)
        source.link = None
        self.intake.drop(source)

    def source_gone(self, source: Source) -> None:
        if source.link is not None:
            source.link.abort()

    def _sources(self) -> list[Source]:
        return [*self.intake.known(), *self._connections.values()]

    def _is_allowed(self, host: str) -> bool:
        return not self._allowed or _within(host, self._allowed)

    def _refuse(self, host: str, port: int) -> None:
        self.counters.refused_sources += 1
        now_us = self.router.core.monotonic_us
        if not self._refused_told_us or now_us - self._refused_told_us >= COMPLAINT_PERIOD_US:
            self._refused_told_us = now_us
            log.warning("OSC %s:%d: refused, osc.allow has no network it is in", host, port)

    def _new_target(self, name: str, link: Link | None, rate: float) -> Target:
        target = Target(
            self.router.plane,
            name,
            link,
            loop=self.router.loop,
            resyncs=self._resyncs,
            outward=self._outward,
            counters=self.counters,
            rate=rate,
            on_loop=self._loop_broken,
        )
        target.scopes = self._access
        return target

    def _new_static(self, entry: OscTarget) -> Target:
        target = self._new_target(entry.name, None, entry.rate)
        for text in entry.patterns:
            target.subscribe(text, Pattern(text.encode()))
        return target

    def _new_subscriber(self, name: str, link: Link) -> Target:
        return self._new_target(name, link, self._config.subscriber_rate)

    def _link_to(self, source: Source, port: int) -> Link:
        if source.link is not None:
            link: Link = source.link
            return link
        return Allowance(
            UdpLink(self._udp, source.host, port or source.port, self.counters), source,
            self._config.subscriber_kib_per_second * 1024, self.router.loop.time, self.counters,
        )  # fmt: skip

    def _found(self, target: Target) -> None:
        """A configured device's address is known: who was heard before that may be it."""
        for source in self._sources():
            if source.party is None:
                source.party = self.static.party_of(source.host, source.port)
        target.resync()

    def _left(self, target: Target) -> None:
        """A subscriber is gone."""
        for source in self._sources():
            if source.party is target:
                source.party = self.static.party_of(source.host, source.port)

    def _sweep_sources(self) -> None:
        self._sweep = None
        core = self.router.core
        core.refresh_clock()
        for source in self.intake.known():
            if source.heard_us + IDLE_S * 1e6 > core.monotonic_us:
                break
            self.intake.drop(source)
        if len(self.intake):
            self._sweep = self.router.loop.call_later(SWEEP_PERIOD_S, self._sweep_sources)

    # ---- what the intake asks ----

    def special(self, source: Source, address: bytes, is_pattern: bool, value_type: int, value: bytes) -> None:
        """A control message, or one for every param that its address matches."""
        if not is_pattern:
            if address not in CONTROLS:
                self.bad_packet(source, f"no control message: {address[:64].decode('utf-8', 'replace')}")
                return
            self.intake.charge(source, COST)
            self.leases.handle(source, address, decode_value(value_type, value))
            return
        self.counters.expansions += 1
        pattern = OscPattern(address)
        try:
            superset = pattern.superset(self._namespace)
        except PatternError as error:
            self.bad_packet(source, str(error))
            return
        plane = self.router.plane
        self.intake.charge(source, plane.params / PARAMS_PER_MESSAGE)
        start = len(self._namespace)
        # All of them are found before the first is written: a write may bring params or take them away.
        found: list[bytes] = []
        for candidate in addresses_of(plane, [superset], None):
            if candidate is not None and pattern.matches(candidate[start:]):
                found.append(candidate)
                if len(found) > MAX_MATCHES:
                    self.bad_packet(source, f"a pattern that matches more than {MAX_MATCHES} params")
                    return
        self.intake.charge(source, len(found))
        for matched in found:
            self.intake.write(source, matched, value_type, value)

    def later(self, source: Source, due_us: int, packet: bytes) -> None:
        try:
            self.waiting.add(source, due_us, packet)
        except NotScheduled as refusal:
            self.counters.late_bundles_refused += 1
            self._complain(source, f"a bundle for later was refused: {refusal}")

    def bad_packet(self, source: Source, reason: str) -> None:
        source.bad += 1
        self.counters.bad_packets += 1
        self._complain(source, f"bad packet: {reason}")

    def too_fast(self, source: Source) -> None:
        self._complain(source, f"more than {self._config.messages_per_second} messages per second")

    def refused(self, source: Source, address: bytes, verdict: int) -> None:
        shown = address[:256].decode("utf-8", "replace")
        if verdict == Verdict.BAD_ADDRESS:
            self.bad_packet(source, f"{self.router.plane.refusal_text} ({shown})")
            return
        self.counters.refused_writes += 1
        self._complain(source, f"a write to {shown} was refused ({Verdict(verdict).name})")
        if isinstance(source.party, Target):
            # Its display, or its motor, shows what it wanted; it shall show what is.
            source.party.refresh(address)

    def heard(self, source: Source, address: bytes, value_type: int, value: bytes) -> bool:
        party = source.party
        if isinstance(party, Target) and party.said(address, (value_type, value)):
            self.counters.echoes += 1
            return True
        return False

    def returned(self, party: Party) -> None:
        if isinstance(party, Target):
            party.resync()

    def _loop_broken(self, target: Target, address: bytes) -> None:
        self.counters.loops += 1
        log.warning(
            "OSC loop: %s answers %s with the same values again and again; it is not sent this address for a while",
            target.name,
            address.decode("utf-8", "replace"),
        )

    def _complain(self, source: Source, text: str) -> None:
        """Log what is wrong with a source, once a minute."""
        source.untold += 1
        now_us = self.router.core.monotonic_us
        if not source.complained_us or now_us - source.complained_us >= COMPLAINT_PERIOD_US:
            more = f" ({source.untold} complaints since the last one)" if source.untold > 1 else ""
            source.complained_us = now_us
            source.untold = 0
            log.warning(
                "OSC %s: %s%s", source.name, "".join(c if c.isprintable() else repr(c)[1:-1] for c in text), more
            )


def _within(host: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    address = ip_address(host)
    return any(address in network for network in networks)


def _enlarge(sock: socket.socket) -> None:
    """Ask for a large receive buffer; above the system's limit only root gets it, others get the limit."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
