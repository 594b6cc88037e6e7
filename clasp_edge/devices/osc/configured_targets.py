"""The devices that the configuration names: where they are, and which senders belong to them.

A host name is looked up until it is found, and again from time to time: a device may be switched on long after the
router, and get another address. What has to be said to a device without being asked (a keep-alive, queries) is said
here."""

from __future__ import annotations

import asyncio
import logging
import socket
from asyncio import AbstractEventLoop, Task, TimerHandle
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from clasp_edge.config.model import OscDevice
from clasp_edge.config.osc_text import parse_osc_message
from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.encode import Encoder
from clasp_edge.devices.osc.links import UdpLink
from clasp_edge.devices.osc.profile import Profile
from clasp_edge.devices.osc.target import Target
from clasp_edge.devices.osc.tcp import OscConnection
from clasp_edge.lookup import Lookup

log = logging.getLogger("clasp_edge.osc")

LOOKUP_PERIOD_S = 30.0
CONNECT_TIMEOUT_S = 5.0
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 15.0


class ConfiguredTarget:
    """One `[[osc.target]]` or `[[osc.device]]` with the target it configures."""

    def __init__(self, config: OscDevice, target: Target) -> None:
        self.config = config
        self.target = target
        self.host = ""
        self.source_host = ""
        self.tasks: list[Task[None]] = []
        self.keep_alive: TimerHandle | None = None
        self.connection: OscConnection | None = None
        encoder = Encoder("single")
        self.queries = [_packet(encoder, text) for text in config.queries]
        self.alive = _packet(encoder, config.keep_alive.message) if config.keep_alive.message else b""
        text, self._source_port = _host_and_port(config.source)
        self._source_network: IPv4Network | IPv6Network | None = None
        self.source_name = ""
        if text:
            try:
                self._source_network = ip_network(text, strict=False)
            except ValueError:
                self.source_name = text

    @property
    def profile(self) -> Profile:
        return self.target.profile

    def sends_as(self, host: str, port: int) -> int:
        """How surely a packet from there is this device's: 2 it is, 1 it would seem so, 0 it is not."""
        if self._source_network is not None:
            if ip_address(host.partition("%")[0]) not in self._source_network:
                return 0
            return 2 if self._source_port in (0, port) else 0
        if self.source_name:
            return 2 if host == self.source_host and self._source_port in (0, port) else 0
        if host != self.host:
            return 0
        if port == self.config.port:
            return 2
        # Many programs of one machine talk to a router on it: there only the port tells them apart.
        return 0 if ip_address(host.partition("%")[0]).is_loopback else 1

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        if self.keep_alive is not None:
            self.keep_alive.cancel()
        if self.connection is not None:
            self.connection.abort()
        self.target.close()


def _packet(encoder: Encoder, text: str) -> bytes:
    address, arguments = parse_osc_message(text)
    return encoder.arguments(address.encode(), arguments)


