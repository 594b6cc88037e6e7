"""Codes of the wire: message, signal, phase, QoS, value and error codes, and the two bit sets built from names.

Source: wire.md 2.1, 2.2 and 5. Knows no layout and no message class.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final


class MessageType(IntEnum):
    """First byte of a v3 payload (wire.md 2.1). The member's name is the v2 ``type`` string."""

    HELLO = 0x01
    WELCOME = 0x02
    ANNOUNCE = 0x03
    FEDERATION_SYNC = 0x04
    SUBSCRIBE = 0x10
    UNSUBSCRIBE = 0x11
    PUBLISH = 0x20
    SET = 0x21
    GET = 0x22
    SNAPSHOT = 0x23
    REPLAY = 0x24
    BUNDLE = 0x30
    SYNC = 0x40
    PING = 0x41
    PONG = 0x42
    ACK = 0x50
    ERROR = 0x51
    QUERY = 0x60
    RESULT = 0x61


class ValueType(IntEnum):
    """Type byte of a value (wire.md 2.2)."""

    NULL = 0x00
    BOOL = 0x01
    I8 = 0x02
    I16 = 0x03
    I32 = 0x04
    I64 = 0x05
    F32 = 0x06
    F64 = 0x07
    STRING = 0x08
    BYTES = 0x09
    ARRAY = 0x0A
    MAP = 0x0B


class Qos(IntEnum):
    """Header bits 7-6 (wire.md 1.1). Informative: nothing is retransmitted at this layer."""

    FIRE = 0
    CONFIRM = 1
    COMMIT = 2


class SignalType(IntEnum):
    """What an address means (wire.md 5.1)."""

    PARAM = 0
    EVENT = 1
    STREAM = 2
    GESTURE = 3
    TIMELINE = 4

    @property
    def label(self) -> str:
        """The name used in v2 and in JSON."""
        return self.name.lower()


class Phase(IntEnum):
    """Part of a gesture (wire.md 5.1)."""

    START = 0
    MOVE = 1
    END = 2
    CANCEL = 3

    @property
    def label(self) -> str:
        """The name used in v2 and in JSON."""
        return self.name.lower()


class FederationOp(IntEnum):
    """Operation of FEDERATION_SYNC (wire.md 2.3)."""

    DECLARE_NAMESPACES = 1
    REQUEST_SYNC = 2
    REVISION_VECTOR = 3
    SYNC_COMPLETE = 4
    # Ours, sent only where both ends have said that they are clasp-edge (docs/federation.md).
    PEER = 0x40
    ROUTE = 0x41
    CHECKPOINT = 0x42
    REACHED = 0x43
    STORED = 0x44
    LIFETIMES = 0x45
    FOLLOW = 0x46
    DIGEST = 0x47
    MEND = 0x48
    MQTT = 0x49
    BOX = 0x4A
    PAIR = 0x4B

    @property
    def label(self) -> str:
        """Lower-case name, as in logs and JSON."""
        return self.name.lower()


class ErrorCode(IntEnum):
    """Numbers of ERROR (wire.md 5.2). A decoded ERROR may carry any other u16."""

    INVALID_FRAME = 100
    INVALID_MESSAGE = 101
    UNSUPPORTED_VERSION = 102
    INVALID_ADDRESS = 200
    ADDRESS_NOT_FOUND = 201
    PATTERN_ERROR = 202
    UNAUTHORIZED = 300
    FORBIDDEN = 301
    TOKEN_EXPIRED = 302
    REVISION_CONFLICT = 400
    LOCK_HELD = 401
    INVALID_VALUE = 402
    SCOPE_FAILURE = 403
    TARGET_NOT_FOUND = 404
    RATE_LIMITED = 429
    INTERNAL_ERROR = 500
    SERVICE_UNAVAILABLE = 501
    TIMEOUT = 502
    MESSAGES_DROPPED = 503


FEATURE_BITS: Final[dict[str, int]] = {
    "param": 0x80,
    "event": 0x40,
    "stream": 0x20,
    "gesture": 0x10,
    "timeline": 0x08,
    "federation": 0x04,
}
"""Feature name to bit of HELLO and WELCOME, in the order in which they are decoded (wire.md 2.3)."""

BARE: Final = "bare"
"""HELLO only: no state after WELCOME. The one bit without the other of the two that are reserved, so that whoever sets
all of them is not taken for it (wire.md 2.3)."""

BARE_MASK: Final = 0x03
BARE_BIT: Final = 0x01

WELCOME_FEATURE_MASK: Final = 0xF8
"""WELCOME never carries the federation bit (wire.md 2.3)."""

ALL_TYPES_MASK: Final = 0xFF
"""Type mask of SUBSCRIBE and REPLAY that means every signal type."""

_DEFAULT_QOS: Final[dict[MessageType, Qos]] = {
    MessageType.FEDERATION_SYNC: Qos.CONFIRM,
    MessageType.SUBSCRIBE: Qos.CONFIRM,
    MessageType.UNSUBSCRIBE: Qos.CONFIRM,
    MessageType.SET: Qos.CONFIRM,
    MessageType.REPLAY: Qos.CONFIRM,
    MessageType.BUNDLE: Qos.COMMIT,
}

_SIGNAL_QOS: Final[dict[SignalType | None, Qos]] = {
    None: Qos.FIRE,
    SignalType.PARAM: Qos.CONFIRM,
    SignalType.EVENT: Qos.CONFIRM,
    SignalType.STREAM: Qos.FIRE,
    SignalType.GESTURE: Qos.FIRE,
    SignalType.TIMELINE: Qos.COMMIT,
}


def default_qos(message_type: MessageType, signal: SignalType | None = None) -> Qos:
    """QoS a frame of this type carries unless told otherwise (wire.md 2.1); ``signal`` matters for PUBLISH only."""
    if message_type is MessageType.PUBLISH:
        return _SIGNAL_QOS[signal]
    return _DEFAULT_QOS.get(message_type, Qos.FIRE)


def features_from_bits(bits: int) -> tuple[str, ...]:
    """Feature names of a feature byte; unknown bits are ignored."""
    names = tuple(name for name, bit in FEATURE_BITS.items() if bits & bit)
    return (*names, BARE) if bits & BARE_MASK == BARE_BIT else names


def features_to_bits(features: Iterable[str]) -> int:
    """Feature byte of some names; v3 has no place for names outside `FEATURE_BITS`, they are dropped."""
    bits = 0
    for name in features:
        bits |= BARE_BIT if name == BARE else FEATURE_BITS.get(name, 0)
    return bits


def types_from_mask(mask: int) -> tuple[SignalType, ...]:
    """Signal types of a type mask; an empty result means all (0xFF, or none of the five bits: wire.md 2.3)."""
    if mask == ALL_TYPES_MASK:
        return ()
    return tuple(signal for signal in SignalType if mask & (1 << signal))


def types_to_mask(types: Iterable[SignalType]) -> int:
    """Type mask of some signal types; none encodes as 0xFF, all."""
    mask = 0
    for signal in types:
        mask |= 1 << signal
    return mask or ALL_TYPES_MASK


def signal_from_code(code: int) -> SignalType:
    """Signal type of a code on the wire; an unknown one is an event (wire.md 2.3)."""
    return _SIGNALS[code] if code < len(_SIGNALS) else SignalType.EVENT


def phase_from_code(code: int) -> Phase:
    """Gesture phase of a code on the wire; an unknown one is start (wire.md 2.3)."""
    return _PHASES[code] if code < len(_PHASES) else Phase.START


_SIGNALS: Final = tuple(SignalType)
_PHASES: Final = tuple(Phase)
