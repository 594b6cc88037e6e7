"""The reference router as the hub: what an uplink needs of it below the federation session."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest
from support.dialing import dialing, run
from support.live import put, subscribe
from support.rust_router import RustRouter, why_not

from clasp_edge.wire import Ack, FederationOp, FederationSync, Hello, Message, Set, Snapshot, Welcome, encode

HELLO = encode(Hello(version=1, name="edge-1", features=("param", "event", "stream", "federation")))


@pytest.fixture
def hub() -> Iterator[RustRouter]:
    """A fresh reference router."""
    if reason := why_not():
        pytest.skip(reason)
    with RustRouter() as running:
        yield running


def test_a_client_of_it(hub: RustRouter) -> None:
    with hub.client("writer") as writer, hub.client("listener") as listener:
        assert subscribe(listener, "/a/**") == []
        put(writer, "/a/b", 1)
        assert listener.recv_type(Set).value == 1
    hub.restart()
    with hub.client() as client:
        assert client.snapshot == []


def test_a_link_to_it_carries_a_federation_session(hub: RustRouter) -> None:
    async def main() -> None:
        async with dialing(hub.url, greets=False) as got:
            await got.until(lambda: bool(got.links))
            link = got.links[0]
            link.send([HELLO])
            await got.up()
            link.send([encode(FederationSync(FederationOp.DECLARE_NAMESPACES, ["/s/**"], origin="edge-1"))])
            await got.until(lambda: Ack() in got.messages)
            # Many frames in one batch, each a message of its own: it takes no two in one.
            frames = [encode(Set(address=f"/s/{number % 100}", value=number)) for number in range(300)]
            for at in range(0, len(frames), 100):
                assert link.send(frames[at : at + 100])
                await got.until(lambda at=at: acks(got.messages) >= at + 100)  # type: ignore[misc]
        with await asyncio.to_thread(hub.client) as client:
            assert {param.address: param.value for param in client.snapshot}["/s/99"] == 299

    def acks(messages: list[Message]) -> int:
        return sum(isinstance(message, Ack) and message.address is not None for message in messages)

    run(main())


def test_it_is_missed_when_it_hangs_and_found_when_it_is_back(hub: RustRouter) -> None:
    async def main() -> None:
        async with dialing(hub.url, dead_after_s=0.6) as got:
            link = await got.up()
            assert any(isinstance(message, Welcome | Snapshot) for message in got.messages)
            await asyncio.sleep(1.0)
            assert link.rtt_s is not None  # it answers pings
            hub.signal(signal.SIGSTOP)
            try:
                assert await got.closed() == f"{hub.url}: silent for 0.6 s"
            finally:
                hub.signal(signal.SIGCONT)
            await got.up()
            await asyncio.to_thread(hub.restart)
            await got.closed(2)
            await got.up()

    run(main())
