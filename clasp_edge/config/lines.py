"""On which line of a TOML file a key stands, for the person who has to mend it.

tomllib does not say. This looks at headers and keys line by line; where it cannot tell, the table around the key will
do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# On a line without its blanks: where two parts may match them, a line of nothing else takes minutes.
_HEADER = re.compile(r"(\[\[?)([^\]\[]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_QUOTES = ('"""', "'''")


def line_of(text: str, key: str) -> int | None:
    """The line (from 1) of `a.b[1].c` in a file of its own, or of what it stands in; None where nothing is found."""
    return line_in(lines_of(text), key)


def line_in(lines: Mapping[str, int], key: str) -> int | None:
    """The same, of a file whose lines are known."""
    while key:
        if (line := lines.get(key)) is not None:
            return line
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return None


def lines_of(text: str) -> dict[str, int]:
    """The line on which each table and each key of a file begins, by its dotted name."""
    counts: dict[str, int] = {}
    lines: dict[str, int] = {}
    table = ""
    until = ""
    for number, line in enumerate(text.splitlines(), 1):
        if until:
            until = "" if until in line else until
            continue
        if (header := _HEADER.match(line.strip())) is not None:
            table = _path(header[2], counts, "")
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}[{counts[table]}]"
            found = table
        elif (named := _KEY.match(line)) is not None:
            found = _path(named[1], counts, table)
        else:
            continue
        for quotes in _QUOTES:
            if line.count(quotes) % 2:
                until = quotes
        lines.setdefault(found, number)
    return lines


def _path(name: str, counts: dict[str, int], table: str) -> str:
    """A dotted name as keys are written in problems: with the index of the list's table that it belongs to."""
    path = table
    for part in _PART.findall(name):
        if path in counts and not table:
            path = f"{path}[{counts[path]}]"
        path = f"{path}.{part.strip(chr(34) + chr(39))}" if path else part.strip("\"'")
    return path
