"""What strangers' values may take of the rules' memory and time, and what very many rules take."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from support.rules import world_of

from clasp_edge.rules.engine import MAX_WAITING_BYTES
from clasp_edge.rules.parse import read_rules
from clasp_edge.rules.trace import KEPT
from clasp_edge.rules.values import LONGEST_TEXT, text

LARGE = "x" * 60_000


@pytest.mark.parametrize("large", [LARGE, [float(n) for n in range(5000)], {"a": [LARGE]}, LARGE.encode()])
def test_a_large_value_that_stays_is_no_change(large: Any) -> None:
    world, told = world_of(
        {"id": "r", "trigger": {"type": "change", "pattern": "/in"}, "do": {"set": "/out", "value": 1}}
    )
    for value in (large, large, 1, large, large):
        world.set("/in", value)
    assert len(told) == 3


@pytest.mark.parametrize("timing", [{"settle_ms": 1000}, {"for_s": 1}, {"throttle_ms": 1000}, {"run": "parallel"}])
def test_values_that_wait_are_bounded_and_given_back(timing: dict[str, Any]) -> None:
    world, told = world_of(
        {
            "id": "r",
            "trigger": {"type": "event", "pattern": "/in/*"},
            "do": [{"delay_s": 5}, {"publish": "/out/{1}", "value": 1}],
            **timing,
        }
    )
    waiting = world.engine._waiting
    for number in range(3 * MAX_WAITING_BYTES // len(LARGE)):
        world.publish_from_outside("event", f"/in/{number}", LARGE)
        world.publish_from_outside("event", f"/in/{number}", LARGE)
        assert waiting.taken <= MAX_WAITING_BYTES
    assert world.engine.states["r"].trace.last_error
    world.pass_time(60)
    assert told
    assert waiting.taken == 0
    told.clear()
    world.publish_from_outside("event", "/in/again", LARGE)
    world.pass_time(60)
    assert told == ["r: event /out/again 1"]


def test_what_is_shown_later_is_short() -> None:
    world, _ = world_of(
        {"id": "r", "trigger": {"type": "set", "pattern": "/in"}, "do": {"set": "/out", "value": 1}, "cooldown_s": 9}
    )
    for number in range(KEPT + 5):
        world.set("/in", [LARGE, number])
        world.pass_time(10)
    entries = world.engine.states["r"].trace.entries
    assert len(entries) == KEPT
    assert all(len(str(entry.value)) <= LONGEST_TEXT for entry in entries)


@pytest.mark.parametrize(
    ("value", "shown"),
    [([1, "a", None, True], '[1, "a", null, true]'), ({"a": {}}, '{"a": {}}'), ([], "[]"), (b"\x01", "0x01")],
)
def test_values_in_templates_are_json(value: Any, shown: str) -> None:
    assert text(value) == shown


def test_ten_thousand_rules_are_loaded_and_each_is_found() -> None:
    tables = [
        {
            "id": f"r{number}",
            "trigger": {"type": "change", "pattern": f"/in/{number}/*"},
            "when": [{"address": "/mode", "eq": "night"}],
            "do": [{"set": f"/out/{number}/{{1}}", "value": 1}],
        }
        for number in range(10_000)
    ]
    world, told = world_of(*tables)
    world.set("/mode", "night")
    for number in (0, 5000, 9999):
        world.set(f"/in/{number}/a", 1)
    assert told == [f"r{number}: set /out/{number}/a 1" for number in (0, 5000, 9999)]
    assert (
        world.engine.load(world.engine.states["r0"].rule and [s.rule for s in world.engine.states.values()], {}) == []
    )


def test_rules_that_are_dropped_are_gone_without_a_collection() -> None:
    tables: list[dict[str, Any]] = [
        {
            "id": f"r{number}",
            "trigger": {"type": "set", "pattern": "/in/**"},
            "when": [{"expression": "value > 1"}, {"any": [{"pattern": "/x/*", "any": True, "gt": 3}]}],
            "do": [
                {"set": "/out", "expression": "value * 2"},
                {"set": "/smooth", "transform": {"type": "smooth", "factor": 0.5}},
                {"fade": "/fade", "to": 1.0, "over_s": 1},
            ],
        }
        for number in range(200)
    ]
    faults: list[str] = []

    def read() -> int:
        return len(read_rules(tables, (), {}, lambda key, sentence: faults.append(sentence)))

    read()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        assert read() == len(tables)
        left = len(gc.get_objects()) - before
    finally:
        gc.enable()
    assert not faults
    # A reload of thousands takes them out of what is collected: what refers to itself would stay for good.
    assert left < len(tables)
