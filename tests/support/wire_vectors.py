"""The recorded vectors as objects, and messages described the way the vectors describe them (wire.md 10)."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

from clasp_edge import wire

DATA_DIR = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Vector:
    """One entry of vectors.json; ``entry`` holds its raw JSON."""

    name: str
    section: str
    frame: bytes
    entry: dict[str, Any]

    @property
    def payload(self) -> bytes:
        return payload_of(self.frame)


@functools.cache
def all_vectors() -> tuple[Vector, ...]:
    text = (DATA_DIR / "vectors.json").read_text(encoding="utf-8")
    return tuple(
        Vector(entry["name"], entry.get("section", "regular"), _frame(entry), entry) for entry in json.loads(text)
    )


def valid_vectors() -> list[Vector]:
    return [vector for vector in all_vectors() if vector.section != "invalid"]


def invalid_vectors() -> list[Vector]:
    return [vector for vector in all_vectors() if vector.section == "invalid"]


def _frame(entry: dict[str, Any]) -> bytes:
    if "hex" in entry:
        return bytes.fromhex(entry["hex"])
    build = entry["build"]
    return bytes.fromhex(build["header"] + build["head"] + build["repeat"] * build["times"] + build["tail"])


def payload_of(frame: bytes) -> bytes:
    """The payload of a frame that is known to be whole, found without the code under test."""
    start = 12 if frame[1] & 0x20 else 4
    return frame[start : start + int.from_bytes(frame[2:4], "big")]


def describe(thing: Any) -> Any:
    """A message, a part of one or a value, as wire.md 10.2 writes it."""
    if isinstance(thing, wire.Ttl):
        return "never" if thing.mode is wire.TtlMode.NEVER else {str(thing.mode): thing.seconds}
    if hasattr(thing, "__dataclass_fields__"):
        described = {}
        if isinstance(getattr(type(thing), "type", None), wire.MessageType):
            described["type"] = thing.type.name
        for field in fields(thing):
            content = getattr(thing, field.name)
            # null is a value in these two places and absence everywhere else.
            if content is wire.ABSENT or (content is None and field.name not in ("value", "default")):
                continue
            described["from" if field.name == "from_" else field.name] = describe(content)
        return described
    if isinstance(thing, IntEnum):
        return thing.name.lower()
    if isinstance(thing, float) and not math.isfinite(thing):
        return {"$float": str(thing)}
    if isinstance(thing, int) and not isinstance(thing, bool) and abs(thing) > 2**53 - 1:
        return {"$int": str(thing)}
    if isinstance(thing, bytes):
        return {"$bytes": thing.hex()}
    if isinstance(thing, list | tuple):
        return [describe(part) for part in thing]
    if isinstance(thing, dict):
        return {key: describe(part) for key, part in thing.items()}
    return thing


def canonical_json(described: Any) -> str:
    """Text in which 1, 1.0 and true differ, as do 0.0 and -0.0, but the order of keys does not matter."""
    return json.dumps(described, sort_keys=True)


def holds_nan(described: Any) -> bool:
    return '{"$float": "nan"}' in canonical_json(described)
