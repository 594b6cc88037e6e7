"""The OSC server: UDP sockets for all devices, TCP beside them if wanted, and what is not decided for each message.

Puts the parts together: `intake` reads and writes params, `static` and `leases` know the devices that are sent values,
`timetags` lets bundles wait, `loops` and each target's memory keep values from going round. Binding sockets is the
daemon's business.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from asyncio import TimerHandle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from clasp_edge.config.model import Osc, OscDevice
from clasp_edge.dataplane import Verdict
from clasp_edge.dataplane.account import Charge, Holding
from clasp_edge.devices.osc import complaints
from clasp_edge.devices.osc.allowance import Allowance
from clasp_edge.devices.osc.answers import Answers
from clasp_edge.devices.osc.complaints import Complaints
from clasp_edge.devices.osc.configured_targets import ConfiguredTargets
from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.datagrams import Datagrams
from clasp_edge.devices.osc.expansion import Expansions
from clasp_edge.devices.osc.groups import Groups
from clasp_edge.devices.osc.lease_store import Journal, LeaseStore
from clasp_edge.devices.osc.links import Link, UdpLink, is_ours
from clasp_edge.devices.osc.loop_breaker import LoopBreaker
from clasp_edge.devices.osc.profile import AddressSet, Profile, default_profile, profile_of
from clasp_edge.devices.osc.receiver import OscReceiver
from clasp_edge.devices.osc.source import Party, Source
from clasp_edge.devices.osc.spoken import Spoken
from clasp_edge.devices.osc.subscribers import CONTROL_PREFIX, CONTROLS, COST, StoredLease, Subscribers
from clasp_edge.devices.osc.target import Target
from clasp_edge.devices.osc.tcp import OscConnection
from clasp_edge.devices.osc.telling import Telling
from clasp_edge.devices.osc.timetags import SenderClock, WaitingBundles
from clasp_edge.router.access import Access
from clasp_edge.router.principal import principal_of
from clasp_edge.router.router import Router
from clasp_edge.router.schedule import NotScheduled, TooFarAhead
from clasp_edge.wire import decode_value
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.devices.osc.query.client import QueryClient

log = logging.getLogger("clasp_edge.osc")

SOURCE_BYTES = 700
"""What a sender takes. `max_sources` bounds them; it is charged so that it counts."""

IDLE_S = 300.0
"""A sender of datagrams that is silent for so long is forgotten."""

SWEEP_PERIOD_S = 30.0

DRAIN_PERIOD_S = 0.01
"""What waits above a source's rate is looked at so often."""

Scoped = Callable[[Sequence[str]], Access]


