"""Whether the other end of a link is still there: only bytes that come in count, and silence is probed.

A connection whose other end has vanished, hangs or is cut off takes what is written to it for minutes. So whatever is
sent proves nothing, and neither does the kernel's acknowledgement: a stopped process still gets those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PROBE_SHARE = 1 / 3
"""The part of the deadline after which silence is probed; the rest is the answer's, retransmissions included."""

LATE_S = 0.25
"""A timer later than this means that this process was stopped or busy: what has come meanwhile has not been read yet,
and nobody was asked."""


class Liveness:
    """Calls `on_dead(silence in seconds)` once when nothing was heard for `dead_after_s`, and `probe()` before."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dead_after_s: float,
        probe: Callable[[], None],
        on_dead: Callable[[float], None],
    ) -> None:
        self._loop = loop
        self._dead_after_s = dead_after_s
        self._probe_after_s = dead_after_s * PROBE_SHARE
        self._probe = probe
        self._on_dead = on_dead
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._heard_s = 0.0
        self._probed_since_s = -1.0

    def start(self) -> None:
        """From now on silence counts."""
        self.stop()
        self._heard_s = self._loop.time()
        self._arm(self._heard_s + self._probe_after_s)

    def heard(self) -> None:
        """Bytes have come in."""
        self._heard_s = self._loop.time()

    def stop(self) -> None:
        """Silence counts no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due_s: float) -> None:
        self._due_s = due_s
        self._timer = self._loop.call_at(due_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        if now_s - self._due_s > LATE_S:
            self._heard_s = max(self._heard_s, now_s - self._probe_after_s)
        silence_s = now_s - self._heard_s
        if silence_s >= self._dead_after_s:
            self._on_dead(silence_s)
            return
        if silence_s < self._probe_after_s:
            self._arm(self._heard_s + self._probe_after_s)
            return
        if self._probed_since_s != self._heard_s:
            self._probed_since_s = self._heard_s
            self._probe()
        # The probe may have ended the link, and this with it.
        if self._timer is None:
            self._arm(self._heard_s + self._dead_after_s)
