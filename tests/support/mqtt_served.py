"""An MQTT server in the test's own process, with clients on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import uvloop
from support import mqtt_packets as packets

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.devices.mqtt.connection import TcpConnection
from clasp_edge.devices.mqtt.server import MqttServer
from clasp_edge.router.router import Router


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it, not for ever."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Served:
    """A server in this process, and clients on real sockets that it reads."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = MqttServer(Router(Config(), self.loop, Clock(), None))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)

    async def open(self, send_buffer: int = 0) -> tuple[socket.socket, TcpConnection]:
        """A connection that has sent nothing yet, and is watched. `send_buffer`: bytes that our socket takes."""
        client = socket.socket()
        client.setblocking(False)
        await self.loop.sock_connect(client, self.listener.getsockname())
        ours, _ = await self.loop.sock_accept(self.listener)
        if send_buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        before = len(self.server.watch)
        _, connection = await self.loop.connect_accepted_socket(lambda: TcpConnection(self.server), ours)
        await until(lambda: len(self.server.watch) == before + 1)
        return client, connection

    async def login(self, name: str, send_buffer: int = 0) -> tuple[socket.socket, TcpConnection]:
        """A client of 3.1.1."""
        client, connection = await self.open(send_buffer)
        client.send(packets.connect(name, packets.V311))
        assert (await self.receive(client, 4))[:2] == b"\x20\x02"
        return client, connection

    async def receive(self, client: socket.socket, size: int) -> bytes:
        """So many bytes, fewer where the connection ends."""
        async with asyncio.timeout(30):
            data = b""
            while len(data) < size:
                more = await self.loop.sock_recv(client, size - len(data))
                if not more:
                    break
                data += more
            return data

    async def left(self) -> None:
        """Wait until nobody is watched."""
        await until(lambda: len(self.server.watch) == 0)


def serve(scenario: Callable[[Served], Awaitable[None]]) -> None:
    """Run the scenario on the product's loop."""

    async def run() -> None:
        served = Served()
        await scenario(served)
        served.listener.close()

    uvloop.run(run())
