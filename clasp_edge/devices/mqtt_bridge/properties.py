"""The properties of a message that goes out: those of its publisher, which are passed on, and ours beside them.

In the encoded form that the router passes on (5.0, 3.3.2.3); `flow` takes ours out of what arrives. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from clasp_edge.devices.daemon import VIA
from clasp_edge.devices.mqtt.codec import PacketType, Property
from clasp_edge.devices.mqtt.codec.primitives import Reader, put_varint
from clasp_edge.devices.mqtt.codec.properties import put_property, read_properties
from clasp_edge.devices.mqtt_bridge.envelope import MAX_ORIGIN
from clasp_edge.devices.mqtt_bridge.events import NO_EXPIRY, Arrived, Outgoing

SIGNAL = "clasp-edge-signal"
VERSION = "clasp-edge-version"
AGAIN = "clasp-edge-again"
"""User properties, beside `VIA`: the signal it was in CLASP, and as `versions` has it."""

_MARK = bytes((Property.USER_PROPERTY, 0, len(VIA))) + VIA.encode()

BINARY = "application/octet-stream"
_BYTES = put_property(Property.CONTENT_TYPE, BINARY)


@lru_cache(maxsize=256)
def _where_from(via: tuple[str, ...], signal: str) -> bytes:
    return put_property(Property.USER_PROPERTY, [(VIA, ",".join(via)), (SIGNAL, signal)])


def server_in(pairs: Iterable[tuple[str, str]]) -> str:
    """Of a CONNACK's user properties: the id of the clasp-edge whose MQTT server it is, "" without one. What cannot be
    an id (any broker may say anything) would be written into each message that comes from there."""
    said = next((value for name, value in pairs if name == VIA), "")
    return said if len(said) <= MAX_ORIGIN and "," not in said else ""


@lru_cache(maxsize=256)
def trail(via: tuple[str, ...]) -> bytes:
    """For what has come from the MQTT server of another clasp-edge and is told by our own."""
    return put_property(Property.USER_PROPERTY, (VIA, ",".join(via)))


def passed_by(encoded: bytes) -> tuple[tuple[str, ...], bytes]:
    """Of a message that an MQTT client of this router has published: the daemons that it has passed, if that client was
    a bridge, and the properties without ours."""
    if _MARK not in encoded:
        return (), encoded
    found = dict(read_properties(Reader(put_varint(len(encoded)) + encoded), PacketType.PUBLISH))
    pairs = found.pop(Property.USER_PROPERTY, [])
    via = [value for name, value in pairs if name == VIA]
    if kept := [pair for pair in pairs if pair[0] not in (VIA, SIGNAL, VERSION, AGAIN)]:
        found[Property.USER_PROPERTY] = kept
    properties = b"".join(put_property(number, value) for number, value in found.items())
    return tuple(via[-1].split(",")) if via else (), properties


def is_value_of_bytes(message: Arrived) -> bool:
    """Whether it was bytes in CLASP at another clasp-edge. What an MQTT client has said of its bytes (where to answer,
    a name, how long they count) is to arrive with them, and no value has room for that."""
    said_alone = message.properties in (_BYTES, _BYTES + trail(message.via))
    return message.binary and message.signal != "" and said_alone


def of_publish(message: Outgoing) -> bytes:
    """Of a message that goes out: its publisher's and ours. Raises ValueError for what does not fit."""
    encoded = _where_from(message.via, message.signal)
    if message.properties:
        encoded = message.properties + encoded
    elif message.binary:
        encoded += _BYTES
    if message.expiry_s != NO_EXPIRY:
        encoded += put_property(Property.MESSAGE_EXPIRY_INTERVAL, message.expiry_s)
    if message.version:
        encoded += put_property(Property.USER_PROPERTY, (VERSION, str(message.version)))
    if message.again:
        encoded += put_property(Property.USER_PROPERTY, (AGAIN, "1"))
    return encoded
