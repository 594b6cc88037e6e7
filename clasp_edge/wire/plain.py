"""Values as JSON has them, and back: what JSON has no words for is tagged.

bytes         {"$bytes": "00ff"}
NaN, +-inf    {"$float": "nan"}
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from clasp_edge.wire.values import Value

_TAGS: dict[str, Callable[[str], bytes | float]] = {"$bytes": bytes.fromhex, "$float": float}

INFINITE = (float("inf"), float("-inf"))


def plain(value: Value | Any) -> Any:
    """A value as JSON has it; bytes as {"$bytes": hex}, numbers that JSON has not as {"$float": text}."""
    match value:
        case bytes() | bytearray():
            return {"$bytes": value.hex()}
        case float() if value != value or value in INFINITE:
            return {"$float": repr(value)}
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value


def meant(value: Any) -> Any:
    """The value of what `plain` made. A tag with something else is a map that somebody has named so."""
    if isinstance(value, list):
        return [meant(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = _TAGS.get(next(iter(value))) if len(value) == 1 else None
    if kind is not None:
        [text] = value.values()
        with suppress(ValueError):
            if isinstance(text, str):
                return kind(text)
    return {key: meant(item) for key, item in value.items()}
