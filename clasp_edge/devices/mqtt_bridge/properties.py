"""The properties of a bridged message: those of its publisher, which are passed on, and ours beside them.

Between paho's objects and the encoded form that the router passes on (5.0, 3.3.2.3). Pure functions.
"""

from __future__ import annotations

from typing import Any

from clasp_edge.devices.mqtt.codec import Property
from clasp_edge.devices.mqtt.codec.primitives import Reader, put_varint
from clasp_edge.devices.mqtt.codec.properties import put_property, read_properties
from clasp_edge.devices.mqtt.codec.types import PacketType

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


def put_passed_on(properties: Any, encoded: bytes) -> None:
    """Add the encoded properties to those of a message that goes out."""
    if not encoded:
        return
    found = read_properties(Reader(put_varint(len(encoded)) + encoded), PacketType.PUBLISH)
    for number, name in _NAMES.items():
        if number in found:
            setattr(properties, name, found[number])
    for pair in found.get(Property.USER_PROPERTY, ()):
        properties.UserProperty = pair
