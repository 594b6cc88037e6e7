"""MQTT 3.1.1 and 5.0 packets as bytes, for tests: built loosely, so that wrong ones can be sent, and read strictly.

Knows the two specifications and nothing of the product: what is wrong in a server's packet raises `Malformed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

V311 = 4
V5 = 5

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)

Properties = Mapping[str, Any]

# name: (identifier, kind), MQTT 5.0 table 2-4.
PROPERTIES = {
    "payload_format_indicator": (0x01, "u8"),
    "message_expiry_interval": (0x02, "u32"),
    "content_type": (0x03, "text"),
    "response_topic": (0x08, "text"),
    "correlation_data": (0x09, "bytes"),
    "subscription_identifier": (0x0B, "varint"),
    "session_expiry_interval": (0x11, "u32"),
    "assigned_client_identifier": (0x12, "text"),
    "server_keep_alive": (0x13, "u16"),
    "authentication_method": (0x15, "text"),
    "authentication_data": (0x16, "bytes"),
    "request_problem_information": (0x17, "u8"),
    "will_delay_interval": (0x18, "u32"),
    "request_response_information": (0x19, "u8"),
    "response_information": (0x1A, "text"),
    "server_reference": (0x1C, "text"),
    "reason_string": (0x1F, "text"),
    "receive_maximum": (0x21, "u16"),
    "topic_alias_maximum": (0x22, "u16"),
    "topic_alias": (0x23, "u16"),
    "maximum_qos": (0x24, "u8"),
    "retain_available": (0x25, "u8"),
    "user_property": (0x26, "pair"),
    "maximum_packet_size": (0x27, "u32"),
    "wildcard_subscription_available": (0x28, "u8"),
    "subscription_identifier_available": (0x29, "u8"),
    "shared_subscription_available": (0x2A, "u8"),
}
_NAMES = {number: (name, kind) for name, (number, kind) in PROPERTIES.items()}
_SIZES = {"u8": 1, "u16": 2, "u32": 4}
_REPEATED = {"user_property", "subscription_identifier"}

_FEEDBACK = {"reason_string", "user_property"}
# What a server may send in each packet, MQTT 5.0 table 2-4.
_ALLOWED = {
    CONNACK: _FEEDBACK
    | {
        "session_expiry_interval",
        "assigned_client_identifier",
        "server_keep_alive",
        "authentication_method",
        "authentication_data",
        "response_information",
        "server_reference",
        "receive_maximum",
        "topic_alias_maximum",
        "maximum_qos",
        "retain_available",
        "maximum_packet_size",
        "wildcard_subscription_available",
        "subscription_identifier_available",
        "shared_subscription_available",
    },
    PUBLISH: {
        "payload_format_indicator",
        "message_expiry_interval",
        "content_type",
        "response_topic",
        "correlation_data",
        "subscription_identifier",
        "topic_alias",
        "user_property",
    },
    DISCONNECT: _FEEDBACK | {"server_reference"},
    AUTH: _FEEDBACK | {"authentication_method", "authentication_data"},
} | dict.fromkeys((PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK), _FEEDBACK)


class Malformed(AssertionError):
    """The server sent what the specification forbids."""


# ---- building ----


def varint(value: int) -> bytes:
    """A variable byte integer (MQTT 5.0, 1.5.5)."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | 0x80 if value else low)
        if not value:
            return bytes(out)


def text(value: str | bytes) -> bytes:
    """A string or binary data with its length in two bytes; bytes go as they are, well-formed or not."""
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def properties(values: Properties | bytes | None) -> bytes:
    """A property block with its length. Bytes stand for the block's contents."""
    if isinstance(values, bytes):
        return varint(len(values)) + values
    out = bytearray()
    for name, given in (values or {}).items():
        number, kind = PROPERTIES[name]
        for value in given if isinstance(given, list) else [given]:
            out.append(number)
            if kind in _SIZES:
                out += value.to_bytes(_SIZES[kind], "big")
            elif kind == "varint":
                out += varint(value)
            elif kind == "pair":
                out += text(value[0]) + text(value[1])
            else:
                out += text(value)
    return varint(len(out)) + bytes(out)


def packet(kind: int, flags: int, body: bytes = b"") -> bytes:
    """Fixed header and body."""
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


@dataclass(frozen=True)
class Will:
    """A will message as CONNECT carries it."""

    topic: str | bytes
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=dict)


