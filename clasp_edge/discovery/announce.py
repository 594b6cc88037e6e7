"""Announces services by mDNS with the library zeroconf: probing, conflicts, answers, and the goodbye at the end.

Interfaces come and go: `refresh` announces anew on those that are there. What comes in is from strangers and costs work
on the loop that serves everybody: beyond PACKETS_PER_SECOND it is not looked at (`_Limited`). zeroconf bounds its own
tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

from clasp_edge.discovery.answer import Bucket, is_near
from clasp_edge.discovery.dns import MAX_LABEL_BYTES
from clasp_edge.discovery.interfaces import Interface6, interfaces, interfaces6
from clasp_edge.discovery.router import cut
from clasp_edge.discovery.services import Service

log = logging.getLogger("clasp_edge.discovery")

PACKETS_PER_SECOND = 200.0
"""Looked at. A large house network has some tens a second; each takes 50 to 200 us."""

SETTLE_S = 1.0
"""After a change of the network: an interface that comes up changes several times."""

RETRY_S = 30.0


class Announcer:
    """`start` once, `stop` once. `services()` is asked each time that it announces; `name` is the instance's."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, name: str, services: Callable[[], Sequence[Service]], monotonic_s: Any
    ) -> None:
        self._loop = loop
        self._name = label(name)
        self._services = services
        self._monotonic_s = monotonic_s
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._zeroconf: Any = None
        self._addresses: list[str] = []
        self.state = "starting"
        self.names: list[str] = []
        """As announced, after conflicts."""
        self.gates: list[_Limited] = []

    def start(self) -> None:
        self.refresh(0.0)

    def refresh(self, delay_s: float = SETTLE_S) -> None:
        """Announce anew soon, on the interfaces that are there then."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._begin)

    def stop(self) -> None:
        """Say goodbye."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._task = self._loop.create_task(self._close())
        self.state = "stopped"

    @property
    def packets_dropped(self) -> int:
        """Not looked at because there were too many."""
        return sum(gate.dropped for gate in self.gates)

    def _begin(self) -> None:
        self._timer = None
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._run())
        else:
            self.refresh()  # one at a time

    async def _run(self) -> None:
        addresses = [each.address for each in interfaces() if each.multicast]
        six = interfaces6()
        present = addresses + [f"{each.address}%{each.name}" for each in six]
        if present == self._addresses and self.state == "announced":
            return
        await self._close()
        self._addresses = present
        if not present:
            self.state = "no network"
            return
        try:
            await self._announce(addresses, six)
        except Exception as error:
            # Whatever the library or the network has: the router goes on without, and tries again.
            reason = str(error) or type(error).__name__
            self.state = f"failed: {reason}"
            log.warning("mdns: the services are not announced: %s", reason)
            await self._close()
            self._addresses = []
            self.refresh(RETRY_S)

    async def _announce(self, addresses: list[str], six: list[Interface6]) -> None:
        from zeroconf import IPVersion, ServiceInfo
        from zeroconf.asyncio import AsyncZeroconf

        self.state = "announcing"
        version = IPVersion.All if addresses and six else IPVersion.V6Only if six else IPVersion.V4Only
        links: list[str | int] = [*addresses, *sorted({each.number for each in six})]
        self._zeroconf = AsyncZeroconf(interfaces=links, ip_version=version)
        zeroconf = self._zeroconf.zeroconf
        await zeroconf.async_wait_for_start()
        self._limit(zeroconf)
        services = self._services()
        # Not the machine's name: that belongs to whoever else answers for it here, and two boxes may have the same one.
        host = next((service.text["id"] for service in services if "id" in service.text), self._name)
        self.names = []
        for service in services:
            at = reached_at(service.host, addresses, six)
            if not at:
                continue  # bound to one family, and the network has the other one
            kind = f"{service.type}.local."
            info = ServiceInfo(
                kind,
                f"{self._name}.{kind}",
                port=service.port,
                properties=dict(service.text),
                addresses=[
                    socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in at
                ],
                server=f"{label(host)}.local.",
            )
            task = await self._zeroconf.async_register_service(info, allow_name_change=True)
            await task
            self.names.append(info.name)
        self.state = "announced"
        log.info("mdns: announced on %s: %s", ", ".join(self._addresses), ", ".join(self.names) or "nothing")

    def _limit(self, zeroconf: Any) -> None:
        for wrapped in zeroconf.engine.readers:
            gate = _Limited(wrapped.transport.get_protocol(), self._monotonic_s)
            wrapped.transport.set_protocol(gate)
            self.gates.append(gate)

    async def _close(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        self.names = []
        self.gates = []
        if zeroconf is not None:
            with contextlib.suppress(Exception):
                await zeroconf.async_close()


MAX_PACKET_BYTES = 1500
"""What fits an Ethernet frame; the few records of a show's devices do."""


class _Limited(asyncio.DatagramProtocol):
    """Hands on what comes for the library, up to a rate."""

    def __init__(self, inner: Any, monotonic_s: Callable[[], float]) -> None:
        self._inner = inner
        self._monotonic_s = monotonic_s
        self._bucket = Bucket(PACKETS_PER_SECOND, monotonic_s())
        self.dropped = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        # An answer to an address that is not of this network would be somebody else's attack on it (RFC 6762, 11); and
        # what the library keeps of a packet is bounded by the packet.
        near = is_near(str(addr[0])) and len(data) <= MAX_PACKET_BYTES
        if near and self._bucket.take(self._monotonic_s()):
            self._inner.datagram_received(data, addr)
        else:
            self.dropped += 1

    def error_received(self, exc: Exception) -> None:
        self._inner.error_received(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)


def reached_at(host: str, addresses: Sequence[str], six: Sequence[Interface6]) -> list[str]:
    """Where a service is reached that is bound to `host`: "" and "::" for all of this machine, "0.0.0.0" for IPv4."""
    if host == "0.0.0.0":
        return list(addresses)
    if host in ("", "::"):
        return [*addresses, *dict.fromkeys(each.address for each in six)]
    return [host.partition("%")[0]]


def label(name: str) -> str:
    """The name as one label: what stands before the type of a service. Dots would end it."""
    text = cut(name).replace(".", "-").encode()[:MAX_LABEL_BYTES].decode("utf-8", "ignore").strip()
    return "".join(character for character in text if character.isprintable()) or "clasp-edge"
