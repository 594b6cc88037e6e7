"""The CLASP listeners as parts of the process: WebSocket (with MQTT and HTTP on the same port) and TCP."""

from __future__ import annotations

import asyncio

from clasp_edge.config.listen import Listen
from clasp_edge.daemon.part import Part
from clasp_edge.router.router import Router
from clasp_edge.transports.tcp import TcpServer
from clasp_edge.transports.websocket import WebSocketServer


class WebSocketPart(Part):
    """What else answers on its port is set on `server` before the start."""

    name = "ws"

    def __init__(self, router: Router, listen: Listen | None) -> None:
        self.server = WebSocketServer(router, listen)
        self._plain = listen is not None

    async def start(self) -> list[str]:
        return [f"ws://{await self.server.start()}"] if self._plain else []

    def serve(self, peer: str) -> asyncio.BaseProtocol:
        """The protocol of a connection that was decrypted elsewhere."""
        return self.server.accepted()

    @property
    def listening(self) -> bool:
        return self.server.listening or not self._plain

    def stop(self) -> None:
        self.server.stop()


class TcpPart(Part):
    """CLASP over TCP, for small devices."""

    name = "tcp"

    def __init__(self, router: Router, listen: Listen | None) -> None:
        self._server = TcpServer(router, listen)
        self._plain = listen is not None

    async def start(self) -> list[str]:
        return [f"tcp://{await self._server.start()}"] if self._plain else []

    def serve(self, peer: str) -> asyncio.BaseProtocol:
        """The protocol of a connection that was decrypted elsewhere."""
        return self._server.accepted()

    @property
    def listening(self) -> bool:
        return self._server.listening or not self._plain

    def stop(self) -> None:
        self._server.stop()