def _host_and_port(text: str) -> tuple[str, int]:
    """`address`, `address:port` or `[IPv6]:port`; port 0 where there is none."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.endswith("]")):
        return text.strip("[]"), 0
    return host.strip("[]"), int(port)


class ConfiguredTargets:
    """All of them. `new_target(config)` makes one; `on_found(target)` is called when its address is known, and
    `new_connection(config, on_lost)` makes a connection to one that wants TCP."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        sock: socket.socket,
        counters: Counters,
        new_target: Callable[[OscDevice], Target],
        on_found: Callable[[Target], None],
        new_connection: Callable[[OscDevice, Callable[[], None]], OscConnection],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._counters = counters
        self._new_target = new_target
        self._on_found = on_found
        self._new_connection = new_connection
        self._targets: list[ConfiguredTarget] = []

    def apply(self, wanted: Sequence[OscDevice], *, resend: bool = False) -> None:
        """Serve exactly these, each as soon as its host is found. Those that have not changed go on undisturbed, unless
        what is said of all devices has (`resend`)."""
        kept = []
        for static in self._targets:
            if static.config in wanted and not resend:
                kept.append(static)
            else:
                static.close()
        self._targets = kept
        known = {static.config.name for static in kept}
        for config in wanted:
            if config.name not in known:
                self._add(ConfiguredTarget(config, self._new_target(config)))

    def _add(self, static: ConfiguredTarget) -> None:
        self._targets.append(static)
        config = static.config
        if static.source_name:
            static.tasks.append(self._loop.create_task(self._look_up(static, config.source, self._found_source)))
        if config.transport == "tcp" and config.host:
            static.tasks.append(self._loop.create_task(self._connect(static)))
            return
        if not config.host:
            return
        try:
            self._found(static, ip_address(config.host).compressed)
        except ValueError:
            static.tasks.append(self._loop.create_task(self._look_up(static, config.host, self._found)))

    def targets(self) -> dict[str, Target]:
        """All of them that are sent something, by name."""
        return {static.config.name: static.target for static in self._targets if static.config.host}

    def target_at(self, host: str, port: int) -> Target | None:
        """The device that is sent things there."""
        for static in self._targets:
            if static.config.host and (static.host, static.config.port) == (host, port):
                return static.target
        return None

    def place_of(self, target: Target) -> tuple[str, int] | None:
        """Where a device is sent things, if it is known yet."""
        for static in self._targets:
            if static.target is target and static.config.host and static.host:
                return static.host, static.config.port
        return None

    def party_of(self, host: str, port: int) -> Target | None:
        """The target that a packet from there belongs to; None where it is not known or not clear."""
        static = self.device_of(host, port)
        return static.target if static is not None and static.config.host else None

    def device_of(self, host: str, port: int) -> ConfiguredTarget | None:
        """The device that a packet from there belongs to; None where it is not known or not clear."""
        found = [(static.sends_as(host, port), static) for static in self._targets]
        sure = [static for rank, static in found if rank == 2]
        maybe = [static for rank, static in found if rank == 1]
        candidates = sure or maybe
        return candidates[0] if len(candidates) == 1 or sure else None

    def ask(self, target: Target) -> None:
        """Send a device its queries."""
        for static in self._targets:
            if static.target is target and target.link is not None:
                for packet in static.queries:
                    target.link.send(packet)

    def close(self) -> None:
        for static in self._targets:
            static.close()
        self._targets = []

    # ---- inside ----

    def _found(self, static: ConfiguredTarget, host: str) -> None:
        if host == static.host:
            return
        if static.host:
            log.warning("osc.target %s: %s is now %s", static.config.name, static.config.host, host)
        static.host = host
        static.target.link = UdpLink(self._sock, host, static.config.port, self._counters)
        self._begin(static)

    def _found_source(self, static: ConfiguredTarget, host: str) -> None:
        static.source_host = host
        self._on_found(static.target)

    def _begin(self, static: ConfiguredTarget) -> None:
        """The way to the device is there: what it has to hear first."""
        if static.keep_alive is not None:
            static.keep_alive.cancel()
        self._keep_alive(static)
        self.ask(static.target)
        self._on_found(static.target)

    def _keep_alive(self, static: ConfiguredTarget) -> None:
        link = static.target.link
        if static.alive and link is not None:
            link.send(static.alive)
            static.keep_alive = self._loop.call_later(static.config.keep_alive.every_s, self._keep_alive, static)

    async def _look_up(
        self, static: ConfiguredTarget, text: str, found_at: Callable[[ConfiguredTarget, str], None]
    ) -> None:
        config = static.config
        name, _ = _host_and_port(text)
        # On a socket for both families a name may have either kind of address.
        family = socket.AF_INET if self._sock.family == socket.AF_INET else socket.AF_UNSPEC
        told = False
        while True:
            try:
                found = await self._loop.getaddrinfo(name, config.port or None, family=family, type=socket.SOCK_DGRAM)
            except OSError as error:
                if not told:
                    log.warning("osc.target %s: %s is not found yet: %s", config.name, name, error)
                    told = True
            else:
                hosts = [str(entry[4][0]) for entry in found]
                # One of several is as good as another: the one in use stays while it is among them.
                if static.host not in hosts or found_at != self._found:
                    found_at(static, hosts[0])
            await asyncio.sleep(LOOKUP_PERIOD_S)

    async def _connect(self, static: ConfiguredTarget) -> None:
        """Connect, and again whenever the connection is gone."""
        config = static.config
        retry_s = FIRST_RETRY_S
        told = False
        while True:
            lost = asyncio.Event()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    connection = await self._dial(config, lost)
            except (OSError, TimeoutError) as error:
                if not told:
                    log.warning(
                        "osc.target %s: cannot connect to %s:%d: %s", config.name, config.host, config.port, error
                    )
                    told = True
            else:
                log.warning("osc.target %s: connected to %s:%d", config.name, config.host, config.port)
                told = False
                retry_s = FIRST_RETRY_S
                static.connection = connection
                static.target.link = connection
                if connection.source is not None:
                    static.host = connection.source.host
                self._begin(static)
                await lost.wait()
                static.target.link = None
                static.connection = None
                log.warning("osc.target %s: connection lost", config.name)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)

    async def _dial(self, config: OscDevice, lost: asyncio.Event) -> OscConnection:
        """A connection to the first address that takes it. Raises OSError."""
        lookup = Lookup(config.host, config.port)
        addresses = await lookup.begin()
        refused: OSError | None = None
        while addresses:
            for family, at in addresses:
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_S / 3):  # a silent one leaves time for the others
                        await self._loop.sock_connect(sock, at)
                    new = partial(self._new_connection, config, lost.set)
                    return (await self._loop.create_connection(new, sock=sock))[1]
                except BaseException as error:
                    sock.close()
                    if not isinstance(error, OSError):
                        raise
                    refused = error
            addresses = await lookup.more()
        assert refused is not None
        raise refused
