"""What is wrong with what devices send: counted by sender and kind, and logged, of each sender and kind once a minute.

Knows no protocol; what a kind is called is what the log and the status call it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from clasp_edge.devices.osc.source import Source

log = logging.getLogger("clasp_edge.osc")

PERIOD_US = 60_000_000
"""What is wrong with a source is logged once in this time."""

BAD_PACKET = "bad packet"
TOO_FAST = "too fast"
WRITE_REFUSED = "write refused"
BUNDLE_REFUSED = "bundle refused"
CLOCK = "clock not set"
NO_MATCH = "wildcards that match nothing"
CONTROL = "subscription refused"
WITHHELD = "not renewed"


class _Kind:
    __slots__ = ("count", "logged_us", "untold")

    def __init__(self) -> None:
        self.count = 0
        self.logged_us = 0
        self.untold = 0


class Complaints:
    """Of all sources. `now_us` is monotonic."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.by_kind: Counter[str] = Counter()

    def note(self, source: Source, kind: str, text: str) -> None:
        """Something of this kind has come from a source; `text` says what, for the log."""
        self.by_kind[kind] += 1
        if source.complaints is None:
            source.complaints = {}
        found: _Kind | None = source.complaints.get(kind)
        if found is None:
            found = source.complaints[kind] = _Kind()
        found.count += 1
        found.untold += 1
        now_us = self._now_us()
        if found.logged_us and now_us - found.logged_us < PERIOD_US:
            return
        more = f" ({found.untold} times since the last report)" if found.untold > 1 else ""
        found.logged_us = now_us or 1
        found.untold = 0
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        log.warning("OSC %s: %s%s", source.name, shown, more)


def counts(source: Source) -> dict[str, int]:
    """How often something of each kind has come from a source."""
    return {kind: found.count for kind, found in (source.complaints or {}).items()}
