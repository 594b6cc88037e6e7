"""How much of the state may be under way: as much as comes through without delaying what goes beside it."""

from __future__ import annotations

from collections import deque

import pytest

from clasp_edge.federation.shared.state_pace import (
    FIRST_BYTES,
    LEAST_BYTES,
    MOST_BYTES,
    OLDEST_S,
    PIECE_BYTES,
    WAIT_S,
    StatePace,
)


def told(rate: float, way_s: float, pieces: int) -> tuple[float, list[float]]:
    """Tell the state over a way with so many bytes a second and that delay to and fro. How long it took, and what each
    piece waited in the queue before it."""
    pace = StatePace()
    now_s = free_s = 0.0
    answers: deque[float] = deque()
    waits = []
    while len(waits) < pieces or answers:
        if len(waits) < pieces and pace.has_room(now_s):
            pace.sent(PIECE_BYTES, now_s)
            waits.append(max(0.0, free_s - now_s))
            free_s = max(free_s, now_s) + PIECE_BYTES / rate
            answers.append(free_s + way_s)
        else:
            now_s = answers.popleft()
            assert pace.answered(now_s)
    return now_s, waits


@pytest.mark.parametrize("rate", [2e5, 2.5e6, 2e7])
@pytest.mark.parametrize("way_s", [0.002, 0.04, 0.2])
def test_the_way_is_used_and_little_waits_before_it(rate: float, way_s: float) -> None:
    pieces = 1000
    took_s, waits = told(rate, way_s, pieces)
    # The least window, and a growth in small steps, are what it may cost; so is the first window.
    assert took_s < 1.5 * (pieces * PIECE_BYTES / min(rate, MOST_BYTES / way_s) + 20 * way_s)
    least_s = LEAST_BYTES / rate
    settled = sorted(waits[pieces // 4 :])
    assert settled[int(len(settled) * 0.99)] <= max(2.5 * WAIT_S, 2 * least_s)
    assert max(waits) <= max(4 * WAIT_S, FIRST_BYTES / rate)


def test_the_window_stays_within_its_bounds() -> None:
    pace = StatePace()
    for number in range(1000):
        pace.sent(PIECE_BYTES, number)
        pace.answered(number + 0.01)
    assert pace.window == MOST_BYTES
    for number in range(1000):
        pace.sent(PIECE_BYTES, number)
        pace.answered(number + 5.0)
    assert pace.window == LEAST_BYTES


def test_an_answer_to_nothing_changes_nothing() -> None:
    pace = StatePace()
    assert not pace.answered(1.0)
    assert pace.window == FIRST_BYTES


def test_who_answers_no_ping_is_told_the_state_all_the_same() -> None:
    pace = StatePace()
    now_s = 0.0
    for _ in range(20):
        if not pace.has_room(now_s):
            assert 0 < pace.wait_s(now_s) <= OLDEST_S + 0.01
            now_s += pace.wait_s(now_s)
        assert pace.has_room(now_s)
        pace.sent(PIECE_BYTES, now_s)


def test_a_piece_larger_than_the_window_goes_alone() -> None:
    pace = StatePace()
    pace.sent(MOST_BYTES, 0.0)
    assert not pace.has_room(0.0)
    pace.answered(0.1)
    assert pace.has_room(0.1)
