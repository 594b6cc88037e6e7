"""A condition on many params: as right as one on a few, and no more work for each evaluation."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.rules import world_of

from clasp_edge.rules.members import MAX_MEMBERS, MAX_READ, MAX_TALLIES, Members
from clasp_edge.rules.parse import read_rules
from clasp_edge.rules.state import LARGEST_SEEN_BYTES
from clasp_edge.rules.values import MISSING

VALUES = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.text(max_size=2), st.just("x" * 300))
STEPS = st.lists(st.tuples(st.sampled_from("abcdef"), st.one_of(VALUES, st.just(MISSING))), max_size=40)


@given(steps=STEPS, asked_at=st.integers(0, 40))
def test_what_is_counted_is_what_holds(steps: list[tuple[str, Any]], asked_at: int) -> None:
    members, params = Members(), dict[str, Any]()
    tests = {"true": lambda value: value is True, "some": lambda value: isinstance(value, str) and len(value) > 1}

    def check() -> None:
        members.look(lambda address: params.get(address, MISSING))
        for key, test in tests.items():
            assert members.held(key, test, params.__getitem__) == sum(map(test, params.values()))
        assert len(members) == len(params)

    for at, (address, value) in enumerate(steps):
        if value is MISSING:
            params.pop(address, None)  # and nobody tells
        else:
            params[address] = value
            members.tell(address, value)
        if at >= asked_at:
            check()
    check()


def test_a_comparison_beyond_those_that_are_counted_is_right() -> None:
    members = Members()
    for number in range(MAX_TALLIES * 2):
        members.tell(f"/{number}", number)
    for number in range(MAX_TALLIES * 2):
        assert members.held(number, lambda value, least=number: value >= least, int) == MAX_TALLIES * 2 - number  # type: ignore[misc]


def test_the_oldest_makes_room_and_is_not_counted() -> None:
    members = Members()
    members.tell("/first", True)
    assert members.held("on", lambda value: value is True, bool) == 1
    for number in range(MAX_MEMBERS):
        members.tell(f"/{number}", False)
    assert len(members) == MAX_MEMBERS
    assert members.held("on", lambda value: value is True, bool) == 0


def test_a_condition_on_many_params_reads_a_few_of_them() -> None:
    rule = {
        "id": "r",
        "trigger": {"type": "set", "pattern": "/in"},
        "when": [{"pattern": "/door/*", "at_least": 2, "eq": "open"}],
        "do": [{"set": "/out", "value": 1}],
    }
    world, told = world_of(rule)
    for number in range(5000):
        world.set(f"/door/{number}", "shut" if number else "s" * (LARGEST_SEEN_BYTES + 1))
    world.set("/in", 1)
    assert told == []
    reads: list[str] = []
    read = world.read
    world.read = lambda address: [reads.append(address), read(address)][1]  # type: ignore[method-assign]
    for number in (7, 4000):
        world.set(f"/door/{number}", "open")
    world.set("/in", 2)
    assert told == ["r: set /out 1"]
    assert len(reads) <= MAX_READ
    # What is gone without a word does not count for ever.
    del world.params["/door/7"]
    for number in range(5000 // MAX_READ + 2):
        world.set("/in", number)
    told.clear()
    world.set("/in", "at last")
    assert told == []


def test_comparisons_that_are_told_alike_are_not_one() -> None:
    def rule(name: str, limit: Any) -> dict[str, Any]:
        return {
            "id": name,
            "trigger": {"type": "set", "pattern": "/in"},
            "when": [{"pattern": "/door/*", "any": True, "eq": limit}],
            "do": [{"set": f"/{name}", "value": 1}],
        }

    long = "x" * 400
    world, told = world_of(rule("number", 1), rule("flag", True), rule("one", long + "1"), rule("two", long + "2"))
    world.set("/door/a", True)
    world.set("/door/b", long + "2")
    world.set("/in", 0)
    assert sorted(told) == ["flag: set /flag 1", "two: set /two 1"]


def test_limits_of_earlier_rules_take_no_room_for_good() -> None:
    """As somebody has it who tries one limit after the other, with a reload each time."""
    world, told = world_of()
    for number in range(300):
        world.set(f"/lux/{number}", number)
    for limit in range(2 * MAX_TALLIES):
        table = {
            "id": "r",
            "trigger": {"type": "set", "pattern": "/go"},
            "when": {"pattern": "/lux/*", "any": True, "gt": 280 + limit},
            "do": {"set": "/out", "value": limit},
        }
        world.load(read_rules([table], [], {}, lambda key, sentence: None))
        world.set("/go", 1)
        world.set("/lux/5", 400 if limit == 25 else 5)
        world.set("/go", 2)
    # Nineteen limits are below 299, and the one value above all others is seen by two evaluations.
    assert len(told) == 2 * 19 + 2
    [members] = world.engine.index.members.values()
    assert repr([("gt", 280 + 2 * MAX_TALLIES - 1)]) in members._tallies
    assert len(members._tallies) <= MAX_TALLIES
