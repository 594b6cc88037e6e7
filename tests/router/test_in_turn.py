"""What many bring about at once: the first at once, the others in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.plane_rig import Rig

from clasp_edge.router.in_turn import InTurn


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def steps(name: str, count: int, done: list[str]) -> Iterator[None]:
    for number in range(count):
        done.append(f"{name}{number}")
        yield
        if name == "bad":
            raise ValueError(name)


def test_the_first_begins_at_once_and_all_come_to_their_end_in_order(rig: Rig) -> None:
    line, done = InTurn(rig.core), list[str]()
    for name in "abc":
        line.do(steps(name, 2, done))
    assert done == ["a0"]
    assert line.is_busy
    rig.turn()
    assert done == ["a0", "a1", "b0", "b1", "c0", "c1"]
    assert not line.is_busy


def test_one_that_fails_stops_nobody_else(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    line, done = InTurn(rig.core), list[str]()
    for name in ("bad", "b", "bad", "c"):
        line.do(steps(name, 2, done))
    rig.turn()
    assert done == ["bad0", "b0", "b1", "bad0", "c0", "c1"]
    assert not line.is_busy
    assert caplog.text.count("work in parts failed") == 2


def test_what_waits_is_finished_at_once_when_nobody_will_be_here_later(rig: Rig) -> None:
    line, done = InTurn(rig.core), list[str]()

    def more() -> Iterator[None]:
        line.do(steps("d", 1, done))
        yield

    for one in (steps("a", 2, done), more(), steps("c", 1, done)):
        line.do(one)
    line.finish()
    assert done == ["a0", "a1", "c0", "d0"]
    rig.turn()
    assert done == ["a0", "a1", "c0", "d0"]
    assert not line.is_busy
