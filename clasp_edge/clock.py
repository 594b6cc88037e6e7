"""The one source of time for the control plane, so that tests can put their own in its place."""

from __future__ import annotations

import time


class Clock:
    """Wall time for what the protocol carries, monotonic time for everything that waits."""

    def wall_us(self) -> int:
        """Unix time in microseconds (wire.md 0)."""
        return time.time_ns() // 1000

    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()
