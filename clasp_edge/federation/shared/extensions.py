"""What two clasp-edges say to each other beyond the protocol: who they are, whence writes come, how far they were read.

Operations of FEDERATION_SYNC that are ours (docs/federation.md), sent only after WELCOME has shown that the other
end is a clasp-edge too. Builds and reads them; knows no session.

- PEER: `origin` the router's id, `since_revision` its instance (when its process started, in microseconds), `patterns`
  what it owns (from a hub: one of the other's that a third router owns as well); `link` tells several links of one
  router apart; `keeps`, from a hub, that it understands FOLLOW; `recalls`, that after a restart, too, it recognises
  what was under policy `log`.
  `served`, from a box: another hub serves it at the moment, which it would leave for this one. `pair`: it is one of a
  pair of hubs (`pair`).
  `heard:` and an epoch of the box in hexadecimal, from a hub: the highest number that it has heard of that, by
  whichever way. The box tells it what follows.
- FOLLOW, before the declaration: the hub is to tell, in order, all messages that are under policy `log` here, those too
  that come while we are away. `revisions` is the table of policies, 0 latest, 1 log, 2 drop. `since_revision`, where we
  have heard everything of some hub, how many milliseconds ago that was, and 1: a hub that sees us for the first time
  begins there. `origin` is that hub's id.
- ROUTE: the next `count` SETs and PUBLISHes stem from `origin`, where the first has the number `since_revision` in
  `epoch` (0: none of them has one), and have passed `hops` routers. `answer`, where it is not 0: they are devices'
  answers to what they were told (1), or values that end a loop of such answers (2).
- CHECKPOINT asks for REACHED with the same number once everything before it has been dealt with (its `waiting`: so many
  messages of the hub's log are still to be told); from a router in
  strict mode (PEER's `strict`) STORED with that number follows when its journal has it. A hub's CHECKPOINT is answered
  by STORED alone, as soon as the journal has everything, if there is one.
- DIGEST, where both know versions (PEER's `versions`; its `time` is what the hub's versions go by, and `timeline` since
  when, where its clock may have gone back there; no time while it does not know itself): what the link carries, as the
  box has it. `since_revision` is the root; with `origin` "full", `revisions` are the buckets; else `patterns` are
  addresses that the last comparison has found to differ.
  From a hub: send all of it, for the roots differ.
- MEND, the hub's answer to a full one, after it has sent what it has in the buckets that differ: their numbers. Then
  the box sends what it has in them.
- MQTT, where both know versions and it (PEER's `mqtt`): what MQTT clients are told of the SET or PUBLISH that follows
  (dataplane/mqtt_details.pyx). No message of the codec: it carries bytes.
- PAIR, between the two hubs of a pair: `told` 1, that all that waited for the other one is there; `stores`, whether the
  journal here is written; `log` and `run`, how far the other one has the log of ours (`pair_places`), `all` and
  `all_of`, how far all routers here have heard its own. In PEER of a pair `log` and `run` are what the router has kept
  of the other one's.
- BOX, to a hub whose PEER says `boxes`: how the box is (`box_report`).
- LIFETIMES, before a SNAPSHOT that answers RequestSync: `revisions` are the ttl words (wire.md 2.3, SET) that give its
  params the life they have there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from clasp_edge.federation.shared.dedup import MAX_ORIGIN_BYTES, MAX_ORIGINS, Route
from clasp_edge.federation.shared.namespace import read_pattern
from clasp_edge.federation.shared.policy import Policy
from clasp_edge.wire import FederationOp, FederationSync, MessageType, encode, encode_frame
from clasp_edge.wire.frame import HEADER_BYTES

MAX_RUN = 65_535
"""Messages announced by one ROUTE; bounds what its reader has to remember."""

MAX_TABLE = 1000
"""Policies in a FOLLOW: as many as patterns in a declaration."""

LOCK_HELD = "LockHeld"
"""How the ERROR begins that refuses a write to what somebody else has locked (router.md 3.2)."""

LARGEST_NUMBER = (1 << 63) - 1

_TEXT = struct.Struct(">H")
_NUMBER = struct.Struct(">Q")
_TO_COUNT, _TO_COUNT_ANSWERED = struct.calcsize(">BBHH H5s"), struct.calcsize(">BBHH H6sQ H5s")
_RUN = struct.Struct(">BBHH H5sQ H5sQ H4sQ BQ")
_ANSWERED_RUN = struct.Struct(">BBHH H6sQ H5sQ H5sQ H4sQ BQ")
_POINT = struct.Struct(">BBHHBQ")
_HAS_SINCE, _HAS_ORIGIN = 0x80, 0x40

_HEARD = "heard:"

ANSWERS = (0, 1, 2)


def peer_frame(
    router_id: str, instance: int, owns: Sequence[str], *, strict: bool = False, keeps: bool = False, link: int = 0,
    versions: bool = False, time_us: int = 0, timeline: int = 0, recalls: bool = False, mqtt: bool = False,
    boxes: bool = False, heard: Mapping[int, int] | None = None, pair: int = 0, served: bool = False,
    places: Mapping[str, int] | None = None,
) -> bytes:  # fmt: skip
    """PEER."""
    flags = (
        ("strict", strict), ("keeps", keeps), ("recalls", recalls), ("versions", versions), ("mqtt", mqtt),
        ("boxes", boxes), ("served", served),
    )  # fmt: skip
    told = {name: 1 for name, said in flags if said}
    if time_us:
        told["time"], told["timeline"] = time_us, timeline
    if link:
        told["link"] = link
    if pair:
        told["pair"] = pair
        told |= places or {}
    for epoch, number in (heard or {}).items():
        told[f"{_HEARD}{epoch:x}"] = number
    return encode(FederationSync(FederationOp.PEER, tuple(owns), told, instance, router_id))


def read_heard(message: FederationSync) -> dict[int, int]:
    """What the hub has heard of us, from its PEER: epochs, and the highest number of each. Raises ValueError."""
    told = message.revisions.items()
    return {int(name.removeprefix(_HEARD), 16): number for name, number in told if name.startswith(_HEARD)}


def follow_frame(table: Mapping[str, str], apart_s: float | None = None, hub: str = "") -> bytes:
    """FOLLOW. `apart_s`: since everything was heard of some hub; None if it never was; `hub`: its id. Raises
    WireError for a table that does not fit into a frame."""
    since = None if apart_s is None else int(apart_s * 1000) + 1
    revisions = {text: Policy[name.upper()] for text, name in table.items()}
    return encode(FederationSync(FederationOp.FOLLOW, revisions=revisions, since_revision=since, origin=hub or None))


def read_follow(message: FederationSync) -> tuple[dict[str, str], float | None]:
    """The table of a FOLLOW, and for how many seconds its router was apart from all hubs. Raises ValueError with what
    is wrong with it."""
    if len(message.revisions) > MAX_TABLE:
        raise ValueError(f"a FOLLOW with {len(message.revisions)} policies (max {MAX_TABLE})")
    if wrong := [text for text in message.revisions if read_pattern(text) is None]:
        raise ValueError(f"a FOLLOW with a policy for {wrong[0][:256]!r}, which is no pattern")
    apart_s = (message.since_revision - 1) / 1000 if message.since_revision else None
    return {text: Policy(number).name.lower() for text, number in message.revisions.items()}, apart_s


def route_frame(route: Route, first: int, count: int) -> bytes:
    """ROUTE. The same bytes that the codec makes, at a fraction of its cost: one goes before every run of writes."""
    head, middle, tail = _around(route)
    return b"".join((head, _NUMBER.pack(count), middle, _NUMBER.pack(first), tail))


@lru_cache(maxsize=MAX_ORIGINS)
def _around(route: Route) -> tuple[bytes, bytes, bytes]:
    """A ROUTE's bytes before `count`, between that and `first`, and behind it."""
    origin = route.origin.encode()
    whole = _whole_route(route, 0, 0)
    count_at = HEADER_BYTES + (_TO_COUNT_ANSWERED if route.answer else _TO_COUNT)
    first_at = len(whole) - len(origin) - _TEXT.size - _NUMBER.size
    return whole[:count_at], whole[count_at + _NUMBER.size : first_at], whole[first_at + _NUMBER.size :]


