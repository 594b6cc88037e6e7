"""Triggers at high rates, rules on everything, rings of rules: nothing takes more than its share, and it ends."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pytest
from support.rules import world_of

from clasp_edge.rules.dry_run import DryRun
from clasp_edge.rules.engine import AT_ONCE, MAX_DEPTH
from clasp_edge.rules.firing import MAX_RUNS
from clasp_edge.rules.index import MAX_ROUTED_BYTES
from clasp_edge.rules.members import MAX_READ
from clasp_edge.rules.model import Event
from clasp_edge.rules.parse import read_rules
from clasp_edge.rules.pending import collect
from clasp_edge.rules.state import RuleState, Seen
from clasp_edge.rules.trace import KEPT_AT_LEAST, KEPT_TOGETHER
from clasp_edge.rules.values import MISSING


def rule(name: str, pattern: str, *do: dict[str, Any], kind: str = "set", **more: Any) -> dict[str, Any]:
    return {"id": name, "trigger": {"type": kind, "pattern": pattern}, "do": list(do), **more}


def test_rules_without_number_on_one_address_are_looked_at_in_parts_and_in_order() -> None:
    count = 10 * AT_ONCE
    world, told = world_of(*(rule(f"r{n}", "/in/*", {"publish": f"/out/{n}", "value": 1}) for n in range(count)))
    engine = world.engine
    engine.param("/in/a", 1)
    parts = 0
    assert engine.busy
    # What comes meanwhile waits for its turn.
    engine.param("/in/b", 2)
    while engine.busy:
        before = len(told)
        engine.go_on()
        assert len(told) - before <= AT_ONCE
        parts += 1
    assert parts >= 2 * count / AT_ONCE
    assert [line.partition(":")[0] for line in told] == [f"r{n}" for n in range(count)] * 2


def test_a_fault_in_one_part_ends_that_and_nothing_else() -> None:
    world, told = world_of(*(rule(f"r{n}", "/in", {"publish": "/out", "value": 1}) for n in range(2 * AT_ONCE)))
    engine = world.engine
    broken = engine.states[f"r{AT_ONCE + 1}"]

    def fault(event: object, lookup: object) -> str | None:
        raise RuntimeError

    broken.rule.conditions = (fault,)
    engine.param("/in", 1)
    with pytest.raises(RuntimeError):
        engine.go_on()
    assert not engine.busy
    broken.rule.conditions = ()
    world.set("/in", 2)
    assert len(told) == 2 * AT_ONCE


@pytest.mark.parametrize("by", ["load", "switch"])
def test_a_rule_that_is_removed_or_disabled_between_two_parts_does_nothing_more(by: str) -> None:
    tables = [rule(f"r{n}", "/in", {"publish": "/out", "value": 1}) for n in range(3 * AT_ONCE)]
    world, told = world_of(*tables)
    engine = world.engine
    engine.param("/in", 1)
    while not told:
        engine.go_on()
    done = len(told)
    assert done <= AT_ONCE
    if by == "load":
        # All but the last are gone; that one is another rule of the same name.
        other = tables[-1] | {"do": [{"publish": "/other", "value": 2}]}
        world.load(read_rules([other], (), {}, lambda *_: None))
    else:
        for name in engine.states:
            engine.switch(name, enabled=False)
    while engine.busy:
        engine.go_on()
    assert len(told) == done
    world.set("/in", 2)
    assert len(told) == done + (by == "load")


def test_a_firing_that_waits_its_turn_is_gone_with_its_rule() -> None:
    queued = {"id": "q", "trigger": {"type": "event", "pattern": "/go"}, "run": "queue"}
    do = [{"publish": "/out", "value": 1}, {"delay_s": 1}]
    many = [rule(f"r{n}", "/in", {"publish": "/x", "value": 1}) for n in range(3 * AT_ONCE)]
    world, told = world_of(queued | {"do": do}, *many)
    engine = world.engine
    world.publish_from_outside("event", "/go")
    world.publish_from_outside("event", "/go")
    assert len(told) == 1
    state = engine.states["q"]
    engine.param("/in", 1)
    assert engine.busy
    engine.do(engine.firings.start(state, Event("event", "/go", MISSING, MISSING, 0.0)))
    world.load(())
    assert len(told) == 1


def test_the_silence_of_a_rule_that_is_gone_is_not_counted() -> None:
    silent = {"id": "s", "trigger": {"type": "silence", "pattern": "/in", "after_s": 5}, "do": [{"publish": "/gone"}]}
    many = [rule(f"r{n}", "/in", {"publish": "/x", "value": 1}, kind="event") for n in range(9 * AT_ONCE)]
    world, told = world_of(*many, silent)
    engine = world.engine
    engine.message("event", "/in", 1)
    assert engine.busy  # the last rule's turn has not come
    state = engine.states["s"]
    world.load(())
    assert not state.made("silences")
    world.pass_time(10)
    assert not [line for line in told if "/gone" in line]


def test_tables_that_no_rule_needs_are_not_made() -> None:
    threshold = {"type": "threshold", "address": "/in", "above": 3}
    tables = [rule(f"r{n}", "/in", {"publish": "/x", "value": 1}) for n in range(10)]
    world, told = world_of(*tables, {"id": "t", "trigger": threshold, "do": [{"publish": "/high"}]})
    engine = world.engine
    states = list(engine.states.values())
    made = [name for name, found in vars(RuleState).items() if isinstance(found, cached_property)]
    assert "holding" in made
    for value in (1, 5, 2):
        world.set("/in", value)
    assert len(told) == 31
    assert list(collect(engine)) == []
    for state in states:
        engine.switch(state.rule.id, enabled=False)
    world.load(())
    assert [(state.rule.id, name) for state in states for name in made if name in vars(state)] == [("t", "inside")]


def test_a_ring_in_which_each_rule_writes_twice_ends_by_its_depth() -> None:
    world, told = world_of(
        rule("a", "/a", {"publish": "/b", "value": 1}, {"publish": "/b", "value": 2}, kind="event"),
        rule("b", "/b", {"publish": "/a", "value": 1}, kind="event"),
    )
    world.publish_from_outside("event", "/a")
    assert len(told) < 2 ** (MAX_DEPTH + 1)
    assert "cascade" in world.engine.states["a"].trace.last_error + world.engine.states["b"].trace.last_error
    assert all(state.enabled for state in world.engine.states.values())


def test_a_map_of_events_in_both_directions_sends_nothing_back() -> None:
    world, told = world_of(maps=[{"from": "/a/*", "to": "/b/*", "both": True, "signal": "event"}])
    world.publish_from_outside("event", "/a/1", 5)
    world.publish_from_outside("event", "/b/2", 6)
    assert told == ["map-1: event /b/1 5", "map-1:back: event /a/2 6"]


def test_the_breaker_stops_a_rule_and_its_interval_goes_on_when_it_is_enabled_again() -> None:
    table = rule("r", "/in", {"publish": "/out", "value": 1}, kind="event", max_per_second=1)
    table["trigger"] = [table["trigger"], {"type": "interval", "every_s": 60}]
    world, told = world_of(table)
    for _ in range(20):
        world.publish_from_outside("event", "/in")
    assert not world.engine.states["r"].enabled
    assert any("max_per_second" in line for line in told)
    world.pass_time(600)
    told.clear()
    world.engine.switch("r", enabled=True)
    world.pass_time(60)
    assert told == ["r: event /out 1"]


def test_bundles_that_wait_are_bounded_and_named_when_they_are_lost() -> None:
    bundle = {"bundle": [{"publish": "/out", "value": 1}], "in_s": 60}
    world, told = world_of(rule("r", "/in", bundle, kind="event"))
    for _ in range(3 * MAX_RUNS):
        world.publish_from_outside("event", "/in")
    assert "wait for their time" in world.engine.states["r"].trace.last_error
    assert len(world.engine.load([], {})) == MAX_RUNS
    world.pass_time(61)
    assert "r: event /out 1" not in told
    world, told = world_of(rule("r", "/in", bundle, kind="event"))
    for _ in range(3):
        world.publish_from_outside("event", "/in")
        world.pass_time(61)
    assert told == ["r: event /out 1"] * 3


def test_what_waits_of_one_rule_costs_another_nothing() -> None:
    slow = [rule(f"slow{n}", "/slow/*", {"delay_s": 1000}, {"set": "/x", "value": 1}) for n in range(50)]
    world, told = world_of(*slow, rule("r", "/in", {"set": "/out", "value": 1}))
    for n in range(MAX_RUNS):
        world.set(f"/slow/{n}", n)
    world.set("/in", 1)
    assert told == ["r: set /out 1"]
    assert len(list(world.engine.firings.waiting())) == 50 * MAX_RUNS
    lost = world.engine.load([], {})
    assert len(lost) == 50 * MAX_RUNS


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    world, _ = world_of(*(rule(f"r{n}", "/in/*", {"publish": "/out"}) for n in range(500)))
    index = world.engine.index
    for n in range(2 * MAX_ROUTED_BYTES // 4000):
        index.route(f"/in/{n}")
    assert sum(route.bytes(address) for address, route in index._routes.items()) == index._routed <= MAX_ROUTED_BYTES
    seen = Seen(1000, 50_000)
    for n in range(2000):
        seen.take(f"/{n}", "x" * (n % 256), 0.0)
        seen.take(f"/{n // 2}", [n], 0.0)
        assert seen.bytes <= 50_000
    assert seen.bytes == sum(taken for _, _, taken in seen._values.values())


def test_traces_of_many_rules_are_short() -> None:
    world, _ = world_of(*(rule(f"r{n}", f"/in/{n}", {"set": "/out"}) for n in range(KEPT_TOGETHER // 2)))
    for n in range(50):
        world.set("/in/0", n)
    assert len(world.engine.states["r0"].trace.entries) == KEPT_AT_LEAST


def test_a_condition_on_thousands_of_params_reads_few_of_them() -> None:
    table = rule("r", "/go", {"publish": "/out", "value": 1}, kind="event")
    table["when"] = [{"pattern": "/p/*", "at_least": 2999, "eq": 1}]
    world, told = world_of(table)
    for n in range(3000):
        world.set(f"/p/{n}", 1)
    reads: list[str] = []
    read = world.read
    world.read = lambda address: reads.append(address) or read(address)  # type: ignore[method-assign, func-returns-value]
    world.publish_from_outside("event", "/go")
    assert told == ["r: event /out 1"]
    assert len(reads) < 1000
    # One that is gone, without anybody being told, is noticed when its turn comes.
    for address in ("/p/1", "/p/2"):
        del world.params[address]
    for _ in range(3000 // MAX_READ + 2):
        world.publish_from_outside("event", "/go")
    told.clear()
    world.publish_from_outside("event", "/go")
    assert told == []


def test_a_limit_that_moves_without_end_is_looked_at_now_and_then() -> None:
    table = {
        "id": "r",
        "trigger": {"type": "threshold", "pattern": "/t/*", "above": "/limit"},
        "do": [{"set": "/hot/{1}", "value": "{value}"}],
    }
    world, told = world_of(table)
    world.set("/limit", 1000)
    for n in range(100):
        world.set(f"/t/{n}", n)
    scans: list[str] = []
    scan = world.scan
    world.scan = lambda pattern, most: scans.append(pattern.text) or scan(pattern, most)  # type: ignore[method-assign, func-returns-value]
    for limit in range(999, 98, -1):
        world.set("/limit", limit)
    world.set("/limit", 98.5)
    world.pass_time(1)
    assert len(scans) == 1
    assert told == ['r: set /hot/99 "99"']


def test_a_scene_of_thousands_is_recalled_in_parts_and_in_its_place() -> None:
    scene = {f"/s/{number}": number for number in range(10 * AT_ONCE)}
    faults: list[str] = []
    table = rule("r", "/go", {"publish": "/before"}, {"scene": "s"}, {"publish": "/after"}, kind="event")
    rules = read_rules([table], [], {"s": scene}, lambda key, sentence: faults.append(sentence))
    assert not faults
    told: list[str] = []
    world = DryRun(lambda line: told.append(line.split(None, 2)[2]))
    world.load(rules, {"s": scene})
    world.engine.message("event", "/go", 1)
    while world.engine.busy:
        before = len(told)
        world.engine.go_on()
        assert len(told) - before <= AT_ONCE + 1
    assert told == ["event /before", *(f"set {address} {value}" for address, value in scene.items()), "event /after"]


def test_a_ring_through_a_scene_ends_by_its_depth() -> None:
    scene = {f"/s/{number}": number for number in range(2 * AT_ONCE)}
    table = {"id": "r", "trigger": {"type": "set", "pattern": f"/s/{2 * AT_ONCE - 1}"}, "do": {"scene": "s"}}
    told: list[str] = []
    world = DryRun(told.append)
    world.load(read_rules([table], [], {"s": scene}, lambda *one: None), {"s": scene})
    world.set(f"/s/{2 * AT_ONCE - 1}", 0)
    assert len([line for line in told if ": set" in line]) == MAX_DEPTH * len(scene)
