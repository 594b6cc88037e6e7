"""The frame around a payload: header bits, length and timestamp, both directions (wire.md 1).

Knows nothing of what a payload says; an empty payload is refused where payloads are read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from clasp_edge.wire.errors import Kind, WireError
from clasp_edge.wire.limits import MAX_PAYLOAD_BYTES

Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC: Final = 0x53
FLAG_QOS_MASK: Final = 0xC0
FLAG_QOS_SHIFT: Final = 6
FLAG_TIMESTAMP: Final = 0x20
FLAG_ENCRYPTED: Final = 0x10
FLAG_COMPRESSED: Final = 0x08
FLAG_VERSION_MASK: Final = 0x07

VERSION_MSGPACK: Final = 0
VERSION_COMPACT: Final = 1

HEADER_BYTES: Final = 4
TIMESTAMP_BYTES: Final = 8
HEADER_BYTES_TIMESTAMPED: Final = HEADER_BYTES + TIMESTAMP_BYTES
MAX_PAYLOAD: Final = MAX_PAYLOAD_BYTES
MAX_FRAME: Final = HEADER_BYTES_TIMESTAMPED + MAX_PAYLOAD

_HEADER = struct.Struct(">BBH")
_TIMESTAMP = struct.Struct(">Q")


@dataclass(slots=True, frozen=True)
class FrameHeader:
    """What the header said. ``timestamp`` is in microseconds; every receiver ignores it (wire.md 1.1)."""

    qos: int
    version: int
    encrypted: bool
    compressed: bool
    timestamp: int | None


def decode_frame(data: Buffer) -> tuple[FrameHeader, memoryview]:
    """Split one frame into its header and a view of its payload; bytes after the payload are ignored (wire.md 1.3).

    The view keeps ``data`` alive and must not outlive a buffer that is reused. Raises `WireError`
    (truncated-header, bad-magic, length-mismatch).
    """
    size = len(data)
    if size < HEADER_BYTES:
        raise WireError(Kind.TRUNCATED_HEADER, f"a frame needs {HEADER_BYTES} header bytes, have {size}")
    magic, flags, length = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise WireError(Kind.BAD_MAGIC, f"the magic byte is 0x{MAGIC:02X}, got 0x{magic:02X}", 0)
    start = HEADER_BYTES_TIMESTAMPED if flags & FLAG_TIMESTAMP else HEADER_BYTES
    if size < start + length:
        raise WireError(Kind.LENGTH_MISMATCH, f"the header announces {start + length} bytes, have {size}", 2)
    qos = (flags & FLAG_QOS_MASK) >> FLAG_QOS_SHIFT
    header = FrameHeader(
        qos=0 if qos == 3 else qos,  # the reserved value reads as Fire (wire.md 1.1)
        version=flags & FLAG_VERSION_MASK,
        encrypted=bool(flags & FLAG_ENCRYPTED),
        compressed=bool(flags & FLAG_COMPRESSED),
        timestamp=_TIMESTAMP.unpack_from(data, HEADER_BYTES)[0] if flags & FLAG_TIMESTAMP else None,
    )
    return header, memoryview(data)[start : start + length]


def encode_frame(payload: Buffer, qos: int = 0, timestamp: int | None = None) -> bytes:
    """Put a v3 payload into a frame.

    ``timestamp`` (microseconds) is for tests and for peers known to read it: small clients take it for
    payload (wire.md 1.1). Raises `WireError` (too-large, out-of-range).
    """
    if len(payload) > MAX_PAYLOAD:
        raise WireError(Kind.TOO_LARGE, f"a payload has at most {MAX_PAYLOAD} bytes, this one {len(payload)}")
    if not 0 <= qos <= 2:
        raise WireError(Kind.OUT_OF_RANGE, f"QoS is 0, 1 or 2, not {qos}")
    flags = qos << FLAG_QOS_SHIFT | VERSION_COMPACT
    if timestamp is None:
        return _HEADER.pack(MAGIC, flags, len(payload)) + payload
    if not 0 <= timestamp < 1 << 64:
        raise WireError(Kind.OUT_OF_RANGE, f"a timestamp is a u64, not {timestamp}")
    return _HEADER.pack(MAGIC, flags | FLAG_TIMESTAMP, len(payload)) + _TIMESTAMP.pack(timestamp) + payload
