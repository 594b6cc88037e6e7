"""A page that many ask for: made once for all who wait, in parts, and not again before its time has been rested."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
from support.plane_rig import Rig

from clasp_edge.console.shared_page import MOST_WAITING, REST, SharedPage

PARTS = 5
PART_S = 0.001


class Maker:
    """Counts how often the page is made; each part takes a millisecond of CPU."""

    def __init__(self, rig: Rig) -> None:
        self.made = 0
        self.cpu_s = 0.0
        self.fails = False
        self.page = SharedPage(rig.core, rig.loop, self.steps, lambda: self.cpu_s)

    def steps(self) -> Generator[None, None, bytes]:
        self.made += 1
        for _ in range(PARTS):
            self.cpu_s += PART_S
            yield
        if self.fails:
            raise RuntimeError
        return b"page %d" % self.made


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def test_all_who_wait_get_one_page_and_who_comes_later_the_next(rig: Rig) -> None:
    maker = Maker(rig)
    asked = [maker.page.ask() for _ in range(10)]
    first = asked[0]
    assert first is not None
    assert all(one is first for one in asked)
    assert rig.loop.run_until_complete(first) == b"page 1"
    began_s = rig.loop.time()
    later = [maker.page.ask() for _ in range(10)]
    second = later[0]
    assert second is not None
    assert rig.loop.run_until_complete(second) == b"page 2"
    assert rig.loop.time() - began_s >= REST * PARTS * PART_S - 0.002, "a tenth of a core"
    assert maker.made == 2


def test_who_asks_while_it_is_made_gets_the_next(rig: Rig) -> None:
    """What was told meanwhile is in that one."""
    maker = Maker(rig)
    asked = []
    steps = maker.steps

    def asking() -> Generator[None, None, bytes]:
        if not asked:
            asked.append(maker.page.ask())
        return (yield from steps())

    maker.page = SharedPage(rig.core, rig.loop, asking, lambda: maker.cpu_s)
    first = maker.page.ask()
    assert first is not None
    assert rig.loop.run_until_complete(first) == b"page 1"
    assert asked[0] is not None
    assert rig.loop.run_until_complete(asked[0]) == b"page 2"


def test_a_crowd_is_told_to_come_again(rig: Rig) -> None:
    maker = Maker(rig)
    asked = [maker.page.ask() for _ in range(MOST_WAITING)]
    assert maker.page.ask() is None
    assert asked[0] is not None
    rig.loop.run_until_complete(asked[0])
    assert maker.page.ask() is not None


def test_what_cannot_be_made_is_said_and_made_the_next_time(rig: Rig) -> None:
    maker = Maker(rig)
    maker.fails = True
    first = maker.page.ask()
    assert first is not None
    assert rig.loop.run_until_complete(first) == b""
    maker.fails = False
    second = maker.page.ask()
    assert second is not None
    assert rig.loop.run_until_complete(second) == b"page 2"
