"""FEDERATION_SYNC from routers that dial in (router.md 8.6): they declare namespaces, ask for state, compare revisions.

Such a router is a client whose HELLO has the federation feature. What it declared stays on its session as the
confinement of its writes, and the router's one gate enforces it, whatever message a write comes in. Knows nothing of
dialling out.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from clasp_edge.dataplane.account import Charge
from clasp_edge.dataplane.trie import subscription_bytes
from clasp_edge.federation.downstream.declared import pattern_bytes, writable
from clasp_edge.federation.downstream.peers import CONFLICT, Peers
from clasp_edge.federation.shared.extensions import lifetimes_frame
from clasp_edge.federation.shared.namespace import READ_AT_ONCE, Namespaces, read_in_parts, read_pattern
from clasp_edge.federation.shared.unpack import snapshot_params
from clasp_edge.router.link import CloseCode
from clasp_edge.router.long_message import carry_out
from clasp_edge.router.snapshot import PIECE_BYTES, SCAN_AT_ONCE, snapshot_job
from clasp_edge.router.subscribe import (
    ALL_TYPES,
    MAX_PARTIAL_COST,
    MAX_PARTIAL_PATTERNS,
    add_subscription,
    drop_subscription,
)
from clasp_edge.wire import (
    Ack,
    Error,
    ErrorCode,
    FederationOp,
    FederationSync,
    MessageType,
    Pong,
    Snapshot,
    Subscribe,
    WireError,
    encode,
    encode_frame,
)
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.federation.downstream.downlink import Downlink
    from clasp_edge.federation.downstream.reference_leaf import LeafSender
    from clasp_edge.router.router import Router
    from clasp_edge.router.session import Envelope, Session

log = logging.getLogger("clasp_edge.federation")

FEATURE = "federation"

MAX_PATTERNS = 1000
"""In one declaration or one request (router.md 8.6)."""

MAX_REVISIONS = 10_000
"""In one revision vector (router.md 8.6); more than one frame can hold in the compact encoding."""

JOB_LINE_BYTES = 150
"""What a pattern or a revision of a request takes while it waits to be answered, beside its text."""

FIRST_SUBSCRIPTION_ID = 50_000
"""The subscription to a peer's pattern number i has the id 50,000 + i, which peers know and may UNSUBSCRIBE."""

MAX_SNAPSHOT_PARAMS = 800
"""In one SNAPSHOT, as clients are used to (router.md 3.6)."""

KIN_PIECE_BYTES = 30_000
"""Largest SNAPSHOT for a clasp-edge: the lifetimes of its params must fit into a frame of their own."""

CHECKS_AT_ONCE = 4096
"""Comparisons of an address with a pattern before others get their turn: about half a millisecond."""

SUBSCRIBED_AT_ONCE = 16
"""Subscriptions that come or go before others get their turn: half a millisecond for the deepest."""

COVER_TESTS_AT_ONCE = 256
"""Tests whether one pattern covers another before others get their turn: about a millisecond."""

_SHOWN_CHARACTERS = 256
"""How much of a pattern an ERROR or a log line repeats: enough to recognise it, not enough to amplify."""

_SNAPSHOT_HEAD = struct.Struct(">BH")
"""Message type and number of params, before the params of a SNAPSHOT (wire.md 2.3)."""


