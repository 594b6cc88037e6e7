"""DNS messages as far as finding a service needs them: one question out, records in (RFC 1035, RFC 6762, RFC 6763).

Sans I/O. Everything that is decoded comes from strangers: a message has at most MAX_RECORDS, a name MAX_NAME_BYTES, and
a compressed name only points backwards, so the work is bounded by the message's size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

A, PTR, TXT, AAAA, SRV = 1, 12, 16, 28, 33

IN = 1
UNICAST = 0x8000
"""In a question's class: the answer may come by unicast (RFC 6762, 5.4). In a record's class, another meaning: it takes
the place of older ones (10.2)."""

RESPONSE = 0x8000

MAX_RECORDS = 100
MAX_NAME_BYTES = 255
MAX_LABEL_BYTES = 63

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!2H")
_RECORD = struct.Struct("!2HIH")
_SRV = struct.Struct("!3H")


class Malformed(Exception):
    """The bytes are no DNS message; the text says why."""


class Record(NamedTuple):
    """One answer. `data` is the target of a PTR or SRV record as text, the address of an A or AAAA record as bytes, and
    the raw data else; `port` is of an SRV record."""

    name: str
    type: int
    data: str | bytes
    port: int = 0


def query(name: str, kind: int, number: int) -> bytes:
    """The message that asks for the records of a type, with the answer by unicast."""
    return _HEADER.pack(number, 0, 1, 0, 0, 0) + _encoded(name) + _QUESTION.pack(kind, IN | UNICAST)


def _encoded(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def records(data: bytes) -> list[Record]:
    """All records of a response, whatever section they are in; [] for a question. Raises Malformed."""
    try:
        return list(_records(data))
    except (struct.error, IndexError):
        raise Malformed("it ends too early") from None


def _records(data: bytes) -> Iterator[Record]:
    _, flags, questions, *counts = _HEADER.unpack_from(data)
    if not flags & RESPONSE:
        return
    if questions + sum(counts) > MAX_RECORDS:
        raise Malformed("it has too many records")
    at = _HEADER.size
    for _ in range(questions):
        at = _name(data, at)[1] + _QUESTION.size
    for _ in range(sum(counts)):
        name, at = _name(data, at)
        kind, _, _, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > len(data):
            raise Malformed("a record is longer than the message")
        if kind == PTR:
            yield Record(name, kind, _name(data, at)[0])
        elif kind == SRV:
            yield Record(name, kind, _name(data, at + _SRV.size)[0], _SRV.unpack_from(data, at)[2])
        elif (kind, length) in ((A, 4), (AAAA, 16)) or kind == TXT:
            yield Record(name, kind, data[at : at + length])
        at += length


def _name(data: bytes, at: int) -> tuple[str, int]:
    """The name that begins there, dots within labels escaped, and where what follows begins."""
    labels: list[str] = []
    size, after, lowest = 0, 0, at
    while True:
        length = data[at]
        if length & 0xC0 == 0xC0:
            target = (length & 0x3F) << 8 | data[at + 1]
            after = after or at + 2
            if target >= lowest:
                raise Malformed("a name points forward")
            at = lowest = target
            continue
        if length > MAX_LABEL_BYTES:
            raise Malformed("a label is too long")
        at += 1
        if length == 0:
            return ".".join(labels), after or at
        size += length + 1
        if size > MAX_NAME_BYTES or at + length > len(data):
            raise Malformed("a name is too long")
        labels.append(data[at : at + length].decode("utf-8", "replace").replace("\\", "\\\\").replace(".", "\\."))
        at += length


def texts(data: bytes) -> dict[str, str]:
    """The `key=value` strings of a TXT record, keys in lower case; the first of a key counts (RFC 6763, 6.4)."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        length = data[at]
        key, equals, value = data[at + 1 : at + 1 + length].decode("utf-8", "replace").partition("=")
        if key and equals:
            found.setdefault(key.lower(), value)
        at += 1 + length
    return found
