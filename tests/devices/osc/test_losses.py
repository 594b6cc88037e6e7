"""What the log says of events that devices were not told: one line for all of them."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import cast

import pytest

from clasp_edge.devices.osc.losses import GATHERED_S, NAMED, TOLD_S, Losses


class Clock:
    """An event loop's timers, of which there is one at most."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.timer: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Clock:
        assert self.timer is None
        self.timer = self.now_s + delay_s, callback
        return self

    def cancel(self) -> None:
        self.timer = None

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        if self.timer is not None and self.timer[0] <= self.now_s:
            callback, self.timer = self.timer[1], None
            callback()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def losses(clock: Clock) -> Losses:
    return Losses(cast("AbstractEventLoop", clock))


def test_it_says_who_how_many_and_which_was_the_first(
    clock: Clock, losses: Losses, caplog: pytest.LogCaptureFixture
) -> None:
    losses.note("desk", 3, b"/osc/go")
    losses.note("desk", 4, b"/osc/stop")
    assert not caplog.messages, "what is lost in the same burst is told with it"
    clock.advance(GATHERED_S)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("OSC desk: 7 events lost, the first at /osc/go: ")


def test_hundreds_of_devices_are_one_line_with_those_that_lost_most(
    clock: Clock, losses: Losses, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 1001):
        losses.note(f"10.0.0.1:{number}", 1000 if number in (17, 40) else 1, b"/osc/%d" % number)
    clock.advance(GATHERED_S)
    assert len(caplog.messages) == 1
    said = caplog.messages[0]
    assert "10.0.0.1:17: 1000 events lost, the first at /osc/17; 10.0.0.1:40: 1000 events lost" in said
    assert said.count("10.0.0.1:") == NAMED
    assert f"{998 - (NAMED - 2)} of others" in said


def test_what_is_lost_later_is_told_a_minute_after_the_line_before(
    clock: Clock, losses: Losses, caplog: pytest.LogCaptureFixture
) -> None:
    losses.note("desk", 1, b"/osc/go")
    clock.advance(GATHERED_S)
    losses.note("desk", 2, b"/osc/stop")
    clock.advance(TOLD_S - 1)
    assert len(caplog.messages) == 1
    clock.advance(1)
    assert "desk: 2 events lost, the first at /osc/stop" in caplog.messages[1]
    losses.note("desk", 5, b"/osc/on")
    losses.close()
    assert "desk: 5 events lost, the first at /osc/on" in caplog.messages[2]
    losses.close()
    assert len(caplog.messages) == 3
    assert clock.timer is None
