"""So many bytes a second to one device. Knows no link: who sends asks before, and tells what was sent."""

from __future__ import annotations

from collections.abc import Callable


class ByteRate:
    """`burst_s` of it may go out at once; 0 bytes a second: any."""

    def __init__(self, bytes_per_second: int, burst_s: float, now_s: Callable[[], float]) -> None:
        self._rate = bytes_per_second
        self._burst = bytes_per_second * burst_s
        self._tokens = self._burst
        self._now_s = now_s
        self._refilled_s = now_s()

    def has_room(self) -> bool:
        """Whether one more packet may go out: the last one may be larger than what is left."""
        if not self._rate:
            return True
        now_s = self._now_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._refilled_s) * self._rate)
        self._refilled_s = now_s
        return self._tokens >= 0

    def sent(self, size: int) -> None:
        """So many bytes went out."""
        self._tokens -= size
