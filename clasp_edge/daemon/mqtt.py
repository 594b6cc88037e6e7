"""The MQTT server as a part of the process: binds its socket, which the devices' rooms do not. Imported only if it is
on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from clasp_edge.config.listen import Listen
from clasp_edge.config.model import Config
from clasp_edge.console.sources import StatusSources
from clasp_edge.daemon.part import Guest, Part
from clasp_edge.devices.mqtt.server import MqttServer
from clasp_edge.router.router import Router
from clasp_edge.transports.bind import bind, name_of

if TYPE_CHECKING:
    from clasp_edge.journal.journal import Journal


class MqttPart(Part):
    """The MQTT server on its own listener. `journal` is the one that keeps a log, if any does: with it, sessions
    outlive the process."""

    name = "mqtt"

    def __init__(self, router: Router, listen: Listen | None, journal: Journal | None) -> None:
        self.server = MqttServer(router)
        self._listen = listen
        if journal is not None:
            self.server.keep_sessions(journal)

    def serve(self, peer: str) -> asyncio.BaseProtocol:
        """The protocol of a connection that was decrypted elsewhere."""
        return self.server.accepted(peer)

    async def start(self) -> list[str]:
        if self._listen is None:
            return []
        sock = bind(self._listen, socket.SOCK_STREAM)
        await self.server.start(sock)
        return [f"mqtt://{name_of(sock)}"]

    def apply_config(self, config: Config) -> None:
        self.server.apply_config(config)

    def guests(self) -> Iterator[Guest]:
        for session in self.server.sessions.values():
            if session.identity is None and not session.is_ghost:
                remote = session.connection.remote if session.connection is not None else ""
                yield Guest("mqtt", session.client_id, remote)

    def describe(self, sources: StatusSources) -> None:
        from clasp_edge.console.devices_report import add_mqtt

        add_mqtt(sources, self.server)

    @property
    def listening(self) -> bool:
        return self.server.listening or self._listen is None

    def stop(self) -> None:
        self.server.stop()
