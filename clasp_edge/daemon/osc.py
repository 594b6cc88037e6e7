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
        self.server = OscServer(self._router, osc, udp, tcp, _access(self._config))
        await self.server.start()
        return names

    def apply_config(self, config: Config) -> None:
        """Take over what can change while running."""
        self._config = config
        if self.server is not None:
            self.server.apply_config(config.osc, _access(config))

    @property
    def listening(self) -> bool:
        """Whether devices are heard."""
        return self.server is not None and self.server.listening

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None


def _access(config: Config) -> Scopes | None:
    """What devices may do; None for anything."""
    if config.security.mode != "authenticated":
        return None
    if not config.osc.scopes:
        log.warning("OSC devices may do nothing: osc.scopes is empty and security.mode is authenticated")
    return Scopes(Scope.parse(text) for text in config.osc.scopes)
