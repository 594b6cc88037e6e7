"""A dialer under test: what it reports is recorded, and a loop like the daemon's runs the test.

The session above is played by `Recorder`: it sends one frame on a link that opens, and takes any frame that comes back
for a successful handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from random import Random
from typing import Any

import uvloop

from clasp_edge.clock import Clock
from clasp_edge.config.endpoint import parse_endpoint
from clasp_edge.federation.upstream.connection import Connection
from clasp_edge.federation.upstream.connector import Connector, DialOptions
from clasp_edge.wire import Hello, Message, decode, encode

TIMEOUT_S = 30.0
"""Bound of a wait for what must come."""

HELLO = encode(Hello(version=1, name="dialer", features=("param",), token=None))


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a test on the daemon's kind of loop; it must leave no task and no error of a callback behind."""
    errors: list[dict[str, Any]] = []

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        await asyncio.wait_for(coroutine, 60)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(guarded())
    assert not errors, errors


class Recorder:
    """What a dialer has reported. `links` in the order they opened, `closes` with each reason."""

    def __init__(self, *, greets: bool = True, establishes: bool = True) -> None:
        self.dialer: Connector | None = None
        self.links: list[Connection] = []
        self.frames: list[tuple[Connection, bytes]] = []
        self.closes: list[tuple[Connection, str]] = []
        self._greets = greets
        self._establishes = establishes
        self._changed = asyncio.Event()

    def on_open(self, link: Connection) -> None:
        self.links.append(link)
        if self._greets:
            assert link.send([HELLO])
        self._changed.set()

    def on_frames(self, link: Connection, frames: list[bytes]) -> None:
        self.frames += [(link, frame) for frame in frames]
        if self._establishes and self.dialer is not None:
            self.dialer.established(link)
        self._changed.set()

    def on_close(self, link: Connection, reason: str) -> None:
        self.closes.append((link, reason))
        self._changed.set()

    @property
    def messages(self) -> list[Message]:
        return [decode(frame)[1] for _, frame in self.frames]

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason in self.closes]

    async def until(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the condition holds, which is looked at after each report."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def up(self) -> Connection:
        """The established link, once there is one."""
        dialer = self.dialer
        assert dialer is not None
        try:
            await self.until(lambda: dialer.link is not None)
        except TimeoutError:
            raise AssertionError(f"no link: {self.reasons}, {dialer.status}") from None
        assert dialer.link is not None
        return dialer.link

    async def closed(self, count: int = 1) -> str:
        """The reason of the close number `count`."""
        await self.until(lambda: len(self.closes) >= count)
        return self.reasons[count - 1]


@contextlib.asynccontextmanager
async def dialing(*urls: str, greets: bool = True, establishes: bool = True, **options: Any) -> AsyncIterator[Recorder]:
    """A dialer for these endpoints, started, and stopped afterwards; `options` are those of `DialOptions`."""
    recorder = Recorder(greets=greets, establishes=establishes)
    settings = DialOptions("test", [parse_endpoint(url) for url in urls], **options)
    dialer = Connector(settings, recorder, asyncio.get_running_loop(), Clock(), Random())
    recorder.dialer = dialer
    dialer.start()
    try:
        yield recorder
    finally:
        dialer.stop()
        open_links = set(recorder.links) - {link for link, _ in recorder.closes}
        await recorder.until(lambda: open_links <= {link for link, _ in recorder.closes}, 5)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def raw_server(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]], port: int = 0
) -> AsyncIterator[int]:
    """A TCP server that does what `handler` does; its port. Its connections end with it."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)