class PeerHandlers:
    """The hub's half of federation in one router."""

    def __init__(self, router: Router, peers: Peers) -> None:
        self.peers = peers
        router.handlers[MessageType.FEDERATION_SYNC] = self.handle
        router.handlers[MessageType.ERROR] = self.refused
        router.handlers[MessageType.PONG] = self.answered
        router.extensions = True

    def handle(self, session: Session, message: FederationSync, envelope: Envelope) -> None:
        """Do what the operation asks, or send the ERROR, without an address, that says why not."""
        if FEATURE not in session.features:
            session.error(ErrorCode.SCOPE_FAILURE, "FederationSync requires federation feature")
        elif message.op is FederationOp.ROUTE:
            self.peers.route(session, message)
        elif message.op is FederationOp.CHECKPOINT:
            self.peers.checkpoint(session, message.since_revision or 0)
        elif message.op is FederationOp.DECLARE_NAMESPACES:
            carry_out(session, _declare(session, message, self.peers))
        elif message.op is FederationOp.REQUEST_SYNC:
            _request(session, message, self.peers)
        elif message.op is FederationOp.REVISION_VECTOR:
            _compare(session, message)
        elif message.op is FederationOp.PEER:
            self._introduce(session, message)
        elif message.op is FederationOp.FOLLOW:
            self.peers.follow(session, message)
        elif message.op is FederationOp.DIGEST:
            self.peers.digest(session, message)
        elif message.op is FederationOp.PAIR:
            self.peers.pair_said(session, message)
        elif message.op is FederationOp.BOX:
            self.peers.box(session, message)
        elif message.op is FederationOp.STORED:
            self.peers.stored(session, message.since_revision or 0)
        else:
            origin = _shown(message.origin or session.name)
            log.info("%r: %s, %d patterns, says %r", session, message.op.label, len(message.patterns), origin)

    def answered(self, session: Session, message: Pong, envelope: Envelope) -> None:
        """PONG, which is no answer to anything of a client's."""
        self.peers.answered(session)

    def refused(self, session: Session, message: Error, envelope: Envelope) -> None:
        """ERROR, from a router that decides about what it owns: it has refused what it was told."""
        if message.address is not None:
            self.peers.refused_by(session, message.address.encode(), message.code, message.message)

    def _introduce(self, session: Session, message: FederationSync) -> None:
        if len(message.patterns) > MAX_PATTERNS:
            text = f"too many owned patterns: {len(message.patterns)} (max {MAX_PATTERNS})"
            session.error(ErrorCode.REVISION_CONFLICT, text)
            session.close(CloseCode.POLICY_VIOLATION, text)
        else:
            self.peers.introduce(session, message)


def declared(session: Session) -> Namespaces | None:
    """What the session has declared, if it is a peer that has declared anything."""
    return session.confinement if isinstance(session.confinement, Namespaces) else None


# ---- DeclareNamespaces ----


def _declare(session: Session, message: FederationSync, peers: Peers) -> Iterator[None]:
    """All or nothing: replace the earlier declaration and its subscriptions, then a bare ACK. No snapshot. In parts."""
    count = len(message.patterns)
    if count > MAX_PATTERNS:
        session.error(ErrorCode.REVISION_CONFLICT, f"too many namespace patterns: {count} (max {MAX_PATTERNS})")
        return
    new = yield from read_in_parts(message.origin or session.name, message.patterns)
    partial = sum(1 for pattern in new.patterns if pattern is not None and pattern.partial)
    if partial > MAX_PARTIAL_PATTERNS:
        reason = f"{partial} with a wildcard inside a segment (max {MAX_PARTIAL_PATTERNS})"
        session.error(ErrorCode.REVISION_CONFLICT, f"too many namespace patterns: {reason}")
        return
    if sum(pattern.cost for pattern in new.patterns if pattern is not None) > MAX_PARTIAL_COST:
        reason = "those with a wildcard inside a segment take too much to match"
        session.error(ErrorCode.REVISION_CONFLICT, f"too many namespace patterns: {reason}")
        return
    for number, (text, pattern) in enumerate(zip(message.patterns, new.patterns, strict=True), 1):
        if number % READ_AT_ONCE == 0:
            yield
        if not _may_read(session, pattern):
            session.error(ErrorCode.SCOPE_FAILURE, f"insufficient scope for namespace: {_shown(text)}")
            return
    owns = yield from writable(session, new)
    objection = None
    peer = peers.of(session)
    if peer is None or peer.downlink is None:
        # Of the reference's leaves nobody knows what they own and what they only listen to: what they may write.
        objection = yield from peers.objection(session, new.router_id, 0, owns)
    if objection:
        session.error(CONFLICT, objection)
        return
    old = declared(session)
    replaced = range(FIRST_SUBSCRIPTION_ID, FIRST_SUBSCRIPTION_ID + (len(old.patterns) if old is not None else 0))
    limit = session.router.config.limits.max_subscriptions
    wanted = sum(pattern is not None for pattern in new.patterns)
    others = session.router.plane.trie.size - sum(number in session.subscriptions for number in replaced)
    if limit and wanted and others + wanted > limit:
        reason = f"{wanted} more subscriptions (max {limit} of all clients together)"
        session.error(ErrorCode.REVISION_CONFLICT, f"too many namespace patterns: {reason}")
        return
    full = session.router.no_room_for_subscription(replaces=True)
    if wanted and full is not None:
        session.error(ErrorCode.REVISION_CONFLICT, f"too many namespace patterns: no room for more ({full})")
        return
    before = pattern_bytes(old.patterns) if old is not None else 0
    if not session.holding.charge(pattern_bytes(new.patterns), Charge.FEDERATION):
        session.error(ErrorCode.RATE_LIMITED, f"too many namespace patterns: {session.router.memory_full()}")
        return
    session.holding.release(before, Charge.FEDERATION)
    # An empty declaration withdraws the earlier one, and with it the limit to where the peer writes.
    session.confine(new if count else None)
    told = yield from peers.declared(session, new, owns)
    for number, pattern in enumerate(new.patterns):
        if number % SUBSCRIBED_AT_ONCE == 0:
            yield
        if pattern is not None and not told:
            session.holding.force(subscription_bytes(pattern), Charge.SUBSCRIPTIONS)
            subscribe = Subscribe(FIRST_SUBSCRIPTION_ID + number, pattern.text.decode())
            add_subscription(session, subscribe, pattern, ALL_TYPES)  # in place of the earlier one of this number
    for number in replaced:
        if number % SUBSCRIBED_AT_ONCE == 0:
            yield
        at = number - FIRST_SUBSCRIPTION_ID
        if told or at >= len(new.patterns) or new.patterns[at] is None:
            drop_subscription(session, number)
    log.info("%r: federation peer %r declares %d namespaces", session, _shown(new.router_id), count)
    session.reply(Ack())
    peers.leaves.declared(session, [pattern for pattern in new.patterns if pattern is not None])


