"""The properties of a bridged message: those of its publisher, which are passed on, and ours beside them.

Between paho's objects and the encoded form that the router passes on (5.0, 3.3.2.3). Pure functions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from clasp_edge.devices.mqtt.codec import Property
from clasp_edge.devices.mqtt.codec.primitives import put_varint
from clasp_edge.devices.mqtt.codec.properties import put_property
from clasp_edge.devices.mqtt_bridge.events import NO_EXPIRY, Outgoing

VIA = "clasp-edge-via"
SIGNAL = "clasp-edge-signal"
VERSION = "clasp-edge-version"
AGAIN = "clasp-edge-again"
"""User properties: the daemons a message has passed, the signal it was in CLASP, and as `versions` has it."""

OURS = frozenset({VIA, SIGNAL, VERSION, AGAIN})

BINARY = "application/octet-stream"

_NAMES = {
    Property.PAYLOAD_FORMAT_INDICATOR: "PayloadFormatIndicator",
    Property.CONTENT_TYPE: "ContentType",
    Property.RESPONSE_TOPIC: "ResponseTopic",
    Property.CORRELATION_DATA: "CorrelationData",
}


def passed_on(properties: Any) -> bytes:
    """The encoded properties of a message that has arrived, without ours."""
    if properties is None:
        return b""
    encoded = b"".join(
        put_property(number, getattr(properties, name)) for number, name in _NAMES.items() if hasattr(properties, name)
    )
    users = [pair for pair in getattr(properties, "UserProperty", ()) if pair[0] not in OURS]
    return encoded + put_property(Property.USER_PROPERTY, users)


class Packed:
    """In place of paho's `Properties`, of which publishing asks this alone: made from bytes, not from objects."""

    __slots__ = ("_bytes",)

    def __init__(self, encoded: bytes) -> None:
        self._bytes = put_varint(len(encoded)) + encoded

    def pack(self) -> bytes:
        """The section with its length."""
        return self._bytes


@lru_cache(maxsize=256)
def _where_from(via: tuple[str, ...], signal: str) -> bytes:
    return put_property(Property.USER_PROPERTY, [(VIA, ",".join(via)), (SIGNAL, signal)])


def of_publish(message: Outgoing) -> Packed:
    """The properties of a message that goes out: its publisher's and ours."""
    encoded = message.properties
    if message.expiry_s != NO_EXPIRY:
        encoded += put_property(Property.MESSAGE_EXPIRY_INTERVAL, message.expiry_s)
    if message.binary and not message.properties:
        encoded += put_property(Property.CONTENT_TYPE, BINARY)
    encoded += _where_from(message.via, message.signal)
    if message.version:
        encoded += put_property(Property.USER_PROPERTY, (VERSION, str(message.version)))
    if message.again:
        encoded += put_property(Property.USER_PROPERTY, (AGAIN, "1"))
    return Packed(encoded)
