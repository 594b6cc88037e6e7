"""The properties of MQTT 5.0 packets (2.2.2): which there are, how each is written, which packet may carry it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, TypeAlias

from clasp_edge.devices.mqtt.codec.primitives import Reader, put_binary, put_text, put_varint
from clasp_edge.devices.mqtt.codec.reason import MqttError, Reason, malformed, protocol_error
from clasp_edge.devices.mqtt.codec.types import PacketType


class Property(IntEnum):
    """Identifiers (table 2-4)."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


Properties: TypeAlias = Mapping[int, Any]
"""By identifier. Numbers are int, strings str, binary data bytes; user properties a list of pairs, subscription
identifiers a list of int."""

WILL = 0
"""Stands for "will properties" among the packet types."""

_P = PacketType
_MESSAGE = (_P.PUBLISH, WILL)
_ACKS = (_P.PUBACK, _P.PUBREC, _P.PUBREL, _P.PUBCOMP)
_ANSWERS = (_P.CONNACK, *_ACKS, _P.SUBACK, _P.UNSUBACK, _P.DISCONNECT, _P.AUTH)
_ALL = (*_ANSWERS, _P.CONNECT, _P.PUBLISH, WILL, _P.SUBSCRIBE, _P.UNSUBSCRIBE)

# identifier: (kind, packets). Kinds: a number of bytes, "varint", "text", "binary", "pair".
_TABLE: dict[int, tuple[int | str, tuple[int, ...]]] = {
    Property.PAYLOAD_FORMAT_INDICATOR: (1, _MESSAGE),
    Property.MESSAGE_EXPIRY_INTERVAL: (4, _MESSAGE),
    Property.CONTENT_TYPE: ("text", _MESSAGE),
    Property.RESPONSE_TOPIC: ("text", _MESSAGE),
    Property.CORRELATION_DATA: ("binary", _MESSAGE),
    Property.SUBSCRIPTION_IDENTIFIER: ("varint", (_P.PUBLISH, _P.SUBSCRIBE)),
    Property.SESSION_EXPIRY_INTERVAL: (4, (_P.CONNECT, _P.CONNACK, _P.DISCONNECT)),
    Property.ASSIGNED_CLIENT_IDENTIFIER: ("text", (_P.CONNACK,)),
    Property.SERVER_KEEP_ALIVE: (2, (_P.CONNACK,)),
    Property.AUTHENTICATION_METHOD: ("text", (_P.CONNECT, _P.CONNACK, _P.AUTH)),
    Property.AUTHENTICATION_DATA: ("binary", (_P.CONNECT, _P.CONNACK, _P.AUTH)),
    Property.REQUEST_PROBLEM_INFORMATION: (1, (_P.CONNECT,)),
    Property.WILL_DELAY_INTERVAL: (4, (WILL,)),
    Property.REQUEST_RESPONSE_INFORMATION: (1, (_P.CONNECT,)),
    Property.RESPONSE_INFORMATION: ("text", (_P.CONNACK,)),
    Property.SERVER_REFERENCE: ("text", (_P.CONNACK, _P.DISCONNECT)),
    Property.REASON_STRING: ("text", _ANSWERS),
    Property.RECEIVE_MAXIMUM: (2, (_P.CONNECT, _P.CONNACK)),
    Property.TOPIC_ALIAS_MAXIMUM: (2, (_P.CONNECT, _P.CONNACK)),
    Property.TOPIC_ALIAS: (2, (_P.PUBLISH,)),
    Property.MAXIMUM_QOS: (1, (_P.CONNACK,)),
    Property.RETAIN_AVAILABLE: (1, (_P.CONNACK,)),
    Property.USER_PROPERTY: ("pair", _ALL),
    Property.MAXIMUM_PACKET_SIZE: (4, (_P.CONNECT, _P.CONNACK)),
    Property.WILDCARD_SUBSCRIPTION_AVAILABLE: (1, (_P.CONNACK,)),
    Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: (1, (_P.CONNACK,)),
    Property.SHARED_SUBSCRIPTION_AVAILABLE: (1, (_P.CONNACK,)),
}

MAX_REPEATED = 128
"""User properties of one packet: a millisecond of work. Whoever may not even log in can send 13,000 of them."""

_NEVER_ZERO = frozenset({Property.RECEIVE_MAXIMUM, Property.MAXIMUM_PACKET_SIZE, Property.SUBSCRIPTION_IDENTIFIER})


def read_properties(reader: Reader, packet: int) -> dict[int, Any]:
    """The property section at the reader's position. Raises MqttError."""
    size = reader.varint("property length")
    if size > reader.left():
        raise malformed("the properties are longer than the packet")
    inner = Reader(reader.data, reader.pos, reader.pos + size)
    reader.pos += size
    found: dict[int, Any] = {}
    while inner.left():
        # Formally a variable byte integer; all that are defined take one byte (2.2.2.2).
        number = inner.varint("property identifier")
        kind, packets = _TABLE.get(number, (0, ()))
        if packet not in packets:
            raise (
                protocol_error(f"property 0x{number:02X} does not belong here")
                if packets
                else malformed(f"there is no property 0x{number:02X}")
            )
        value = _read_value(inner, kind)
        if value == 0 and number in _NEVER_ZERO:
            raise protocol_error(f"property 0x{number:02X} is 0")
        if kind == 1 and value > 1:
            raise protocol_error(f"property 0x{number:02X} is neither 0 nor 1")
        if number == Property.USER_PROPERTY or (number == Property.SUBSCRIPTION_IDENTIFIER and packet == _P.PUBLISH):
            values = found.setdefault(number, [])
            values.append(value)
            if len(values) > MAX_REPEATED:
                raise MqttError(Reason.QUOTA_EXCEEDED, f"more than {MAX_REPEATED} properties 0x{number:02X}")
        elif number in found:
            raise protocol_error(f"property 0x{number:02X} is there twice")
        else:
            found[number] = [value] if number == Property.SUBSCRIPTION_IDENTIFIER else value
    return found


def _read_value(reader: Reader, kind: int | str) -> Any:
    if isinstance(kind, int):
        return reader.number(kind, "properties")
    if kind == "varint":
        return reader.varint("properties")
    if kind == "binary":
        return reader.binary("properties")
    if kind == "text":
        return reader.text("properties")
    return reader.text("properties"), reader.text("properties")


def put_property(number: int, value: Any) -> bytes:
    """One property, or all of a list. Raises ValueError or OverflowError for a value out of range."""
    kind, _ = _TABLE[number]
    if isinstance(value, list):
        return b"".join(put_property(number, item) for item in value)
    head = bytes((number,))
    if isinstance(kind, int):
        return head + int(value).to_bytes(kind, "big")
    if kind == "varint":
        return head + put_varint(value)
    if kind == "binary":
        return head + put_binary(value)
    if kind == "text":
        return head + put_text(value)
    return head + put_text(value[0]) + put_text(value[1])


def put_properties(properties: Properties) -> bytes:
    """The whole section with its length."""
    body = b"".join(put_property(number, value) for number, value in properties.items())
    return put_varint(len(body)) + body
