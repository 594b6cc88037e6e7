"""Names looked up for IPv4 and for IPv6 apart, so that a question nobody answers does not hold back the other's answer.

A name in `.local` that has no IPv6 address is answered with silence (RFC 6762, 6), and the C library, asked for both at
once, waits for 15 s before it hands over the IPv4 address that it has had all the time.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import zip_longest
from typing import cast

Address = tuple[socket.AddressFamily, tuple[str | int, ...]]
Answer = list[Address] | OSError

RESOLUTION_DELAY_S = 0.05
"""How long one family's answer waits for the other's (RFC 8305, 3)."""

MAX_ADDRESSES = 16
"""Of one name; tried within one deadline, so more would not come to their turn."""

FAMILIES = (socket.AF_INET6, socket.AF_INET)
"""In the order of preference (RFC 8305, 4)."""

_asked: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Task[Answer]] = {}
"""Questions without an answer yet. Each takes a thread for as long as it takes, so nobody asks twice at a time."""


class Lookup:
    """The addresses of one name, in two parts: `await begin()`, then `await more()` until it is empty."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._open: set[asyncio.Task[Answer]] = set()
        self._errors: list[OSError] = []

    async def begin(self) -> list[Address]:
        """The addresses that are known first, families taking turns; at least one. Raises OSError, also for what cannot
        be a name."""
        if literal := _literal(self._host, self._port):
            return literal
        # IPv4 first: there is nearly always an answer, and threads for questions are few.
        self._open = {_ask(self._host, family) for family in reversed(FAMILIES)}
        found: list[list[Address]] = []
        while self._open:
            done, self._open = await asyncio.wait(
                self._open, timeout=RESOLUTION_DELAY_S if found else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            found += self._taken(done)
        if not found:
            raise self._errors[-1] if self._errors else OSError(f"{self._host} has no address")
        found.sort(key=lambda addresses: FAMILIES.index(addresses[0][0]))
        turns = [address for turn in zip_longest(*found) for address in turn if address is not None]
        return turns[:MAX_ADDRESSES]

    async def more(self) -> list[Address]:
        """What the other family's late answer adds; empty when nothing is to come any more."""
        while self._open:
            done, self._open = await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
            if found := self._taken(done):
                return found[0][:MAX_ADDRESSES]
        return []

    @property
    def is_open(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._open)

    def _taken(self, done: set[asyncio.Task[Answer]]) -> list[list[Address]]:
        found = []
        for task in done:
            answer = task.result()
            if isinstance(answer, OSError):
                self._errors.append(answer)
            elif answer:
                found.append([(family, _whole(at, self._port)) for family, at in answer])
        return found


def _literal(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
    except (OSError, UnicodeError):  # a name, or what cannot be one
        return []
    return [(family, _whole(cast("tuple[str | int, ...]", at), port)) for family, _, _, _, at in found]


def _whole(at: tuple[str | int, ...], port: int) -> tuple[str | int, ...]:
    """With the zone of a link-local address in its text: uvloop connects by host and port alone."""
    zone = at[3] if len(at) > 3 else 0
    return (f"{at[0]}%{zone}" if zone and "%" not in str(at[0]) else at[0], port, *at[2:])


def _ask(host: str, family: socket.AddressFamily) -> asyncio.Task[Answer]:
    loop = asyncio.get_running_loop()
    key = (loop, host, int(family))
    task = _asked.get(key)
    if task is None:
        task = _asked[key] = asyncio.ensure_future(_answer(loop, host, family))
        task.add_done_callback(lambda _task: _asked.pop(key))
    return task


async def _answer(loop: asyncio.AbstractEventLoop, host: str, family: socket.AddressFamily) -> Answer:
    try:
        found = await loop.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except UnicodeError as error:
        return OSError(str(error))
    return [(family, cast("tuple[str | int, ...]", at)) for _, _, _, _, at in found]
