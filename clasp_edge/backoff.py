"""How long to wait before the next try: decorrelated jitter, so that a thousand boxes do not come back together."""

from __future__ import annotations

from random import Random

BASE_S = 0.5
CAP_S = 30.0
"""A peer that comes back is found within this time, however long it was away, unless somebody is in a hurry."""

STABLE_S = 5.0
"""A link that lasted so long was a working one: the next try comes soon. One that broke sooner counts as a failure."""


class Backoff:
    """Delays in seconds, of at most `cap_s`; there is always a next one."""

    def __init__(self, random: Random, cap_s: float = CAP_S) -> None:
        self._random = random
        self._cap_s = cap_s
        self._last_s = BASE_S

    def after(self, lasted_s: float) -> float:
        """The delay after a round of failures (`lasted_s` 0) or after a link that lasted so long."""
        if lasted_s >= STABLE_S:
            self._last_s = BASE_S
            return self._random.uniform(0.0, BASE_S)
        self._last_s = min(self._cap_s, self._random.uniform(BASE_S, self._last_s * 3))
        return self._last_s
