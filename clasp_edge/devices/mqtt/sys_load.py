"""How much happens each minute, for `$SYS/broker/load`: means over the last 1, 5 and 15 minutes, in which what is
longer ago counts less. Knows counters that only grow, and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

MINUTES = (1, 5, 15)


class Loads:
    """`since_s`: when all counters were 0."""

    def __init__(self, since_s: float) -> None:
        self._at_s = since_s
        self._counts: dict[str, int] = {}
        self._means: dict[str, list[float]] = {}

    def note(self, counts: Mapping[str, int], now_s: float) -> None:
        """The counters as they are. Between two looks, however far apart, all goes on evenly."""
        minutes = (now_s - self._at_s) / 60
        if minutes <= 0:
            return
        self._at_s = now_s
        for name, count in counts.items():
            rate = (count - self._counts.get(name, 0)) / minutes
            self._counts[name] = count
            means = self._means.setdefault(name, [0.0] * len(MINUTES))
            for at, span in enumerate(MINUTES):
                kept = math.exp(-minutes / span)
                means[at] = means[at] * kept + rate * (1 - kept)

    def topics(self) -> dict[str, str]:
        """Name and number, as brokers have them below `$SYS/broker/load/`."""
        return {
            f"{name}/{span}min": f"{mean:.2f}"
            for name, means in self._means.items()
            for span, mean in zip(MINUTES, means, strict=True)
        }