def connect(
    client_id: str | bytes,
    version: int = V5,
    *,
    clean: bool = True,
    keep_alive: int = 0,
    will: Will | None = None,
    username: str | bytes | None = None,
    password: str | bytes | None = None,
    props: Properties | bytes | None = None,
    protocol: str = "MQTT",
    flags: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """CONNECT. ``flags`` replaces the connect flags that follow from the rest; ``extra`` is put at the end."""
    computed = clean << 1 | (username is not None) << 7 | (password is not None) << 6
    if will is not None:
        computed |= 1 << 2 | will.qos << 3 | will.retain << 5
    body = text(protocol) + bytes([version, computed if flags is None else flags]) + keep_alive.to_bytes(2, "big")
    if version == V5:
        body += properties(props)
    body += text(client_id)
    if will is not None:
        if version == V5:
            body += properties(will.properties)
        body += text(will.topic) + text(will.payload)
    for value in (username, password):
        if value is not None:
            body += text(value)
    return packet(CONNECT, 0, body + extra)


def publish(
    version: int,
    topic: str | bytes,
    payload: bytes = b"",
    *,
    qos: int = 0,
    retain: bool = False,
    dup: bool = False,
    packet_id: int = 1,
    props: Properties | bytes | None = None,
) -> bytes:
    """PUBLISH; ``packet_id`` counts where the QoS is not 0."""
    body = text(topic)
    if qos:
        body += packet_id.to_bytes(2, "big")
    if version == V5:
        body += properties(props)
    return packet(PUBLISH, dup << 3 | qos << 1 | retain, body + payload)


def ack(kind: int, packet_id: int, version: int = V311, reason: int = 0, props: Properties | None = None) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""
    body = packet_id.to_bytes(2, "big")
    if version == V5 and (reason or props):
        body += bytes([reason]) + (properties(props) if props else b"")
    return packet(kind, 2 if kind == PUBREL else 0, body)


def subscribe(
    version: int,
    packet_id: int,
    filters: Iterable[tuple[str | bytes, int]],
    props: Properties | bytes | None = None,
    flags: int = 2,
) -> bytes:
    """SUBSCRIBE; with each filter goes its options byte."""
    body = packet_id.to_bytes(2, "big")
    if version == V5:
        body += properties(props)
    return packet(SUBSCRIBE, flags, body + b"".join(text(name) + bytes([options]) for name, options in filters))


def unsubscribe(version: int, packet_id: int, filters: Iterable[str | bytes], flags: int = 2) -> bytes:
    """UNSUBSCRIBE."""
    body = packet_id.to_bytes(2, "big")
    if version == V5:
        body += properties(None)
    return packet(UNSUBSCRIBE, flags, body + b"".join(map(text, filters)))


def disconnect(version: int, reason: int = 0, props: Properties | bytes | None = None) -> bytes:
    """DISCONNECT."""
    if version == V5 and (reason or props):
        return packet(DISCONNECT, 0, bytes([reason]) + properties(props))
    return packet(DISCONNECT, 0)


def pingreq() -> bytes:
    """PINGREQ."""
    return packet(PINGREQ, 0)


# ---- reading ----


@dataclass(frozen=True)
class Connack:
    """`code` is the reason code (5.0) or the return code (3.1.1)."""

    session_present: bool
    code: int
    properties: dict[str, Any]


@dataclass(frozen=True)
class Publish:
    """`packet_id` is None at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int | None
    properties: dict[str, Any]


@dataclass(frozen=True)
class Ack:
    """PUBACK, PUBREC, PUBREL or PUBCOMP, told apart by `kind`."""

    kind: int
    packet_id: int
    reason: int = 0
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suback:
    """One code for each filter."""

    packet_id: int
    codes: list[int]
    properties: dict[str, Any]


@dataclass(frozen=True)
class Unsuback:
    """One code for each filter; none in 3.1.1."""

    packet_id: int
    codes: list[int]
    properties: dict[str, Any]


@dataclass(frozen=True)
class Pingresp:
    """PINGRESP."""


@dataclass(frozen=True)
class Disconnect:
    """From a server only in 5.0."""

    reason: int
    properties: dict[str, Any]


@dataclass(frozen=True)
class Auth:
    """AUTH, only in 5.0."""

    reason: int
    properties: dict[str, Any]


Packet = Connack | Publish | Ack | Suback | Unsuback | Pingresp | Disconnect | Auth

MAX_VARINT_BYTES = 4


def split(data: bytes | bytearray) -> tuple[int, int, bytes, int] | None:
    """Type, flags, body and whole length of the first packet of ``data``; None while it is incomplete."""
    length = shift = 0
    for at in range(1, len(data)):
        length |= (data[at] & 0x7F) << shift
        shift += 7
        if not data[at] & 0x80:
            if at > 1 and data[at] == 0:
                raise Malformed("a remaining length that is longer than it need be (1.5.5-1)")
            end = at + 1 + length
            return (data[0] >> 4, data[0] & 15, bytes(data[at + 1 : end]), end) if len(data) >= end else None
        if at == MAX_VARINT_BYTES:
            raise Malformed("a remaining length of five bytes")
    return None


class _Body:
    """A cursor over a packet's body."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise Malformed(f"a packet ends early: {self.data.hex()}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def text(self) -> str:
        try:
            return self.take(self.number(2)).decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"a string that is not UTF-8: {error}") from None

    def properties(self, kind: int) -> dict[str, Any]:
        block = _Body(self.take(self.varint()))
        found: dict[str, Any] = {}
        while block.left:
            number = block.varint()
            if number not in _NAMES or _NAMES[number][0] not in _ALLOWED[kind]:
                raise Malformed(f"property 0x{number:02x} in a packet of type {kind}")
            name, shape = _NAMES[number]
            value: Any
            if shape in _SIZES:
                value = block.number(_SIZES[shape])
            elif shape == "varint":
                value = block.varint()
            elif shape == "pair":
                value = (block.text(), block.text())
            elif shape == "bytes":
                value = block.take(block.number(2))
            else:
                value = block.text()
            if name in _REPEATED:
                found.setdefault(name, []).append(value)
            elif name in found:
                raise Malformed(f"{name} twice")
            else:
                found[name] = value
        return found


