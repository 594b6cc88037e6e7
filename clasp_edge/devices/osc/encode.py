"""OSC messages from addresses and CLASP values, without I/O (router.md 10; what it loses is kept where that can be).

null is N, bool T or F, an integer i where it fits 32 bits and else h, a float f where that is exact and else d, a
string s, bytes b, an array its elements as arguments, a map JSON text. Knows no socket and no param.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from clasp_edge.wire import Value

Floats = Literal["exact", "single", "double"]
Arrays = Literal["flat", "brackets"]

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

    `floats`: "exact" sends f where no digit is lost and else d, "single" always f, "double" always d. `arrays`: "flat"
    sends nested arrays as one row of arguments, as the reference router does and most devices need; "brackets" keeps
    their shape by `[` and `]`.
    """

    def __init__(self, floats: Floats = "exact", arrays: Arrays = "flat") -> None:
        self._floats = floats
        self._flat = arrays == "flat"

    def message(self, address: bytes, value: Value) -> bytes:
        """The message that tells `value`. Never fails for a value that was decoded; may be longer than a datagram."""
        tags = bytearray(b",")
        data = bytearray()
        if isinstance(value, (list, tuple)) and (self._flat or len(value) > 1):
            for element in value:
                self._add(tags, data, element)
        else:
            self._add(tags, data, value)
        return padded(address) + padded(bytes(tags)) + bytes(data)

    def arguments(self, address: bytes, values: Iterable[Value]) -> bytes:
        """A message with exactly these arguments, which may be none."""
        tags = bytearray(b",")
        data = bytearray()
        for value in values:
            self._add(tags, data, value)
        return padded(address) + padded(bytes(tags)) + bytes(data)

    def _add(self, tags: bytearray, data: bytearray, value: Value) -> None:
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
        elif self._flat:
            for element in value:
                self._add(tags, data, element)
        else:
            tags += b"["
            for element in value:
                self._add(tags, data, element)
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
