"""Discovery as a part of the process: answers on the discovery port, and announcements. Imported only if one is on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clasp_edge.config.model import Config
from clasp_edge.console.sources import COUNTER, Family, StatusSources
from clasp_edge.daemon.part import CannotStart, Part
from clasp_edge.discovery.answer import Answerer
from clasp_edge.discovery.router import described
from clasp_edge.discovery.services import ports, services
from clasp_edge.federation.shared.identity import router_id
from clasp_edge.federation.upstream.netlink import NetworkWatch
from clasp_edge.router.router import Router
from clasp_edge.transports.udp import UdpPort, UdpPorts

if TYPE_CHECKING:
    from clasp_edge.discovery.announce import Announcer
    from clasp_edge.discovery.services import Service

log = logging.getLogger("clasp_edge.discovery")


class DiscoveryPart(Part):
    """`addresses()` are the bound ones of all listeners; `fingerprint()` is of the certificate, "" without TLS."""

    name = "discovery"

    def __init__(
        self,
        router: Router,
        config: Config,
        udp: UdpPorts,
        addresses: Callable[[], Sequence[str]],
        fingerprint: Callable[[], str],
    ) -> None:
        self._router = router
        self._config = config
        self._addresses = addresses
        self._fingerprint = fingerprint
        self._port: UdpPort | None = udp.at(config.discovery.listen) if config.discovery.listen is not None else None
        self._answerer: Answerer | None = None
        self._announcer: Announcer | None = None
        self._network: NetworkWatch | None = None
        self._id = ""

    async def start(self) -> list[str]:
        if self._config.discovery.mdns == "on":
            try:
                from clasp_edge.discovery.announce import Announcer
            except ImportError:
                text = "discovery.mdns needs the library zeroconf: pip install '.[discovery]'"
                raise CannotStart(text) from None
            name = self._config.name
            clock = self._router.clock
            self._announcer = Announcer(self._router.loop, name, self._services, clock.monotonic_s)
        return [f"discovery://{await self._port.open(self._router.loop)}"] if self._port is not None else []

    def ready(self) -> None:
        # As late as this, because only now all ports are known.
        self._id = router_id(self._config.data_dir, self._config.federation.router_id)
        if self._port is not None:
            clock = self._router.clock
            self._answerer = Answerer(self._port.send, self._said, clock.monotonic_s, clock.wall_us)
            self._port.discovery = self._answerer.received
        if self._announcer is not None:
            self._announcer.start()
            refresh = self._announcer.refresh
            self._network = NetworkWatch(self._router.loop, refresh, refresh)
            self._network.start()

    def describe(self, sources: StatusSources) -> None:
        sources.add("discovery", self._numbers, _FAMILIES)

    def _numbers(self) -> Mapping[str, Any]:
        answerer, announcer = self._answerer, self._announcer
        return {
            "answered": 0 if answerer is None else answerer.answered,
            "refused": 0 if answerer is None else answerer.refused,
            "mdns": "off" if announcer is None else announcer.state,
            "names": [] if announcer is None else announcer.names,
            "mdns_dropped": 0 if announcer is None else announcer.packets_dropped,
        }

    @property
    def listening(self) -> bool:
        return self._port is None or self._port.listening

    def stop(self) -> None:
        if self._network is not None:
            self._network.stop()
            self._network = None
        if self._announcer is not None:
            self._announcer.stop()
            self._announcer = None
        if self._port is not None:
            self._port.discovery = None

    def close(self) -> None:
        # Not before: QUIC may share it, and has to say goodbye.
        if self._port is not None:
            self._port.close()

    def _said(self) -> Mapping[str, str]:
        bound = ports(self._addresses())
        fingerprint = self._fingerprint()
        return described(
            self._router.config.name,
            ws_port=bound.get("ws", 0),
            tls_port=bound.get("wss", 0),
            router_id=self._id,
            fingerprint=fingerprint,
        )

    def _services(self) -> list[Service]:
        found = services(self._addresses(), self._said())
        if not found:
            log.warning("mdns: nothing is announced: every listener is bound to loopback")
        return found


_FAMILIES = (
    Family("clasp_edge_discovery_answers_total", COUNTER, "Broadcasts that were answered.", ("answered",)),
    Family("clasp_edge_discovery_refused_total", COUNTER, "Those that were not: rate, sender or form.", ("refused",)),
    Family("clasp_edge_mdns_dropped_packets_total", COUNTER, "mDNS packets above the rate.", ("mdns_dropped",)),
)
