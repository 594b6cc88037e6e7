"""What happened to a rule lately, and why nothing did: a short ring of evaluations, made only when asked for texts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from clasp_edge.rules.values import MISSING, text

KEPT = 50
"""Evaluations remembered for each rule."""

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

    def line(self) -> str:
        """For people."""
        told = f" = {text(self.value)}" if self.value is not MISSING else ""
        what = f"{self.kind} {self.address}{told}".strip()
        return f"{what}: {'fired' if self.fired else 'no: ' + self.reason}"[:LONGEST]


class Trace:
    """The ring of one rule, with its counts."""

    __slots__ = ("entries", "errors", "evaluated", "fired", "last_error", "last_fired_s", "refused")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=KEPT)
        self.evaluated = 0
        self.fired = 0
        self.refused = 0
        self.errors = 0
        self.last_error = ""
        self.last_fired_s: float | None = None

    def note(self, entry: Entry) -> None:
        """One more evaluation."""
        self.evaluated += 1
        if entry.fired:
            self.fired += 1
            self.last_fired_s = entry.wall_s
        else:
            self.refused += 1
        # What repeats itself word for word would push out what is worth reading.
        last = self.entries[-1] if self.entries else None
        if (
            last is None
            or entry.fired
            or (last.reason, last.kind, last.address) != (entry.reason, entry.kind, entry.address)
        ):
            self.entries.append(entry)

    def fail(self, sentence: str) -> None:
        """Something that an action could not do."""
        self.errors += 1
        self.last_error = sentence[:LONGEST]
