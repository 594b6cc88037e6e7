"""Starts and stops the MQTT server: binds its socket, which the devices' rooms do not."""

from __future__ import annotations

import socket

from clasp_edge.config.listen import Listen
from clasp_edge.devices.mqtt.server import MqttServer
from clasp_edge.router.router import Router
from clasp_edge.transports.bind import bind, name_of


class MqttService:
    """The MQTT server on its own listener."""

    def __init__(self, router: Router, listen: Listen) -> None:
        self.server = MqttServer(router)
        self._listen = listen

    async def start(self) -> str:
        """Bind and listen; returns the address as `host:port`. Raises `bind.BindError`."""
        sock = bind(self._listen, socket.SOCK_STREAM)
        await self.server.start(sock)
        return name_of(sock)

    @property
    def listening(self) -> bool:
        """Whether clients are accepted."""
        return self.server.listening

    def stop(self) -> None:
        """Accept no more clients, and say goodbye."""
        self.server.stop()
