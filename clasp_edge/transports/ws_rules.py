"""Rules of RFC 6455 about messages and the end of a connection that the parser leaves to whoever gets its frames."""

from __future__ import annotations

import struct

CLOSE_PROTOCOL_ERROR = 1002
CLOSE_UNSUPPORTED = 1003
CLOSE_BAD_TEXT = 1007
CLOSE_TOO_BIG = 1009

TEXT_REFUSED = "CLASP messages are binary; a text message (JSON?) is not understood"

_RESERVED = frozenset({1004, 1005, 1006, 1015})
"""Codes that no close frame has (7.4.1)."""

MAX_REASON_BYTES = 123
"""So that a close frame stays a control frame (5.5)."""


def control_frame(opcode: int, payload: bytes) -> bytes:
    """An unmasked control frame (5.5)."""
    return bytes((0x80 | opcode, len(payload))) + payload


def close_payload(code: int, reason: str) -> bytes:
    """The body of a close frame; a reason that is too long is cut."""
    return struct.pack(">H", code) + reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()


def close_answer(payload: bytes) -> bytes:
    """The body of the close frame that answers one (5.5.1): the same code, or what was wrong with it (7.4, 8.1)."""
    if not payload:
        return b""
    if len(payload) == 1:
        return close_payload(CLOSE_PROTOCOL_ERROR, "a close frame with half a code")
    code = int.from_bytes(payload[:2], "big")
    if not _may_be_sent(code):
        return close_payload(CLOSE_PROTOCOL_ERROR, f"{code} is no code for a close frame")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return close_payload(CLOSE_BAD_TEXT, "the reason of a close frame is UTF-8")
    return payload[:2]


def _may_be_sent(code: int) -> bool:
    if code in _RESERVED:
        return False
    # 1000 to 1014 are defined (7.4.1 and IANA's registry), 3000 to 4999 are for libraries and applications (7.4.2).
    return 1000 <= code <= 1014 or 3000 <= code <= 4999
