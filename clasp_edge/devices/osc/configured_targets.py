"""The devices that the configuration names: where they are, and which senders belong to them.

A host name is looked up until it is found: a device may be switched on long after the router.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from clasp_edge.config.model import OscTarget
from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.links import UdpLink
from clasp_edge.devices.osc.target import Target

log = logging.getLogger("clasp_edge.osc")

LOOKUP_PERIOD_S = 30.0


class ConfiguredTarget:
    """One `[[osc.target]]` with the target it configures."""

    def __init__(self, config: OscTarget, target: Target) -> None:
        self.config = config
        self.target = target
        self.host = ""
        self.lookup: Task[None] | None = None
        self._sends_from, self._sends_from_port = _host_and_port(config.sends_from)

    def sends_as(self, host: str, port: int) -> int:
        """How surely a packet from there is this device's: 2 it is, 1 it would seem so, 0 it is not."""
        if self._sends_from:
            if host != self._sends_from:
                return 0
            return 2 if self._sends_from_port in (0, port) else 0
        if host != self.host:
            return 0
        if port == self.config.port:
            return 2
        # Many programs of one machine talk to a router on it: there only the port tells them apart.
        return 0 if ip_address(host.partition("%")[0]).is_loopback else 1


def _close(static: ConfiguredTarget) -> None:
    if static.lookup is not None:
        static.lookup.cancel()
    static.target.close()


def _host_and_port(text: str) -> tuple[str, int]:
    """`address`, `address:port` or `[IPv6]:port`; port 0 where there is none."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.endswith("]")):
        return text.strip("[]"), 0
    return host.strip("[]"), int(port)


class ConfiguredTargets:
    """All of them. `new_target(config)` makes one; `on_found(target)` is called when its address is known."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        sock: socket.socket,
        counters: Counters,
        new_target: Callable[[OscTarget], Target],
        on_found: Callable[[Target], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._counters = counters
        self._new_target = new_target
        self._on_found = on_found
        self._targets: list[ConfiguredTarget] = []

    def apply(self, wanted: Sequence[OscTarget]) -> None:
        """Serve exactly these, each as soon as its host is found. Those that have not changed go on undisturbed."""
        kept = []
        for static in self._targets:
            if static.config in wanted:
                kept.append(static)
            else:
                _close(static)
        self._targets = kept
        known = {static.config.name for static in kept}
        for config in wanted:
            if config.name not in known:
                self._add(ConfiguredTarget(config, self._new_target(config)))

    def _add(self, static: ConfiguredTarget) -> None:
        self._targets.append(static)
        try:
            self._found(static, ip_address(static.config.host).compressed)
        except ValueError:
            static.lookup = self._loop.create_task(self._look_up(static))

    def targets(self) -> dict[str, Target]:
        """All of them by name."""
        return {static.config.name: static.target for static in self._targets}

    def party_of(self, host: str, port: int) -> Target | None:
        """The target that a packet from there belongs to; None where it is not known or not clear."""
        found = [(static.sends_as(host, port), static) for static in self._targets]
        sure = [static for rank, static in found if rank == 2]
        maybe = [static for rank, static in found if rank == 1]
        candidates = sure or maybe
        return candidates[0].target if len(candidates) == 1 or sure else None

    def close(self) -> None:
        for static in self._targets:
            _close(static)

    def _found(self, static: ConfiguredTarget, host: str) -> None:
        static.host = host
        static.target.link = UdpLink(self._sock, host, static.config.port, self._counters)
        self._on_found(static.target)

    async def _look_up(self, static: ConfiguredTarget) -> None:
        config = static.config
        # On a socket for both families a name may have either kind of address.
        family = socket.AF_INET if self._sock.family == socket.AF_INET else socket.AF_UNSPEC
        told = False
        while True:
            try:
                found = await self._loop.getaddrinfo(config.host, config.port, family=family, type=socket.SOCK_DGRAM)
            except OSError as error:
                if not told:
                    log.warning("osc.target %s: %s is not found yet: %s", config.name, config.host, error)
                    told = True
                await asyncio.sleep(LOOKUP_PERIOD_S)
                continue
            self._found(static, str(found[0][4][0]))
            return
