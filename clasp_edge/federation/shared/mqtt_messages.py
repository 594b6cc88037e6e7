"""What goes before a write to a neighbour that knows of MQTT: the frames that tell the message it was published as.

A write and what is said of it travel through the sender as one bytes object, the write's frame last; this takes them
apart. The frames themselves are the data plane's (dataplane/mqtt_details.pyx). Knows no link.
"""

from __future__ import annotations

from collections.abc import Iterator

from clasp_edge.dataplane.mqtt_details import logged_details
from clasp_edge.journal.cursors import Logged
from clasp_edge.journal.format import NO_EXPIRY
from clasp_edge.wire import MessageType
from clasp_edge.wire.frame import HEADER_BYTES


def frames_of(told: bytes) -> Iterator[bytes]:
    """The frames one by one."""
    at = 0
    while told[at + HEADER_BYTES] == MessageType.FEDERATION_SYNC:
        end = at + HEADER_BYTES + int.from_bytes(told[at + 2 : at + HEADER_BYTES], "big")
        yield told[at:end]
        at = end
    yield told[at:] if at else told


def split(told: bytes) -> tuple[bytes, bytes]:
    """What is said of the write, perhaps nothing; and the write's frame."""
    at = 0
    while told[at + HEADER_BYTES] == MessageType.FEDERATION_SYNC:
        at += HEADER_BYTES + int.from_bytes(told[at + 2 : at + HEADER_BYTES], "big")
    return told[:at], told[at:] if at else told


def details_of_record(record: Logged, waited_s: int) -> bytes | None:
    """What is said of a logged write that has waited for so long; None where its time is over."""
    own = record.own
    if own is None:
        return b""
    expiry_s = own.expiry_s
    if expiry_s != NO_EXPIRY:
        expiry_s -= waited_s
        if expiry_s <= 0:
            return None
    return logged_details(own.properties, own.payload, expiry_s, own.qos, own.retain)
