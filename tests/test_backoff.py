"""The time between two tries: it grows, it varies, it has a limit, and there is always another try."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.backoff import BASE_S, CAP_S, STABLE_S, Backoff


@given(st.integers(), st.lists(st.floats(0, 2 * STABLE_S), max_size=50))
def test_delays_stay_within_their_limits(seed: int, lasted: list[float]) -> None:
    backoff = Backoff(Random(seed))
    before_s = BASE_S
    for lasted_s in lasted:
        delay_s = backoff.after(lasted_s)
        if lasted_s >= STABLE_S:
            assert 0 <= delay_s <= BASE_S
            before_s = BASE_S
        else:
            assert BASE_S <= delay_s <= min(CAP_S, before_s * 3)
            before_s = delay_s


def test_failures_without_end_are_spread_up_to_the_cap() -> None:
    backoff = Backoff(Random(1))
    delays = [backoff.after(0.0) for _ in range(1000)]
    assert max(delays) > CAP_S * 0.9
    assert len({round(delay, 3) for delay in delays[500:]}) > 100


def test_who_is_in_a_hurry_has_a_lower_cap() -> None:
    backoff = Backoff(Random(1), 2.0)
    delays = [backoff.after(0.0) for _ in range(1000)]
    assert 1.8 < max(delays) <= 2.0


def test_two_bridges_do_not_come_back_together() -> None:
    one, other = Backoff(Random(1)), Backoff(Random(2))
    assert one.after(60.0) != other.after(60.0)
