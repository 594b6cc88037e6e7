"""What the wildcards of topics and addresses stand for, carried over from one to the other: `+` is `*`, `#` is `**`.

Pure functions on lists of segments.
"""

from __future__ import annotations


def captures(segments: list[str], pattern: list[str], one: str, many: str) -> list[list[str]] | None:
    """What the wildcards of `pattern` stand for in `segments`, in order, or None where it does not match."""
    taken: list[list[str]] = []
    for at, wanted in enumerate(pattern):
        if wanted == many:  # always the last one, and it may stand for nothing
            return [*taken, segments[at:]]
        if at >= len(segments):
            return None
        if wanted == one:
            taken.append([segments[at]])
        elif wanted != segments[at]:
            return None
    return taken if len(segments) == len(pattern) else None


def filled(pattern: list[str], taken: list[list[str]], one: str, many: str) -> list[str]:
    """`pattern` with its wildcards replaced by what they stand for."""
    remaining = iter(taken)
    filled: list[str] = []
    for segment in pattern:
        filled += next(remaining) if segment in (one, many) else [segment]
    return filled
