"""Typed access to the fields of a MessagePack map, with the strictness of upstream's decoder (wire.md 3.2 - 3.4).

Responsible for duplicate, missing and mistyped fields and for values; knows no message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.limits import MAX_VALUE_DEPTH
from clasp_edge.wire.messages import ABSENT, Absent
from clasp_edge.wire.values import Value

T = TypeVar("T")

_MISSING: Final = object()


class Pairs(list[tuple[object, object]]):
    """A MessagePack map as it stood in the bytes: in order, with repeated keys."""


class Fields:
    """The fields of one message or structure.

    Comes from a map, where unknown keys are ignored and a repeated known key is an error, or from an array of the
    fields in order (an accident of upstream's decoder, kept: wire.md 3.4). ``where`` begins every error text.
    """

    __slots__ = ("_found", "where")

    def __init__(self, source: object, names: tuple[str, ...], where: str) -> None:
        self.where = where
        self._found: dict[str, object] = {}
        if isinstance(source, Pairs):
            for key, content in source:
                name = text(key, f"a key of {where}")
                if name not in names:
                    continue
                if name in self._found:
                    raise WireError(Kind.MSGPACK_DUPLICATE_KEY, f"{where}: `{name}` stands there twice")
                self._found[name] = content
        elif isinstance(source, list) and len(source) <= len(names):
            self._found.update(zip(names, source, strict=False))
        else:
            raise wrong_type(where, "a map of fields", source)

    def required(self, name: str, read: Callable[[object, str], T]) -> T:
        """A field that must be there; nil is no exception to its type."""
        content = self._found.get(name, _MISSING)
        if content is _MISSING:
            raise WireError(Kind.MSGPACK_MISSING_FIELD, f"{self.where}: `{name}` is missing")
        return read(content, f"{self.where}: `{name}`")

    def defaulted(self, name: str, read: Callable[[object, str], T], default: T) -> T:
        """A field that may be missing but not nil."""
        content = self._found.get(name, _MISSING)
        return default if content is _MISSING else read(content, f"{self.where}: `{name}`")

    def optional(self, name: str, read: Callable[[object, str], T]) -> T | None:
        """A field that may be missing or nil, both meaning absent."""
        content = self._found.get(name)
        return None if content is None else read(content, f"{self.where}: `{name}`")

    def optional_value(self, name: str) -> Value | Absent:
        """A value that may be missing or nil, both meaning absent."""
        content = self._found.get(name)
        return ABSENT if content is None else value(content, f"{self.where}: `{name}`")


def wrong_type(where: str, wanted: str, content: object) -> WireError:
    """The refusal of ``content``, which stands where ``wanted`` should."""
    kind = "map" if isinstance(content, Pairs) else "nil" if content is None else type(content).__name__
    return WireError(Kind.MSGPACK_WRONG_TYPE, f"{where} is {wanted}, not {kind}")


def text(content: object, where: str) -> str:
    """A string; bin counts if it is UTF-8 (wire.md 3.4)."""
    if isinstance(content, str):
        return content
    if isinstance(content, bytes):
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise WireError(Kind.MSGPACK_WRONG_TYPE, f"{where} is bin and not UTF-8") from None
    raise wrong_type(where, "a string", content)


def unsigned(bits: int) -> Callable[[object, str], int]:
    """Reader of a non-negative integer below 2^bits; floats are refused, also whole ones (wire.md 3.4)."""

    def read(content: object, where: str) -> int:
        if not isinstance(content, int) or isinstance(content, bool):
            raise wrong_type(where, f"a u{bits}", content)
        if not 0 <= content < 1 << bits:
            raise WireError(Kind.MSGPACK_WRONG_TYPE, f"{where} is a u{bits}, not {content}")
        return content

    return read


u8 = unsigned(8)
u16 = unsigned(16)
u32 = unsigned(32)
u64 = unsigned(64)


def boolean(content: object, where: str) -> bool:
    """True or false; no number counts (wire.md 3.4)."""
    if isinstance(content, bool):
        return content
    raise wrong_type(where, "true or false", content)


def number(content: object, where: str) -> float:
    """A float; integers count (wire.md 3.4)."""
    if isinstance(content, (int, float)) and not isinstance(content, bool):
        return float(content)
    raise wrong_type(where, "a number", content)


def items(read: Callable[[object, str], T]) -> Callable[[object, str], tuple[T, ...]]:
    """Reader of an array whose elements are read by ``read``."""

    def read_all(content: object, where: str) -> tuple[T, ...]:
        if isinstance(content, Pairs) or not isinstance(content, list):
            raise wrong_type(where, "an array", content)
        return tuple([read(element, where) for element in content])

    return read_all


def name_of(table: Mapping[str, T]) -> Callable[[object, str], T]:
    """Reader of one of some names, given as such or as the only key of a map with nil (wire.md 3.4)."""

    def read(content: object, where: str) -> T:
        if isinstance(content, Pairs) and len(content) == 1 and content[0][1] is None:
            content = content[0][0]
        name = text(content, where)
        try:
            return table[name]
        except KeyError:
            raise WireError(Kind.MSGPACK_WRONG_TYPE, f"{where} has no meaning called {name[:40]!r}") from None

    return read


def value_map(content: object, where: str) -> dict[str, Value]:
    """A map of values; of a repeated key the last one wins (wire.md 3.3)."""
    if not isinstance(content, Pairs):
        raise wrong_type(where, "a map", content)
    return {text(key, where): value(entry, where, 1) for key, entry in content}


def value(content: object, where: str, depth: int = 0) -> Value:
    """A value (wire.md 3.3); ``depth`` counts the arrays and maps around it.

    bin is a string when it is UTF-8 and refused when it is not. To keep bin as bytes would be kinder, but the type
    of a value would then depend on its content or on who reads it: upstream delivers "abc" for bin "abc", and the
    shared vectors pin both halves of that (bin-utf8, bin-nonutf8).
    """
    if content is None or isinstance(content, (str, bool, float)):
        return content
    if isinstance(content, int):
        # 2^63 and more do not fit the i64 of a value and become the nearest float (wire.md 3.3).
        return content if content < 1 << 63 else float(content)
    if isinstance(content, bytes):
        return text(content, where)
    if isinstance(content, list):
        if depth >= MAX_VALUE_DEPTH:
            raise WireError(Kind.DEPTH, f"{where}: values nest at most {MAX_VALUE_DEPTH} deep")
        if isinstance(content, Pairs):
            return {text(key, where): value(entry, where, depth + 1) for key, entry in content}
        return [value(element, where, depth + 1) for element in content]
    raise wrong_type(where, "a value", content)
