"""The numbers that data plane and control plane exchange, with names. A test compares them with the compiled ones."""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """What became of a write (verdict.pxd)."""

    ACCEPTED = 0
    BAD_ADDRESS = 1
    NO_SCOPE = 2
    REVISION_CONFLICT = 3
    LOCK_HELD = 4
    STRATEGY_REJECTED = 5
    AT_CAPACITY = 6
    TOO_LARGE = 7
    CONTROL_PLANE = 8
    OUTDATED = 9
    FROM_FUTURE = 10


class Strategy(IntEnum):
    """How a param settles concurrent writes (table.pxd; wire.md 5.1)."""

    LWW = 0
    MAX = 1
    MIN = 2
    LOCK = 3
    MERGE = 4


class Route(IntEnum):
    """Who handles publishes to an address (table.pxd)."""

    PLAIN = 0
    P2P = 1


class Framing(IntEnum):
    """How frames are delimited on the peer's transport (clasp_sender.pxd)."""

    WS = 0
    TCP = 1
    QUIC = 2