def read(kind: int, flags: int, data: bytes, version: int) -> Packet:
    """The packet of this body. Raises `Malformed`."""
    v5 = version == V5
    body = _Body(data)
    if flags != (2 if kind == PUBREL else 0) and kind != PUBLISH:
        raise Malformed(f"flags {flags} in a packet of type {kind}")
    result: Packet
    if kind == CONNACK:
        acknowledge = body.number(1)
        if acknowledge & ~1:
            raise Malformed("reserved bits in the flags of CONNACK (3.2.2-1)")
        result = Connack(bool(acknowledge), body.number(1), body.properties(kind) if v5 else {})
    elif kind == PUBLISH:
        result = _publish(flags, body, v5)
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        packet_id = body.number(2)
        reason = body.number(1) if v5 and body.left else 0
        result = Ack(kind, packet_id, reason, body.properties(kind) if v5 and body.left else {})
    elif kind == SUBACK:
        result = Suback(body.number(2), *_codes(kind, body, v5))
    elif kind == UNSUBACK:
        result = Unsuback(body.number(2), *_codes(kind, body, v5))
    elif kind == PINGRESP:
        result = Pingresp()
    elif kind == DISCONNECT and v5:
        reason = body.number(1) if body.left else 0
        result = Disconnect(reason, body.properties(kind) if body.left else {})
    elif kind == AUTH and v5:
        result = Auth(body.number(1) if body.left else 0, body.properties(kind) if body.left else {})
    else:
        raise Malformed(f"a packet of type {kind} from a server")
    if body.left:
        raise Malformed(f"{body.left} bytes too many in {result!r}")
    return result


def _publish(flags: int, body: _Body, v5: bool) -> Publish:
    qos = flags >> 1 & 3
    if qos == 3 or (qos == 0 and flags & 8):
        raise Malformed(f"flags {flags} in PUBLISH (3.3.1-2, 3.3.1-4)")
    topic = body.text()
    packet_id = body.number(2) if qos else None
    if packet_id == 0:
        raise Malformed("a packet identifier of 0 (2.2.1-4)")
    found = body.properties(PUBLISH) if v5 else {}
    if any(character in topic for character in "+#\0") or (not topic and "topic_alias" not in found):
        raise Malformed(f"a topic that is none: {topic!r} (3.3.2-2, 4.7.3-1)")
    return Publish(topic, body.take(body.left), qos, bool(flags & 1), bool(flags & 8), packet_id, found)


def _codes(kind: int, body: _Body, v5: bool) -> tuple[list[int], dict[str, Any]]:
    found = body.properties(kind) if v5 else {}
    return list(body.take(body.left)), found