# ---- RequestSync ----


def _request(session: Session, message: FederationSync, peers: Peers) -> None:
    """The state of each pattern, all of them inside what the peer declared, then SyncComplete."""
    count = len(message.patterns)
    if count > MAX_PATTERNS:
        session.error(ErrorCode.REVISION_CONFLICT, f"too many sync patterns: {count} (max {MAX_PATTERNS})")
        return
    peer = peers.of(session)
    downlink = peer.downlink if peer is not None else None
    keeps = sum(JOB_LINE_BYTES + len(text) for text in message.patterns)
    if not session.start_job(_sync_job(session, declared(session), message, downlink, peers.leaves.of(session)), keeps):
        session.error(ErrorCode.RATE_LIMITED, f"not synchronised: {session.router.memory_full()}")


def _sync_job(
    session: Session, namespaces: Namespaces | None, message: FederationSync, downlink: Downlink | None,
    leaf: LeafSender | None,
) -> Iterator[bytes]:  # fmt: skip
    """Wire images: for each pattern one SNAPSHOT or more, be it an empty one, then SyncComplete; or one ERROR.

    A thousand patterns against a thousand declared ones are a million tests, so those belong to the job.
    """
    checks = 0
    offered = frozenset(leaf.offered) if leaf is not None else frozenset()
    for text in message.patterns:
        if text in offered:
            continue
        if namespaces is None or not _is_covered(namespaces, text):
            yield _error(session, f"pattern '{_shown(text)}' not covered by declared namespaces")
            return
        checks += namespaces.checks
        if checks >= COVER_TESTS_AT_ONCE:
            checks = 0
            yield b""
    patterns = [read_pattern(text) for text in message.patterns]
    for text, pattern in zip(message.patterns, patterns, strict=True):
        if not _may_read(session, pattern):
            yield _error(session, f"insufficient scope for pattern: {_shown(text)}")
            return
    for pattern in patterns:
        if pattern is None:
            yield session.image(encode(Snapshot(params=())))
            continue
        if downlink is not None:
            yield from _edge_snapshots(session, pattern, downlink)
            continue
        yield from snapshot_job(session, pattern, even_if_empty=True, newer_than=message.since_revision or 0)
        if not pattern.literal:
            yield b""  # The whole state has been looked at once: others get their turn before the next pattern.
    yield session.image(_sync_complete(message.patterns, session.router.config.name))
    if downlink is not None:
        downlink.state_told()
    if leaf is not None:
        yield from leaf.present(pattern for pattern in patterns if pattern is not None)


