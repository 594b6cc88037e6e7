"""What a person means by a rule, where it took more than one try to get it right."""

from __future__ import annotations

from typing import Any

import pytest

from clasp_edge.rules.dialects import convert, tables_of
from clasp_edge.rules.dry_run import DryRun
from clasp_edge.rules.parse import read_rules


def world_of(*tables: dict[str, Any]) -> tuple[DryRun, list[str]]:
    """A dry run of these rules, and what it tells."""
    told: list[str] = []
    world = DryRun(lambda line: told.append(line.split(None, 1)[1]))
    world.load(rules_of(*tables))
    world.start()
    return world, told


def rules_of(*tables: dict[str, Any]) -> Any:
    faults: list[str] = []
    rules = read_rules(tables, [], {}, lambda key, sentence: faults.append(f"{key}: {sentence}"))
    assert not faults
    return rules


def test_a_hold_ends_when_a_condition_about_a_captured_address_fails() -> None:
    world, told = world_of(
        {
            "id": "r",
            "trigger": {"type": "change", "pattern": "/motion/*", "to": True},
            "when": [{"address": "/armed/{1}", "eq": True}],
            "for_s": 10,
            "do": {"publish": "/alarm/{1}"},
        }
    )
    for room in ("hall", "attic"):
        world.set(f"/armed/{room}", True)
        world.set(f"/motion/{room}", True)
    world.pass_time(3)
    world.set("/armed/hall", False)
    world.pass_time(3)
    world.set("/armed/hall", True)
    world.pass_time(20)
    assert told == ["r: event /alarm/attic"]


@pytest.mark.parametrize("pattern", ["/in/*", "/in/**"])
def test_the_age_of_a_captured_address_is_known(pattern: str) -> None:
    world, told = world_of(
        {
            "id": "r",
            "trigger": {"type": "event", "pattern": pattern},
            "when": [{"address": "/sensor/{1}", "newer_s": 60}],
            "do": {"publish": "/out/{1}"},
        }
    )
    world.publish_from_outside("event", "/in/a")
    world.set("/sensor/a", 1)
    world.pass_time(59)
    world.publish_from_outside("event", "/in/a")
    world.pass_time(2)
    world.publish_from_outside("event", "/in/a")
    assert told == ["r: event /out/a"]


@pytest.mark.parametrize(
    ("pattern", "template", "reach"),
    [
        ("/a/*", "/b/{1}/c", "/b/*/c"),
        ("/a/**", "/b/{1}/c", "/b/**/c"),
        ("/a/*", "/b/x{1}", "/b/x*"),
        ("/a/*", "/b/[1]/x{1}", "/b/[1]/**"),
        ("/a/*", "/b/x{address}", "/b/**"),
        ("/a/*", "/copy/{address}", "/copy/**"),
        ("/a/*", "/spot/{value}/on", "/spot/*/on"),
    ],
)
def test_what_an_address_with_places_can_come_to(pattern: str, template: str, reach: str) -> None:
    [rule] = rules_of(
        {
            "id": "r",
            "trigger": {"type": "set", "pattern": pattern},
            "when": [{"address": template, "eq": 1}],
            "do": {"set": "/x"},
        }
    )
    assert [one.text.decode() for one in rule.tracked] == [reach]


@pytest.mark.parametrize("value", ["a/b", "../x", "*", "x" * 300])
def test_a_value_stays_one_segment_of_an_address(value: str) -> None:
    world, _ = world_of(
        {
            "id": "r",
            "trigger": {"type": "set", "pattern": "/in"},
            "when": [{"not": {"address": "/no/{value}", "eq": 1}}],
            "do": [{"set": "/light/{value}/level", "value": 1}, {"set": "/after", "value": 1}],
        },
        {
            "id": "unconditional",
            "trigger": {"type": "set", "pattern": "/in"},
            "do": [{"set": "/light/{value}/level", "value": 1}, {"set": "/after", "value": 1}],
        },
    )
    world.set("/in", value)
    assert [address for address in world.params if address.startswith("/light")] == []
    assert "one segment" in world.engine.states["unconditional"].trace.last_error
    assert world.params["/after"] == 1
    world.set("/in", "stage left")
    assert world.params["/light/stage left/level"] == 1


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), (0, False), (1.0, 1)])
def test_a_reload_that_changes_the_kind_of_a_value_changes_the_rule(before: Any, after: Any) -> None:
    def table(value: Any) -> dict[str, Any]:
        return {"id": "r", "trigger": {"type": "set", "pattern": "/in"}, "do": {"set": "/out", "value": value}}

    world, _ = world_of(table(before))
    world.load(rules_of(table(after)))
    world.set("/in", 1)
    assert world.params["/out"] is after or repr(world.params["/out"]) == repr(after)


