"""What the stored bytes mean: keys, block headers, records. The compiled side writes the same (dataplane/blocks.pxd).

Pure functions; raises `BadBlock` for bytes that are not what they should be.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from clasp_edge.dataplane.journal_buffer import LOG_MAGIC, STATE_MAGIC
from clasp_edge.dataplane.logged_payload import meant, meant_value
from clasp_edge.journal.log_scan import is_logged_frame
from clasp_edge.wire import Value, decode_value

if TYPE_CHECKING:
    from typing_extensions import Buffer

SCHEMA = 3
"""Version of the store as a whole; `store.MIGRATIONS` leads from every older one to it."""

SCHEMA_KEY = b"\x00schema"
RUN_KEY = b"\x00run"
"""The number of the newest start, 8 bytes big-endian; noted before that start writes anything else."""
CURSOR_PREFIX = b"C"
NOTE_PREFIX = b"K"
"""Of documents (`journal.notes`). In the order of keys, nothing may lie between the log and the params."""
SUMMARY_PREFIX = b"I"
"""What addresses a log block may have (`summary`); under the number of its first record, like the block."""
LOG_PREFIX = b"L"
STATE_PREFIX = b"S"

BLOCK_VERSION = 4
"""Its params have versions (before, their size was 0); since 3, log records may have an MQTT message's own bytes."""
OLDEST_BLOCK_VERSION = 1
"""Of a block without MQTT's quality of service and own bytes; the rest is the same."""

CLOCK_SYNCHRONISED = 1
LARGEST_BLOCK = 18 << 20
"""Above what the data plane makes of one block with the largest record in it."""

LARGEST_NUMBER = 1 << 62
"""Of a block, a record or a byte of the log: what follows can still be numbered."""

_HEADER = struct.Struct("<4sHHIIIIQQQQQII")
_CRC_AT = 8
_CRC_FROM = 12
_LOG = struct.Struct("<IQBB")
_STATE = struct.Struct("<IBBBBHHIQQQQ")
_RAW = struct.Struct("<II")
_OWN = struct.Struct("<IIBBB")
_FRAME_HEAD = 4
"""Bytes before the payload of a CLASP frame without a timestamp; the last two are its size."""
SAME_WRITER = 0xFF
"""In place of the size of a writer's name: as the record before it in the block."""

_NUMBER_BYTES = 8
"""Of a write from another router: its number there, behind the way it has come (dataplane/blocks.pxd)."""

_PARAM_KIND, _GONE_KIND, _RAW_KIND = 1, 2, 3
_UNRETAINED = 0x8000
"""In the size of a state record's version."""
_UNREAD = 1 << 42
"""In the time that a param has left, which is always less: its value is what a payload means (dataplane/blocks.pxd)."""
_LOG_UNREAD = 2
"""Behind a frame, in the byte that says whether its value gives the payload back: the value is the payload."""
_NULL_TYPE, _BYTES_TYPE = 0x00, 0x09

LARGEST_QOS = 2
DEFAULT_QOS = 1
"""Of a param that was not written by MQTT (protocol/wire.md, 2.1)."""

HEADER_BYTES = _HEADER.size


class BadBlock(ValueError):
    """Stored bytes that cannot be used; the text says why."""


class Header(NamedTuple):
    """What stands before the records of a block. Sizes in bytes, times in Unix microseconds."""

    magic: bytes
    version: int
    flags: int
    crc: int
    size: int
    records: int
    run: int
    number: int
    base: int
    before: int
    min_us: int
    max_us: int
    signals: int
    reserved: int

    @property
    def last(self) -> int:
        """Number of the last record of a log block."""
        return self.number + self.records - 1

    @property
    def synchronised(self) -> bool:
        """Whether the wall clock could be believed when the block was made."""
        return bool(self.flags & CLOCK_SYNCHRONISED)


class Raw(NamedTuple):
    """What an MQTT client published, where the value alone would not give it back: encoded properties, payload."""

    properties: bytes
    payload: bytes


class Param(NamedTuple):
    """The image of a param, or (`revision` 0) word that it is gone."""

    address: bytes
    revision: int
    writer: str
    written_us: int
    ttl: int
    deadline_us: int
    remaining_ms: int
    value_type: int
    data: bytes
    qos: int = DEFAULT_QOS
    raw: Raw | None = None
    """The retained MQTT message, where the value alone does not give it."""
    version: bytes = b""
    """As it was stored: rank and hlc, 8 bytes each, little-endian; empty where there is none."""
    unretained: bool = False
    """The value is no retained MQTT message."""

    @property
    def value(self) -> Value:
        return decode_value(self.value_type, self.data)


NO_EXPIRY = 0xFFFF_FFFF


class Own(NamedTuple):
    """What an MQTT client published, as it was: encoded properties, seconds to live or NO_EXPIRY, and the payload, None
    where the value in the frame gives it back."""

    properties: bytes
    payload: bytes | None
    expiry_s: int
    qos: int
    retain: bool


