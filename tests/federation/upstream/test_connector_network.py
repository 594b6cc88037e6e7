"""Faults of the network, in a namespace: a cut wire, an address that goes or comes, names with several addresses."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.dialing import TIMEOUT_S, dialing, raw_server, run
from support.netns import OURS, THEIRS, Namespace, why_not

from clasp_edge import backoff
from clasp_edge.config.endpoint import parse_endpoint
from clasp_edge.federation.upstream import connector, resolve
from clasp_edge.wire import Ping, encode

PING = encode(Ping())
SERVER = """
import asyncio, sys, websockets

async def greet(connection):
    async for _ in connection:
        await connection.send(bytes.fromhex("5301000141"))

async def main():
    async with websockets.serve(greet, None, 7330):
        print("ready", flush=True)
        await asyncio.Future()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    if reason := why_not():
        pytest.skip(reason)
    with Namespace() as made:
        server = subprocess.Popen([*made.prefix, sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield made
        finally:
            server.kill()
            server.communicate()


def test_a_cut_wire_is_noticed_in_time_and_mended(namespace: Namespace) -> None:
    async def main() -> None:
        async with dialing(f"ws://{THEIRS}:7330", dead_after_s=0.6, connect_timeout_s=0.5) as got:
            await got.up()
            await asyncio.sleep(0.7)
            namespace.cut()
            cut_s = time.monotonic()
            try:
                assert (await got.closed()) == f"ws://{THEIRS}:7330: silent for 0.6 s"
                assert time.monotonic() - cut_s < 5.0  # a bound for a busy machine; the deadline is 0.6 s
            finally:
                namespace.mend()
            await got.up()

    run(main())


def test_a_connection_from_an_address_that_is_gone_is_given_up_at_once(namespace: Namespace) -> None:
    async def main() -> None:
        async with dialing(f"ws://{THEIRS}:7330", dead_after_s=60.0, connect_timeout_s=1.0) as got:
            link = await got.up()
            assert link.local.startswith(f"{OURS}:")
            namespace.lose_our_address()
            try:
                assert await got.closed() == f"ws://{THEIRS}:7330: the address {link.local} it came from is gone"
            finally:
                namespace.regain_our_address()
            assert (await got.up()).local.startswith(f"{OURS}:")

    run(main())


def test_an_interface_that_comes_up_ends_the_waiting(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(backoff, "BASE_S", 60.0)
        monkeypatch.setattr(connector, "RETRY_CAP_S", 120.0)
        namespace.cut()
        try:
            async with dialing(f"ws://{THEIRS}:7330", connect_timeout_s=1.5) as got:
                await got.closed()
                await asyncio.sleep(0.5)
                assert len(got.closes) == 1
                namespace.mend()
                await got.up()
        finally:
            namespace.mend()

    run(main())


def test_all_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver is the only thing not real here: names with several addresses need a server of their own."""

    async def main() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(4)
            writer.write(len(PING).to_bytes(4, "big") + PING)
            await reader.read(-1)

        async with raw_server(greet) as port:
            answers: list[tuple[Any, ...]] = [
                # Nobody answers there, nobody listens there, and there it is.
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("240.0.0.1", port)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", port)),
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            ]
            asked: list[str] = []

            async def getaddrinfo(host: str, *arguments: Any, family: int, **options: Any) -> list[tuple[Any, ...]]:
                if family == socket.AF_INET:
                    asked.append(host)
                return [answer for answer in answers if answer[0] == family]

            class Loop:
                def __init__(self, real: asyncio.AbstractEventLoop) -> None:
                    self.real = real
                    self.getaddrinfo = getaddrinfo

                def __getattr__(self, name: str) -> Any:
                    return getattr(self.real, name)

            real = asyncio.get_running_loop()
            monkeypatch.setattr(resolve.asyncio, "get_running_loop", lambda: Loop(real))
            async with dialing(f"tcp://hub.test:{port}") as got:
                link = await got.up()
                assert link.remote == f"127.0.0.1:{port}"
                # Asked again for each connection, because the answer may be another one by then.
                link.abort("a test")
                await got.closed()
                await got.up()
                assert asked == ["hub.test", "hub.test"]
                del answers[3:]
            async with dialing(f"tcp://hub.test:{port}") as got:
                reason = await got.closed()
                assert "connection refused (127.0.0.9)" in reason
            monkeypatch.undo()

    run(main())


def test_families_take_turns() -> None:
    async def main() -> None:
        found = [address async for address in resolve.resolve(parse_endpoint("tcp://[::1]:7331"))]
        assert found == [(socket.AF_INET6, ("::1", 7331, 0, 0))]

    run(main())


def test_a_name_that_is_nobodys() -> None:
    async def main() -> None:
        async with dialing("ws://no-such-host.invalid:7330", connect_timeout_s=TIMEOUT_S) as got:
            reason = await got.closed()
            assert reason.startswith(
                "ws://no-such-host.invalid:7330: the name no-such-host.invalid cannot be looked up: "
            )

    run(main())
