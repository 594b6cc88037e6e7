"""From an endpoint to a connected socket: names looked up afresh, all their addresses tried, each step named.

Knows nothing of WebSocket or TLS, and sets no deadline: whoever awaits this has one, and `Progress` tells what it hit.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Sequence

from clasp_edge.config.endpoint import Endpoint
from clasp_edge.lookup import Address, Lookup

STAGGER_S = 0.25
"""The next address is tried beside one that has not answered for this long (RFC 8305, 8)."""

RECEIVE_BUFFER_BYTES = 262_144
"""In the kernel, which doubles it. A read buffer grows until a read no longer fills it, so this bounds what a flood
makes us hold; over a round trip of 200 ms it still lets 1 MB/s through."""


class ConnectError(Exception):
    """There is no connection; the text says why, without naming the endpoint."""


class Progress:
    """What an attempt is doing now, to be said when its time is up."""

    def __init__(self) -> None:
        self.doing = "starting"


async def connect(endpoint: Endpoint, user_timeout_ms: int, progress: Progress) -> socket.socket:
    """A connected, non-blocking socket. `user_timeout_ms`: how long what we write may stay unacknowledged (tcp(7)).

    Raises `ConnectError`, naming each address that was tried.
    """
    progress.doing = f"looking up {endpoint.host}"
    lookup = Lookup(endpoint.host, endpoint.port)
    addresses = await _begun(lookup, endpoint)
    names = ", ".join(str(address[0]) for _, address in addresses)
    progress.doing = f"connecting to {names}" if names != endpoint.host else "connecting"
    return await _race(addresses, lookup, user_timeout_ms)


async def resolve(endpoint: Endpoint) -> AsyncIterator[Address]:
    """The addresses in the order to try them (RFC 8305, 4: families take turns). Raises `ConnectError`."""
    lookup = Lookup(endpoint.host, endpoint.port)
    addresses = await _begun(lookup, endpoint)
    while addresses:
        for address in addresses:
            yield address
        addresses = await lookup.more()


async def _begun(lookup: Lookup, endpoint: Endpoint) -> list[Address]:
    try:
        return await lookup.begin()
    except OSError as error:
        raise ConnectError(f"the name {endpoint.host} cannot be looked up: {error.strerror or error}") from None


async def _race(addresses: Sequence[Address], lookup: Lookup, user_timeout_ms: int) -> socket.socket:
    waiting = list(addresses)
    running: dict[asyncio.Task[socket.socket], Address] = {}
    late = asyncio.ensure_future(lookup.more()) if lookup.is_open else None
    failures: list[str] = []
    loop = asyncio.get_running_loop()
    won: socket.socket | None = None
    try:
        while won is None:
            if waiting:
                address = waiting.pop(0)
                running[loop.create_task(_connect_one(address, user_timeout_ms))] = address
            if not running and late is None:
                raise ConnectError("; ".join(dict.fromkeys(failures)))
            done, _ = await asyncio.wait(
                [*running, *([late] if late else [])],
                timeout=STAGGER_S if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if late is not None and late.done():
                waiting += late.result()
                late = None
            for task in [task for task in running if task in done]:
                address = running.pop(task)
                error = task.exception()
                if error is None and won is None:
                    won = task.result()
                elif error is None:
                    task.result().close()
                else:
                    failures.append(f"{_said(error)} ({address[1][0]})")
        return won
    finally:
        if late is not None:
            late.cancel()
        for task in running:
            task.add_done_callback(_drop)
            task.cancel()


async def _connect_one(address: Address, user_timeout_ms: int) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # Before connecting: the window's scale is agreed on with the first packet.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)
        await asyncio.get_running_loop().sock_connect(sock, address[1])
        if sock.getsockname() == sock.getpeername():
            # A port of ours that nobody listened on met itself (TCP's simultaneous open).
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except BaseException:
        sock.close()
        raise
    return sock


def _drop(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _said(error: BaseException) -> str:
    # asyncio puts a sentence of its own, with the address, in the place of the system's.
    number = error.errno if isinstance(error, OSError) else None
    return (os.strerror(number) if number else str(error) or type(error).__name__).lower()
