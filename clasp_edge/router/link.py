"""What a session needs of the connection it lives on. Transports implement it; the router knows no transport."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol


class CloseCode(IntEnum):
    """Why a connection ends (RFC 6455, 7.4.1). Transports without close codes log the reason instead."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013


class Link(Protocol):
    """One connection."""

    @property
    def remote(self) -> str:
        """The peer's address, for logs."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def ping(self) -> None:
        """Ask the peer for a sign of life at transport level, if there is such a thing."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Tell the peer why, flush what it still takes, and end the connection within a second."""

    def abort(self) -> None:
        """End the connection at once."""
