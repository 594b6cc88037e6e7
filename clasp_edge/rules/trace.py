"""What happened to a rule lately, and why nothing did: a short ring of evaluations, made only when asked for texts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clasp_edge.rules.values import MISSING, text

KEPT = 50
"""Evaluations remembered for each rule; fewer where there are many rules."""

KEPT_AT_LEAST = 4
KEPT_TOGETHER = 20_000
"""Of all rules, about. Each takes up to a kilobyte: the text of a value, and an address."""

LONGEST = 200


@dataclass(slots=True, frozen=True)
class Entry:
    """One evaluation. `wall_s` is Unix time; `reason` is empty where the rule fired."""

    wall_s: float
    kind: str
    address: str
    value: Any
    fired: bool
    reason: str

    would: str = ""
    """What a rule that only watches would have done; nothing else is told then."""

    def line(self) -> str:
        """For people."""
        if self.would:
            return f"would {self.would}"[:LONGEST]
        told = f" = {text(self.value)}" if self.value is not MISSING else ""
        what = f"{self.kind} {self.address}{told}".strip()
        return f"{what}: {'fired' if self.fired else 'no: ' + self.reason}"[:LONGEST]


def kept_of_each(rules: int) -> int:
    """Evaluations to remember for each of so many rules."""
    return max(KEPT_AT_LEAST, min(KEPT, KEPT_TOGETHER // max(1, rules)))


class Trace:
    """The ring of one rule, with its counts."""

    __slots__ = (
        "_kept",
        "_ring",
        "errors",
        "evaluated",
        "fired",
        "last_error",
        "last_fired_s",
        "last_would",
        "refused",
    )

    def __init__(self, kept: int = KEPT) -> None:
        """`kept`: as many evaluations (`kept_of_each`)."""
        self._kept = kept
        self._ring: deque[Entry] | None = None
        self.evaluated = 0
        self.fired = 0
        self.refused = 0
        self.errors = 0
        self.last_error = ""
        self.last_fired_s: float | None = None
        self.last_would = ""

    @property
    def entries(self) -> Sequence[Entry]:
        """The oldest first."""
        return self._ring if self._ring is not None else ()

    def note(self, entry: Entry) -> None:
        """One more evaluation."""
        self.evaluated += 1
        if entry.fired:
            self.fired += 1
            self.last_fired_s = entry.wall_s
        else:
            self.refused += 1
        # What repeats itself word for word would push out what is worth reading.
        last = self._ring[-1] if self._ring else None
        if (
            last is None
            or entry.fired
            or (last.reason, last.kind, last.address) != (entry.reason, entry.kind, entry.address)
        ):
            self._append(entry)

    def would(self, wall_s: float, sentence: str) -> None:
        """What the rule does not do, as it only watches."""
        self.last_would = sentence[:LONGEST]
        self._append(Entry(wall_s, "would", "", MISSING, False, "", self.last_would))

    def _append(self, entry: Entry) -> None:
        if self._ring is None:
            self._ring = deque(maxlen=self._kept)
        self._ring.append(entry)

    def fail(self, sentence: str) -> None:
        """Something that an action could not do."""
        self.errors += 1
        self.last_error = sentence[:LONGEST]
