"""Rules of two routers that set each other off: recognised, and nobody else is."""

from __future__ import annotations

from typing import Any

import pytest
from support.rules import world_of

from clasp_edge.rules.dry_run import DryRun
from clasp_edge.rules.loops import FIRST_TRY, REST_S, SLOWEST_S, TRIES

EVENT = {
    "id": "r",
    "trigger": {"type": "event", "pattern": "/there/*"},
    "do": [{"publish": "/here/{1}", "value": 1}],
    "max_per_second": 100_000,
}


class Link:
    """Another router, whose rules answer after `round_s`."""

    def __init__(self, round_s: float, *tables: dict[str, Any], answers: int = 1_000_000) -> None:
        self.world, self.told = world_of(*(tables or (EVENT,)))
        self.state = self.world.engine.states["r"]
        self.answers = answers
        publish = self.world.publish

        def answering(rule: str, scopes: Any, address: str, signal: str, value: Any) -> str | None:
            refused = publish(rule, scopes, address, signal, value)
            self.answers -= 1
            if self.answers >= 0:
                back = address.replace("/here/", "/there/")
                self.world.call_later(round_s, lambda: self.comes(back, value))
            return refused

        self.world.publish = answering  # type: ignore[method-assign]

    def comes(self, address: str, value: Any = 1) -> None:
        self.world.engine.message("event", address, value, linked=True)
        self.world._settle()


@pytest.mark.parametrize("round_s", [0.001, 0.02, 0.2])
def test_a_loop_is_ended_and_named(round_s: float) -> None:
    link = Link(round_s)
    link.comes("/there/a")
    link.world.pass_time(4 * FIRST_TRY * round_s + (TRIES + 1) * REST_S)
    assert not link.state.enabled
    assert "a loop over a link" in link.state.trace.last_error
    assert len(link.told) < 5 * FIRST_TRY


def test_a_handshake_that_is_said_to_be_one_goes_on() -> None:
    link = Link(0.02, {**EVENT, "handshake": True})
    link.comes("/there/a")
    link.world.pass_time(20)
    assert link.state.enabled
    assert len(link.told) > 900


def test_what_goes_round_slowly_may_go_on() -> None:
    link = Link(SLOWEST_S * 1.5)
    link.comes("/there/a")
    link.world.pass_time(600)
    assert link.state.enabled
    assert len(link.told) > 1000


def test_a_question_and_its_answer_is_no_loop() -> None:
    link = Link(0.01, answers=FIRST_TRY // 2)
    for _ in range(20):
        link.answers = FIRST_TRY // 2
        link.comes("/there/a")
        link.world.pass_time(3)
    assert link.state.enabled
    assert len(link.told) == 20 * (FIRST_TRY // 2 + 1)


def _stream(world: DryRun, gaps: list[float], rounds: int, address: str = "/there/a") -> int:
    sent = 0
    for _ in range(rounds):
        for gap_s in gaps:
            world.engine.message("event", address, sent, linked=True)
            world._settle()
            sent += 1
            world.pass_time(gap_s)
    return sent


@pytest.mark.parametrize(
    ("gaps", "rounds"),
    [
        ([0.001], 5000),
        ([0.02], 5000),
        ([0.2], 2000),
        ([0.02] * 15 + [0.9], 300),  # bursts, with a pause that is shorter than a rest
        ([0.005] * FIRST_TRY + [1.5], 100),  # and with one that is longer
    ],
)
def test_what_somebody_sends_is_no_loop(gaps: list[float], rounds: int) -> None:
    rule = {**EVENT, "do": [{"publish": "/here/{1}", "from": "trigger"}]}
    world, told = world_of(rule)
    sent = _stream(world, gaps, rounds)
    world.pass_time(REST_S)
    assert world.engine.states["r"].enabled
    # All of it, and in order: what was held back came before what came after it.
    assert [int(line.rpartition(" ")[2]) for line in told] == list(range(sent))


def test_addresses_are_looked_at_apart() -> None:
    link = Link(0.02)
    link.comes("/there/a")
    for _ in range(40):
        link.world.pass_time(0.5)
        link.world.engine.message("event", "/there/b", 1, linked=False)
        link.world._settle()
    assert not link.state.enabled


def test_what_is_held_back_is_not_done_when_the_rule_is_disabled() -> None:
    link = Link(0.01)
    link.comes("/there/a")
    while not any(streak.event for streak in link.state.streaks.values()):
        link.world.pass_time(0.01)
    link.world.engine.switch("r", enabled=False)
    told = len(link.told)
    link.world.pass_time(10)
    assert len(link.told) == told
