"""The server inside a router in this process: what it counts, and what it leaves behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from support.osc import WAIT_S, bundle, packet

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config, Osc, OscTarget
from clasp_edge.devices.osc.server import OscServer
from clasp_edge.router.access import Access
from clasp_edge.router.router import Router


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def no_scopes(texts: Sequence[str]) -> Access:
    raise AssertionError("nobody has any")


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def count_everything() -> dict[str, int]:
    with udp() as device:
        device.settimeout(WAIT_S)
        target = OscTarget(name="self", host="127.0.0.1", port=device.getsockname()[1], patterns=("/osc/**",))
        router = Router(Config(), asyncio.get_running_loop(), Clock())
        listening = udp()
        server = OscServer(router, Osc(target=(target,), allow=("127.0.0.1",)), [listening], None, None, no_scopes)
        await server.start()
        address = listening.getsockname()
        for data in (packet("/a", 1), b"bad", packet("/a", 2), packet("/?", 3), bundle(4e8 + 1.6e9, packet("/b", 1))):
            device.sendto(data, address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))
            stranger.sendto(packet("/a", 9), address)
        await until(lambda: server.counters.refused_sources == 1)
        # Told by another, and repeating it.
        value = (5, (7).to_bytes(8, "big"))
        other = server.admit(b"another", "127.0.0.1", 1, listening)
        assert other is not None
        server.intake.write(other, b"/osc/a", True, *value)
        router.core.end_pass()
        await until(lambda: server.counters.sent > 0)
        device.sendto(packet("/a", 7), address)
        await until(lambda: server.counters.echoes == 1)
        found = server.statistics()
        assert router.plane.trie.size == 1
        server.stop()
        router.stop()
        assert router.plane.trie.size == 0
        assert len(server.intake) == 0
        return found


def test_everything_is_counted() -> None:
    found = asyncio.run(count_everything())
    expected = {
        "packets": 6,
        "messages": 5,
        "bad_packets": 1,
        "refused_sources": 1,
        "refused_writes": 0,
        "expansions": 1,
        "late_bundles_refused": 0,
        "clocks_not_set": 1,  # in the year 2033
        "echoes": 1,
        "loops": 0,
        "lost": 0,
        "over_rate": 0,
        "sources": 1,
        "sources_evicted": 0,
        "connections": 0,
        "subscribers": 0,
        "waiting_bundles": 0,
    }
    assert {name: found[name] for name in expected} == expected
