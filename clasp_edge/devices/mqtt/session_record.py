"""What is stored of an MQTT session, as bytes: who it is and what it asked for, and, apart because it changes with the
messages, where it is. Pure functions; raises `BadRecord` for bytes that are not what they should be.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import msgspec

FORM = 1
"""Of both records; those of another form are not read."""

_PLACE = struct.Struct("<BBQQQHH")
_ENTRY = struct.Struct("<QBBB")
_ID = struct.Struct("<H")
_BEHIND, _BITMAP = 1, 2  # flags of a place

MOST_IN_FLIGHT = 0xFFFF

BITMAP_BYTES = 8192
"""A bit for each packet identifier: the shorter form of many, written with every commit while they are under way."""


class BadRecord(Exception):
    """The text says what is wrong."""


class HeldRecord(msgspec.Struct, array_like=True, frozen=True):
    """A subscription: its filter, options as of `dataplane/trie.pxd`, subscription identifier or 0, and the log's last
    record when it was made."""

    filter: str
    options: int
    identifier: int
    since: int


class WillRecord(msgspec.Struct, array_like=True, frozen=True):
    """A delayed will, and for a client that is gone how long it had to wait when this was stored."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict[int, Any]
    left_s: float


class SessionRecord(msgspec.Struct, array_like=True, frozen=True):
    """A session. `owner`: its token's fingerprint, None in open mode. `left_us`: wall clock when the client went, 0 if
    it was there. `stored_us`: wall clock of this record, `synchronised` whether that could be believed; `left_s`: what
    the session had to live then, for a client that was gone. `principal`: whose account it is on (records of earlier
    versions do not tell)."""

    form: int
    version: int
    expiry_s: int
    owner: str | None
    left_us: int
    left_s: float
    stored_us: int
    synchronised: bool
    subscriptions: list[HeldRecord]
    will: WillRecord | None
    principal: str = ""


class Entry(NamedTuple):
    """A message in flight: its number in the log or 0, and how far its delivery has come (dataplane/mqtt_queue.pxd)."""

    logged: int
    state: int
    qos: int
    retain: bool


class Place(NamedTuple):
    """Where a session is, as of `MqttJournaled.flight`; and the packet identifiers of QoS 2 not released yet."""

    first: int
    next: int
    place: int
    behind: bool
    entries: list[Entry]
    unreleased: list[int]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SessionRecord)


def encode_session(record: SessionRecord) -> bytes:
    """The bytes that `decode_session` reads."""
    return _encoder.encode(record)


def decode_session(data: bytes) -> SessionRecord:
    """Raises BadRecord."""
    try:
        record = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise BadRecord(str(error)) from None
    if record.form != FORM:
        raise BadRecord(f"a record of form {record.form}")
    return record


def encode_place(place: Place) -> bytes:
    """The bytes that `decode_place` reads."""
    entries = place.entries[:MOST_IN_FLIGHT]
    count = len(place.unreleased)
    flags = _BEHIND if place.behind else 0
    if count * _ID.size > BITMAP_BYTES:
        flags |= _BITMAP
        bits = bytearray(BITMAP_BYTES)
        for number in place.unreleased:
            bits[number >> 3] |= 1 << (number & 7)
        ids = bytes(bits)
    else:
        ids = b"".join(map(_ID.pack, place.unreleased))
    head = _PLACE.pack(FORM, flags, place.first, place.next, place.place, len(entries), count)
    return b"".join((head, *(_ENTRY.pack(*entry) for entry in entries), ids))


def decode_place(data: bytes) -> Place:
    """Raises BadRecord."""
    if len(data) < _PLACE.size:
        raise BadRecord(f"{len(data)} bytes")
    form, flags, first, following, place, entries, count = _PLACE.unpack_from(data)
    ids_at = _PLACE.size + entries * _ENTRY.size
    ids_size = BITMAP_BYTES if flags & _BITMAP else count * _ID.size
    if form != FORM or len(data) != ids_at + ids_size:
        raise BadRecord(f"{len(data)} bytes of form {form}")
    ids = data[ids_at:]
    return Place(
        first, following, place, bool(flags & _BEHIND),
        [Entry(logged, state, qos, bool(retain))
         for logged, state, qos, retain in _ENTRY.iter_unpack(data[_PLACE.size : ids_at])],
        [at for at in range(8 * BITMAP_BYTES) if ids[at >> 3] & 1 << (at & 7)] if flags & _BITMAP
        else [number for (number,) in _ID.iter_unpack(ids)],
    )  # fmt: skip
