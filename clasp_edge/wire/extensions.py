"""How two clasp-edges know each other: WELCOME's federation feature, and over QUIC the name of the protocol.

The reference never sets it and never looks at it (federation.md 2), and the codec passes over it as the reference does.
So it is put in and read here, on the bytes.
"""

from __future__ import annotations

from clasp_edge.wire.enums import FEATURE_BITS
from clasp_edge.wire.frame import HEADER_BYTES

ALPN = "clasp/2"
"""What everybody offers over QUIC (quic.md 1)."""

ALPN_EDGE = "clasp-edge/1"
"""What a clasp-edge offers first: where both ends chose it, both know that the stream is parsed (quic.md 6.7)."""

_FEATURES_AT = 2
"""Of a WELCOME's payload: after type and version (wire.md 2.3)."""


def with_extensions(welcome: bytes) -> bytes:
    """The frame of a WELCOME, telling that its sender is a clasp-edge."""
    at = HEADER_BYTES + _FEATURES_AT
    return welcome[:at] + bytes((welcome[at] | FEATURE_BITS["federation"],)) + welcome[at + 1 :]


def is_edge(payload: bytes) -> bool:
    """Whether the payload of a WELCOME comes from a clasp-edge."""
    return len(payload) > _FEATURES_AT and bool(payload[_FEATURES_AT] & FEATURE_BITS["federation"])