def _whole_route(route: Route, first: int, count: int) -> bytes:
    origin = route.origin.encode()
    if route.answer:
        return encode_frame(
            _ANSWERED_RUN.pack(
                MessageType.FEDERATION_SYNC, FederationOp.ROUTE, 0, 4, 6, b"answer", route.answer, 5, b"count", count,
                5, b"epoch", route.epoch, 4, b"hops", route.hops, _HAS_SINCE | _HAS_ORIGIN, first,
            )
            + _TEXT.pack(len(origin)) + origin
        )  # fmt: skip
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
    if len(message.origin.encode()) > MAX_ORIGIN_BYTES:
        raise ValueError(f"a ROUTE whose origin is longer than {MAX_ORIGIN_BYTES} bytes")
    first = message.since_revision or 0
    if first > LARGEST_NUMBER:
        raise ValueError("a ROUTE with a number that no log reaches")
    answer = told.get("answer", 0)
    return Route(message.origin, epoch, hops, answer=answer if answer in ANSWERS else 0), first, count


FULL = "full"

BUCKETS = 1024
"""Of a digest (dataplane/table.pxd)."""


def digest_frame(root: int, buckets: Mapping[int, int] | None = None, differs: Sequence[str] = ()) -> bytes:
    """DIGEST: the root alone with what the last comparison has found to differ, or with `buckets` all of it."""
    if buckets is None:
        return encode(FederationSync(FederationOp.DIGEST, tuple(differs), since_revision=root))
    told = {f"{bucket:x}": value for bucket, value in buckets.items()}
    return encode(FederationSync(FederationOp.DIGEST, revisions=told, since_revision=root, origin=FULL))