class Record(NamedTuple):
    """One logged message; `frame` is the whole CLASP frame that went to subscribers. `own`: only of what came by MQTT
    while sessions of MQTT clients were kept."""

    number: int
    wall_us: int
    run: int
    synchronised: bool
    signal: int
    writer: str
    frame: bytes
    way: bytes = b""
    """By which it came from another router, as `dataplane.Sink.way` had it; empty for what was first written here."""
    way_number: int = 0
    own: Own | None = None
    fault: str = ""
    """Why nobody can use it; empty for a record that is as it should be."""


def cursor_key(name: str) -> bytes:
    """The key of a reader's place in the log; the value is the number of a record, 8 bytes big-endian."""
    return CURSOR_PREFIX + name.encode()


def note_key(name: str) -> bytes:
    """The key of a document."""
    return NOTE_PREFIX + name.encode()


def log_key(number: int) -> bytes:
    """The key of the log block whose first record has this number."""
    return LOG_PREFIX + number.to_bytes(8, "big")


def summary_key(number: int) -> bytes:
    """The key of the summary of the log block whose first record has this number."""
    return SUMMARY_PREFIX + number.to_bytes(8, "big")


def state_key(number: int) -> bytes:
    """The key of the state block with this number."""
    return STATE_PREFIX + number.to_bytes(8, "big")


def seal(block: memoryview) -> None:
    """Put the checksum into a finished block."""
    struct.pack_into("<I", block, _CRC_AT, zlib.crc32(block[_CRC_FROM:]))


def read_header(block: Buffer) -> Header:
    """The header alone, without looking at the records or the checksum."""
    view = memoryview(block)
    if len(view) < HEADER_BYTES:
        raise BadBlock(f"{len(view)} bytes are no block")
    header = Header._make(_HEADER.unpack_from(view))
    if header.magic not in (LOG_MAGIC, STATE_MAGIC):
        raise BadBlock("does not begin like a block")
    if not OLDEST_BLOCK_VERSION <= header.version <= BLOCK_VERSION:
        raise BadBlock(f"a block of version {header.version}; this program knows {BLOCK_VERSION}")
    return header


def check(block: Buffer) -> Header:
    """The header of a block whose size and checksum are right. Raises BadBlock."""
    header = read_header(block)
    view = memoryview(block)
    if header.size != len(view):
        raise BadBlock(f"{len(view)} bytes of a block of {header.size}")
    if zlib.crc32(view[_CRC_FROM:]) != header.crc:
        raise BadBlock("the checksum is wrong")
    if max(header.number, header.base, header.before) > LARGEST_NUMBER:
        raise BadBlock("numbered higher than any block can be")
    return header


def records(block: Buffer) -> Iterator[Record]:
    """The records of a checked log block. One with something in it that cannot be used says so in `fault` and costs the
    others nothing; where sizes do not add up, what comes behind cannot be found: raises BadBlock."""
    view = memoryview(block)
    header = read_header(view)
    at, number, writer, way, way_number = HEADER_BYTES, header.number, "", b"", 0
    while at < header.size:
        if at + _LOG.size > header.size:
            raise BadBlock(f"a record without a header at {at}")
        size, wall_us, signal, writer_size = _LOG.unpack_from(view, at)
        begin = at + _LOG.size
        fault = ""
        if writer_size != SAME_WRITER:
            name, _, tail = bytes(view[begin : begin + writer_size]).partition(b"\0")
            writer = name.decode("utf-8", "replace")
            way, way_number = tail[:-_NUMBER_BYTES], int.from_bytes(tail[-_NUMBER_BYTES:], "little")
            begin += writer_size
        elif way_number:
            way_number += 1
        if at + size > header.size or begin > at + size:
            raise BadBlock(f"a record of {size} bytes at {at}")
        end = at + size
        own = None
        own_at = end
        if header.version >= 3 and end - begin > _FRAME_HEAD:
            own_at = min(end, begin + _FRAME_HEAD + int.from_bytes(view[begin + 2 : begin + _FRAME_HEAD], "big"))
        frame = bytes(view[begin:own_at])
        if not is_logged_frame(frame, signal):
            fault = "no frame that a record of its signal has"
        elif own_at < end:
            try:
                frame, own = message_of(frame, view[own_at:end])
            except BadBlock as error:
                fault = str(error)
        yield Record(
            number, wall_us, header.run, header.synchronised, signal, writer, frame, way, way_number, own, fault
        )
        at += size
        number += 1


def message_of(frame: bytes, behind: Buffer) -> tuple[bytes, Own]:
    """A logged frame as it was told, and what stands behind it. A value that nobody wanted when it was logged is made
    now. Raises BadBlock."""
    own = read_own(behind)
    if not memoryview(behind)[_OWN.size - 1] & _LOG_UNREAD:
        return frame, own
    try:
        frame, payload, exact = meant(frame)
    except ValueError as error:
        raise BadBlock(str(error)) from None
    return frame, own if exact and not own.properties else own._replace(payload=payload)


