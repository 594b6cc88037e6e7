"""What a client makes the engine send beside the stream: the engine answers every PATH_CHALLENGE at once, past its own
congestion control, with several times the bytes, and keeps each answer until it is acknowledged.

Knows no connection.
"""

from __future__ import annotations

MOST_BESIDE_BYTES = 24_576
"""Bytes under way, acknowledged by nobody, beyond what was handed to the engine: two first congestion windows. Where
they are answers of 36 bytes the engine takes 200 KB for them."""

MOST_UNASKED_BYTES = 262_144
"""Bytes sent without cause, ever."""

PER_WRITTEN = 6
"""Bytes of packets for a byte of the stream: small messages in packets of their own, half of which are lost."""

PER_READ = 1.5
"""For a byte that has come: acknowledgements with many ranges."""


class Answers:
    """Of one connection, once its handshake is over."""

    __slots__ = ("_unasked",)

    def __init__(self) -> None:
        self._unasked = 0.0

    def came(self, size: int) -> None:
        """Bytes of datagrams."""
        self._unasked -= PER_READ * size

    def written(self, size: int) -> None:
        """Bytes of the stream."""
        self._unasked -= PER_WRITTEN * size

    def too_many(self, sent: int, in_flight: int, handed: int) -> bool:
        """Whether, with so many bytes sent now, the client is one that has things sent for their own sake. `handed`:
        bytes that the engine may have of the stream."""
        self._unasked = max(0.0, self._unasked + sent)
        return self._unasked > MOST_UNASKED_BYTES or in_flight > handed + MOST_BESIDE_BYTES
