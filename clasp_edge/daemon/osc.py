"""OSC as the configuration asks for it: sockets bound, server built. Imported only if OSC is on."""

from __future__ import annotations

import logging
import socket

from clasp_edge.config.model import Config
from clasp_edge.devices.osc.server import OscServer
from clasp_edge.router.router import Router
from clasp_edge.security.scope import Scope, Scopes
from clasp_edge.transports.bind import bind, name_of

log = logging.getLogger("clasp_edge")


class OscService:
    """`start` and `stop` once each; `stop` also after a `start` that failed."""

    def __init__(self, router: Router, config: Config) -> None:
        self._router = router
        self._config = config
        self.server: OscServer | None = None

    async def start(self) -> list[str]:
        """Bind and serve; returns the addresses for the line `ready`. Raises `bind.BindError`."""
        osc = self._config.osc
        assert osc.listen is not None
        udp = bind(osc.listen, socket.SOCK_DGRAM)
        try:
            tcp = bind(osc.tcp_listen, socket.SOCK_STREAM) if osc.tcp_listen is not None else None
        except OSError:
            udp.close()
            raise
        names = [f"osc://{name_of(udp)}"]
        if tcp is not None:
            names.append(f"osc+tcp://{name_of(tcp)}")
        access = None
        if self._config.security.mode == "authenticated":
            access = Scopes(Scope.parse(text) for text in osc.scopes)
            if not osc.scopes:
                log.warning("OSC devices may do nothing: osc.scopes is empty and security.mode is authenticated")
        self.server = OscServer(self._router, osc, udp, tcp, access)
        await self.server.start()
        return names

    @property
    def listening(self) -> bool:
        """Whether devices are heard."""
        return self.server is not None and self.server.listening

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None