def test_a_queued_firing_that_was_cancelled_does_not_come_back() -> None:
    world, told = world_of(
        {
            "id": "r",
            "trigger": {"type": "event", "pattern": "/go"},
            "run": "queue",
            "do": [{"publish": "/begin"}, {"delay_s": 10}],
        },
        {"id": "stop", "trigger": {"type": "event", "pattern": "/stop"}, "do": {"cancel": "r"}},
    )
    for _ in range(3):
        world.publish_from_outside("event", "/go")
    world.pass_time(10)
    world.publish_from_outside("event", "/stop")
    world.pass_time(100)
    assert told == ["r: event /begin"] * 2


def test_a_fade_that_is_taken_over_leaves_nothing_behind() -> None:
    world, _ = world_of(
        {
            "id": "r",
            "trigger": {"type": "set", "pattern": "/in"},
            "do": {"fade": "/out", "from": "/in", "over_s": 10},
        }
    )
    world.params["/out"] = 0.5
    for target in range(2000):
        world.set("/in", float(target % 7))
        world.pass_time(0.01)
    assert len(list(world.engine.firings.fading())) == world.engine.firings._fading == 1
    world.pass_time(20)
    assert list(world.engine.firings.fading()) == []
    assert world.engine.firings._fading == 0
    assert world.params["/out"] == float(1999 % 7)


def test_a_value_that_jumps_from_one_limit_over_the_other_crosses_it() -> None:
    trigger = {"type": "threshold", "address": "/t", "above": 10, "below": 0, "rearm_below": 8}
    world, told = world_of({"id": "r", "trigger": trigger, "do": {"publish": "/out", "value": "{value}"}})
    for value in (5, 11, 12, -1, -2, 11, 9, 11, 8, 11):
        world.set("/t", value)
    assert told == [f'r: event /out "{value}"' for value in (11, -1, 11, 11)]


def test_a_hold_beyond_one_limit_does_not_go_on_beyond_the_other() -> None:
    trigger = {"type": "threshold", "address": "/t", "above": 10, "below": 0}
    world, told = world_of({"id": "r", "trigger": trigger, "for_s": 10, "do": {"publish": "/out", "value": "{value}"}})
    world.set("/t", 11)
    world.pass_time(6)
    world.set("/t", -1)
    world.pass_time(6)
    assert told == []
    world.pass_time(6)
    assert told == ['r: event /out "-1"']


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("/t/{a,b}/x", ["/t/a/x", "/t/b/x"], ["/t/c/x"]),
        ("/t/{a,b}/{1,2}", ["/t/a/1", "/t/b/2"], ["/t/a/3"]),
        ("/t/?", ["/t/a"], ["/t/a/b"]),
        ("/t/[0-9]", ["/t/5"], ["/t"]),
    ],
)
def test_globs_of_the_reference_are_taken(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    remarks: list[str] = []
    row = {
        "id": "x",
        "trigger": {"OnChange": {"pattern": pattern}},
        "actions": [{"Publish": {"address": "/out", "signal": "event"}}],
    }
    world, told = world_of(*tables_of([row], remarks.append))
    for address in not_meant:
        world.set(address, 1)
    assert told == []
    for address in meant:
        world.set(address, 1)
    assert len(told) == len(meant)
    assert remarks or "{" in pattern


def test_an_export_with_both_directions_fires_at_each_crossing() -> None:
    row = {
        "name": "n",
        "trigger": {"type": "threshold", "address": "/l", "threshold": 3, "direction": "both"},
        "actions": [{"type": "set", "address": "/o", "value": 1}],
    }
    world, told = world_of(*convert([row], lambda remark: None))
    for value in (1, 5, 6, 2, 1, 4):
        world.set("/l", value)
    assert len(told) == 3
