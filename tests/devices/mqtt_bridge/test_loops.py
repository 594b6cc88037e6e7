"""A ring of bridges, seen from inside: the same value over and over."""

from __future__ import annotations

from clasp_edge.devices.mqtt_bridge.loops import BLOCKED_S, MAX_ADDRESSES, MOST_IN_WINDOW, WINDOW_S, LoopBreaker


def test_a_value_that_goes_round_is_held_back_for_a_while() -> None:
    breaker = LoopBreaker()
    for _ in range(MOST_IN_WINDOW):
        assert breaker.passes(b"/a", b"1", 0.0) is True
        assert breaker.passes(b"/a", b"2", 0.0) is True
    assert breaker.passes(b"/a", b"1", 1.0) is None
    assert breaker.passes(b"/a", b"1", 1.1) is False
    assert breaker.passes(b"/a", b"3", 1.1) is False
    assert breaker.passes(b"/b", b"1", 1.1) is True
    assert breaker.passes(b"/a", b"1", 1.0 + BLOCKED_S) is True


def test_values_that_change_pass_at_any_rate() -> None:
    breaker = LoopBreaker()
    assert all(breaker.passes(b"/a", b"%d" % number, number / 1000) for number in range(10_000))


def test_slow_repetition_passes_for_ever() -> None:
    breaker = LoopBreaker()
    step_s = WINDOW_S / MOST_IN_WINDOW * 1.05
    assert all(breaker.passes(b"/a", b"1", number * step_s) for number in range(1000))


def test_the_memory_is_bounded() -> None:
    breaker = LoopBreaker()
    for number in range(MAX_ADDRESSES * 2):
        breaker.passes(b"/%d" % number, b"1", 0.0)
    assert len(breaker._seen) == MAX_ADDRESSES