def _edge_snapshots(session: Session, pattern: Pattern, downlink: Downlink) -> Iterator[bytes]:
    """The state for a clasp-edge: each SNAPSHOT after the lifetimes of its params, which it has no place for."""
    cursor = b""
    while True:
        size = min(KIN_PIECE_BYTES, session.piece_bytes)
        payload, cursor = session.router.plane.snapshot(pattern, session.scopes, cursor, size, SCAN_AT_ONCE)
        if payload is None:
            yield b""
        else:
            lives = {address: downlink.lifetime(address) for address, *_ in snapshot_params(payload)}
            told = {address.decode(): life for address, life in lives.items() if life is not None}
            pieces = [session.image(lifetimes_frame(told)) + session.image(encode_frame(payload))]
            del payload, lives, told
            yield pieces.pop()  # nothing of it stays here while the peer reads
        if not cursor:
            return


def _is_covered(namespaces: Namespaces, text: str) -> bool:
    # Peers ask for just what they declared; what was no pattern there was passed over, and is here.
    if namespaces.declares(text):
        return True
    pattern = read_pattern(text)
    return pattern is not None and namespaces.contains(pattern)


def _error(session: Session, text: str) -> bytes:
    session.router.count_error(ErrorCode.SCOPE_FAILURE)
    return session.image(encode(Error(code=ErrorCode.SCOPE_FAILURE, message=text)))


def _sync_complete(patterns: Sequence[str], origin: str) -> bytes:
    try:
        return encode(FederationSync(FederationOp.SYNC_COMPLETE, patterns=patterns, origin=origin))
    except WireError:
        # The patterns filled the request's frame, and with our name beside them they do not fit into ours. That the
        # sync is complete matters more than their echo.
        return encode(FederationSync(FederationOp.SYNC_COMPLETE, origin=origin))


# ---- RevisionVector ----


def _compare(session: Session, message: FederationSync) -> None:
    """SNAPSHOTs of the params that are newer here than the peer says it has; no reply at all if none is."""
    count = len(message.revisions)
    if count > MAX_REVISIONS:
        session.error(ErrorCode.REVISION_CONFLICT, f"too many revision entries: {count} (max {MAX_REVISIONS})")
        return
    namespaces = declared(session)
    if namespaces is not None:
        keeps = PIECE_BYTES + sum(JOB_LINE_BYTES + len(text) for text in message.revisions)
        if not session.start_job(_newer_job(session, namespaces, message.revisions), keeps):
            session.error(ErrorCode.RATE_LIMITED, f"not compared: {session.router.memory_full()}")


def _newer_job(session: Session, namespaces: Namespaces, revisions: Mapping[str, int]) -> Iterator[bytes]:
    """Wire images of SNAPSHOTs, cut by bytes as all are; each param is read shortly before it is sent."""
    params: list[bytes] = []
    size = 0
    checks = 0
    for text, revision in revisions.items():
        checks += namespaces.checks
        if checks >= CHECKS_AT_ONCE:
            checks = 0
            yield b""
        param = _newer_param(session, namespaces, text, revision)
        if param is None:
            continue
        if params and (size + len(param) > PIECE_BYTES or len(params) >= MAX_SNAPSHOT_PARAMS):
            yield session.image(_snapshot(params))
            params, size = [], 0
        params.append(param)
        size += len(param)
    if params:
        yield session.image(_snapshot(params))


def _newer_param(session: Session, namespaces: Namespaces, text: str, revision: int) -> bytes | None:
    """The param's line of a SNAPSHOT, if it is above `revision`, inside the namespaces and readable by the peer."""
    address = read_pattern(text)
    if address is None or not address.literal or not namespaces.admits(address.text):
        return None
    payload, _ = session.router.plane.snapshot(address, session.scopes, b"", PIECE_BYTES, SCAN_AT_ONCE, revision)
    return payload[_SNAPSHOT_HEAD.size :] if payload is not None else None


def _snapshot(params: Sequence[bytes]) -> bytes:
    return encode_frame(_SNAPSHOT_HEAD.pack(MessageType.SNAPSHOT, len(params)) + b"".join(params))


# ---- shared ----


def _may_read(session: Session, pattern: Pattern | None) -> bool:
    """Whether the peer's token lets it read all that the pattern stands for; what is no pattern reveals nothing."""
    return pattern is None or session.scopes is None or session.scopes.covers("read", pattern)


def _shown(text: str) -> str:
    return text[:_SHOWN_CHARACTERS]
