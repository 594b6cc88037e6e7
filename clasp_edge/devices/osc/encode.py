"""OSC messages from addresses and CLASP values, without I/O (router.md 10; what it loses is kept where that can be).

null is N, bool T or F, an integer i where it fits 32 bits and else h, a float f, a string s, bytes b, an array its
elements as arguments, a map JSON text; a device that wants something else says so, for all addresses or for some. An
address at which fractions were told stays one of floats: a page's or an MQTT client's 1 is no other type than its 0.5
to a device. Knows no socket and no param.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from clasp_edge.devices.osc.plain_message import DOUBLE, EXACT, SINGLE, plain_message
from clasp_edge.wire import Value
from clasp_edge.wire.pattern import Pattern

Floats = Literal["single", "exact", "double"]
Arrays = Literal["flat", "brackets"]
Kind = Literal["float", "int", "double", "whole-as-int", "bool-as-int", "string", "flat", "brackets"]

_PLAIN = {"single": SINGLE, "exact": EXACT, "double": DOUBLE}

MAX_KINDS = 4096
"""Addresses whose kind is remembered."""

MAX_FRACTIONS = 8192
"""Addresses that are remembered to be ones of floats; the one that has been so for longest makes room."""

EXACT_IN_SINGLE = 2**24
"""Whole numbers up to here are the same as f; what is larger was never meant as a fader's position."""

MAX_PACKET_BYTES = 65507
"""The largest UDP payload over IPv4; what is longer cannot be sent to most devices at all."""

_MAX_I32 = 2**31
_BEYOND_INT = 2**63
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
        self._plain_floats = _PLAIN[floats]
        self._flat = arrays == "flat"
        self._kinds = kinds
        self._known: dict[bytes, Kind | None] = {}
        self._fractions: dict[bytes, bytes] = {}
        self.learned = 0
        """How often an address has become one of floats: what was made before may be of another type."""

    def note(self, address: bytes, tags: bytes, value: Value) -> None:
        """A device was told this, or has said it, as arguments of these types (`,ff`)."""
        if tags == self._fractions.get(address) or (b"f" not in tags and b"d" not in tags) or b"[" in tags:
            return
        values = value if isinstance(value, (list, tuple)) else (value,)
        self._learn(address, tags, len(values), fractions=any(map(_is_fraction, values)))

    def _learn(self, address: bytes, tags: bytes, count: int, *, fractions: bool) -> None:
        """So many values went out as arguments of these types; `fractions`: there are some among them."""
        known = self._fractions.get(address)
        if count + 1 != len(tags) or (known is None and not fractions):
            return  # 1.0 alone may be a button's
        if known is not None and len(known) == len(tags):
            tags = bytes(old if old in b"fd" else new for old, new in zip(known, tags, strict=True))
            if tags == known:
                return
        elif len(self._fractions) >= MAX_FRACTIONS:
            del self._fractions[next(iter(self._fractions))]
        self._fractions[address] = tags
        self.learned += 1

    def has_fractions(self, address: bytes) -> bool:
        """Whether it is known to be an address of floats."""
        return address in self._fractions

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
        fractions = self._fractions.get(address) if kind is None else None
        if kind is not None:
            value = _as_kind(value, kind)
        elif fractions is not None:
            value = _as_before(fractions, value)
        tags = bytearray(b",")
        data = bytearray()
        if isinstance(value, (list, tuple)) and (flat or len(value) > 1):
            for element in value:
                self._add(tags, data, element, flat)
        else:
            self._add(tags, data, value, flat)
        if kind is None and (b"f" in tags or b"d" in tags):
            self.note(address, bytes(tags), value)
        return padded(address) + padded(bytes(tags)) + bytes(data)

    def plain(self, address: bytes, value_type: int, value: bytes) -> bytes | None:
        """The same of an encoded value, in a fraction of the time; None where it is to be decoded for that."""
        if not self._flat or self.kind_of(address) is not None:
            return None
        known = self._fractions.get(address)
        made = plain_message(address, value_type, value, self._plain_floats, known)
        if made is None:
            return None
        packet, tags, count, fractions = made
        if tags is not None and tags != known:
            self._learn(address, tags, count, fractions=fractions)
        return packet

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


def _as_before(tags: bytes, value: Value) -> Value:
    """The value, with a whole number as a float where one stood."""
    if isinstance(value, (list, tuple)):
        if len(value) + 1 == len(tags):
            return [_as_fraction(one, tag) for one, tag in zip(value, tags[1:], strict=True)]
        return value
    return _as_fraction(value, tags[1]) if len(tags) == 2 else value


def _is_fraction(value: Value) -> bool:
    return isinstance(value, float) and math.isfinite(value) and not value.is_integer()


def _as_fraction(value: Value, tag: int) -> Value:
    if type(value) is int and tag in b"fd" and -EXACT_IN_SINGLE <= value <= EXACT_IN_SINGLE:
        return float(value)
    return value


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
        return round(value) if abs(value) < _BEYOND_INT else value
    if kind == "whole-as-int":
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _BEYOND_INT else value
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
