"""A connection that ends while many others do waits for its turn: what must not wait is done at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

from support import mqtt_packets as packets

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.devices.mqtt.connection import TcpConnection
from clasp_edge.devices.mqtt.server import MqttServer
from clasp_edge.router.router import Router


class Others:
    """Whose ends are under way for as long as wanted."""

    def __init__(self, router: Router) -> None:
        self.left = True
        router.endings.do(self._steps())

    def _steps(self) -> Iterator[None]:
        while self.left:
            yield


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def connected(server: MqttServer, client: socket.socket, ours: socket.socket) -> TcpConnection:
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    _, connection = await loop.connect_accepted_socket(lambda: TcpConnection(server, "10.0.0.1:1000"), ours)
    return connection


def test_its_place_is_free_at_once() -> None:
    async def run() -> None:
        server = MqttServer(Router(Config(), asyncio.get_running_loop(), Clock(), None))
        client, ours = socket.socketpair()
        connection = await connected(server, client, ours)
        client.send(packets.connect("one"))
        await until(lambda: len(server.router.places) == 1)
        others = Others(server.router)
        client.close()
        await until(lambda: connection.gone)
        assert len(server.router.places) == 0
        assert "one" in server.sessions
        others.left = False
        await until(lambda: "one" not in server.sessions)
        await until(lambda: not server.router.endings.is_busy)
        assert server.router.accounts.kinds()["sessions"] == 0

    asyncio.run(run())


def test_a_login_that_is_known_after_its_end_opens_nothing() -> None:
    async def run() -> None:
        server = MqttServer(Router(Config(), asyncio.get_running_loop(), Clock(), None))
        client, ours = socket.socketpair()
        connection = await connected(server, client, ours)
        connection.await_login()
        others = Others(server.router)
        connection.abort()
        await until(lambda: ours.fileno() == -1)
        opened = []
        connection.login_known(b"", lambda: opened.append(connection))
        assert not opened
        others.left = False
        await until(lambda: not server.router.endings.is_busy)
        client.close()

    asyncio.run(run())