class OscServer:
    """`udp` are bound sockets, the first of which sends to configured devices; `tcp` is one for connections. `access`
    is what devices may do, None for anything; `scoped` makes the same of a device's own scopes. Start and stop once."""

    def __init__(
        self,
        router: Router,
        config: Osc,
        udp: Sequence[socket.socket],
        tcp: socket.socket | None,
        access: Access | None,
        scoped: Scoped,
    ) -> None:
        self.router = router
        self.counters = Counters()
        self.complaints = Complaints(lambda: router.core.monotonic_us)
        self._udp = list(udp)
        self._tcp = tcp
        self._tcp_server: asyncio.Server | None = None
        self._namespace = config.namespace.encode()
        self.queries: set[Target] = set()
        """Clients of OSCQuery."""
        self._connections: OrderedDict[bytes, Source] = OrderedDict()
        self._overflowing: dict[Source, None] = {}
        self._parting: set[Source] = set()
        """Of connections that are closed: what came over them above the rate is still acted upon."""
        self._drain: TimerHandle | None = None
        self._refused_told_us = 0
        self._sweep: TimerHandle | None = None
        self._store: LeaseStore | None = None
        self._scoped = scoped
        self._breaker = LoopBreaker(router, self.counters)
        self._groups = Groups(router.loop, self._udp, config.groups)
        self._spoken = Spoken()
        self.intake = OscReceiver(router.plane, self, self._namespace, CONTROL_PREFIX)
        self._datagrams = Datagrams(router.loop, self._udp, self.intake)
        self.waiting = WaitingBundles(router, self.intake)
        self._expansions = Expansions(
            router, self.intake, self.complaints, self.bad_packet, self.refused, self.too_fast, self.overflowing,
            self.asked,
        )  # fmt: skip
        self._answers = Answers(router.plane, self.counters)
        self._telling = Telling(router.loop, router.clock.wall_us)
        self._wanted: tuple[object, ...] = ()
        self._adopt(config, access)
        self.static = ConfiguredTargets(
            router.loop, self._udp[0], self.counters, self._new_static, self._found,
            lambda one, on_lost: OscConnection(self, one.tcp_framing or self._config.tcp_framing, on_lost),
        )  # fmt: skip
        self.leases = Subscribers(
            router.loop, self.base_of, self._new_subscriber, self.static.target_at, self._link_to, self._left,
            router.charge_subscription, router.release_subscription, router.account_of,
            self.complaints.note, self._telling.slices,
        )  # fmt: skip
        self.leases.max_subscribers = config.max_subscribers

    # ---- configuration ----

    def apply_config(self, config: Osc, access: Access | None) -> None:
        """Take over what can change while running: who may do what and how much, and the configured devices. One that
        has changed starts anew; the others go on undisturbed."""
        before = _defaults(self._config)
        self._adopt(config, access)
        for source in self._sources():
            if not self.is_allowed(source.host):
                if source.party in self.queries and source.link is not None:
                    source.link.abort()
                self.intake.drop(source)
        self.leases.max_subscribers = config.max_subscribers
        self.leases.expel(self.is_allowed)
        self.static.apply(_devices(config), resend=before != _defaults(config))
        self.leases.part(self.static.targets().values())
        for device in _devices(config):
            if (target := self.static.targets().get(device.name)) is not None:
                target.scopes = self._scopes_for(device)
        for source in self._sources():
            self._configure(source)
        self.leases.adapt(self._configure)
        subscribers = {*self.leases.targets().values(), *self.queries}
        for source in self._sources():
            if source.party not in subscribers:
                source.party = self._party_of(source)
        self.router.plane.scopes_changed()

    def _adopt(self, config: Osc, access: Access | None) -> None:
        self._config = config
        self._access = access
        wanted = (*_defaults(config), config.subscriber_rate)
        if wanted != self._wanted:
            self._wanted, self._default = wanted, default_profile(config, config.subscriber_rate)
        self._allowed = [ip_network(text) for text in config.allow]
        self.intake.rate = config.messages_per_second
        self.intake.max_sources = config.max_sources
        self.intake.silence_us = int(config.silence_s * 1e6)
        self.intake.horizon_us = int(self.router.config.limits.schedule_horizon_s * 1e6)
        patterns = [Pattern(text.encode()) for text in config.events]
        self.intake.events = AddressSet(patterns, [self._namespace]) if patterns else None

    def base_of(self, source: Source) -> bytes:
        """What goes before a source's addresses."""
        return self._namespace if source.base is None else source.base

    def keep_subscriptions(self, journal: Journal) -> None:
        """Let subscriptions outlive the process. Before `start`."""
        self._store = LeaseStore(self.leases, journal, lambda: self.router.clock.wall_us() / 1e6)

    def _revive(self, lease: StoredLease) -> Source | None:
        """The source of a stored subscription, which is not heard yet."""
        if not self.is_allowed(lease.host):
            return None
        source = Source(lease.key, lease.host, lease.sender_port)
        source.confirmed = lease.confirmed
        source.received_bytes = lease.received_bytes
        source.answered_bytes = lease.answered_bytes
        self._charge(source)
        self._configure(source)
        return source

    # ---- life ----

    async def start(self) -> None:
        """Serve from now on."""
        loop = self.router.loop
        self.intake.open()
        self._datagrams.start()
        self._groups.start()
        if self._tcp is not None:
            framing = self._config.tcp_framing
            self._tcp_server = await loop.create_server(lambda: OscConnection(self, framing), sock=self._tcp)
        self.static.apply(_devices(self._config))
        if self._store is not None:
            self._store.restore(self._revive)

    def pause(self, sock: socket.socket, fd: int) -> None:
        """A busy socket: many datagrams at one look cost less than a look for each."""
        self._datagrams.pause(sock, fd)

    @property
    def listening(self) -> bool:
        """Whether devices are heard, also over TCP where that is wanted."""
        return self._udp[0].fileno() >= 0 and (self._tcp_server is None or self._tcp_server.is_serving())

    def stop(self) -> None:
        """Hear and send nothing any more."""
        for timer in (self._sweep, self._drain):
            if timer is not None:
                timer.cancel()
        self._datagrams.stop()
        self.intake.close()
        if self._tcp_server is not None:
            self._tcp_server.close()
        self.waiting.close()
        self._breaker.close()
        self._groups.close()
        self._telling.close()
        if self._store is not None:
            self._store.freeze()  # what ends now is to be there after the restart
        self.leases.close()
        self.static.close()
        self._telling.losses.close()
        for source in self._sources():
            self.intake.drop(source)
        for sock in self._udp:
            sock.close()

    def statistics(self) -> dict[str, int]:
        """Every counter by its name, and how many sources, subscribers and waiting bundles there are now."""
        intake = self.intake
        return asdict(self.counters) | {
            "packets": intake.packets,
            "messages": intake.messages,
            "over_rate": intake.over_rate,
            "replaced_over_rate": intake.replaced,
            "dropped_over_rate": intake.dropped_over_rate,
            "sources_evicted": intake.evicted,
            "sources": len(intake),
            "connections": len(self._connections),
            "subscribers": len(self.leases),
            "waiting_bundles": len(self.waiting),
        }

    def targets(self) -> dict[str, Target]:
        """Every device that is sent values: configured ones by name, subscribers by the `host:port` of theirs."""
        return self.leases.targets() | self.static.targets()

    def senders(self) -> list[Source]:
        """Everybody that something was heard from, whoever was heard last first."""
        return sorted(self._sources(), key=lambda source: source.heard_us, reverse=True)

    def device_name(self, source: Source) -> str | None:
        """What the configuration calls the device that sends from there."""
        device = self.static.device_of(source.host, source.port)
        return device.config.name if device is not None else None

    # ---- who is who ----

    def admit(self, key: bytes, host: str, port: int, sock: socket.socket) -> Source | None:
        """A sender that was not known; None where it is not allowed."""
        if not self.is_allowed(host):
            self._refuse(host, port)
            return None
        if any(is_ours(one, host, port) for one in self._udp):  # what one port sends may arrive at another
            self.counters.own_packets += 1
            return None
        source = Source(key, host, port)
        self._charge(source)
        source.party = self.leases.party_of(host, port) or self.static.party_of(host, port)
        self._configure(source)
        if self._sweep is None:
            self._sweep = self.router.loop.call_later(SWEEP_PERIOD_S, self._sweep_sources)
        return source

    def connected(self, host: str, port: int, link: OscConnection | QueryClient) -> Source | None:
        """A new TCP connection; None where it is not allowed."""
        if not self.is_allowed(host):
            self._refuse(host, port)
            return None
        source = Source(b"tcp" + host.encode() + port.to_bytes(2, "big"), host, port, link)
        source.party = self.static.party_of(host, port)
        self._charge(source)
        if link.accepted and not self.router.places.take(link, "osc", principal_of(host), host):
            return None
        self._configure(source)
        # Apart from the senders of datagrams: anybody can make up as many of those as it takes to push others out.
        self._connections[source.key] = source
        self.intake.owe(source, self.router.debts.take(principal_of(host)))
        if len(self._connections) > self._config.max_sources:
            self.intake.drop(self._connections.popitem(last=False)[1])
        return source

    def _charge(self, source: Source) -> None:
        source.holding = Holding(self.router.account_of(source.host))
        source.holding.force(SOURCE_BYTES, Charge.OSC)

    def _configure(self, source: Source) -> Profile:
        """Let a source be what its device is configured to be."""
        # Who asks by OSCQuery is shown addresses as they are for a device that nothing is configured for.
        device = None if source.party in self.queries else self.static.device_of(source.host, source.port)
        profile = self._default if device is None else device.profile
        source.base = None if device is None else profile.base
        source.events = None if device is None else profile.events
        source.outside = profile.outside
        source.asks = profile.asks
        source.timetags = profile.timetags
        source.rate = profile.messages_per_second
        source.scopes = self.access_at(source.host) if device is None else self._scopes_for(device.config)
        if source.party in self.queries:
            source.party.scopes = source.scopes
        return profile

    def access_at(self, host: str) -> Access | None:
        """What devices there may do, unless the configuration has them by name."""
        authenticator = self.router.authenticator
        here = authenticator.of_network("osc", host) if authenticator is not None else None
        return self._access if here is None else here.scopes

    def _scopes_for(self, device: OscDevice) -> Access | None:
        return self._scoped(device.scopes) if device.scopes else self._access

    def active(self, source: Source) -> None:
        """Something came over a TCP connection."""
        if source.key in self._connections:
            self._connections.move_to_end(source.key)

    def disconnected(self, source: Source) -> None:
        """A TCP connection is gone."""
        self._connections.pop(source.key, None)
        self.leases.ended(source)
        self.router.debts.leave(principal_of(source.host), self.intake.used_s(source))
        source.link = None
        if source.overflow is not None:
            self._parting.add(source)
        else:
            self.intake.drop(source)

    def source_gone(self, source: Source) -> None:
        self._overflowing.pop(source, None)
        self._parting.discard(source)
        if source.link is not None:
            source.link.abort()

    def _sources(self) -> list[Source]:
        return [*self.intake.known(), *self._connections.values()]

    def is_allowed(self, host: str) -> bool:
        """Whether a host is in `osc.allow`, or there is none."""
        return not self._allowed or _within(host, self._allowed)

    def _refuse(self, host: str, port: int) -> None:
        self.counters.refused_sources += 1
        now_us = self.router.core.monotonic_us
        if not self._refused_told_us or now_us - self._refused_told_us >= complaints.PERIOD_US:
            self._refused_told_us = now_us
            log.warning(
                "OSC %s:%d: refused, osc.allow has no network it is in (%d packets refused so far)",
                host, port, self.counters.refused_sources,
            )  # fmt: skip

    def _new_target(self, name: str, link: Link | None, profile: Profile) -> Target:
        target = Target(
            self.router.plane,
            name,
            link,
            loop=self.router.loop,
            telling=self._telling,
            profile=profile,
            loops=self._breaker.loops,
            spoken=self._spoken,
            counters=self.counters,
            on_loop=self._breaker.crossed,
        )
        target.scopes = self._access
        return target

    def _new_static(self, device: OscDevice) -> Target:
        target = self._new_target(device.name, None, profile_of(self._config, device))
        target.scopes = self._scopes_for(device)
        for text in device.patterns:
            target.subscribe(text, Pattern(text.encode()))
        return target

    def join_by_query(self, host: str, port: int, client: QueryClient) -> tuple[Source, Target] | None:
        """A client of OSCQuery, as a source and as who is sent what it listens to; None where it is not allowed."""
        source = self.connected(host, port, client)
        if source is None:
            return None
        target = self._new_target(f"oscquery {host}:{port}", client, self._default)
        self.queries.add(target)
        source.party = target
        self._configure(source)
        return source, target

    def _new_subscriber(self, name: str, link: Link, source: Source) -> Target:
        target = self._new_target(name, link, self._configure(source))
        target.scopes = source.scopes
        return target

    def _link_to(self, source: Source, port: int) -> Link:
        if source.link is not None:
            link: Link = source.link
            return link
        return Allowance(
            UdpLink(source.sock or self._udp[0], source.host, port or source.port, self.counters), source,
            self._config.subscriber_kib_per_second * 1024, self.router.loop.time, self.counters,
        )  # fmt: skip

    def _found(self, target: Target) -> None:
        """A configured device's address is known: who was heard before that may be it."""
        place = self.static.place_of(target)
        before = self.leases.join(*place, target) if place is not None else None
        for source in self._sources():
            if before is not None and source.party is before:
                source.party = target
            if source.party is None:
                source.party = self.static.party_of(source.host, source.port)
            self._configure(source)
        self.leases.adapt(self._configure)
        for source in self._sources():
            source.party = source.party or self._party_of(source)
        target.resync()

    def _left(self, target: Target) -> None:
        """A subscriber is gone."""
        for source in self._sources():
            if source.party is target:
                source.party = self._party_of(source)

    def _party_of(self, source: Source) -> Target | None:
        return self.leases.party_of(source.host, source.port) or self.static.party_of(source.host, source.port)

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

    def special(
        self, source: Source, address: bytes, is_pattern: bool, has_arguments: bool, value_type: int, value: bytes
    ) -> None:
        """A control message, or one for every param that its address matches."""
        if not is_pattern:
            if not self.leases.takes_more(source, self.router.core.monotonic_us):
                return
            if address not in CONTROLS:
                self.bad_packet(source, f"no control message: {address[:64].decode('utf-8', 'replace')}")
                return
            if source in self._parting:
                return  # nobody is there any more to be told anything
            self.intake.charge(source, COST)
            self.leases.handle(source, address, decode_value(value_type, value))
            return
        self.counters.expansions += 1
        self._expansions.add(source, self.base_of(source), address, has_arguments, value_type, value)

    def asked(self, source: Source, osc_address: bytes, address: bytes) -> bool:
        if source in self._parting:
            return True
        described = self.router.plane.describe(address)
        if described is None or not (source.scopes is None or source.scopes.allows("read", address)):
            return False
        # Who asks by OSCQuery is shown addresses as they are for a device that nothing is configured for.
        device = None if source.party in self.queries else self.static.device_of(source.host, source.port)
        profile = self._default if device is None else device.profile
        tail = self._spoken.tail_of(address, described[1], described[2])
        answer = profile.outgoing.answer(osc_address, described[1], described[2], tail)
        self._answers.send(answer, lambda: self._link_to(source, 0))
        return True

    def behind(self) -> bool:
        return self._telling.fan_out.is_behind

    def listeners(self) -> int:
        """Who may have to be told of one message."""
        return len(self.leases) + len(self.queries)

    def later(self, source: Source, due_us: int, packet: bytes) -> bool:
        try:
            self.waiting.add(source, due_us, packet)
        except TooFarAhead:
            self.clock_not_set(source, due_us)
            return False
        except NotScheduled as refusal:
            self.counters.late_bundles_refused += 1
            self.complaints.note(source, complaints.BUNDLE_REFUSED, f"a bundle for later was refused: {refusal}")
        return True

    def relative(self, source: Source, due_us: int) -> int:
        if source.clock is None:
            source.clock = SenderClock()
        clock: SenderClock = source.clock
        return clock.due_us(due_us, self.router.clock.wall_us())

    def clock_not_set(self, source: Source, due_us: int) -> None:
        self.counters.clocks_not_set += 1
        if not source.clock_told:
            source.clock_told = True
            offset_s = (due_us - self.router.clock.wall_us()) / 1e6
            self.complaints.note(
                source,
                complaints.CLOCK,
                f"its time tags are off by {offset_s:+.0f} s, its clock is not set; its bundles are done at once",
            )

    def bad_packet(self, source: Source, reason: str) -> None:
        source.bad += 1
        self.counters.bad_packets += 1
        self.complaints.note(source, complaints.BAD_PACKET, f"bad packet: {reason}")

    def too_fast(self, source: Source) -> None:
        rate = source.rate if source.rate >= 0 else self.intake.rate
        self.complaints.note(
            source, complaints.TOO_FAST, f"more than {rate:.0f} messages per second; above it the newest values wait"
        )

    def overflowing(self, source: Source) -> None:
        self._overflowing[source] = None
        if self._drain is None:
            self._drain = self.router.loop.call_later(DRAIN_PERIOD_S, self._drain_all)

    def _drain_all(self) -> None:
        self._drain = None
        core = self.router.core
        core.begin_pass()
        try:
            for source in list(self._overflowing):
                if not self.intake.drain(source):
                    self._overflowing.pop(source, None)
                    if source in self._parting and source.overflow is None:
                        self.intake.drop(source)
        finally:
            core.end_pass()
        if self._overflowing:
            self._drain = self.router.loop.call_later(DRAIN_PERIOD_S, self._drain_all)

    def refused(self, source: Source, address: bytes, verdict: int) -> None:
        shown = address[:256].decode("utf-8", "replace")
        if verdict == Verdict.BAD_ADDRESS:
            self.bad_packet(source, f"{self.router.plane.refusal_text} ({shown})")
            return
        self.counters.refused_writes += 1
        source.refused += 1
        self.complaints.note(
            source, complaints.WRITE_REFUSED, f"a write to {shown} was refused ({Verdict(verdict).name})"
        )
        if isinstance(source.party, Target):
            # Its display, or its motor, shows what it wanted; it shall show what is.
            source.party.refresh(address)

    def heard(self, source: Source, address: bytes, is_event: bool, value_type: int, value: bytes) -> bool:
        party = source.party
        if not isinstance(party, Target):
            return False
        may_write = source.scopes is None or source.scopes.allows("write", address)
        known = None if is_event else (value_type, value)
        ignored, source.loop_mark = party.said(address, known, may_write=may_write)
        return ignored

    def spoken(self, address: bytes, value_type: int, value: bytes, tail: bytes) -> None:
        self._spoken.note(address, value_type, value, tail)

    def returned(self, party: Party) -> None:
        if isinstance(party, Target):
            self.static.ask(party)
            party.resync()


def _devices(config: Osc) -> list[OscDevice]:
    return [*(target.as_device() for target in config.target), *config.device]


def _defaults(config: Osc) -> tuple[object, ...]:
    """What devices are that say nothing of it."""
    return config.events, config.echo_ms, config.timetags, config.query, config.floats, config.arrays


def _within(host: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    address = ip_address(host)
    return any(address in network for network in networks)
