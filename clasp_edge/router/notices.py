"""What is logged of bad input: once per source and minute, however fast a device repeats itself.

Knows sources only as texts; what is wrong is said by those who ask.
"""

from __future__ import annotations

from clasp_edge.clock import Clock

PERIOD_S = 60.0

MAX_SOURCES = 256
"""Remembered at once; the one that was heard of least recently makes room. Far more than devices that go wrong."""


class Notices:
    """Who has been complained about lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources: dict[str, tuple[float, int]] = {}
        self.total = 0
        """Everything that was wrong, logged or not."""

    def due(self, remote: str) -> str | None:
        """What to add to a line about this source ("host:port"), or None where there shall be none now."""
        self.total += 1
        source = remote.rpartition(":")[0]
        now_s = self._clock.monotonic_s()
        since_s, held_back = self._sources.pop(source, (-PERIOD_S, 0))
        if now_s - since_s < PERIOD_S:
            self._sources[source] = (since_s, held_back + 1)
            return None
        if len(self._sources) >= MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        self._sources[source] = (now_s, 0)
        return f" ({held_back} more since the last line)" if held_back else ""
