"""The properties of a message that goes out: those of its publisher, which are passed on, and ours beside them.

In the encoded form that the router passes on (5.0, 3.3.2.3); `flow` takes ours out of what arrives. Pure functions.
"""

from __future__ import annotations

from functools import lru_cache

from clasp_edge.devices.mqtt.codec import Property
from clasp_edge.devices.mqtt.codec.properties import put_property
from clasp_edge.devices.mqtt_bridge.events import NO_EXPIRY, Outgoing

VIA = "clasp-edge-via"
SIGNAL = "clasp-edge-signal"
VERSION = "clasp-edge-version"
AGAIN = "clasp-edge-again"
"""User properties: the daemons a message has passed, the signal it was in CLASP, and as `versions` has it."""

BINARY = "application/octet-stream"


@lru_cache(maxsize=256)
def _where_from(via: tuple[str, ...], signal: str) -> bytes:
    return put_property(Property.USER_PROPERTY, [(VIA, ",".join(via)), (SIGNAL, signal)])


def of_publish(message: Outgoing) -> bytes:
    """Of a message that goes out: its publisher's and ours. Raises ValueError for what does not fit."""
    encoded = _where_from(message.via, message.signal)
    if message.properties:
        encoded = message.properties + encoded
    elif message.binary:
        encoded += put_property(Property.CONTENT_TYPE, BINARY)
    if message.expiry_s != NO_EXPIRY:
        encoded += put_property(Property.MESSAGE_EXPIRY_INTERVAL, message.expiry_s)
    if message.version:
        encoded += put_property(Property.USER_PROPERTY, (VERSION, str(message.version)))
    if message.again:
        encoded += put_property(Property.USER_PROPERTY, (AGAIN, "1"))
    return encoded