def gone_frame(address: bytes, flags: int) -> bytes:
    """A SET to null that is over as soon as it has been told (wire.md 2.3): how a cleared param is passed on."""
    payload = b"\x21\x10" + len(address).to_bytes(2, "big") + address + b"\x80\x00\x00\x00"
    return encode_frame(payload, flags >> 6)


def ask_digest_frame() -> bytes:
    """DIGEST, from a hub."""
    return encode(FederationSync(FederationOp.DIGEST))


def mend_frame(buckets: Iterable[int]) -> bytes:
    """MEND."""
    return encode(FederationSync(FederationOp.MEND, revisions={f"{bucket:x}": 0 for bucket in buckets}))


def read_buckets(message: FederationSync) -> dict[int, int]:
    """The buckets of a DIGEST or MEND. Raises ValueError for what is none."""
    found = {}
    for text, value in message.revisions.items():
        bucket = int(text, 16)
        if not 0 <= bucket < BUCKETS:
            raise ValueError(f"a digest with a bucket {text[:16]!r}")
        found[bucket] = value
    return found


def checkpoint_frame(number: int) -> bytes:
    """CHECKPOINT."""
    return _point(FederationOp.CHECKPOINT, number)


def lifetimes_frame(lifetimes: Mapping[str, int]) -> bytes:
    """LIFETIMES."""
    return encode(FederationSync(FederationOp.LIFETIMES, revisions=lifetimes))


LAST_TTL_WORD = 0xFFFFFFFF


def read_lifetimes(message: FederationSync) -> Mapping[str, int]:
    """LIFETIMES. Raises ValueError for a number that is no word of a time to live (wire.md 2.3)."""
    if any(word > LAST_TTL_WORD for word in message.revisions.values()):
        raise ValueError("a time to live that is no 32-bit number")
    return message.revisions


def reached_frame(number: int, waiting: int = 0) -> bytes:
    """REACHED."""
    if waiting:
        return encode(FederationSync(FederationOp.REACHED, revisions={"waiting": waiting}, since_revision=number))
    return _point(FederationOp.REACHED, number)


def stored_frame(number: int) -> bytes:
    """STORED."""
    return _point(FederationOp.STORED, number)


def _point(op: FederationOp, number: int) -> bytes:
    return encode_frame(_POINT.pack(MessageType.FEDERATION_SYNC, op, 0, 0, _HAS_SINCE, number))
