"""When signs of life are due and when they are withheld: a real loop that is really blocked, a real data plane."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.daemon import watchdog
from clasp_edge.daemon.probe import ADDRESS, Probe
from clasp_edge.daemon.sd_notify import Notifier
from clasp_edge.daemon.watchdog import LAG_LIMIT_S, Supervision, watchdog_period_s
from clasp_edge.router.router import Router

PERIOD_S = 0.4
BEAT_S = PERIOD_S / watchdog.BEATS_PER_PERIOD


class Told:
    """A manager's end of the socket."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.notifier = Notifier(self.path)

    def take(self) -> list[str]:
        """What has come since the last time."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    one = Told(tmp_path)
    yield one
    one.socket.close()
    one.notifier.close()


def supervised(told: Told, loop: asyncio.AbstractEventLoop, **parts: object) -> Supervision:
    chosen: dict[str, object] = {"status": lambda: "well", "routes": lambda: True, "period_s": PERIOD_S} | parts
    return Supervision(told.notifier, loop, Clock(), **chosen)  # type: ignore[arg-type]


def run(main: object) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)  # type: ignore[arg-type]


def test_a_blocked_loop_gives_no_sign_of_life_and_the_first_one_after_it_is_withheld(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        watched = supervised(told, asyncio.get_running_loop())
        watched.ready()
        await asyncio.sleep(4 * BEAT_S)
        assert "WATCHDOG=1" in told.take()
        time.sleep(LAG_LIMIT_S + 2 * BEAT_S)  # noqa: ASYNC251 - the point of it
        assert told.take() == []
        await asyncio.sleep(BEAT_S / 2)
        assert told.take() == []
        await asyncio.sleep(4 * BEAT_S)
        assert "WATCHDOG=1" in told.take()
        watched.stopping()

    run(main())
    assert "late, watchdog not notified" in caplog.text


def test_a_router_that_does_not_route_gives_none(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    routes = [True]

    async def main() -> None:
        watched = supervised(told, asyncio.get_running_loop(), routes=lambda: routes[0])
        watched.ready()
        await asyncio.sleep(4 * BEAT_S)
        assert "WATCHDOG=1" in told.take()
        routes[0] = False
        await asyncio.sleep(4 * BEAT_S)
        assert told.take() == []
        watched.stopping()

    run(main())
    assert "self-test failed" in caplog.text


def test_the_status_is_sent_when_it_has_changed(told: Told) -> None:
    status = ["one"]

    async def main() -> None:
        watched = supervised(told, asyncio.get_running_loop(), status=lambda: status[0])
        watched.ready()
        messages = []
        for text in ("one", "two"):
            status[0] = text
            await asyncio.sleep(5 * BEAT_S)
            messages += told.take()
        watched.stopping()
        messages += told.take()
        assert [message for message in messages if "STATUS" in message] == [
            "READY=1\nSTATUS=one",
            "STATUS=two",
            "STOPPING=1\nSTATUS=Stopping",
        ]
        await asyncio.sleep(2 * BEAT_S)
        assert told.take() == []

    run(main())


def test_the_probe_passes_while_the_plane_routes() -> None:
    async def main() -> None:
        router = Router(Config(), asyncio.get_running_loop(), Clock())
        probe = Probe(router.plane)
        assert [probe.passes() for _ in range(3)] == [True] * 3
        (subscription,) = router.plane.trie.matching(ADDRESS)
        router.plane.trie.discard(subscription)
        assert not probe.passes()
        router.plane.trie.add(subscription)
        assert probe.passes()
        router.stop()

    run(main())


@pytest.mark.parametrize(
    ("period", "pid", "expected"),
    [
        ("15000000", None, 15.0),
        ("15000000", "own", 15.0),
        ("15000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_the_period_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, period: str | None, pid: str | None, expected: float | None
) -> None:
    import os

    for key, value in (("WATCHDOG_USEC", period), ("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)):
        if value is None:
            monkeypatch.delenv(key, raising=False)
        else:
            monkeypatch.setenv(key, value)
    assert watchdog_period_s() == expected
    assert "WATCHDOG_USEC" not in os.environ
