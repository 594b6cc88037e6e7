"""SETs that wait in a backlog for a router that knows versions: how they lie there, and what they are when sent.

A version behind a SET says what stands (dataplane/state.pxd); what has waited may be a value of the past by then.
"""

from __future__ import annotations

from clasp_edge.federation.shared.mqtt_messages import split
from clasp_edge.federation.shared.relay import Relay
from clasp_edge.federation.shared.unpack import set_parts
from clasp_edge.wire import MessageType
from clasp_edge.wire.frame import HEADER_BYTES

VERSION_BYTES = 16
PAST = b"\xff" * 8 + bytes(8)
"""In place of the version of a value of the past."""

GONE_TTL = 0x8000_0000
"""A SET to null with this ttl: the param was cleared (relay.pyx)."""

HAS_REVISION, LOCKS, HAS_TTL = 0x80, 0x60, 0x10
"""In the flags of a SET (wire.md 2.3), its second byte."""

FLAGS_AT = HEADER_BYTES + 1


def bare_frame(frame: bytes) -> bytes:
    """A SET's frame without its version, and without the state that it is a change of: what stands then may be another
    one, and whoever has it locked now may not have then."""
    details, frame = split(frame)
    payload = frame[HEADER_BYTES:-VERSION_BYTES]
    if payload[1] & (HAS_REVISION | LOCKS):
        kept, flags = bytes(payload), payload[1] & ~(HAS_REVISION | LOCKS) & 0xFF
        if kept[1] & HAS_REVISION:
            end = len(kept) - (4 if kept[1] & HAS_TTL else 0)
            kept = kept[: end - 8] + kept[end:]
        payload = kept[:1] + bytes((flags,)) + kept[2:]
    return details + frame[:2] + len(payload).to_bytes(2, "big") + payload


def versioned_frame(relay: Relay, frame: bytes) -> bytes:
    """A frame from the backlog as `relay`'s neighbour is told it: a SET as what stands, or as a value of the past."""
    details, frame = split(frame)
    if frame[HEADER_BYTES] != MessageType.SET:
        return details + frame
    address, value_type, value, _, ttl = set_parts(frame[HEADER_BYTES:])
    held, version = relay.held(address), PAST
    stands = ttl == GONE_TTL if held is None else held[:2] == (value_type, value)
    if stands and (known := relay.version(address)) is not None:
        if relay.tells_mqtt and not details and (image := relay.image(address)) is not None:
            return image  # the log does not know whether it is retained
        version = known[1].to_bytes(8, "big") + known[0].to_bytes(8, "big")
        flags = frame[FLAGS_AT] | relay.lock_flags(address)
        frame = frame[:FLAGS_AT] + bytes((flags,)) + frame[FLAGS_AT + 1 :]
    size = int.from_bytes(frame[2:HEADER_BYTES], "big") + VERSION_BYTES
    return details + frame[:2] + size.to_bytes(2, "big") + frame[HEADER_BYTES:] + version
