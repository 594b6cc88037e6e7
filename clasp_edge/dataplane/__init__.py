"""The compiled fast path: frames, params, subscriptions, outboxes, the arena.

What the control plane sees of it: `Core` (arena and pass clock), `Plane` (state and fan-out), `ClaspReceiver` (a
client's connection), `Subscription`, and the numbers that cross the border between the two.
"""

from clasp_edge.dataplane.adapter import Adapter, RawAdapter
from clasp_edge.dataplane.clasp_receiver import ClaspReceiver
from clasp_edge.dataplane.core import Core
from clasp_edge.dataplane.outbox import Outbox
from clasp_edge.dataplane.plane import Plane
from clasp_edge.dataplane.ring import Ring
from clasp_edge.dataplane.sink import Sink
from clasp_edge.dataplane.trie import Subscription, Trie
from clasp_edge.dataplane.verdicts import Framing, Route, Strategy, Verdict

__all__ = [
    "Adapter",
    "ClaspReceiver",
    "Core",
    "Framing",
    "Outbox",
    "Plane",
    "RawAdapter",
    "Ring",
    "Route",
    "Sink",
    "Strategy",
    "Subscription",
    "Trie",
    "Verdict",
]
