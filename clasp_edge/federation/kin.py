"""What two clasp-edges say to each other beyond the protocol: who they are, whence writes come, how far they were read.

Four operations of FEDERATION_SYNC that are ours (docs/federation.md), sent only after WELCOME has shown that the other
end is a clasp-edge too. Builds and reads them; knows no session.

- PEER: `origin` the router's id, `since_revision` its instance (when its process started, in microseconds), `patterns`
  what it owns; `link` tells several links of one router apart.
- ROUTE: the next `count` SETs and PUBLISHes stem from `origin`, where the first has the number `since_revision` in
  `epoch` (0: none of them has one), and have passed `hops` routers.
- CHECKPOINT asks for REACHED with the same number once everything before it has been dealt with; from a router in
  strict mode (PEER's `strict`) STORED with that number follows when its journal has it.
- LIFETIMES, before a SNAPSHOT that answers RequestSync: `revisions` are the ttl words (wire.md 2.3, SET) that give its
  params the life they have there.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from clasp_edge.federation.origin import Route
from clasp_edge.wire import FederationOp, FederationSync, MessageType, encode, encode_frame

MAX_RUN = 65_535
"""Messages announced by one ROUTE; bounds what its reader has to remember."""

_TEXT = struct.Struct(">H")
_RUN = struct.Struct(">BBHH H5sQ H5sQ H4sQ BQ")
_POINT = struct.Struct(">BBHHBQ")
_HAS_SINCE, _HAS_ORIGIN = 0x80, 0x40


def peer_frame(router_id: str, instance: int, owns: Sequence[str], *, strict: bool = False, link: int = 0) -> bytes:
    """PEER."""
    told = {"strict": 1} if strict else {}
    if link:
        told["link"] = link
    return encode(FederationSync(FederationOp.PEER, tuple(owns), told, instance, router_id))


def route_frame(route: Route, first: int, count: int) -> bytes:
    """ROUTE. The same bytes that the codec makes, at a tenth of its cost: one goes before every run of writes."""
    origin = route.origin.encode()
    return encode_frame(
        _RUN.pack(
            MessageType.FEDERATION_SYNC, FederationOp.ROUTE, 0, 3, 5, b"count", count, 5, b"epoch", route.epoch,
            4, b"hops", route.hops, _HAS_SINCE | _HAS_ORIGIN, first,
        )
        + _TEXT.pack(len(origin)) + origin
    )  # fmt: skip


def read_route(message: FederationSync) -> tuple[Route, int, int]:
    """`(route, first, count)` of a ROUTE. Raises ValueError with what is wrong with it."""
    told = message.revisions
    count, epoch, hops = told.get("count", 0), told.get("epoch", 0), told.get("hops", 0)
    if not message.origin or not 0 < count <= MAX_RUN:
        raise ValueError("a ROUTE without origin, or with a count that none has")
    return Route(message.origin, epoch, hops), message.since_revision or 0, count


def checkpoint_frame(number: int) -> bytes:
    """CHECKPOINT."""
    return _point(FederationOp.CHECKPOINT, number)


def lifetimes_frame(lifetimes: Mapping[str, int]) -> bytes:
    """LIFETIMES."""
    return encode(FederationSync(FederationOp.LIFETIMES, revisions=lifetimes))


def reached_frame(number: int) -> bytes:
    """REACHED."""
    return _point(FederationOp.REACHED, number)


def stored_frame(number: int) -> bytes:
    """STORED."""
    return _point(FederationOp.STORED, number)


def _point(op: FederationOp, number: int) -> bytes:
    return encode_frame(_POINT.pack(MessageType.FEDERATION_SYNC, op, 0, 0, _HAS_SINCE, number))
