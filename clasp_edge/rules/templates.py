"""Captures and templates: what a pattern's wildcards stood for, and addresses and texts made from it.

`/desk/*/level` captures the second segment as {1}; `**` captures all that it stood for. A template may also name
{address}, {value} and {previous}. What stands in a segment of an address is never allowed to add one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from clasp_edge.rules.values import text

MAX_PLACES = 32
NAMES = frozenset({"address", "value", "previous"})

_PLACE = re.compile(r"\{(\w{1,32})\}")


class Captures:
    """Finds what the wildcards of a pattern stand for. Linear: each `*` is one segment or a part of one."""

    def __init__(self, pattern: str) -> None:
        self._segments = pattern.split("/")[1:]
        self.count = sum(segment.count("*") if segment != "**" else 1 for segment in self._segments)

    def of(self, address: str) -> tuple[str, ...]:
        """The captures of an address that the pattern matches; several `**` share what they stood for greedily."""
        if not self.count:
            return ()
        segments = address.split("/")[1:]
        found: list[str] = []
        at = 0
        for index, segment in enumerate(self._segments):
            if segment == "**":
                rest = len(self._segments) - index - 1
                end = max(at, len(segments) - rest)
                found.append("/".join(segments[at:end]))
                at = end
                continue
            given = segments[at] if at < len(segments) else ""
            at += 1
            if segment == "*":
                found.append(given)
            elif "*" in segment:
                found += _within(segment, given)
        return tuple(found)


def _within(segment: str, given: str) -> list[str]:
    """What the stars inside a segment stood for: each as little as possible, the last one the rest."""
    pieces = segment.split("*")
    found: list[str] = []
    at = len(pieces[0])
    for number, piece in enumerate(pieces[1:], 1):
        last = number == len(pieces) - 1
        end = len(given) - len(piece) if last else given.find(piece, at)
        end = max(at, end)
        found.append(given[at:end])
        at = end + len(piece)
    return found


class Template:
    """A text with places. `captures` is how many numbered ones there are to choose from."""

    def __init__(self, source: str, captures: int) -> None:
        """Raises ValueError that says what is wrong."""
        self.source = source
        self._parts: list[str] = _PLACE.split(source)
        names = self._parts[1::2]
        if len(names) > MAX_PLACES:
            raise ValueError(f"has more than {MAX_PLACES} places")
        for name in names:
            if name.isdecimal():
                if not 1 <= int(name) <= captures:
                    there = f"the trigger's pattern has {captures} wildcards" if captures else "nothing is captured"
                    raise ValueError(f'"{{{name}}}" stands for nothing: {there}')
            elif name not in NAMES:
                raise ValueError(
                    f'"{{{name}}}" is unknown; there are {{1}}, {{2}} ... {{address}}, {{value}}, {{previous}}'
                )
        if any("{" in part or "}" in part for part in self._parts[::2]):
            raise ValueError('"{" and "}" only stand around a number or a name')
        self.fixed = not names

    def fill(self, captures: tuple[str, ...], named: Mapping[str, Any]) -> str:
        """The text with everything put in."""
        if self.fixed:
            return self.source
        parts = list(self._parts)
        for at in range(1, len(parts), 2):
            name = parts[at]
            parts[at] = captures[int(name) - 1] if name.isdecimal() else text(named[name])
        return "".join(parts)
