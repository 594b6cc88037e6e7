"""Bounds-checked reading and range-checked writing of the v3 primitives: fixed-width numbers and ``str``.

Big-endian throughout (wire.md 0). Knows no value type and no message.
"""

from __future__ import annotations

import struct

from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.limits import MAX_COUNT, MAX_STRING_BYTES

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_F64 = struct.Struct(">d")


class Reader:
    """A position in one payload. Every read past the end raises `WireError` truncated-payload."""

    __slots__ = ("data", "pos")

    def __init__(self, data: bytes, pos: int = 0) -> None:
        self.data = data
        self.pos = pos

    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self.data) - self.pos

    def truncated(self, what: str) -> WireError:
        """The refusal of a payload that ends inside ``what``."""
        return WireError(Kind.TRUNCATED_PAYLOAD, f"the payload of {len(self.data)} bytes ends inside {what}", self.pos)

    def u8(self, what: str) -> int:
        """An unsigned integer of 8 bits."""
        pos = self.pos
        if pos >= len(self.data):
            raise self.truncated(what)
        self.pos = pos + 1
        return self.data[pos]

    def unpack(self, layout: struct.Struct, what: str) -> tuple[int | float, ...]:
        """Numbers in any layout."""
        try:
            fields = layout.unpack_from(self.data, self.pos)
        except struct.error:
            raise self.truncated(what) from None
        self.pos += layout.size
        return fields

    def u16(self, what: str) -> int:
        """An unsigned integer of 16 bits."""
        try:
            (number,) = _U16.unpack_from(self.data, self.pos)
        except struct.error:
            raise self.truncated(what) from None
        self.pos += 2
        return int(number)

    def u32(self, what: str) -> int:
        """An unsigned integer of 32 bits."""
        try:
            (number,) = _U32.unpack_from(self.data, self.pos)
        except struct.error:
            raise self.truncated(what) from None
        self.pos += 4
        return int(number)

    def u64(self, what: str) -> int:
        """An unsigned integer of 64 bits."""
        try:
            (number,) = _U64.unpack_from(self.data, self.pos)
        except struct.error:
            raise self.truncated(what) from None
        self.pos += 8
        return int(number)

    def f64(self, what: str) -> float:
        """IEEE 754, eight bytes."""
        try:
            (number,) = _F64.unpack_from(self.data, self.pos)
        except struct.error:
            raise self.truncated(what) from None
        self.pos += 8
        return float(number)

    def blob(self, what: str) -> bytes:
        """A u16 length and that many bytes."""
        start = self.pos + 2
        try:
            (length,) = _U16.unpack_from(self.data, self.pos)
        except struct.error:
            raise self.truncated(what) from None
        end = start + int(length)
        if end > len(self.data):
            raise self.truncated(what)
        self.pos = end
        return self.data[start:end]

    def string(self, what: str) -> str:
        """A u16 length and that many bytes of strict UTF-8."""
        start = self.pos
        raw = self.blob(what)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise WireError(Kind.BAD_UTF8, f"{what} is not UTF-8: {error.reason}", start + 2 + error.start) from None


def write_u8(out: bytearray, number: int, what: str) -> None:
    """An unsigned integer of 8 bits, refused if it does not fit."""
    if not 0 <= number <= 0xFF:
        raise WireError(Kind.OUT_OF_RANGE, f"{what} is a u8, not {number}")
    out.append(number)


def write_u16(out: bytearray, number: int, what: str) -> None:
    """An unsigned integer of 16 bits, refused if it does not fit."""
    _pack(out, _U16, number, what, "u16")


def write_u32(out: bytearray, number: int, what: str) -> None:
    """An unsigned integer of 32 bits, refused if it does not fit."""
    _pack(out, _U32, number, what, "u32")


def write_u64(out: bytearray, number: int, what: str) -> None:
    """An unsigned integer of 64 bits, refused if it does not fit."""
    _pack(out, _U64, number, what, "u64")


def write_f64(out: bytearray, number: float, what: str) -> None:
    """IEEE 754, eight bytes."""
    try:
        out += _F64.pack(number)
    except (struct.error, OverflowError):
        raise WireError(Kind.OUT_OF_RANGE, f"{what} is an f64, not {number!r}") from None


def write_count(out: bytearray, count: int, what: str) -> None:
    """A u16 count; unlike upstream's encoder it never wraps (wire.md 2.2)."""
    if count > MAX_COUNT:
        raise WireError(Kind.TOO_LARGE, f"at most {MAX_COUNT} {what} fit, not {count}")
    out += _U16.pack(count)


def write_blob(out: bytearray, raw: bytes | bytearray | memoryview, what: str) -> None:
    """A u16 length and the bytes."""
    if len(raw) > MAX_STRING_BYTES:
        raise WireError(Kind.TOO_LARGE, f"{what} has at most {MAX_STRING_BYTES} bytes, not {len(raw)}")
    out += _U16.pack(len(raw))
    out += raw


def write_string(out: bytearray, text: str, what: str) -> None:
    """A u16 length and the string as UTF-8."""
    if not isinstance(text, str):
        raise WireError(Kind.UNENCODABLE, f"{what} is a string, not {type(text).__name__}")
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise WireError(Kind.BAD_UTF8, f"{what} has no UTF-8 form: {error.reason}") from None
    write_blob(out, raw, what)


def _pack(out: bytearray, layout: struct.Struct, number: int, what: str, width: str) -> None:
    try:
        out += layout.pack(number)
    except struct.error:
        raise WireError(Kind.OUT_OF_RANGE, f"{what} is a {width}, not {number!r}") from None