def read_own(view: Buffer) -> Own:
    """What stands behind a logged frame. Raises BadBlock."""
    view = memoryview(view)
    if len(view) < _OWN.size:
        raise BadBlock(f"{len(view)} bytes behind a frame")
    expiry_s, properties_size, qos, retain, exact = _OWN.unpack_from(view)
    payload_at = _OWN.size + properties_size
    if qos > LARGEST_QOS:
        raise BadBlock(f"quality of service {qos} behind a frame")
    if payload_at > len(view):
        raise BadBlock(f"properties of {properties_size} bytes behind a frame")
    payload = None if exact else bytes(view[payload_at:])
    return Own(bytes(view[_OWN.size : payload_at]), payload, expiry_s, qos, bool(retain))


def log_sizes(block: Buffer, at: int) -> tuple[int, int, int]:
    """Of the log record at `at`: its header's size, its whole size, the size of the writer's name or SAME_WRITER.

    Raises BadBlock.
    """
    view = memoryview(block)
    if at + _LOG.size > len(view):
        raise BadBlock(f"a record without a header at {at}")
    size, _, _, writer_size = _LOG.unpack_from(view, at)
    if at + size > len(view) or size < _LOG.size + (0 if writer_size == SAME_WRITER else writer_size):
        raise BadBlock(f"a record of {size} bytes at {at}")
    return _LOG.size, size, writer_size


def make_log_block(header: Header, body: Buffer) -> bytes:
    """A sealed log block of records that have their form already."""
    block = bytearray(_HEADER.pack(*header))
    block += body
    with memoryview(block) as view:
        seal(view)
    return bytes(block)


def params(block: Buffer) -> Iterator[Param]:
    """The records of a checked state block."""
    view = memoryview(block)
    header = read_header(view)
    at = HEADER_BYTES
    while at < header.size:
        fields = _STATE.unpack_from(view, at)
        size, kind, value_type, writer_size, qos, address_size = fields[:6]
        version_size, flags = fields[6] & ~_UNRETAINED, fields[6] & _UNRETAINED
        ttl, revision, written_us, deadline_us, left_ms = fields[7:]
        begin = at + _STATE.size
        end = at + size
        if size < _STATE.size + address_size + writer_size + version_size or end > header.size:
            raise BadBlock(f"a record of {size} bytes at {at}")
        address = bytes(view[begin : begin + address_size])
        begin += address_size
        writer = bytes(view[begin : begin + writer_size]).decode("utf-8", "replace")
        begin += writer_size
        version = bytes(view[begin : begin + version_size])
        begin += version_size
        raw = None
        value_end = end
        if kind == _RAW_KIND:
            if begin + _RAW.size > end:
                raise BadBlock(f"a record of {size} bytes at {at}")
            value_size, properties_size = _RAW.unpack_from(view, begin)
            begin += _RAW.size
            value_end = begin + value_size
            payload_begin = value_end + properties_size
            if payload_begin > end:
                raise BadBlock(f"a record of {size} bytes at {at}")
            raw = Raw(bytes(view[value_end:payload_begin]), bytes(view[payload_begin:end]))
        data = bytes(view[begin:value_end])
        if left_ms & ~(_UNREAD - 1) == _UNREAD:
            left_ms -= _UNREAD
            value_type, data = _meant(address, value_type, data, raw)
        if header.version < 2:
            qos = DEFAULT_QOS
        yield Param(
            address, revision, writer, written_us, ttl, deadline_us, left_ms, value_type, data, qos, raw, version,
            bool(flags),
        )  # fmt: skip
        at = end


def _meant(address: bytes, value_type: int, data: bytes, raw: Raw | None) -> tuple[int, bytes]:
    """The value of a param that nobody wanted when it was stored. Raises BadBlock."""
    try:
        if value_type == _BYTES_TYPE:
            return meant_value(address, data[2:])
        if value_type == _NULL_TYPE and raw is not None:
            return meant_value(address, raw.payload)
    except ValueError as error:
        raise BadBlock(str(error)) from None
    raise BadBlock(f"type {value_type} for a payload")


def make_state_block(items: list[Param], *, number: int, run: int, base: int, before: int, wall_us: int) -> bytes:
    """A sealed state block, as an import makes it."""
    body = b"".join(map(_image, items))
    size = HEADER_BYTES + len(body)
    head = _HEADER.pack(
        STATE_MAGIC, BLOCK_VERSION, 0, 0, size, len(items), run, number, base, before, wall_us, wall_us, 1, 0
    )
    block = bytearray(head + body)
    with memoryview(block) as view:
        seal(view)
    return bytes(block)


def _image(param: Param) -> bytes:
    writer = param.writer.encode()[:36]
    value = param.data
    kind = _PARAM_KIND if param.revision else _GONE_KIND
    if param.raw is not None:
        kind = _RAW_KIND
        value = _RAW.pack(len(value), len(param.raw.properties)) + value + param.raw.properties + param.raw.payload
    size = _STATE.size + len(param.address) + len(writer) + len(param.version) + len(value)
    head = _STATE.pack(
        size, kind, param.value_type, len(writer), param.qos, len(param.address),
        len(param.version) | (_UNRETAINED if param.unretained else 0),
        param.ttl, param.revision, param.written_us, param.deadline_us, min(param.remaining_ms, _UNREAD - 1),
    )  # fmt: skip
    return head + param.address + writer + param.version + value
