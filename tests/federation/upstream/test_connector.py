"""Keeping one link up: the real daemon over WebSocket and TCP, several endpoints, and going over to a better one."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from random import Random

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.dialing import HELLO, dialing, raw_server, run
from support.live import eventually, get
from support.ports import free_port

from clasp_edge.clock import Clock
from clasp_edge.config.endpoint import parse_endpoint
from clasp_edge.federation.upstream.connector import Connector, DialOptions
from clasp_edge.wire import Ack, ParamValue, Ping, Pong, Set, Snapshot, Welcome, encode


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True) as running:
        yield running


def urls_of(daemon: Daemon) -> dict[str, str]:
    return {"ws": f"{daemon.ws_url}/clasp", "tcp": "tcp://{}:{}".format(*daemon.tcp_address)}


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
def test_a_link_carries_frames_both_ways(daemon: Daemon, scheme: str) -> None:
    async def main() -> None:
        async with dialing(urls_of(daemon)[scheme]) as got:
            link = await got.up()
            assert link.established
            assert link.is_open
            assert isinstance(got.messages[0], Welcome)
            # One call, many frames; every length of the WebSocket header, and every remainder of the mask.
            values = [bytes([length & 255]) * length for length in (*range(20), 120, 126, 300, 65_000)]
            assert link.send(
                [encode(Set(address=f"/dial/{scheme}/{index}", value=value)) for index, value in enumerate(values)]
            )
            await got.until(lambda: sum(isinstance(message, Ack) for message in got.messages) == len(values))
            assert link.bytes_out > sum(map(len, values))
            assert link.bytes_in > 0
            assert got.dialer is not None
            assert got.dialer.status.state == "up"
            assert got.dialer.status.connects == 1

    run(main())


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
def test_what_was_sent_arrives_as_it_was(daemon: Daemon, scheme: str) -> None:
    async def main() -> None:
        payloads = {f"/dial/bytes/{scheme}/{length}": bytes(range(256)) * 40 for length in range(30)}
        async with dialing(urls_of(daemon)[scheme]) as got:
            link = await got.up()
            link.send([encode(Set(address=address, value=value)) for address, value in payloads.items()])
            await got.until(lambda: sum(isinstance(message, Ack) for message in got.messages) == len(payloads))
        async with dialing(urls_of(daemon)[scheme]) as again:
            await again.up()

            def found() -> dict[str, object]:
                params: list[ParamValue] = []
                for message in again.messages:
                    if isinstance(message, Snapshot):
                        params += message.params
                return {param.address: param.value for param in params if param.address in payloads}

            await again.until(lambda: len(found()) == len(payloads))
            assert found() == payloads

    run(main())


def test_a_link_that_breaks_is_made_again(daemon: Daemon) -> None:
    async def main() -> None:
        async with dialing(urls_of(daemon)["ws"]) as got:
            first = await got.up()
            first.abort("a test")
            assert await got.closed() == f"{daemon.ws_url}/clasp: a test"
            assert not first.send([HELLO])
            second = await got.up()
            assert second is not first
            assert got.dialer is not None
            assert got.dialer.status.connects == 2
            assert got.dialer.status.failures == 1

    run(main())


def test_nobody_there_then_somebody() -> None:
    async def main() -> None:
        port = free_port()
        async with dialing(f"ws://127.0.0.1:{port}") as got:
            assert await got.closed() == f"ws://127.0.0.1:{port}: connection refused (127.0.0.1)"
            assert got.links == []
            await got.closed(2)
            with Daemon(sets={"websocket.listen": f"127.0.0.1:{port}"}):
                assert got.dialer is not None
                got.dialer.retry_now()
                await got.up()

    run(main())


def test_a_polite_end_writes_what_was_sent(daemon: Daemon) -> None:
    async def main() -> None:
        for scheme, url in urls_of(daemon).items():
            async with dialing(url) as got:
                link = await got.up()
                link.send([encode(Set(address=f"/dial/last/{scheme}/{index}", value=index)) for index in range(500)])
                link.close("enough")
                assert await got.closed() == f"{url}: enough"
            # The hub has it all, as soon as it has read it.
            with WsClient(daemon.ws_url) as client:
                client.hello()
                client.drain()
                last = f"/dial/last/{scheme}/499"
                assert eventually(lambda client=client, last=last: get(client, last) is not None)  # type: ignore[misc]

    run(main())


def test_endpoints_are_tried_in_order_and_a_better_one_takes_over(daemon: Daemon) -> None:
    async def main() -> None:
        port = free_port()
        better, worse = f"ws://127.0.0.1:{port}", urls_of(daemon)["tcp"]
        async with dialing(better, worse) as got:
            old = await got.up()
            assert str(old.endpoint) == worse
            assert old.rank == 1
            with Daemon(sets={"websocket.listen": f"127.0.0.1:{port}"}):
                await got.until(lambda: got.dialer is not None and got.dialer.link is not old, 30)
                new = await got.up()
                assert str(new.endpoint) == better
                assert got.dialer is not None
                # Made before broken: the old link was closed by us, after the new one was established.
                await got.until(lambda: old in [link for link, _ in got.closes])
                reason = dict(got.closes)[old]
                assert reason == f"{worse}: handed over to {better}"
                assert got.dialer.status.state == "up"
                assert all(link.rank == 0 for link, _ in got.closes if link is not old)
            # The better one is gone again: the other is there within a moment.
            back = await got.up() if new not in [link for link, _ in got.closes] else None
            await got.until(lambda: got.dialer is not None and got.dialer.link not in (None, new), 20)
            assert back is None or back is new
            assert str((await got.up()).endpoint) == worse

    run(main())


def test_an_unlucky_candidate_does_not_harm_the_link_there_is(daemon: Daemon) -> None:
    async def main() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(-1)

        async with (
            raw_server(silent) as port,
            dialing(
                f"ws://127.0.0.1:{port}", urls_of(daemon)["ws"], connect_timeout_s=0.3, handshake_timeout_s=0.3
            ) as got,
        ):
            link = await got.up()
            await got.closed(3)
            assert got.dialer is not None
            assert got.dialer.link is link
            assert link.is_open
            assert all("no answer within 0.3 s" in reason for reason in got.reasons)

    run(main())


def test_a_process_that_was_stopped_does_not_take_its_peer_for_dead(daemon: Daemon) -> None:
    async def main() -> None:
        async with dialing(urls_of(daemon)["ws"], dead_after_s=0.6) as got:
            link = await got.up()
            await asyncio.sleep(0.5)
            time.sleep(1.0)  # noqa: ASYNC251  # the loop stands still, as it does in a process that is stopped
            await asyncio.sleep(0.5)
            assert got.closes == []
            assert link.is_open

    run(main())


def test_a_router_that_hangs_is_noticed_in_time_and_found_again(daemon: Daemon) -> None:
    async def main() -> None:
        for scheme, url in urls_of(daemon).items():
            async with dialing(url, dead_after_s=0.5) as got:
                await got.up()
                await asyncio.sleep(0.7)  # quiet, and alive
                assert got.closes == [], scheme
                assert got.dialer is not None
                assert got.dialer.link is not None
                assert got.dialer.link.rtt_s is not None
                daemon.signal(signal.SIGSTOP)
                try:
                    assert await got.closed() == f"{url}: silent for 0.5 s"
                finally:
                    daemon.signal(signal.SIGCONT)
                await got.up()

    run(main())


def test_a_probe_is_answered_over_tcp_as_any_ping(daemon: Daemon) -> None:
    async def main() -> None:
        async with dialing(urls_of(daemon)["tcp"]) as got:
            link = await got.up()
            link.send([encode(Ping())])
            await got.until(lambda: any(isinstance(message, Pong) for message in got.messages))

    run(main())


def test_an_uplink_needs_an_endpoint() -> None:
    async def main() -> None:
        async with dialing("ws://127.0.0.1:1") as got:
            assert got.dialer is not None
            with pytest.raises(ValueError, match="at least one endpoint"):
                Connector(DialOptions("none", []), got, asyncio.get_running_loop(), Clock(), Random())

    run(main())


def test_endpoints_print_as_they_are_written() -> None:
    for url in ("ws://hub:7330", "wss://hub:443/clasp?a=b", "tcp://[fe80::1%eth0]:7331"):
        assert str(parse_endpoint(url)) == url
