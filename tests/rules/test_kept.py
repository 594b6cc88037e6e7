"""What is kept of single addresses, which strangers choose: bounded in bytes, for all rules together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rules import world_of

from clasp_edge.rules.engine import MAX_KEPT_BYTES
from clasp_edge.rules.state import TABLE_ENTRY_BYTES, Bounded, Budget

STEPS = st.lists(st.tuples(st.sampled_from(["set", "pop", "del", "clear"]), st.integers(0, 2), st.text(max_size=3)))


@given(steps=STEPS)
def test_a_budget_is_what_its_tables_have(steps: list[tuple[str, int, str]]) -> None:
    budget = Budget(12 * TABLE_ENTRY_BYTES)
    tables: list[Bounded[str, int]] = [Bounded(6, budget) for _ in range(3)]
    for what, number, key in steps:
        table = tables[number]
        match what:
            case "set":
                table[key] = 1
                assert budget.taken <= budget.most
            case "pop":
                table.pop(key, None)
            case "del" if key in table:
                del table[key]
            case "clear":
                table.clear()
        assert budget.taken == sum(each.bytes for each in tables)
        assert all(bool(each) is bool(each.bytes) for each in tables)
    for table in tables:
        table.clear()
    assert budget.taken == 0


def test_what_has_most_gives_way() -> None:
    budget = Budget(20 * TABLE_ENTRY_BYTES)
    small: Bounded[str, int] = Bounded(1000, budget)
    large: Bounded[str, int] = Bounded(1000, budget)
    small["/mine"] = 1
    for number in range(500):
        large[f"/{number}"] = 1
    small["/mine/too"] = 1
    assert list(small) == ["/mine", "/mine/too"]
    assert "/499" in large


@pytest.mark.parametrize(
    "more",
    [
        {"settle_ms": 60_000},
        {"for_s": 60},
        {"cooldown_s": 60, "cooldown_per": "address"},
        {"do": [{"set": "/out", "transform": {"type": "smooth", "factor": 0.5}}]},
        {"trigger": {"type": "silence", "pattern": "/in/**", "after_s": 60}},
    ],
)
def test_ever_new_long_addresses_take_no_more_than_there_is(more: dict[str, Any]) -> None:
    rules = [
        {"id": f"r{n}", "trigger": {"type": "set", "pattern": "/in/**"}, "do": [{"log": "x"}], **more}
        for n in range(12)
    ]
    world, _ = world_of(*rules)
    long = "x" * 200
    for number in range(1500):
        world.engine.param(f"/in/{number}/{long}/{long}", number % 2)
        world._settle()
    kept = world.engine._kept
    assert MAX_KEPT_BYTES - 4000 < kept.taken <= MAX_KEPT_BYTES
    world.load([])
    assert kept.taken == 0
