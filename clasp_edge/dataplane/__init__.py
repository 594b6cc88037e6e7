"""The compiled fast path: frames, params, subscriptions, outboxes, the arena.

What the control plane sees of it: `Core` (arena and pass clock), `Plane` (state and fan-out), `Peer` (a client's
connection), `Subscription`, and the numbers that cross the border between the two.
"""

from clasp_edge.dataplane.adapter import Adapter
from clasp_edge.dataplane.outlet import Core, Outlet, Sink
from clasp_edge.dataplane.peer import Peer
from clasp_edge.dataplane.plane import Plane
from clasp_edge.dataplane.relay import Relay
from clasp_edge.dataplane.ring import Ring
from clasp_edge.dataplane.trie import Subscription, Trie
from clasp_edge.dataplane.verdicts import Framing, Route, Strategy, Verdict

__all__ = [
    "Adapter",
    "Core",
    "Framing",
    "Outlet",
    "Peer",
    "Plane",
    "Relay",
    "Ring",
    "Route",
    "Sink",
    "Strategy",
    "Subscription",
    "Trie",
    "Verdict",
]
