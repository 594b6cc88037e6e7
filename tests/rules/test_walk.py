"""What rules and values can do to each other by mistake: it ends, and the rule says what happened."""

from __future__ import annotations

import math
from typing import Any

import pytest
from support.rules import world_of

from clasp_edge.rules.dry_run import DryRun
from clasp_edge.rules.parse import read_rules
from clasp_edge.rules.values import LONGEST_TEXT


def rule(**more: Any) -> dict[str, Any]:
    return {"id": "r", "trigger": {"type": "set", "pattern": "/in"}, **more}


def error_of(world: DryRun, name: str = "r") -> str:
    return world.engine.states[name].trace.last_error


def test_a_rule_that_writes_what_sets_it_off_ends() -> None:
    world, told = world_of(rule(do=[{"increment": "/in"}]))
    world.set("/in", 0)
    assert len(told) == 8
    assert "cascade" in error_of(world)
    assert world.params["/in"] == 8


def test_a_ring_of_rules_ends() -> None:
    names = ["a", "b", "c"]
    ring = [
        {"id": one, "trigger": {"type": "event", "pattern": f"/{one}"}, "do": [{"publish": f"/{other}", "value": 1}]}
        for one, other in zip(names, names[1:] + names[:1], strict=True)
    ]
    world, told = world_of(*ring)
    world.publish_from_outside("event", "/a")
    assert len(told) == 8
    assert any("cascade" in error_of(world, name) for name in names)


@pytest.mark.parametrize(
    "more", [{}, {"scale": [0, 1, 0, 255]}, {"scale": [0, 1, 0, 255], "clamp": True}, {"scale": [0, 3, 1, 0]}]
)
@pytest.mark.parametrize("value", [0.1, 2, -1, 1e300, math.inf, "text", None, [1, 2]])
def test_a_map_in_both_directions_comes_to_rest(more: dict[str, Any], value: Any) -> None:
    world, told = world_of(maps=[{"from": "/a/*", "to": "/b/*", "both": True, **more}])
    world.set("/a/1", value)
    world.set("/b/1", value)
    world.set("/a/1", value)
    assert len(told) <= 6, told
    assert not any(state.trace.errors for state in world.engine.states.values())


@pytest.mark.parametrize(("there", "to"), [("text", 1.0), (True, 1.0), (0.0, "text"), (0.0, None), ([1], [1, 2])])
def test_a_fade_of_what_has_no_steps_is_there_at_once(there: Any, to: Any) -> None:
    world, told = world_of(rule(do=[{"fade": "/out", "from": "/to", "over_s": 5}]))
    world.params["/out"] = there
    world.params["/to"] = to
    world.set("/in", 1)
    world.pass_time(60)
    assert len(told) == 1
    assert world.params["/out"] == to


@pytest.mark.parametrize(
    ("there", "to"), [(-1.7e308, 1.7e308), (0, 2**62), (0.5, [0.0, 1.0]), ([0.0, 1.0], [1.0, 0.0]), ([0.5], 1.0)]
)
def test_a_fade_between_what_has_steps_stays_finite_and_ends_exactly(there: Any, to: Any) -> None:
    world, told = world_of(rule(do=[{"fade": "/out", "from": "/to", "over_s": 1}]))
    world.params["/out"] = there
    world.params["/to"] = to
    world.set("/in", 1)
    world.pass_time(60)
    assert len(told) > 10
    assert "inf" not in "".join(told).lower()
    assert world.params["/out"] == to


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**62, "x" * 60_000, {"a": [None]}, b"\xff"])
def test_odd_values_pass_through_transforms_expressions_and_templates(value: Any) -> None:
    world, _ = world_of(
        rule(
            do=[
                {"set": "/scaled", "transform": [{"type": "scale", "scale": 1e308, "offset": 1}, {"type": "clamp"}]},
                {"set": "/expression", "expression": "value * value"},
                {"set": "/template", "value": "is {value}"},
                {"set": "/last", "value": 1},
            ]
        )
    )
    world.set("/in", value)
    assert world.params["/last"] == 1
    assert len(world.params["/template"]) <= LONGEST_TEXT + 3
    for address in ("/scaled", "/expression"):
        made = world.params.get(address)
        assert not isinstance(made, float) or math.isfinite(made) or made is value


@pytest.mark.parametrize("expression", ["value * 1000000", '"x" * 1000000', "exp(value)", "1 / (value - value)"])
def test_an_expression_is_no_bomb(expression: str) -> None:
    world, _ = world_of(rule(do=[{"set": "/out", "expression": expression}, {"set": "/last", "value": 1}]))
    for value in ("x" * 60_000, 10**6):
        world.set("/in", value)
    assert world.params["/last"] == 1
    assert len(str(world.params.get("/out", ""))) <= 100_000


def test_times_of_day_wait_for_the_clock() -> None:
    world, told = world_of({"id": "r", "trigger": {"type": "time", "at": "00:10"}, "do": {"set": "/a", "value": 1}})
    world.clock_set = False
    world.engine.load([], {})
    world.engine.load(
        read_rules(
            [{"id": "r", "trigger": {"type": "time", "at": "00:10"}, "do": {"set": "/a", "value": 1}}], [], {}, print
        ),
        {},
    )
    world.pass_time(3600)
    assert [line for line in told if line.startswith("r:")] == []
    world.clock_set = True
    world.pass_time(86_400)
    assert [line for line in told if line.startswith("r:")] == ["r: set /a 1"]
