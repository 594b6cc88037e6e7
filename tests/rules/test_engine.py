"""The engine on a clock of its own: triggers, timing, order, bounds."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from clasp_edge.rules.dry_run import MONDAY_S, DryRun
from clasp_edge.rules.engine import BREAKER_WINDOW_S, MAX_DEPTH
from clasp_edge.rules.expression import Expression, ExpressionError
from clasp_edge.rules.parse import read_rules


class World(DryRun):
    """A dry run from TOML, with what the rules did in `done`."""

    def __init__(self, toml: str, **options: Any) -> None:
        self.done: list[str] = []
        super().__init__(lambda line: self.done.append(line[12:]), **options)
        self.take(toml)

    def take(self, toml: str) -> None:
        raw = tomllib.loads(toml)
        problems: list[str] = []
        read = read_rules(
            raw.get("rule", ()), raw.get("map", ()), raw.get("scene", {}), lambda *one: problems.append(str(one))
        )
        assert not problems
        self.load(read, raw.get("scene", {}))

    def after(self, *lines: str) -> list[str]:
        """What the rules do on these lines."""
        self.done.clear()
        for line in lines:
            self.line(line)
        return list(self.done)


def one(trigger: str, do: str = '{ publish = "/out" }', **more: str) -> str:
    extra = "\n".join(f"{key} = {value}" for key, value in more.items())
    return f'[[rule]]\nid = "r"\ntrigger = {{ {trigger} }}\ndo = [{do}]\n{extra}\n'


def test_a_change_is_another_value_and_a_set_is_any_write() -> None:
    changes = World(one('type = "change", pattern = "/a"'))
    assert len(changes.after("set /a 1", "set /a 1.0", "set /a 1", "set /a true", "set /a 2")) == 3
    writes = World(one('type = "set", pattern = "/a"'))
    assert len(writes.after("set /a 1", "set /a 1", "set /a 1")) == 3


def test_what_was_there_at_the_start_has_not_changed() -> None:
    world = World("")
    world.params["/a"] = 5
    world.take(one('type = "change", pattern = "/a"'))
    assert world.after("set /a 5") == []
    assert len(world.after("set /a 6")) == 1


def test_a_threshold_fires_at_the_crossing_and_rearms_below() -> None:
    world = World(one('type = "threshold", address = "/t", above = 30, rearm_below = 28'))
    assert world.after("set /t 35") == []  # the first value arms
    assert world.after("set /t 29", "set /t 36") == []  # never below 28
    assert len(world.after("set /t 28", "set /t 30", "set /t 30.5", "set /t 99")) == 1
    assert world.after('set /t "hot"', "set /t null", "set /t 100") == []


def test_a_level_fires_at_every_write_beyond() -> None:
    world = World(one('type = "threshold", address = "/t", below = 0, level = true'))
    assert len(world.after("set /t -1", "set /t -1", "set /t 3", "set /t -2")) == 3


def test_the_limit_may_be_a_param_and_moves() -> None:
    world = World(one('type = "threshold", address = "/t", above = "/limit"'))
    world.after("set /limit 10", "set /t 5")
    assert len(world.after("set /limit 4")) == 1
    assert world.after("set /limit 3") == []


def test_timing_words() -> None:
    settled = World(one('type = "set", pattern = "/a"', '{ set = "/out" }', settle_ms="100"))
    assert settled.after("set /a 1", "wait 0.09", "set /a 2", "wait 0.09", "set /a 3") == []
    assert settled.after("wait 0.2") == ["r: set /out 3"]
    throttled = World(one('type = "set", pattern = "/a"', '{ set = "/out" }', throttle_ms="100"))
    assert throttled.after("set /a 1", "set /a 2", "set /a 3") == ["r: set /out 1"]
    assert throttled.after("wait 1") == ["r: set /out 3"]
    cooled = World(one('type = "set", pattern = "/a"', '{ set = "/out" }', cooldown_s="5"))
    assert cooled.after("set /a 1", "wait 4.9", "set /a 2", "wait 0.2", "set /a 3") == [
        "r: set /out 1",
        "r: set /out 3",
    ]


def test_a_hold_counts_from_the_first_and_ends_with_its_reason() -> None:
    world = World(one('type = "threshold", address = "/t", above = 30', for_s="120"))
    assert world.after("set /t 31", "wait 60", "set /t 40", "wait 59") == []
    assert len(world.after("wait 2")) == 1
    assert world.after("set /t 20", "set /t 31", "wait 119", "set /t 20", "wait 200") == []


def test_a_hold_begins_with_what_was_above_already() -> None:
    world = World("")
    world.params["/t"] = 50
    world.take(one('type = "threshold", address = "/t", above = 30', for_s="120"))
    assert world.after("wait 119") == []
    assert len(world.after("wait 2")) == 1


def test_addresses_of_a_pattern_have_timers_of_their_own() -> None:
    world = World(one('type = "set", pattern = "/s/*"', '{ set = "/o/{1}" }', settle_ms="100"))
    assert sorted(world.after("set /s/a 1", "set /s/b 2", "wait 1")) == ["r: set /o/a 1", "r: set /o/b 2"]


@pytest.mark.parametrize(
    ("mode", "ends"),
    [("restart", [4.0]), ("single", [3.0]), ("queue", [3.0, 6.0]), ("parallel", [3.0, 4.0])],
)
def test_run_modes(mode: str, ends: list[float]) -> None:
    world = World(one('type = "event", pattern = "/go"', '{ delay_s = 3 }, { publish = "/end" }', run=f'"{mode}"'))
    found = []
    for step in range(100):
        if step in (0, 10):
            world.after("event /go")
        if world.after("wait 0.1"):
            found.append(round((step + 1) / 10, 1))
    assert found == pytest.approx(ends, abs=0.11)


def test_all_are_decided_before_any_acts() -> None:
    world = World(
        """
        [[rule]]
        id = "first"
        trigger = { type = "set", pattern = "/a" }
        do = [{ set = "/b", value = 1 }]
        [[rule]]
        id = "second"
        trigger = { type = "set", pattern = "/a" }
        when = [{ address = "/b", eq = 1 }]
        do = [{ set = "/c", value = 1 }]
        """
    )
    assert world.after("set /a 1") == ["first: set /b 1"]
    assert world.after("set /a 1") == ["first: set /b 1", "second: set /c 1"]


def test_a_cascade_ends() -> None:
    world = World(one('type = "set", pattern = "/x"', '{ increment = "/x" }'))
    assert len(world.after("set /x 0")) == MAX_DEPTH
    assert "cascade" in world.engine.states["r"].trace.last_error


def test_the_breaker_disables_a_rule_that_fires_too_often() -> None:
    world = World(one('type = "event", pattern = "/e"', max_per_second="10"))
    done = world.after(*["event /e"] * 60)
    assert len([line for line in done if line.startswith("r:")]) == 50
    assert not world.engine.states["r"].enabled
    assert any("max_per_second" in line for line in done)


def test_time_of_day_waits_for_the_clock_and_makes_up_for_what_it_missed() -> None:
    rule = one('type = "time", at = "10:00", catch_up_s = 120')
    on_time = World(rule)
    assert len(on_time.after("at 10:01")) == 1
    assert len(on_time.after("wait 80000")) == 0
    late = World(rule, starts_s=MONDAY_S + 10 * 3600 + 60)
    assert len(late.done) == 1
    too_late = World(rule, starts_s=MONDAY_S + 10 * 3600 + 180)
    assert too_late.done == []
    unset = World("")
    unset.clock_set = False
    unset.take(rule)
    unset.after("wait 100")
    unset.set_clock(MONDAY_S + 10 * 3600 + 5)
    unset.clock_set = True
    assert [line for line in unset.after("wait 60") if line.startswith("r:")] == ["r: event /out"]


@pytest.mark.parametrize("timing", ["for_s = 2", "settle_ms = 2000"])
@pytest.mark.parametrize("pattern", ["/door", "/do*"])
def test_what_does_not_stay_as_it_has_to_be_ends_the_wait(timing: str, pattern: str) -> None:
    rule = one(f'type = "change", pattern = "{pattern}", to = [true, 1]') + timing + "\n"
    world = World(rule)
    assert world.after("set /door true", "wait 1", "set /door false", "wait 9") == []
    assert world.after("set /door true", "wait 1", "set /door 1", "set /other false", "wait 2") == ["r: event /out"]
    assert world.after("set /door false", "wait 9") == []


def test_what_waits_for_one_address_is_not_ended_by_another() -> None:
    world = World(
        one('type = "change", pattern = "/a", to = true }, { type = "change", pattern = "/b", to = true').replace(
            "trigger = {", "trigger = [{").replace("true }\ndo", "true }]\ndo") + "for_s = 2\n"
    )  # fmt: skip
    assert world.after("set /a true", "wait 1", "set /b false", "wait 1.1") == ["r: event /out"]


@pytest.mark.parametrize("timing", ["for_s = 2", "settle_ms = 2000"])
@pytest.mark.parametrize(
    "other", ['type = "threshold", pattern = "/a", below = 10', 'type = "change", pattern = "/a*", to = 0']
)
def test_what_waits_by_one_trigger_is_not_ended_by_another(timing: str, other: str) -> None:
    first = 'type = "threshold", pattern = "/a", above = 30'
    rule = one(f"{first} }}, {{ {other}").replace("trigger = {", "trigger = [{").replace("}\ndo", "}]\ndo")
    world = World(rule + timing + "\n")
    world.after("set /a 20")
    assert world.after("set /a 31", "wait 1", "set /a 32", "wait 1.1") == ["r: event /out"]
    assert world.after("set /a 20", "set /a 31", "wait 1", "set /a 20", "wait 3") == []
    assert world.after("set /a 0", "wait 2.1") == ["r: event /out"]


@pytest.mark.parametrize(("begins", "ends"), [(2**63 - 1, 0), (-(2**63), 2**63 - 1), (0, 2**63 - 1)])
@pytest.mark.parametrize("curve", ["linear", "elastic_out"])
def test_a_fade_of_whole_numbers_stays_within_64_bits(begins: int, ends: int, curve: str) -> None:
    fade = f'{{ fade = "/x", to = {ends}, over_s = 1, rate_hz = 10, curve = "{curve}" }}'
    world = World(one('type = "event", pattern = "/go"', fade))
    steps = world.after(f"set /x {begins}", "event /go", "wait 2")
    values = [int(line.rpartition(" ")[2]) for line in steps]
    assert len(values) > 9
    assert values[-1] == ends
    assert all(-(2**63) <= value < 2**63 for value in values)


def test_a_number_that_is_read_from_a_text_is_short() -> None:
    product = Expression("int(value, 16) * int(value, base=16)", frozenset({"value"}))
    assert product({"value": "f" * 100}) == int("f" * 100, 16) ** 2
    with pytest.raises(ExpressionError, match="at most 100 characters"):
        product({"value": "f" * 1_000_000})
    assert Expression("int(value) + int()", frozenset({"value"}))({"value": 2.9}) == 2


@pytest.mark.parametrize("expression", ["value % 2 == 0", "value[3] > 1", 'value["on"]', "value < 1", "value(1)"])
@pytest.mark.parametrize("value", ['"%999999999d"', "[1]", "{}", "null"])
def test_no_value_breaks_an_expression(expression: str, value: str) -> None:
    world = World(
        one('type = "set", pattern = "/x"').replace("do =", f"when = [{{ expression = '{expression}' }}]\ndo =")
        + one('type = "set", pattern = "/x"', '{ publish = "/after" }').replace('"r"', '"after"')
    )
    assert world.after(f"set /x {value}")[-1:] == ["after: event /after"]
    assert world.engine.states["r"].trace.refused + world.engine.states["r"].trace.fired == 1


@pytest.mark.parametrize("kind", ['"smooth", factor = 0.5', '"rate_limit", max_delta = 1e308'])
def test_what_remembers_stays_finite(kind: str) -> None:
    world = World(one('type = "set", pattern = "/x"', f'{{ set = "/y", transform = {{ type = {kind} }} }}'))
    done = world.after("set /x -1.7e308", "set /x 1.7e308", "set /x -1.7e308", "set /x 1.0", "set /x 1.0")
    assert len(done) == 5
    assert not any("inf" in line.lower() or "nan" in line.lower() for line in done)


def test_an_increment_past_every_number_writes_nothing() -> None:
    world = World(one('type = "event", pattern = "/go"', '{ increment = "/x", by = 1e308 }'))
    world.after("set /x 1e308", "event /go")
    assert "finite" in world.engine.states["r"].trace.last_error


def test_what_is_unchanged_by_a_reload_goes_on() -> None:
    waiting = one('type = "event", pattern = "/go"', '{ delay_s = 10 }, { publish = "/end" }')
    world = World(waiting)
    world.after("event /go", "wait 5")
    world.take(waiting)
    assert world.after("wait 6") == ["r: event /end"]
    world.after("event /go", "wait 5")
    world.take(waiting.replace("/end", "/other"))
    assert world.after("wait 60") == []


@given(
    begins=st.one_of(st.integers(-(2**53), 2**53), st.floats(-1e9, 1e9)),
    ends=st.one_of(st.integers(-(2**53), 2**53), st.floats(-1e9, 1e9)),
    over_s=st.floats(0.01, 3),
    rate_hz=st.floats(1, 100),
)
@settings(max_examples=examples(40), deadline=None)
def test_a_fade_ends_exactly_on_its_value(begins: float, ends: float, over_s: float, rate_hz: float) -> None:
    world = World(
        one(
            'type = "event", pattern = "/go"',
            f'{{ fade = "/f", to = {ends!r}, over_s = {over_s!r}, rate_hz = {rate_hz!r} }}',
        )
    )
    world.params["/f"] = begins
    world.after("event /go", "wait 10")
    assert world.params["/f"] == ends
    assert type(world.params["/f"]) is type(ends)


ADDRESSES = ("/a", "/b", "/c")


any_address = st.sampled_from(ADDRESSES)


@given(
    pairs=st.lists(st.tuples(any_address, any_address, st.integers(-2, 2)), min_size=1, max_size=5),
    writes=st.lists(any_address, min_size=1, max_size=3),
)
@settings(max_examples=examples(50), deadline=None)
def test_no_set_of_rules_runs_for_ever(pairs: list[tuple[str, str, int]], writes: list[str]) -> None:
    most = 20
    rules = "".join(
        f'[[rule]]\nid = "r{at}"\nmax_per_second = {most}\ntrigger = {{ type = "set", pattern = "{source}" }}\n'
        f'do = {{ increment = "{target}", by = {by} }}\n'
        for at, (source, target, by) in enumerate(pairs)
    )
    world = World(rules)
    done = [line for address in writes for line in world.after(f"set {address} 1")]
    assert len([line for line in done if ": set " in line]) <= len(pairs) * most * BREAKER_WINDOW_S
