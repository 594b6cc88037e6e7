"""Who has numbers to tell: each part of the process adds a named section, and says how it appears as metrics.

Knows no part. A section is made when somebody asks, from counters that the part keeps anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

log = logging.getLogger("clasp_edge.console")

Section = Mapping[str, Any]
"""What JSON can hold: texts, numbers, truth values, None, lists, and mappings with texts as keys."""

COUNTER: Literal["counter"] = "counter"
GAUGE: Literal["gauge"] = "gauge"


class Family(NamedTuple):
    """One Prometheus metric. `path` leads from the report to a number or a truth value; each "*" in it stands for every
    key there, which becomes the value of the next one of `labels`. Where it leads to a text, that is the value of the
    last label, and the number is 1."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    path: tuple[str, ...]
    labels: tuple[str, ...] = ()


class StatusSources:
    """The sections by name, in the order in which they were added."""

    def __init__(self) -> None:
        self._sources: dict[str, Callable[[], Section]] = {}
        self._drops: dict[str, Callable[[], int]] = {}
        self.families: list[Family] = []

    def add(self, name: str, source: Callable[[], Section], families: Sequence[Family] = ()) -> None:
        """Report what `source` returns as the section `name`, and what `families` find there as metrics. Their paths
        begin at the section."""
        self._sources[name] = source
        self.families += [family._replace(path=(name, *family.path)) for family in families]

    def add_drop(self, cause: str, count: Callable[[], int]) -> None:
        """Tell how many messages have been lost for this cause since the start."""
        self._drops[cause] = count

    def drops(self) -> dict[str, int]:
        """How many have been lost, by cause."""
        return {cause: count() for cause, count in self._drops.items()}

    def remove(self, name: str) -> None:
        """The part is no more."""
        self._sources.pop(name, None)
        self.families = [family for family in self.families if family.path[0] != name]

    def section(self, name: str) -> Section:
        """One of them; an empty one where there is none."""
        source = self._sources.get(name)
        return {} if source is None else source()

    def report(self) -> dict[str, Section]:
        """All sections as they are now. A part that fails to tell is one section less, not the end of the report."""
        steps = self.in_parts()
        while True:
            try:
                next(steps)
            except StopIteration as made:
                found: dict[str, Section] = made.value
                return found

    def in_parts(self) -> Generator[None, None, dict[str, Section]]:
        """The same, and others may have their turn between two sections."""
        found: dict[str, Section] = {}
        for name, source in list(self._sources.items()):
            yield
            try:
                found[name] = source()
            except Exception:
                log.exception("the section %r of the status could not be made", name)
        return found
