"""OSC as a part of the process: sockets bound, server built. Imported only if OSC is on."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from clasp_edge.config.listen import parse_listen
from clasp_edge.config.model import Config
from clasp_edge.console.requests import Requests
from clasp_edge.console.resync import Resync
from clasp_edge.console.sources import StatusSources
from clasp_edge.daemon.part import Guest, Part
from clasp_edge.devices.osc.lease_store import Journal
from clasp_edge.devices.osc.server import OscServer
from clasp_edge.router.router import Router
from clasp_edge.security.scope import Scope, Scopes
from clasp_edge.transports.bind import bind, name_of

if TYPE_CHECKING:
    from clasp_edge.console.why import Finding


class OscPart(Part):
    """The OSC server on UDP and, where the configuration asks for it, on TCP."""

    name = "osc"

    def __init__(self, router: Router, config: Config, journal: Journal | None) -> None:
        self._router = router
        self._journal = journal
        self._config = config
        self.server: OscServer | None = None
        self.port = 0
        """Of UDP, once it is bound."""

    async def start(self) -> list[str]:
        osc = self._config.osc
        assert osc.listen is not None
        sockets = []
        try:
            for listen in (osc.listen, *(parse_listen(text) for text in osc.also_listen)):
                assert listen is not None
                sockets.append(bind(listen, socket.SOCK_DGRAM))
            tcp = bind(osc.tcp_listen, socket.SOCK_STREAM) if osc.tcp_listen is not None else None
        except OSError:
            for udp in sockets:
                udp.close()
            raise
        self.port = int(sockets[0].getsockname()[1])
        names = [f"osc://{name_of(udp)}" for udp in sockets]
        if tcp is not None:
            names.append(f"osc+tcp://{name_of(tcp)}")
        self.server = OscServer(self._router, osc, sockets, tcp, devices_may(self._config), _scoped)
        if self._journal is not None:
            self.server.keep_subscriptions(self._journal)
        await self.server.start()
        return names

    def apply_config(self, config: Config) -> None:
        self._config = config
        if self.server is not None:
            self.server.apply_config(config.osc, devices_may(config))

    def guests(self) -> Iterator[Guest]:
        if self.server is not None:
            for source in self.server.senders():
                device = self.server.device_name(source)
                if device is None:
                    yield Guest("osc", "", source.name)

    def describe(self, sources: StatusSources) -> None:
        from clasp_edge.console.devices_report import add_osc

        if self.server is not None:
            add_osc(sources, self.server)

    def offer(self, requests: Requests) -> None:
        requests.add("resync", Resync(lambda: self.server))

    def explain(self, address: bytes) -> Iterable[Finding]:
        from clasp_edge.daemon.osc_why import explain

        namespace = self._config.osc.namespace.encode()
        return () if self.server is None else explain(address, self.server, namespace, self.port)

    @property
    def listening(self) -> bool:
        return self.server is not None and self.server.listening

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None


def devices_may(config: Config) -> Scopes | None:
    """What devices may do; None for anything."""
    if config.security.mode != "authenticated":
        return None
    return Scopes(Scope.parse(text) for text in config.osc.scopes)


def _scoped(texts: Sequence[str]) -> Scopes:
    """What one device may do."""
    return Scopes(Scope.parse(text) for text in texts)
