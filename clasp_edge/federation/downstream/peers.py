"""Routers that have dialled in and say that they are clasp-edges: who they are, what they own, what they are told.

Each has an id of its own; a second router with the same one is refused, and so is a claim to what another one owns
where the configuration makes owning exclusive. `hub` hands over what only a clasp-edge says, and every declaration.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Iterator
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

from clasp_edge.dataplane import Verdict
from clasp_edge.dataplane.account import Charge
from clasp_edge.dataplane.mqtt_details import MqttDetails
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.federation.downstream.box_states import BoxStates
from clasp_edge.federation.downstream.declared import not_writable, pattern_bytes
from clasp_edge.federation.downstream.digests import answer_digest
from clasp_edge.federation.downstream.downlink import Downlink
from clasp_edge.federation.downstream.held import Held
from clasp_edge.federation.downstream.log_pass import LogPass
from clasp_edge.federation.downstream.pair_link import (
    BoxConfirmations,
    confirm_to_other,
    join_pair,
    pair_objection,
)
from clasp_edge.federation.downstream.peer import MAX_SHOWN_NAME, SHOWN_CHARACTERS, Peer, status_of
from clasp_edge.federation.downstream.peer_cursors import PeerCursors
from clasp_edge.federation.downstream.reference_leaf import ReferenceLeaves
from clasp_edge.federation.downstream.router_ids import RouterIds
from clasp_edge.federation.downstream.turns import Turns
from clasp_edge.federation.shared.dedup import MAX_ORIGIN_BYTES, Arrival, Seen, way_of
from clasp_edge.federation.shared.dedup_recovery import DedupRecovery
from clasp_edge.federation.shared.extensions import (
    LOCK_HELD,
    peer_frame,
    reached_frame,
    read_follow,
    read_route,
    stored_frame,
)
from clasp_edge.federation.shared.identity import Identity
from clasp_edge.federation.shared.namespace import (
    Namespaces,
    Overlaps,
    TooManyComparisons,
    read_in_parts,
)
from clasp_edge.federation.shared.pair import Pair
from clasp_edge.federation.shared.pair_places import says_place
from clasp_edge.federation.shared.status import PEERS, Params
from clasp_edge.router.link import CloseCode
from clasp_edge.router.long_message import carry_out
from clasp_edge.router.session import shown_address
from clasp_edge.wire import ErrorCode, FederationSync
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.config.model import Journal as JournalConfig
    from clasp_edge.journal.followed_log import Log
    from clasp_edge.router.router import Router
    from clasp_edge.router.session import Session

log = logging.getLogger("clasp_edge.federation")

CONFLICT = 409
"""ERROR for an id or a namespace that another router has."""

SILENT_US = 10_000_000
"""A router with the id of one that was silent for so long takes its place: links have a heartbeat in that time."""

MAX_REMEMBERED = 1000
"""Routers that are gone but still have a state to show."""

MAX_SHOWN_BYTES = 1024
"""Of the patterns of a router that is gone."""

_ODD = re.compile(r"[^A-Za-z0-9_.-]")


class Peers:
    """All of one router."""

    def __init__(
        self, router: Router, identity: Identity, seen: Seen, recall: DedupRecovery, journal: Log | None,
        ids: RouterIds, pair: Pair | None = None,
    ) -> None:  # fmt: skip
        self.identity = identity
        self._pair = pair
        self._ids = ids
        self._journal = journal
        self._places = PeerCursors(router, journal, self._at_the_other) if journal is not None else None
        self._recall = recall
        self._router = router
        self._seen = seen
        self._by_id: dict[tuple[str, int], Peer] = {}
        self._by_session: dict[Session, Peer] = {}
        self._claims: dict[Session, Namespaces] = {}
        """What is being compared with what others own: who comes meanwhile is compared with that as well."""
        self._turns = Turns(router.loop.call_later, router.clock.monotonic_s)
        self._log_pass: LogPass | None = None
        self._params = Params(router.plane, "peers")
        self._params.open()
        self.boxes = BoxStates(self._params, _base_of, router.clock.monotonic_s)
        self.leaves = ReferenceLeaves(router, identity, self.owned_by_others)
        router.on_ended.append(self.ended)
        router.on_regranted.append(self.regranted)
        router.on_peer_refused = self.refused

    def of(self, session: Session) -> Peer | None:
        """The clasp-edge behind a session, if it is one."""
        return self._by_session.get(session)

    # ---- coming and going ----

    def introduce(self, session: Session, message: FederationSync) -> None:
        """PEER: who it is and what it owns. Answered by who we are, or refused and closed."""
        self._recall.when_done(lambda: carry_out(session, self._introduce(session, message)))

    def _introduce(self, session: Session, message: FederationSync) -> Iterator[None]:
        if session.closing:
            return
        router_id = message.origin or session.name
        instance = message.since_revision or 0
        code: int = CONFLICT
        reason: str | None
        owns = yield from read_in_parts(router_id, message.patterns)
        # Scopes first: what others own, and who they are, is no business of a token that may not write there.
        if beyond := (yield from not_writable(session, owns)):
            code, reason = ErrorCode.SCOPE_FAILURE, f"insufficient scope to own {beyond[0][:SHOWN_CHARACTERS]}"
            reason += f": the token does not let {router_id[:64]!r} write there"
        else:
            reason = yield from self.objection(session, router_id, instance, owns)
        pair_flags = message.revisions.get("pair", 0)
        if not reason and self._pair is not None:
            reason = pair_objection(self._pair, session, router_id, message)
        owned = pattern_bytes(owns.patterns)
        if not reason and not session.holding.charge(owned, Charge.FEDERATION):
            code, reason = ErrorCode.RATE_LIMITED, f"too many owned patterns: {self._router.memory_full()}"
        if reason:
            if pair_flags and self._pair is not None:
                host = session.link.remote.rpartition(":")[0]
                self._pair.trouble(f"{host} says it is one of this pair and is refused: {reason}")
            session.error(code, reason)
            session.close(CloseCode.POLICY_VIOLATION, reason)
            return
        self._ids.take(router_id, session.identity)
        peer = self._take(session, router_id, message.revisions.get("link", 0), instance, owns)
        peer.downlink = Downlink(self._router.plane, session, self.identity, self._turns)
        session.versioned = bool(message.revisions.get("versions"))
        if session.versioned and message.revisions.get("mqtt"):
            session.details = MqttDetails(session.holding)
        session.paced = True
        session.on_held = Held(session, peer.router_id, self._router.clock)
        if self._pair is not None and pair_flags:
            peer.pair = join_pair(self._pair, session, peer.downlink, router_id, message.revisions)
        elif self._pair is not None and self._journal is not None:
            peer.confirmations = BoxConfirmations(self._pair, self._journal, session)
        # A pair passes on what others were allowed to say.
        session.own_rate = 0 if peer.pair is not None else self._router.config.federation.messages_per_second
        self._router.apply_limits(session)
        buffer = self._router.plane.journal_buffer
        # With a pair, what boxes say is confirmed when the other router has it.
        strict = (buffer is not None and buffer.strict) or self._pair is not None
        shared = yield from self._shared_namespace(peer)
        if session.closing:
            return
        keeps = self._places is not None and self._places.offered
        recalls = self._places is not None and _keeps_all(self._router.config.journal)
        plane = self._router.plane
        knows_time = session.versioned and plane.timeline != 0
        session.send(
            peer_frame(
                self.identity.router_id, self.identity.instance, shared, strict=strict, keeps=keeps, recalls=recalls,
                versions=session.versioned, time_us=plane.now_hlc if knows_time else 0, timeline=plane.timeline,
                mqtt=session.details is not None, boxes=True, heard=self._seen.heard_of(router_id),
                pair=self._pair.flags if self._pair is not None and pair_flags else 0,
                places=self._pair.places.kept() if self._pair is not None else None,
            )
        )  # fmt: skip
        if self._pair is not None and peer.pair is not None:
            self._pair.linked(peer.pair, pair_flags)

    def pair_said(self, session: Session, message: FederationSync) -> None:
        """PAIR."""
        peer = self._by_session.get(session)
        if peer is not None and peer.pair is not None and self._pair is not None:
            self._pair.said(peer.pair, message)

    def _at_the_other(self) -> int | None:
        """How far the other router of the pair has the log, where there is one; None without a pair."""
        if self._pair is None or self._journal is None:
            return None
        return self._pair.has_up_to(self._journal)

    def objection(
        self, session: Session, router_id: str, instance: int, owns: Namespaces
    ) -> Generator[None, None, str | None]:
        """Why this router cannot be admitted under this id, or with what it claims; None if it can. Found in parts."""
        reason = self._objection_to_id(session, router_id, instance)
        if reason is not None or not self._router.config.federation.exclusive:
            return reason
        self._claims[session] = owns
        try:
            if clash := (yield from self._also_owned(session, router_id, owns)):
                return f"{clash[0]} overlaps with {clash[1]}, which {clash[2][:64]!r} owns"
        except TooManyComparisons:
            return "too many owned patterns, here and there: whether they overlap cannot be told"
        finally:
            self._claims.pop(session, None)
        # Somebody may have come under this id meanwhile.
        return self._objection_to_id(session, router_id, instance)

    def _objection_to_id(self, session: Session, router_id: str, instance: int) -> str | None:
        if router_id == self.identity.router_id:
            return self.identity.same_id(instance)
        if len(router_id.encode()) > MAX_ORIGIN_BYTES:
            return f"the router id {router_id[:64]!r}... is longer than {MAX_ORIGIN_BYTES} bytes"
        if belongs := self._ids.objection(router_id, session.identity):
            return belongs
        # The reference's leaves are known by whatever name they were given, which may be the same for all of them.
        for other in self._by_id.values():
            if other.session in (None, session) or other.router_id != router_id or not other.is_here:
                continue
            assert other.session is not None
            silent_us = self._router.core.monotonic_us - other.session.heard_us
            if other.instance and other.instance != instance and silent_us < SILENT_US:
                return f"the router id {router_id[:64]!r} is in use by {other.session.link.remote}"
        return None

    def _also_owned(
        self, session: Session, router_id: str, claimed: Namespaces
    ) -> Generator[None, None, tuple[str, str, str] | None]:
        """A pattern of a claim, and one of another router that is here that it meets, with that one's id. Raises
        TooManyComparisons."""
        overlaps = Overlaps(claimed)
        yield
        # Both at one moment: a claim that is admitted while others are compared would be missed among them. Those that
        # have come later are compared with this one.
        peers = list(self._by_id.values())
        earlier = list(takewhile(lambda one: one[0] is not session, self._claims.items()))
        for peer in peers:
            if peer.session is session or peer.router_id == router_id or not peer.is_here:
                continue
            if clash := (yield from overlaps.with_(peer.owns)):
                return *clash, peer.router_id
        for other, claim in earlier:
            if (
                other.closing
                or claim.router_id == router_id
                or not (other in self._claims or other in self._by_session)
            ):
                continue  # it has left, or was refused
            if clash := (yield from overlaps.with_(claim)):
                return *clash, claim.router_id
        return None

    def _shared_namespace(self, peer: Peer) -> Generator[None, None, tuple[str, ...]]:
        """Two routers that own one param overrule one another at each link-up: where that is not refused, it is said
        here and to who has come. The first such pattern of its own."""
        assert peer.session is not None
        for other in self._by_id.values():
            if other.shares is not None and other.shares[1] == peer.router_id:
                other.shares = None  # perhaps no longer
        try:
            clash = yield from self._also_owned(peer.session, peer.router_id, peer.owns)
        except TooManyComparisons:
            return ()
        if clash is None or not peer.is_here:
            return ()
        mine, theirs, other_id = clash
        log.warning(
            "federation peers %r and %r both own what %s and %s stand for: at each link-up one overrules the other",
            peer.router_id[:64], other_id[:64], mine, theirs,
        )  # fmt: skip
        peer.shares = (mine, other_id)
        for other in self._by_id.values():
            if other.router_id == other_id and other.is_here:
                other.shares = (theirs, peer.router_id)
        return (mine,)

    def _take(self, session: Session, router_id: str, link: int, instance: int, owns: Namespaces) -> Peer:
        self._leave(session)
        # Its same link of before; and whatever is left of an earlier life.
        for other in [other for other in self._by_id.values() if other.router_id == router_id]:
            if other.link != link and other.instance == instance and other.is_here:
                continue
            del self._by_id[router_id, other.link]
            stale = other.session
            self.boxes.left(router_id, stale)
            self._forget_session(other)
            if stale is not None and other.instance:
                stale.close(CloseCode.POLICY_VIOLATION, "the same router has connected again")
        peer = Peer(router_id, link, instance, session, owns, Arrival(self._seen, self.identity.own_up_to))
        self._by_id[router_id, link] = self._by_session[session] = peer
        while len(self._by_id) > MAX_REMEMBERED:
            gone = next((key for key, known in self._by_id.items() if known.session is None), None)
            if gone is None:
                break
            del self._by_id[gone]
            for key in ("state", "name", "url"):
                self._params.forget(f"{_base_of(gone[0])}/{key}")
        log.info("%r: federation peer %r, id %r", session, session.name[:64], router_id[:64])
        self._tell(peer, "up")
        return peer

    def ended(self, session: Session) -> None:
        """Its connection is gone."""
        self.leaves.ended(session)
        self._leave(session)

    def regranted(self, session: Session) -> None:
        """It shows another token: what it owns and is told was granted to the first one, and it keeps none of it."""
        peer = self._by_session.get(session)
        if peer is not None and peer.downlink is not None:
            session.close(CloseCode.POLICY_VIOLATION, "another token on the same connection: connect anew with it")

    def _leave(self, session: Session) -> None:
        peer = self._by_session.get(session)
        if peer is not None:
            self.boxes.left(peer.router_id, session)
            self._forget_session(peer)
            peer.since_s = self._router.clock.wall_s()
            if not any(other.is_here and other.router_id == peer.router_id for other in self._by_id.values()):
                self._tell(peer, "down")

    def _forget_session(self, peer: Peer) -> None:
        if peer.pair is not None and self._pair is not None:
            self._pair.unlinked(peer.pair, "the link to the other router is gone")
            peer.pair = None
        if peer.confirmations is not None:
            peer.confirmations.end()
            peer.confirmations = None
        if peer.session is not None:
            self._by_session.pop(peer.session, None)
            # By its next link it says what is locked there, and must not find itself in the way.
            for _ in self._router.plane.release_locks(peer.session.writer, peer.session.id.encode()):
                pass
            peer.arrival.end()
            peer.session.run = None
            peer.session = None
            peer.shares = None
            # It is charged to nobody from now on: as much is kept as there is to show.
            peer.owns = Namespaces(peer.router_id, _shown_first(peer.owns))
        if peer.downlink is not None:
            peer.downlink.drop()
            if self._places is not None:
                self._places.leave(peer.downlink)
            peer.downlink = None

    def _tell(self, peer: Peer, state: str) -> None:
        self.leaves.offer_soon()
        self._params.write(f"{_base_of(peer.router_id)}/state", state)
        self._params.write(f"{_base_of(peer.router_id)}/name", peer.name[:MAX_SHOWN_NAME])

    # ---- what a peer says ----

    def declared(self, session: Session, declared: Namespaces, owns: Namespaces) -> Generator[None, None, bool]:
        """A declaration was accepted, of which the router may write `owns`. Whether its subscriptions are dealt with
        here, in parts."""
        peer = self._by_session.get(session)
        if peer is not None and peer.downlink is not None:
            yield from peer.downlink.carry(declared, peer.router_id, peer.owns)
            return True
        router_id = declared.router_id
        if peer is None:
            self._take(session, router_id, 0, 0, owns)
            self.leaves.declares(session, router_id)
            return False
        peer.owns = owns
        self.leaves.declares(session, router_id)
        self.leaves.offer_soon()
        return False

    def follow(self, session: Session, message: FederationSync) -> None:
        """FOLLOW: it wants to miss nothing of what is under policy `log` there."""
        peer = self._by_session.get(session)
        if peer is None or peer.downlink is None or self._places is None:
            return
        try:
            table, apart_s = read_follow(message)
        except ValueError as error:
            session.close(CloseCode.PROTOCOL_ERROR, str(error))
            return
        place = self._places.arrive(peer.router_id, peer.link, peer.downlink)
        if place:
            restarted = self._places.is_new_life(place, peer.instance)
            begins_at = self._places.begins_at(apart_s)
            journal = self._places.journal
            if self._pair is not None and message.origin and message.origin == self._pair.other:
                # What it has heard there need not be told again, however long ago it was here.
                self._places.go_on(place, begins_at)
            all_again = False
            if self._pair is not None and peer.pair is not None and says_place(peer.pair.told):
                all_again = True
                journal.set_cursor(place, self._pair.places.begins_at(peer.pair.told, place, peer.router_id))
            if self._log_pass is None:
                plane = self._router.plane
                self._log_pass = LogPass(
                    journal, lambda address: [one.sink for one in plane.trie.matching(address)],
                    lambda: plane.trie.generation, self.identity.route_of, self._turns.later_s,
                )  # fmt: skip
            peer.downlink.follow(
                table, journal, self._log_pass, place, begins_at=begins_at, restarted=restarted,
                all_again=all_again,
            )  # fmt: skip

    def owned_by_others(self, session: Session) -> Iterator[Pattern]:
        """What other routers own that are here. Others may come and go while it is looked at in parts."""
        own = self._by_session.get(session)
        for peer in list(self._by_id.values()):
            if peer is not own and peer.is_here:
                yield from (pattern for pattern in list(peer.owns.patterns) if pattern is not None)

    def route(self, session: Session, message: FederationSync) -> None:
        """ROUTE: where the next writes come from. Those that were here before are passed over."""
        try:
            route, first, count = read_route(message)
        except ValueError as error:
            session.close(CloseCode.PROTOCOL_ERROR, str(error))
            return
        peer = self._by_session.get(session)
        if peer is None:
            session.close(CloseCode.POLICY_VIOLATION, "a ROUTE from a router that has not said who it is")
            return
        peer.arrival.announce(route, first, count)
        session.run = peer.arrival.run
        session.route = route._replace(hops=route.hops + 1, via=peer.router_id)
        session.way = way_of(session.route)
        session.number = first

    def checkpoint(self, session: Session, number: int) -> None:
        """CHECKPOINT: everything before it has been dealt with, and in strict mode will be stored."""
        peer = self._by_session.get(session)
        if peer is None or peer.downlink is None:
            return
        # What others wrote before goes out before: the peer concludes from the order whose write was the later one.
        peer.downlink.run()
        backlog = peer.downlink.backlog
        waiting = max(1, backlog.depth) if backlog is not None and not backlog.drained else 0
        peer.downlink.port.send([reached_frame(number, waiting)])
        buffer = self._router.plane.journal_buffer
        if peer.pair is not None and self._journal is not None:
            confirm_to_other(self._journal, peer.pair, number)
        elif peer.confirmations is not None:
            peer.confirmations.ask(number)
        elif buffer is not None and buffer.strict:
            # Held until the commit, also where what the peer has sent was here before, by another way.
            session.await_commit()
            session.send(stored_frame(number))

    def box(self, session: Session, message: FederationSync) -> None:
        """BOX: how it is."""
        peer = self._by_session.get(session)
        if peer is None or not peer.is_here:
            return
        try:
            self.boxes.told(session, peer.router_id, message)
        except ValueError as error:
            session.close(CloseCode.PROTOCOL_ERROR, str(error))

    def digest(self, session: Session, message: FederationSync) -> None:
        """DIGEST: whether we have the same."""
        peer = self._by_session.get(session)
        if peer is not None and peer.downlink is not None and session.versioned:
            answer_digest(session, peer.downlink, message)

    @property
    def here(self) -> list[Peer]:
        """Those that are connected."""
        return [peer for peer in self._by_id.values() if peer.is_here]

    def answered(self, session: Session) -> None:
        """PONG: what was sent before our PING was taken in."""
        peer = self._by_session.get(session)
        if peer is not None and peer.downlink is not None and peer.downlink.mending is not None:
            peer.downlink.mending.answered()

    def owner_of(self, address: bytes) -> Peer | None:
        """The router that is here and owns the address."""
        return next((peer for peer in self._by_id.values() if peer.is_here and peer.owns.admits(address)), None)

    def refused(self, session: Session, verdict: Verdict, address: bytes, why: str, is_set: bool) -> None:
        """A write of a peer was refused. What stands here is to stand there too, unless the peer owns it."""
        peer = self._by_session.get(session)
        if peer is None:
            return
        peer.refusals.here(address, why)
        if peer.downlink is None or not session.versioned or not is_set:
            return
        if verdict is Verdict.FROM_FUTURE:
            shown = address[:SHOWN_CHARACTERS].decode("utf-8", "replace")
            text = f"peer {peer.router_id[:64]}: {shown} has a version from the future, the clock there is wrong"
            log.warning("%s", text)
            session.close(CloseCode.POLICY_VIOLATION, text)
        elif (
            verdict is Verdict.NO_SCOPE
            and not address.startswith(RESERVED)
            and peer.downlink.policies.admits(address)
            and not peer.owns.admits(address)
        ):
            peer.downlink.overrule(address, session.refused_hlc, session.refused_rank, False)

    def refused_by(self, session: Session, address: bytes, code: int, text: str) -> None:
        """A peer has refused what it was told, which it owns: whoever wrote it hears of it."""
        peer = self._by_session.get(session)
        if peer is None:
            return
        peer.refusals.there(address, code, text)
        if peer.downlink is None or not session.versioned or not peer.owns.admits(address):
            return
        writer = self._router.session_of(peer.downlink.writers_refused(address, text))
        if text.startswith(LOCK_HELD):
            peer.downlink.unlock(address)
        if writer is not None and writer is not session:
            writer.error(code, text[:SHOWN_CHARACTERS], shown_address(address))

    def same_router(self, holder: bytes, writer: bytes) -> bool:
        """Whether two sessions are links of one router."""
        one, other = (
            self._by_session.get(session) if (session := self._router.sessions.get(name.decode())) else None
            for name in (holder, writer)
        )
        return one is not None and other is not None and one.router_id == other.router_id

    def stored(self, session: Session, number: int) -> None:
        """STORED: it has got everything before that checkpoint of ours, and its journal, if it has one, has it too."""
        peer = self._by_session.get(session)
        if peer is not None and peer.downlink is not None:
            peer.downlink.stored(number)

    # ---- for status ----

    def statistics(self) -> dict[str, dict[str, object]]:
        """Who is here or was, by id."""
        return {
            peer.router_id: status_of(peer, self._ids.subject(peer.router_id))
            # Of several links of one router, one that is up is shown.
            for peer in sorted(self._by_id.values(), key=lambda peer: peer.is_here)
        }


def _keeps_all(journal: JournalConfig) -> bool:
    """Whether whatever is under policy `log` is known again after a restart."""
    return "/**" in journal.patterns and {"event", "timeline"} <= set(journal.signals)


def _shown_first(owns: Namespaces) -> list[str]:
    sizes = accumulate(len(pattern.text) if pattern is not None else 0 for pattern in owns.patterns)
    shown = (pattern for pattern, size in zip(owns.patterns, sizes, strict=True) if size <= MAX_SHOWN_BYTES)
    return [pattern.text.decode() for pattern in shown if pattern is not None]


def _base_of(router_id: str) -> str:
    """What the params about a router begin with: `state` and `name` by us, and what it says of itself."""
    return f"{PEERS}{_ODD.sub('_', router_id[:64]) or '_'}"
