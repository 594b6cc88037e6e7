"""A message through the data plane from end to end, to know that messages are routed.

Goes the way of every message: gate, one lookup, fan-out, end of the pass. Nothing of it is stored, and only who asks
for its address without wildcards sees it (`dataplane.trie`).
"""

from __future__ import annotations

from clasp_edge.dataplane import Adapter, Plane, Sink, Subscription
from clasp_edge.dataplane.reserved import ONLY_BY_NAME
from clasp_edge.wire import Publish, SignalType, decode
from clasp_edge.wire.compact import encode_payload
from clasp_edge.wire.pattern import Pattern

ADDRESS = ONLY_BY_NAME + b"probe"

WRITER = b"clasp-edge"


class _Ear(Adapter):
    """Hears the probe."""

    heard = -1

    def on_deliveries(self, deliveries: list[tuple[Sink, int, bytes]]) -> None:
        for _, _, frame in deliveries:
            message = decode(frame)[1]
            if isinstance(message, Publish) and isinstance(message.value, int):
                self.heard = message.value


class Probe:
    """`passes` once in a while, between two passes of the data plane."""

    def __init__(self, plane: Plane) -> None:
        self._number = 0
        self._mouth, self._ear = Adapter(plane), _Ear(plane)
        self._mouth.reserved = True
        for party in (self._mouth, self._ear):
            plane.register(party, WRITER)
        plane.trie.add(Subscription(self._ear, 0, Pattern(ADDRESS), 1 << SignalType.STREAM))

    def passes(self) -> bool:
        """Whether a message that is published now arrives, and is the one."""
        self._number += 1
        # A stream sample: it is in no history, and by default in no log.
        self._mouth.publish(encode_payload(Publish(ADDRESS.decode(), SignalType.STREAM, value=self._number)), ADDRESS)
        return self._ear.heard == self._number
