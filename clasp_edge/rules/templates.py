"""Captures and templates: what a pattern's wildcards stood for, and addresses and texts made from it.

`/desk/*/level` captures the second segment as {1}; `**` captures all that it stood for. A template may also name
{address}, {value} and {previous}. What stands in a segment of an address is never allowed to add one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from clasp_edge.rules.values import LONGEST_TEXT, text

MAX_PLACES = 32
_SHOWN = 60
NAMES = frozenset({"address", "value", "previous"})

_PLACE = re.compile(r"\{(\w{1,32})\}")
_BRACES = frozenset("{}")
_ODD = frozenset("?[\\")


class Captures:
    """Finds what the wildcards of a pattern stand for. Linear: each `*` is one segment or a part of one."""

    def __init__(self, pattern: str) -> None:
        self._segments = pattern.split("/")[1:]
        self.count = 0
        self.deep: tuple[int, ...] = ()
        """Those that may stand for several segments."""
        for segment in self._segments:
            if segment == "**":
                self.deep += (self.count + 1,)
                self.count += 1
            elif "*" in segment:
                self.count += segment.count("*")

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
    """A text with places. `captures` is how many numbered ones there are to choose from. With `address` it is one of an
    address: what `{value}` and `{previous}` stand for is one segment of it at most."""

    def __init__(self, source: str, captures: int, *, address: bool = False) -> None:
        """Raises ValueError that says what is wrong."""
        self.source = source
        self._address = address
        if "{" not in source and "}" not in source:
            self.fixed = True
            self._parts: list[str] = [source]
            return
        self._parts = _PLACE.split(source)
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
        if not _BRACES.isdisjoint("".join(self._parts[::2])):
            raise ValueError('"{" and "}" only stand around a number or a name')
        self.fixed = not names

    def fill(self, captures: tuple[str, ...], named: Mapping[str, Any]) -> str:
        """The text with everything put in. Raises ValueError for a value that cannot stand in an address."""
        if self.fixed:
            return self.source
        parts = list(self._parts)
        for at in range(1, len(parts), 2):
            name = parts[at]
            if name.isdecimal():
                parts[at] = captures[int(name) - 1]
                continue
            parts[at] = shown = text(named[name])
            if self._address and name != "address" and ("/" in shown or "*" in shown or len(shown) >= LONGEST_TEXT):
                raise ValueError(f"{{{name}}} of {self.source} cannot be {shown[:_SHOWN]}: it is one segment at most")
        filled = "".join(parts)
        # {address} has a slash of its own: "/copy{address}" and "{address}/copy" are as good as "/copy/{address}".
        return filled.replace("//", "/") if self._address and "//" in filled else filled

    def example(self) -> str:
        """The text with a letter in every place."""
        return "x".join(self._parts[::2])

    def reach(self, deep: Collection[int]) -> str:
        """A pattern of all addresses that this can come to. `deep`: the captures that may be several segments."""
        parts = list(self._parts)
        for at in range(1, len(parts), 2):
            several = parts[at] == "address" or (parts[at].isdecimal() and int(parts[at]) in deep)
            parts[at] = "**" if several else "*"
        segments = "".join(parts)[1:].split("/")
        odd = not _ODD.isdisjoint(self.source)
        if odd or "**" in "/".join([segment for segment in segments if segment != "**"]):
            # Inside a segment wildcards make a glob of the whole: what stands in front of the first place will do.
            return self._parts[0].rpartition("/")[0] + "/**"
        return "/" + "/".join(segments)
