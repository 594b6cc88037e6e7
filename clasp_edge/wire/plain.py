"""Values as JSON has them, and back: what JSON has no words for is tagged.

bytes         {"$bytes": "00ff"}
NaN, +-inf    {"$float": "nan"}
"""

from __future__ import annotations

from typing import Any

from clasp_edge.wire.values import Value

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
    """The value of what `plain` made. Raises ValueError for tags with something else."""
    if isinstance(value, list):
        return [meant(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$bytes"} and isinstance(value["$bytes"], str):
        return bytes.fromhex(value["$bytes"])
    if value.keys() == {"$float"} and isinstance(value["$float"], str):
        return float(value["$float"])
    return {key: meant(item) for key, item in value.items()}
