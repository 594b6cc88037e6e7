"""The HTTP gate by itself, on a real socket: an answer that nobody reads."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping

from clasp_edge.clock import Clock
from clasp_edge.router.places import HalfOpen
from clasp_edge.transports.http import HttpGate, Request, Waiting, response

LARGE = 32 * 1024 * 1024
"""More than a socket's buffers take."""


class Large:
    """A page of that size."""

    def answer(self, request: Request) -> bytes | None:
        return response("200 OK", bytes(LARGE)) if request.path == "/large" else None


async def received_of(patience_s: float, pause_s: float) -> int:
    """How many bytes a client gets that asks for the large page and reads after a pause."""
    loop = asyncio.get_running_loop()
    waiting = Waiting(loop, HalfOpen(lambda: 8), lambda: patience_s, Clock())

    def nobody(transport: asyncio.Transport, data: bytes, headers: Mapping[str, str]) -> None:
        raise AssertionError

    server = await loop.create_server(
        lambda: HttpGate(nobody, lambda transport: None, waiting, Large()), "127.0.0.1", 0
    )

    def client() -> int:
        count = 0
        with socket.create_connection(server.sockets[0].getsockname(), 10) as connection:
            connection.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            time.sleep(pause_s)
            try:
                while data := connection.recv(1 << 20):
                    count += len(data)
            except ConnectionResetError:
                pass
        return count

    count = await loop.run_in_executor(None, client)
    server.close()
    return count


def test_who_reads_gets_all_of_it() -> None:
    assert asyncio.run(received_of(30, 0)) > LARGE


def test_who_does_not_read_the_answer_is_not_waited_for() -> None:
    assert asyncio.run(received_of(0.3, 1)) < LARGE
