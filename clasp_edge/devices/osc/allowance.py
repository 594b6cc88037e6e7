"""What an address that has asked by a datagram may be sent: the source of a datagram can be forged, so a router that
answers at length would be an amplifier.

Until the address has renewed what it asked for, it is sent at most `AMPLIFICATION` times the bytes that it has sent
itself (as QUIC does, RFC 9000, 8.1); after that, so many bytes a second. Knows no subscription.
"""

from __future__ import annotations

from collections.abc import Callable

from clasp_edge.devices.osc.byte_rate import ByteRate
from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.links import Link
from clasp_edge.devices.osc.source import Source

AMPLIFICATION = 3

DATAGRAM_HEAD_BYTES = 28
"""IPv4 and UDP headers, counted both ways."""

BURST_S = 1.0
"""Of what it may have each second."""


class Allowance:
    """A `links.Link` to where `source` wants its values, which may be another port of its host. `withheld`: something
    was not sent because the source has not been confirmed."""

    def __init__(
        self, link: Link, source: Source, bytes_per_second: int, now_s: Callable[[], float], counters: Counters
    ) -> None:
        self.source = source
        self.withheld = False
        self._link = link
        self._rate = ByteRate(bytes_per_second, BURST_S, now_s)
        self._counters = counters

    @property
    def room(self) -> int | None:
        """Bytes that one more packet may have; None where the source is confirmed."""
        source = self.source
        if source.confirmed:
            return None
        return int(AMPLIFICATION * source.received_bytes - source.answered_bytes - DATAGRAM_HEAD_BYTES)

    def send(self, packet: bytes) -> bool:
        """As `Link.send`. What an address that is not confirmed may not have is dropped and counted; what is too much
        in this second waits."""
        size = len(packet) + DATAGRAM_HEAD_BYTES
        if (room := self.room) is not None:
            if len(packet) > room:
                self.withheld = True
                self._counters.withheld += 1
                return True
            self.source.answered_bytes += size
        else:
            if not self._rate.has_room():
                return False
            self._rate.sent(size)
        return self._link.send(packet)
