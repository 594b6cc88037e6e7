"""OSC messages from addresses and CLASP values, without I/O (router.md 10; what it loses is kept where that can be).

null is N, bool T or F, an integer i where it fits 32 bits and else h, a float f, a string s, bytes b, an array its
elements as arguments, a map JSON text; a device that wants something else says so, for all addresses or for some. Knows
no socket and no param.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from clasp_edge.wire import Value
from clasp_edge.wire.pattern import Pattern

Floats = Literal["single", "exact", "double"]
Arrays = Literal["flat", "brackets"]
Kind = Literal["float", "int", "double", "whole-as-int", "bool-as-int", "string", "flat", "brackets"]

MAX_KINDS = 4096
"""Addresses whose kind is remembered."""

MAX_PACKET_BYTES = 65507
"""The largest UDP payload over IPv4; what is longer cannot be sent to most devices at all."""

_MAX_I32 = 2**31
_PACK_I = struct.Struct(">i").pack
_PACK_H = struct.Struct(">q").pack
_PACK_F = struct.Struct(">f").pack
_PACK_D = struct.Struct(">d").pack
_UNPACK_F = struct.Struct(">f").unpack
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Encoder:
    """How one side wants its values.

    `floats`: "single" sends f, "exact" f where no digit is lost and else d, "double" always d. `arrays`: "flat" sends
    nested arrays as one row of arguments, as the reference router does and most devices need; "brackets" keeps their
    shape by `[` and `]`. `kinds`: what the addresses (as OSC has them) of a pattern want; the first that matches
    counts."""

    def __init__(
        self, floats: Floats = "single", arrays: Arrays = "flat", kinds: Sequence[tuple[Pattern, Kind]] = ()
    ) -> None:
        self._floats = floats
        self._flat = arrays == "flat"
        self._kinds = kinds
        self._known: dict[bytes, Kind | None] = {}

    def kind_of(self, address: bytes) -> Kind | None:
        """What is wanted at this address, None where nothing in particular is."""
        if not self._kinds:
            return None
        try:
            return self._known[address]
        except KeyError:
            if len(self._known) >= MAX_KINDS:
                self._known.clear()
            kind = next((kind for pattern, kind in self._kinds if pattern.matches(address)), None)
            self._known[address] = kind
            return kind

    def message(self, address: bytes, value: Value) -> bytes:
        """The message that tells `value`. Never fails for a value that was decoded; may be longer than a datagram."""
        kind = self.kind_of(address)
        flat = self._flat if kind not in ("flat", "brackets") else kind == "flat"
        if kind is not None:
            value = _as_kind(value, kind)
        tags = bytearray(b",")
        data = bytearray()
        if isinstance(value, (list, tuple)) and (flat or len(value) > 1):
            for element in value:
                self._add(tags, data, element, flat)
        else:
            self._add(tags, data, value, flat)
        return padded(address) + padded(bytes(tags)) + bytes(data)

    def arguments(self, address: bytes, values: Iterable[Value]) -> bytes:
        """A message with exactly these arguments, which may be none."""
        kind = self.kind_of(address)
        tags = bytearray(b",")
        data = bytearray()
        for value in values:
            self._add(tags, data, value if kind is None else _as_kind(value, kind), self._flat)
        return padded(address) + padded(bytes(tags)) + bytes(data)

    def _add(self, tags: bytearray, data: bytearray, value: Value, flat: bool) -> None:
        if value is None:
            tags += b"N"
        elif isinstance(value, bool):
            tags += b"T" if value else b"F"
        elif isinstance(value, int):
            if -_MAX_I32 <= value < _MAX_I32:
                tags += b"i"
                data += _PACK_I(value)
            else:
                tags += b"h"
                data += _PACK_H(value)
        elif isinstance(value, _Double):
            tags += b"d"
            data += _PACK_D(value)
        elif isinstance(value, _Single):
            tags += b"f"
            data += _single(value)
        elif isinstance(value, float):
            self._add_float(tags, data, value)
        elif isinstance(value, str):
            raw = value.encode()
            if b"\0" in raw:
                # No OSC string can hold it; as a blob nothing is lost.
                _add_blob(tags, data, raw)
            else:
                tags += b"s"
                data += padded(raw)
        elif isinstance(value, (bytes, bytearray, memoryview)):
            _add_blob(tags, data, bytes(value))
        elif isinstance(value, Mapping):
            tags += b"s"
            data += padded(msgspec.json.encode(_json(value)))
        elif flat:
            for element in value:
                self._add(tags, data, element, flat)
        else:
            tags += b"["
            for element in value:
                self._add(tags, data, element, flat)
            tags += b"]"

    def _add_float(self, tags: bytearray, data: bytearray, value: float) -> None:
        if self._floats != "double":
            single = _single(value)
            if self._floats == "single" or _UNPACK_F(single)[0] == value or value != value:
                tags += b"f"
                data += single
                return
        tags += b"d"
        data += _PACK_D(value)


class _Single(float):
    """A float that goes out as f, whatever others do."""


class _Double(float):
    """A float that goes out as d, whatever others do."""


def _as_kind(value: Value, kind: Kind) -> Value:
    """The value as a device wants it; what cannot be that stays as it is."""
    if isinstance(value, (list, tuple)):
        return [_as_kind(element, kind) for element in value]
    if kind == "string":
        return _text(value)
    if not isinstance(value, (bool, int, float)):
        return value
    if kind == "float":
        return _Single(value)
    if kind == "double":
        return _Double(value)
    if kind == "int":
        return round(value) if math.isfinite(value) else value
    if kind == "whole-as-int":
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if kind == "bool-as-int":
        return int(value) if isinstance(value, bool) else value
    return value


def _text(value: Value) -> Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.7g}"
    return str(value) if isinstance(value, int) else "" if value is None else value


def padded(text: bytes) -> bytes:
    """An OSC string: one to four NULs behind it, to a multiple of four bytes."""
    return text + b"\0" + _PADDING[(len(text) + 1) & 3]


def _single(value: float) -> bytes:
    try:
        return _PACK_F(value)
    except OverflowError:
        return _PACK_F(math.copysign(math.inf, value))


def _add_blob(tags: bytearray, data: bytearray, raw: bytes) -> None:
    tags += b"b"
    data += _PACK_I(len(raw))
    data += raw
    data += _PADDING[len(raw) & 3]


def _json(value: Value) -> object:
    """What JSON can say: bytes as a list of numbers (router.md 9.2)."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return list(bytes(value))
    if isinstance(value, Mapping):
        return {key: _json(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_json(element) for element in value]
    return value
