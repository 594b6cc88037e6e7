"""v3 values, both directions: Python objects to type byte and data, and back (wire.md 2.2).

null ↔ None, bool ↔ bool, integers of any width → int, written as i64; f32 and f64 → float, written as f64;
string ↔ str, bytes ↔ bytes, array → list, map → dict. Knows no message.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from clasp_edge.wire.enums import ValueType
from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.frame import Buffer
from clasp_edge.wire.limits import MAX_VALUE_DEPTH
from clasp_edge.wire.primitives import Reader, write_blob, write_count, write_string

Value: TypeAlias = "bool | int | float | str | bytes | Sequence[Value] | Mapping[str, Value] | None"
"""Decoders give list and dict; encoders also take tuple, any mapping, bytearray and memoryview."""

_NULL: Final = int(ValueType.NULL)
_BOOL: Final = int(ValueType.BOOL)
_I64: Final = int(ValueType.I64)
_F64: Final = int(ValueType.F64)
_STRING: Final = int(ValueType.STRING)
_BYTES: Final = int(ValueType.BYTES)
_ARRAY: Final = int(ValueType.ARRAY)
_MAP: Final = int(ValueType.MAP)

_NUMBERS: Final[dict[int, struct.Struct]] = {
    ValueType.I8: struct.Struct(">b"),
    ValueType.I16: struct.Struct(">h"),
    ValueType.I32: struct.Struct(">i"),
    ValueType.I64: struct.Struct(">q"),
    ValueType.F32: struct.Struct(">f"),
    ValueType.F64: struct.Struct(">d"),
}
_PACK_I64: Final = struct.Struct(">q").pack
_PACK_F64: Final = struct.Struct(">d").pack


def decode_value(code: int, data: Buffer) -> Value:
    """A value from its type code and its whole data (no type byte), as a SET carries it.

    Raises `WireError` (truncated-payload, unknown-value-type, bad-utf8, depth; length-mismatch for bytes left over).
    """
    return _whole(Reader(bytes(data)), code)


def decode_typed_value(data: Buffer) -> Value:
    """A value from its type byte and data, nothing else. Raises as `decode_value`."""
    reader = Reader(bytes(data))
    return _whole(reader, reader.u8("a value type"))


def encode_value(value: Value) -> tuple[int, bytes]:
    """Type code and data of a value. Raises `WireError` (unencodable, out-of-range, too-large, bad-utf8, depth)."""
    out = bytearray()
    code = write_value(out, value)
    return code, bytes(out)


def encode_typed_value(value: Value) -> bytes:
    """Type byte and data of a value. Raises as `encode_value`."""
    out = bytearray()
    write_typed_value(out, value)
    return bytes(out)


def _whole(reader: Reader, code: int) -> Value:
    value = read_value(reader, code)
    if reader.remaining():
        raise WireError(Kind.LENGTH_MISMATCH, f"{reader.remaining()} bytes after the value", reader.pos)
    return value


def read_typed_value(reader: Reader, depth: int = 0) -> Value:
    """Read a type byte and its value; ``depth`` counts the arrays and maps around it."""
    return read_value(reader, reader.u8("a value type"), depth)


def read_value(reader: Reader, code: int, depth: int = 0) -> Value:
    """Read the data of a value whose type is known."""
    number = _NUMBERS.get(code)
    if number is not None:
        return reader.unpack(number, "a number")[0]
    if code == _STRING:
        return reader.string("a string value")
    if code == _BOOL:
        return reader.u8("a bool") != 0
    if code == _NULL:
        return None
    if code == _BYTES:
        return reader.blob("a bytes value")
    if code in (_ARRAY, _MAP):
        if depth >= MAX_VALUE_DEPTH:
            raise WireError(Kind.DEPTH, f"values nest at most {MAX_VALUE_DEPTH} deep", reader.pos)
        if code == _ARRAY:
            return [read_typed_value(reader, depth + 1) for _ in range(reader.u16("an array count"))]
        # A repeated key: the last one wins (wire.md 2.2), which is what filling a dict does.
        return {
            reader.string("a map key"): read_typed_value(reader, depth + 1) for _ in range(reader.u16("a map count"))
        }
    raise WireError(Kind.UNKNOWN_VALUE_TYPE, f"unknown value type 0x{code:02X}", reader.pos)


def write_typed_value(out: bytearray, value: Value, depth: int = 0) -> None:
    """Append the type byte and data of a value."""
    at = len(out)
    out.append(0)
    out[at] = write_value(out, value, depth)


def write_value(out: bytearray, value: Value, depth: int = 0) -> int:
    """Append the data of a value and return its type code; ``depth`` counts the arrays and maps around it."""
    if value is None:
        return _NULL
    if isinstance(value, bool):
        out.append(value)
        return _BOOL
    if isinstance(value, float):
        out += _PACK_F64(value)
        return _F64
    if isinstance(value, int):
        try:
            out += _PACK_I64(value)
        except struct.error:
            # There is no u64 value type (wire.md 2.2).
            raise WireError(Kind.OUT_OF_RANGE, f"an integer value is an i64, not {value}") from None
        return _I64
    if isinstance(value, str):
        write_string(out, value, "a string value")
        return _STRING
    if isinstance(value, (bytes, bytearray, memoryview)):
        write_blob(out, value, "a bytes value")
        return _BYTES
    if not isinstance(value, (list, tuple, Mapping)):
        raise WireError(Kind.UNENCODABLE, f"no CLASP value: {type(value).__name__}")
    if depth >= MAX_VALUE_DEPTH:
        raise WireError(Kind.DEPTH, f"values nest at most {MAX_VALUE_DEPTH} deep")
    if isinstance(value, Mapping):
        write_count(out, len(value), "map entries")
        for key, entry in value.items():
            write_string(out, key, "a map key")
            write_typed_value(out, entry, depth + 1)
        return _MAP
    write_count(out, len(value), "array elements")
    for element in value:
        write_typed_value(out, element, depth + 1)
    return _ARRAY
