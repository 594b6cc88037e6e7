"""Reads TOML that somebody has written: what is wrong with it becomes a ValueError, however it is wrong."""

from __future__ import annotations

import tomllib
from typing import Any

DEEPEST = 32
"""Tables and lists within each other; a configuration needs five."""

TOO_DEEP = "lists and tables are nested too deeply"


def load(text: str) -> dict[str, Any]:
    """The document. Raises ValueError."""
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    # A dotted key nests without recursion, and would end whoever walks through it later.
    level: list[Any] = [found]
    for _depth in range(DEEPEST):
        level = [inner for outer in level for inner in children(outer) if isinstance(inner, dict | list)]
        if not level:
            return found
    raise ValueError(TOO_DEEP)


def children(value: dict[str, Any] | list[Any]) -> list[Any]:
    """What stands directly in a table or a list."""
    return list(value.values()) if isinstance(value, dict) else value
