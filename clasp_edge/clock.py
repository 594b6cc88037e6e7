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

    def believed_s(self) -> float:
        """Unix time as far as it can be believed: what expiry goes by (security.known_clock)."""
        return self.wall_s()

    @property
    def doubted(self) -> bool:
        """Whether the wall clock shows a time that cannot be."""
        return False

    @property
    def up_before_s(self) -> float:
        """Unix time until which the last process of this box is known to have run; 0: not known."""
        return 0.0

    def monotonic_s(self) -> float:
        return time.monotonic()
