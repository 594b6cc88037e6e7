"""Values as rules see them: what is a number, what is equal, what is greater, what is written as text.

Numbers compare across int and float (a fader says 1.0 where a page says 1); nothing else compares across kinds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Missing: Final = type("Missing", (), {"__repr__": lambda self: "missing", "__bool__": lambda self: False})
MISSING: Final = Missing()
"""There is no value: a param that does not exist, an event that carries none."""

I64_MIN, I64_MAX = -(2**63), 2**63 - 1

LONGEST_TEXT = 256
"""Characters of a value that a template or a trace shows."""


def number(value: Any) -> float | int | None:
    """The value as a number; None for everything else, for booleans and for NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return None if value != value else value


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same, 1 and 1.0 included; True is not 1. NaN equals NaN: it has not changed."""
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool) and left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right or (left != left and right != right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if _is_array(left) and _is_array(right):
        return len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and bool(left == right)


def _is_array(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def order(left: Any, right: Any) -> int | None:
    """-1, 0 or 1; None where the two have no order (other kinds than two numbers or two texts)."""
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    first, second = number(left), number(right)
    if first is None or second is None:
        return None
    return (first > second) - (first < second)


def finite(value: float) -> bool:
    """Whether a result may become the value of a param."""
    return math.isfinite(value)


def text(value: Any) -> str:
    """The value in a template, an address or a log line: numbers without a needless `.0`, bounded in length."""
    if value is MISSING or value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.12g}"
    pieces: list[str] = []
    left = LONGEST_TEXT + 1
    for piece in _pieces(value):
        pieces.append(piece)
        left -= len(piece)
        if left <= 0:
            break
    shown = "".join(pieces)
    return shown if len(shown) <= LONGEST_TEXT else shown[: LONGEST_TEXT - 3] + "..."


def _pieces(value: Any) -> Iterator[str]:
    """What a text is made of, lists and tables as JSON: whoever needs no more of it asks for no more."""
    if isinstance(value, str):
        yield value[: LONGEST_TEXT + 1]
    elif isinstance(value, bytes | bytearray):
        yield f"0x{value[: LONGEST_TEXT // 2].hex()}"
    elif isinstance(value, Mapping):
        for number, (key, inner) in enumerate(value.items()):
            yield (", " if number else "{") + json.dumps(str(key)[: LONGEST_TEXT + 1], ensure_ascii=False) + ": "
            yield from _nested(inner)
        yield "}" if value else "{}"
    elif _is_array(value):
        for number, inner in enumerate(value):
            yield ", " if number else "["
            yield from _nested(inner)
        yield "]" if value else "[]"
    else:
        yield str(value)


def _nested(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield json.dumps(value[: LONGEST_TEXT + 1], ensure_ascii=False)
    elif value is None or isinstance(value, bool | float):
        yield text(value) or "null"
    else:
        yield from _pieces(value)


def brief(value: Any) -> Any:
    """The value to remember of one that is only to be shown: as it is where it is small."""
    if value is None or value is MISSING or isinstance(value, bool | int | float):
        return value
    return text(value)


def clamped_int(value: float) -> int:
    """Toward zero, within what CLASP's integers hold; 0 for NaN."""
    if value != value:
        return 0
    if math.isinf(value):
        return I64_MAX if value > 0 else I64_MIN
    return max(I64_MIN, min(I64_MAX, int(value)))
