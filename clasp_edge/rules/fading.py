"""A fade: from one value to another in so many steps a second, along a curve, ending exactly on its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from clasp_edge.rules.curves import Curve
from clasp_edge.rules.host import Host, Timer
from clasp_edge.rules.values import clamped_int, number

MAX_CHANNELS = 64
"""Numbers of an array that is faded: a colour has three or four."""


class Write(Protocol):
    """Takes a value; `last` with the one the fade ends on. False ends the fade."""

    def __call__(self, value: Any, *, last: bool) -> bool: ...


def is_fadable(value: Any) -> bool:
    """A number, or a short list of numbers."""
    if isinstance(value, list | tuple):
        return 0 < len(value) <= MAX_CHANNELS and all(_steady(one) for one in value)
    return _steady(value)


def has_steps(begins: Any, ends: Any) -> bool:
    """Whether there is something between two values: lists of numbers are as long as each other."""
    if not is_fadable(begins) or not is_fadable(ends):
        return False
    both = isinstance(begins, list | tuple) and isinstance(ends, list | tuple)
    return not both or len(begins) == len(ends)


def _steady(value: Any) -> bool:
    given = number(value)
    return given is not None and math.isfinite(given)


class Fade:
    """`start` begins it; it goes on by the host's timers."""

    def __init__(
        self, host: Host, begins: Any, ends: Any, over_s: float, rate_hz: float, curve: Curve, *, number: int = 0,
        elapsed_s: float = 0.0,
    ) -> None:  # fmt: skip
        self._host = host
        self.begins = begins
        self.ends = ends
        self.number = number
        self._over_s = over_s
        self._step_s = 1 / rate_hz
        self._curve = curve
        self._started_s = host.monotonic_s() - elapsed_s
        self._timer: Timer | None = None

    @property
    def left_s(self) -> float:
        """How long it goes on."""
        return max(0.0, self._started_s + self._over_s - self._host.monotonic_s())

    def start(self, write: Write) -> None:
        """Write the first step now and each further one in its time."""
        elapsed_s = self._host.monotonic_s() - self._started_s
        # A millisecond before the end is the end: no step so close to another one.
        if elapsed_s >= self._over_s - 0.001:
            self._timer = None
            write(self.ends, last=True)
            return
        share = self._curve(elapsed_s / self._over_s)
        if write(_between(self.begins, self.ends, share), last=False):
            wait_s = min(self._step_s, self._over_s - elapsed_s)
            self._timer = self._host.call_later(wait_s, lambda: self.start(write))

    def cancel(self) -> None:
        """Stay at what was written last."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _between(begins: Any, ends: Any, share: float) -> Any:
    if isinstance(ends, Sequence):
        starts = begins if isinstance(begins, Sequence) else [begins] * len(ends)
        return [_between(first, last, share) for first, last in zip(starts, ends, strict=True)]
    first = begins[0] if isinstance(begins, Sequence) else begins
    value = first + (ends - first) * share
    if not math.isfinite(value):
        value = first * (1 - share) + ends * share  # the two are further apart than any float
    # Floats round: what is next to the largest whole number may come out above it, and a curve may go beyond.
    return clamped_int(round(value)) if isinstance(first, int) and isinstance(ends, int) else float(value)
