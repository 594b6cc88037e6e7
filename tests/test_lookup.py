"""Names are looked up for IPv4 and IPv6 apart: an answer that never comes holds up nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from clasp_edge import lookup
from clasp_edge.config.endpoint import parse_endpoint
from clasp_edge.federation.upstream.resolve import ConnectError, Progress, connect
from clasp_edge.lookup import Lookup

V4, V6 = socket.AF_INET, socket.AF_INET6
TIMEOUT_S = 30
WITHOUT_ADDRESS = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class Names:
    """What answers instead of the C library. A family is in `held` for as long as it is not answered."""

    def __init__(self) -> None:
        self.answers: dict[int, list[tuple[Any, ...]] | OSError] = {V4: WITHOUT_ADDRESS, V6: WITHOUT_ADDRESS}
        self.held: dict[int, asyncio.Event] = {}
        self.asked: list[tuple[str, int]] = []
        self.answered = asyncio.Event()

    async def __call__(self, host: str, port: None, *, family: int, type: int) -> list[tuple[Any, ...]]:  # noqa: A002
        self.asked.append((host, family))
        if family in self.held:
            await self.held[family].wait()
        self.answered.set()
        answer = self.answers[family]
        if isinstance(answer, OSError):
            raise answer
        return [(family, type, 6, "", at) for at in answer]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()

    class Loop:
        def __init__(self, real: asyncio.AbstractEventLoop) -> None:
            self._real = real
            self.getaddrinfo = made

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Loop) and other._real is self._real

        def __hash__(self) -> int:
            return hash(self._real)

    real = asyncio.get_running_loop
    monkeypatch.setattr(lookup.asyncio, "get_running_loop", lambda: Loop(real()))
    yield made
    assert not lookup._asked


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main(), TIMEOUT_S))


def test_a_hub_without_ipv6_is_reached_while_that_question_has_no_answer(names: Names) -> None:
    async def main() -> None:
        names.held[V6] = asyncio.Event()
        names.answers[V4] = [("127.0.0.1", 0)]
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for _try in range(3):
            (await connect(parse_endpoint(f"tcp://hub.local:{port}"), 1000, Progress())).close()
        assert names.asked.count(("hub.local", V4)) == 3
        assert names.asked.count(("hub.local", V6)) == 1, "a question that is open is not asked again"
        names.held[V6].set()
        server.close()
        await asyncio.sleep(0)
        await asyncio.gather(*lookup._asked.values())

    run(main)


def test_an_answer_that_comes_late_is_still_tried(names: Names) -> None:
    async def main() -> None:
        names.held[V6] = asyncio.Event()
        names.answers[V4] = [("127.0.0.9", 0)]  # nobody listens there
        names.answers[V6] = [("::1", 0, 0, 0)]
        server = await asyncio.start_server(lambda _r, w: w.close(), "::1", 0)
        port = server.sockets[0].getsockname()[1]
        connecting = asyncio.ensure_future(connect(parse_endpoint(f"tcp://hub.local:{port}"), 1000, Progress()))
        await names.answered.wait()
        names.held[V6].set()
        sock = await connecting
        assert sock.getpeername()[:2] == ("::1", port)
        sock.close()
        server.close()

    run(main)


def test_families_take_turns_and_ipv6_begins(names: Names) -> None:
    async def main() -> None:
        names.answers[V4] = [("192.0.2.1", 0), ("192.0.2.2", 0)]
        names.answers[V6] = [("2001:db8::1", 0, 0, 0), ("fe80::1", 0, 0, 3)]
        looked = Lookup("hub.local", 7330)
        assert await looked.begin() == [
            (V6, ("2001:db8::1", 7330, 0, 0)),
            (V4, ("192.0.2.1", 7330)),
            (V6, ("fe80::1%3", 7330, 0, 3)),
            (V4, ("192.0.2.2", 7330)),
        ]
        assert await looked.more() == []

    run(main)


def test_a_name_with_one_kind_of_address(names: Names) -> None:
    async def main() -> None:
        names.answers[V4] = [("192.0.2.1", 0)]
        looked = Lookup("hub.local", 1)
        assert await looked.begin() == [(V4, ("192.0.2.1", 1))]
        assert await looked.more() == []

    run(main)


def test_a_name_that_nobody_has(names: Names) -> None:
    async def main() -> None:
        with pytest.raises(ConnectError, match=r"hub\.local cannot be looked up: Name or service not known"):
            await connect(parse_endpoint("tcp://hub.local:7330"), 1000, Progress())

    run(main)


@pytest.mark.parametrize("host", ["a" * 64 + ".local", "..", "a..b"])
def test_what_cannot_be_a_name(host: str) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match=r"label|service|known|name"):
            await Lookup(host, 1).begin()

    run(main)


def test_an_address_is_not_looked_up(names: Names) -> None:
    async def main() -> None:
        assert await Lookup("192.0.2.7", 9).begin() == [(V4, ("192.0.2.7", 9))]
        assert names.asked == []

    run(main)
