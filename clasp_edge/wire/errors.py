"""The exceptions of the wire package and the classes of refusal they name.

Knows nothing of any encoding: the codecs say what was wrong and where.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Why bytes were refused, or why a message cannot be written.

    The first block is the list of error classes in wire.md 10.1; the second exists only when encoding.
    """

    TRUNCATED_HEADER = "truncated-header"
    BAD_MAGIC = "bad-magic"
    LENGTH_MISMATCH = "length-mismatch"
    EMPTY_PAYLOAD = "empty-payload"
    UNKNOWN_MESSAGE_TYPE = "unknown-message-type"
    TRUNCATED_PAYLOAD = "truncated-payload"
    UNKNOWN_VALUE_TYPE = "unknown-value-type"
    UNKNOWN_ENUM = "unknown-enum"
    BAD_UTF8 = "bad-utf8"
    DEPTH = "depth"
    MSGPACK_MALFORMED = "msgpack-malformed"
    MSGPACK_MISSING_TYPE = "msgpack-missing-type"
    MSGPACK_UNKNOWN_TYPE = "msgpack-unknown-type"
    MSGPACK_MISSING_FIELD = "msgpack-missing-field"
    MSGPACK_WRONG_TYPE = "msgpack-wrong-type"
    MSGPACK_DUPLICATE_KEY = "msgpack-duplicate-key"

    TOO_LARGE = "too-large"
    """A string, count or payload does not fit its u16 length field."""
    OUT_OF_RANGE = "out-of-range"
    """An integer does not fit its field."""
    UNENCODABLE = "unencodable"
    """A Python object that is no CLASP value or message."""


class WireError(ValueError):
    """Bytes that are not CLASP, or a message that CLASP cannot carry.

    ``kind`` is the class of the refusal (a `Kind`, which compares equal to its string), ``offset`` the byte
    position within the payload or frame where it was noticed, if there is one.
    """

    def __init__(self, kind: Kind, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset})")
        self.kind = kind
        self.offset = offset


class PatternError(ValueError):
    """The pattern cannot be used. The text is meant for the peer, as the message of ERROR 202 (router.md 4.1)."""
