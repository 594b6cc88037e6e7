"""What an MQTT payload means as a CLASP value, and what a value looks like as a payload (router.md 9.2).

Knows neither topics nor packets. Both ways are chosen so that a value survives the way there and back wherever text can
carry it. What cannot survive: bytes that happen to be text (they become it), bytes inside a structure (a list of
numbers), NaN and infinities inside a structure (null).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite

import msgspec

from clasp_edge.dataplane.payload import use_converters
from clasp_edge.wire import Value, WireError, decode_value, encode_value

_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE
)
"""Numbers that are not JSON but were meant as numbers: `+5`, `.5`, `NaN`, `-inf`."""

_NEVER_PLAIN = frozenset('"{[-+.0123456789 \t\r\ntfnNiI')
"""What JSON or a number can begin with. Any other text is only text and needs no closer look."""

_LONGEST_NUMBER = 400
"""Characters; every double can be written with fewer. What is longer is text (dataplane/payload.pyx)."""

_I64_MIN, _I64_MAX = -(2**63), 2**63 - 1

_decode_json = msgspec.json.decode
_encode_json = msgspec.json.encode


def value_of(payload: bytes) -> Value:
    """The value a payload stands for: JSON, else a number, else text; bytes where it is not UTF-8."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return payload
    if not text or text[0] not in _NEVER_PLAIN:
        return text
    if len(payload) > _LONGEST_NUMBER and text[0] not in '"{[' and text[0] > " " and text[-1] > " ":
        return text
    try:
        return _within_i64(_decode_json(payload))
    except (msgspec.DecodeError, RecursionError, OverflowError):
        pass
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def encoded_value_of(payload: bytes) -> tuple[int, bytes]:
    """Type code and data of the value a payload stands for, ready for a SET.

    Raises `WireError` (too-large) for more bytes than a string can have. JSON that nests too deep stays text.
    """
    try:
        return encode_value(value_of(payload))
    except WireError:
        return encode_value(payload.decode())


def use_in_dataplane() -> None:
    """Have the data plane ask here what it does not settle itself; before the first message."""
    use_converters(encoded_value_of, _payload_of)


def _payload_of(value_type: int, data: bytes) -> bytes:
    return payload_of(decode_value(value_type, data))


def payload_of(value: Value) -> bytes:
    """The payload for a value; `value_of` of it gives the value back, but for the losses named at the top."""
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, (int, float)):
        return repr(value).encode()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return _encode_json(_json_able(value))


def _text(value: str) -> bytes:
    raw = value.encode()
    # Only what would be read as something else needs quotes.
    if value and value[0] in _NEVER_PLAIN and value_of(raw) != value:
        return _encode_json(value)
    return raw


def _within_i64(value: Value) -> Value:
    """The same with integers that no CLASP value can hold as floats. Raises OverflowError for those that no float can
    hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if _I64_MIN <= value <= _I64_MAX else float(value)
    if isinstance(value, list):
        return [_within_i64(element) for element in value]
    if isinstance(value, dict):
        return {key: _within_i64(entry) for key, entry in value.items()}
    return value


def _json_able(value: Value) -> object:
    if isinstance(value, Mapping):
        return {key: _json_able(entry) for key, entry in value.items()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return list(bytes(value))
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_json_able(element) for element in value]
    return value
