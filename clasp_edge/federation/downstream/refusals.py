"""What a router that has dialled in and this one have refused each other: how much, and of the last where and why.

Where a router writes what it may not, again and again, the log has a line a second at most. Knows no session.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("clasp_edge.federation")

QUIET_S = 1.0
SHOWN_CHARACTERS = 256


class Refusals:
    """Of one router; `who` names it in the log."""

    def __init__(self, who: str, monotonic_s: Callable[[], float]) -> None:
        self.count = 0
        self.last = ""
        """One sentence, empty where nothing was refused."""
        self._who = who
        self._monotonic_s = monotonic_s
        self._silent_until_s = 0.0

    def here(self, address: bytes, why: str) -> None:
        """What it has written was refused here."""
        self._note(f"{_shown(address)} was refused here: {why[:SHOWN_CHARACTERS]}")

    def there(self, address: bytes, code: int, why: str) -> None:
        """It has refused what it was told."""
        self._note(f"{_shown(address)} was refused there: {code} {why[:SHOWN_CHARACTERS]}")

    def _note(self, text: str) -> None:
        self.count += 1
        now_s = self._monotonic_s()
        if text != self.last and now_s >= self._silent_until_s:
            self._silent_until_s = now_s + QUIET_S
            log.warning("peer %s: %s", self._who, text)
        self.last = text


def _shown(address: bytes) -> str:
    return address[:SHOWN_CHARACTERS].decode("utf-8", "replace")
