"""OSCQuery as a part of the process. Imported only if it is on."""

from __future__ import annotations

from typing import Any, cast

from clasp_edge.config.model import Config
from clasp_edge.console.sources import GAUGE, Family, StatusSources
from clasp_edge.daemon.osc import OscPart
from clasp_edge.daemon.part import Part
from clasp_edge.devices.osc.profile import default_profile
from clasp_edge.devices.osc.query.tree import QueryTree, host_info
from clasp_edge.router.router import Router
from clasp_edge.security.scope import Scopes
from clasp_edge.transports.oscquery import OscQueryServer


class OscQueryPart(Part):
    """It shows what the OSC server of `osc` serves."""

    name = "oscquery"

    def __init__(self, router: Router, config: Config, osc: OscPart) -> None:
        self._router = router
        self._config = config
        self._osc = osc
        self._server: OscQueryServer | None = None

    async def start(self) -> list[str]:
        listen, server = self._config.oscquery.listen, self._osc.server
        assert listen is not None
        assert server is not None
        encoder = default_profile(self._config.osc, 0.0).outgoing.encoder
        base = self._config.osc.namespace.encode()

        def access_at(host: str) -> Scopes | None:
            return cast("Scopes | None", server.access_at(host))  # those of the configuration and of tokens are

        tree = QueryTree(self._router.plane, base, encoder, self._router.signals.described, access_at)
        self._server = OscQueryServer(self._router, listen, server, tree, self._info)
        return [f"oscquery://{await self._server.start()}"]

    def describe(self, sources: StatusSources) -> None:
        family = Family("clasp_edge_oscquery_clients", GAUGE, "OSCQuery clients over WebSocket.", ("clients",))
        sources.add(
            "oscquery", lambda: {"clients": 0 if self._server is None else len(self._server.clients)}, (family,)
        )

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.listening

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _info(self, port: int) -> dict[str, Any]:
        return host_info(self._router.config.name, self._osc.port, port)
