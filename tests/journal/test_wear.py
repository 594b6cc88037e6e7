"""Bytes per day are told from the last hour; above the budget the interval grows, below it shrinks again."""

from __future__ import annotations

from clasp_edge.journal.wear import LARGEST_FACTOR, Wear

GB = 10**9


def test_a_steady_rate_is_told_as_it_is() -> None:
    wear = Wear(0, 0.0)
    for second in range(1, 7200):
        wear.add(100_000, float(second))
    assert abs(wear.per_day(7200.0) / (100_000 * 86_400) - 1) < 0.02
    assert wear.total == 7199 * 100_000
    assert not wear.over_budget(7200.0)
    assert not wear.adjust(7200.0)


def test_over_the_budget_the_interval_grows_and_afterwards_shrinks() -> None:
    wear = Wear(8 * GB, 0.0)
    second = 0.0
    # A commit costs the same however much it holds: the longer the interval, the fewer of them.
    while second < 3600:
        second += 0.1 * wear.factor
        wear.add(25_000, second)
        wear.adjust(second)
    assert wear.factor > 1
    recent = 25_000 / (0.1 * wear.factor) * 86_400
    assert recent < 2 * 8 * GB
    while second < 3 * 3600:
        second += 10
        wear.adjust(second)
    assert wear.factor == 1


def test_the_factor_has_an_end() -> None:
    wear = Wear(1, 0.0)
    for second in range(1, 3600):
        wear.add(10_000, float(second))
        wear.adjust(float(second))
    assert wear.factor == LARGEST_FACTOR
    assert wear.over_budget(3600.0)
