"""Cursors in the log of routers that dial in: kept while they are away, so long and so many, and across a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path

import msgspec
import pytest

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.config.model import Federation as Settings
from clasp_edge.config.model import Journal as JournalSettings
from clasp_edge.federation.downstream import peer_cursors as module
from clasp_edge.federation.downstream.peer_cursors import PeerCursors
from clasp_edge.journal.journal import Journal
from clasp_edge.router.router import Router

KEEP_S = 3600.0
LOOK_S = 0.02


class Ahead(Clock):
    """Goes as the others do, from whatever time on the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class Link:
    """Of a router that is here."""

    def __init__(self) -> None:
        self.rests = 0

    def rest(self) -> None:
        self.rests += 1


class PeerHandlers:
    """A router with a journal."""

    def __init__(self, data_dir: Path, keep_s: float = KEEP_S) -> None:
        config = msgspec.structs.replace(Config(), federation=Settings(keep_s=keep_s))
        self.clock = Ahead()
        router = Router(config, asyncio.get_running_loop(), self.clock)
        self.journal = Journal(router, JournalSettings(commit_interval_ms=5), data_dir)
        self.journal.open()
        self.places = PeerCursors(router, self.journal)

    def visit(self, router_id: str, link: int = 7) -> Link | None:
        """As a router that follows; None where nothing is kept for it."""
        here = Link()
        place = self.places.arrive(router_id, link, here)
        if place:
            self.journal.set_cursor(place, 1)
        return here if place else None

    def leaves(self, link: Link | None) -> None:
        assert link is not None
        self.places.leave(link)

    async def passes(self, share: float) -> None:
        """So much of the time for which places are kept."""
        self.clock.ahead_s += share * KEEP_S
        for _ in range(3):
            await asyncio.sleep(LOOK_S)

    @property
    def kept(self) -> list[str]:
        return sorted(name.rpartition(":")[2] for name in self.journal.cursors())


def on_a_loop(test: Callable[[Path], Coroutine[object, object, None]]) -> Callable[[Path, pytest.MonkeyPatch], None]:
    @wraps(test)
    def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LOOK_S", LOOK_S)
        monkeypatch.setattr(module, "MAX_PLACES", 3)
        asyncio.run(test(tmp_path))

    del run.__wrapped__  # type: ignore[attr-defined]  # or pytest would look at the signature inside
    return run


@on_a_loop
async def test_who_is_here_stays_and_who_stays_away_is_forgotten(directory: Path) -> None:
    hub = PeerHandlers(directory)
    here = hub.visit("here")
    hub.leaves(hub.visit("away"))
    await hub.passes(0.9)
    assert hub.kept == ["away", "here"]
    back = hub.visit("away")
    await hub.passes(1.1)
    assert hub.kept == ["away", "here"]
    assert here is not None
    assert here.rests > 0
    hub.leaves(back)
    await hub.passes(1.1)
    assert hub.kept == ["here"]
    hub.journal.close()


@on_a_loop
async def test_after_a_restart_all_are_away(directory: Path) -> None:
    hub = PeerHandlers(directory)
    hub.visit("one")
    hub.visit("two")
    hub.journal.set_cursor("uplink:other", 1)
    assert hub.journal.flush(5)
    hub.journal.close()
    hub = PeerHandlers(directory)
    assert hub.kept == ["one", "other", "two"]
    hub.visit("two")
    await hub.passes(1.1)
    assert hub.kept == ["other", "two"]
    hub.journal.close()


@on_a_loop
async def test_no_more_than_so_many(directory: Path) -> None:
    hub = PeerHandlers(directory)
    first, second = hub.visit("first"), hub.visit("first", link=8)
    hub.leaves(hub.visit("away for longer"))
    hub.leaves(first)
    hub.visit("new")
    assert hub.kept == ["first", "first", "new"]
    assert hub.visit("newer") is not None
    assert hub.kept == ["first", "new", "newer"]
    assert hub.visit("too many") is None
    hub.leaves(second)
    assert hub.visit("not too many") is not None
    hub.journal.close()


@on_a_loop
async def test_nothing_is_kept_where_that_is_switched_off_or_the_name_too_long(directory: Path) -> None:
    hub = PeerHandlers(directory, keep_s=0)
    assert not hub.places.offered
    assert hub.visit("a") is None
    hub.journal.close()
    hub = PeerHandlers(directory)
    assert hub.places.offered
    assert hub.visit("x" * 200) is None
    hub.journal.close()
