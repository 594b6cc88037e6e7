"""Federation as a part of the process: routers that dial in, and uplinks.

What serves them is imported when the first router says something or an uplink is configured: most boxes have neither.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from clasp_edge.config.model import Config
from clasp_edge.console.release import Release
from clasp_edge.console.requests import Requests
from clasp_edge.console.sources import StatusSources
from clasp_edge.daemon.left_out import left_out
from clasp_edge.daemon.part import Part
from clasp_edge.dataplane.journal_buffer import clock_synchronised
from clasp_edge.federation.shared.run_ids import begin_run, tag_of
from clasp_edge.journal.cursor_names import HEARD, HUB, PEER, UPLINK
from clasp_edge.router.router import Router
from clasp_edge.wire import ErrorCode, MessageType, Value

if TYPE_CHECKING:
    from clasp_edge.console.why import Finding
    from clasp_edge.federation.downstream.peer import Peer
    from clasp_edge.federation.downstream.peer_handlers import PeerHandlers
    from clasp_edge.federation.downstream.router_ids import RouterIds
    from clasp_edge.federation.shared.dedup import Seen
    from clasp_edge.federation.shared.dedup_recovery import DedupRecovery
    from clasp_edge.federation.shared.identity import Identity
    from clasp_edge.federation.shared.pair import Pair
    from clasp_edge.federation.upstream.manager import Uplinks
    from clasp_edge.journal.journal import Journal
    from clasp_edge.router.session import Envelope, Session
    from clasp_edge.wire import FederationSync

log = logging.getLogger("clasp_edge.federation")

SERVING = (
    "shared.dedup",
    "shared.namespace",
    "shared.policy",
    "shared.extensions",
    "shared.state_pace",
    "downstream.digests",
    "shared.identity",
    "shared.queue",
    "shared.relay",
    "shared.unpack",
    "shared.waiting_frames",
    "shared.agreement",
    "shared.sender",
    "downstream.downlink",
    "downstream.log_pass",
    "shared.pair_places",
    "shared.pair",
    "downstream.pair_link",
    "downstream.peer_cursors",
    "downstream.reference_leaf",
    "downstream.router_ids",
    "shared.dedup_recovery",
    "shared.box_report",
    "downstream.box_states",
    "downstream.peer",
    "downstream.declared",
    "downstream.refusals",
    "downstream.peers",
    "downstream.peer_handlers",
)
"""The modules of `clasp_edge.federation` that serve a router that dials in, each after those that it needs."""

KEEP_TIME_S = 1.0
LARGEST_DRIFT_US = 200_000
"""Between the clock that versions go by and the wall clock, before the one is set by the other."""

DOUBT_S = 10.0
"""A router whose clock is behind what it has stored waits so long for a hub that knows better."""

EPOCH = "federation-epoch"
"""A place in the journal that no reader has: it says which store this is (`Identity`), and is gone with it."""


class FederationPart(Part):
    """Uplinks and routers that dial in. `journal` is the one that keeps a log, if any does."""

    name = "federation"

    def __init__(self, router: Router, config: Config, journal: Journal | None) -> None:
        self._router = router
        self._config = config
        self._journal = journal
        # At each start, also where no other router comes: what is logged now may be told to one later.
        self._runs = begin_run(journal)
        self._start_hlc = router.plane.hlc
        self._log_began_at = journal.last_sequence if journal is not None else 0
        self._common: tuple[Identity, Seen, DedupRecovery] | None = None
        self._handlers: PeerHandlers | None = None
        self._uplinks: Uplinks | None = None
        self._ids: RouterIds | None = None
        self._pair: Pair | None = None
        self.summary: Callable[[], tuple[list[str], Mapping[str, Value]]] = lambda: ([], {})
        """The bound addresses, and how this box is: what hubs are told. Filled in by the list of parts."""
        self._early: list[tuple[Session, FederationSync, Envelope]] = []
        router.extensions = True
        router.handlers[MessageType.FEDERATION_SYNC] = self._first

    def ready(self) -> None:
        if self._config.federation.pair.on:
            self._begin_pair()
        self.apply_config(self._config)

    def _begin_pair(self) -> None:
        from clasp_edge.federation.shared.pair import Pair
        from clasp_edge.federation.shared.pair_places import PairPlaces

        journal = self._journal
        if journal is None:
            log.error("federation.pair: there is no pair without a journal of mode group or strict")
            return
        identity = self._of_this_router()[0]
        self._pair = Pair(
            self._config.federation.pair, strict=journal.mode == "strict", router_id=identity.router_id,
            data_dir=self._config.data_dir, stores=lambda: journal.state == "ok",
            log_end=lambda: journal.last_sequence, places=PairPlaces(journal, identity, self._log_began_at),
            plane=self._router.plane, loop=self._router.loop, clock=self._router.clock,
        )  # fmt: skip
        journal.guard_by(self._pair)
        # From now on it is noted where the log is: boxes may come from the other hub at any moment.
        self._serve()

    def apply_config(self, config: Config) -> None:
        """Run the uplinks of this configuration."""
        self._config = config
        if self._ids is not None:
            self._ids.authenticator = self._router.authenticator
        if (config.uplink or (self._pair is not None and config.federation.pair.url)) and self._uplinks is None:
            from clasp_edge.federation.upstream.manager import Uplinks

            self._uplinks = Uplinks(
                self._router, *self._of_this_router(), self._journal, self._summarise, self._decided_above, self._pair
            )
        if self._uplinks is not None:
            self._uplinks.apply(config)
        if self._journal is not None:
            # Whoever comes no more must not keep the log from growing old.
            known = self._uplinks.running if self._uplinks is not None else {}
            for name in self._journal.cursors():
                if name.startswith(PEER):
                    self._serve()  # something is kept for routers that may come no more
                elif name.startswith((UPLINK, HUB, HEARD)) and name.partition(":")[2] not in known:
                    self._journal.forget_cursor(name)

    def describe(self, sources: StatusSources) -> None:
        from clasp_edge.console.federation_report import add_federation

        pair = self._config.federation.pair.on
        add_federation(sources, self.statistics, lambda: left_out(self._config), pair=pair)

    def offer(self, requests: Requests) -> None:
        requests.add("release", Release(self.router_ids))

    def explain(self, address: bytes) -> Iterable[Finding]:
        from clasp_edge.daemon.federation_why import explain

        uplinks = self._uplinks.running if self._uplinks is not None else {}
        peers = self._handlers.peers if self._handlers is not None else None
        owner = self._owner_below(address)
        decides = "this router" if self._decides(address, b"", b"") else f"box {owner.router_id}" if owner else ""
        return explain(address, uplinks, peers, decides)

    def stop(self) -> None:
        """Disconnect the uplinks; sessions of other routers end as all do."""
        if self._pair is not None:
            self._pair.stop()
        if self._uplinks is not None:
            self._uplinks.stop()

    def statistics(self) -> dict[str, Any]:
        """Uplinks by name, and routers that dialled in by id."""
        return {
            "uplinks": self._uplinks.statistics() if self._uplinks is not None else {},
            "peers": self._handlers.peers.statistics() if self._handlers is not None else {},
            "pair": self._pair.statistics() if self._pair is not None else {"state": "alone"},
        }

    def _summarise(self) -> tuple[list[str], Mapping[str, Value]]:
        return self.summary()

    def _first(self, session: Session, message: FederationSync, envelope: Envelope) -> None:
        if self._handlers is not None:
            self._handlers.handle(session, message, envelope)
            return
        # To load the code takes some 60 ms, which nobody else is to wait for.
        session.hold()
        self._early.append((session, message, envelope))
        if len(self._early) == 1:
            self._router.core.start_work(self._load())

    def _load(self) -> Iterator[None]:
        """Import what serves routers that dial in, a module at a time; then go on with those that have waited."""
        try:
            for name in SERVING:
                importlib.import_module(f"clasp_edge.federation.{name}")
                yield
            self._serve()
            yield
        except Exception:
            log.exception("what serves other routers cannot be loaded")
            early, self._early = self._early, []
            for session, _, _ in early:
                session.error(ErrorCode.INTERNAL_ERROR, "this router cannot serve other routers; its log says why")
                session.let_on()
            return
        early, self._early = self._early, []
        for session, message, envelope in early:
            if not session.closing:
                try:
                    self._serve().handle(session, message, envelope)
                except Exception:
                    log.exception("%r: a message could not be handled", session)
                session.let_on()
                yield

    def _serve(self) -> PeerHandlers:
        if self._handlers is None:
            from clasp_edge.federation.downstream.peer_handlers import PeerHandlers
            from clasp_edge.federation.downstream.peers import Peers

            peers = Peers(self._router, *self._of_this_router(), self._journal, self.router_ids(), self._pair)
            self._handlers = PeerHandlers(self._router, peers)
        return self._handlers

    def _decides(self, address: bytes, holder: bytes, writer: bytes) -> bool:
        """Whether locks, expected states and strategies of the address are decided here: by its owner, else by the
        router above all. What one router has told by one link is no lock against what it tells by another. What is
        locked at this router or below it is locked to all others below, whoever decides: above they are one link."""
        if holder and self._handlers is not None:
            if self._handlers.peers.same_router(holder, writer):
                return False
            if holder != writer and not writer.startswith(UPLINK.encode()):
                return True
        uplinks = self._uplinks.running.values() if self._uplinks is not None else ()
        if any(uplink.owned(address) for uplink in uplinks):
            return True
        if self._owner_below(address) is not None:
            return False
        # Whether the other router of a pair is above or below, this one decides while it is alone.
        return not any(
            uplink.sender.policies.admits(address) for uplink in uplinks if not uplink.is_pair or uplink.sender.is_open
        )

    def _decided_above(self, address: bytes) -> bool:
        """Whether that is neither here nor at a router below."""
        return self._decides(address, b"", b"") is False and self._owner_below(address) is None

    def _owner_below(self, address: bytes) -> Peer | None:
        return self._handlers.peers.owner_of(address) if self._handlers is not None else None

    def _set_time(self) -> None:
        """What is stored may have versions from a time to come: then the clock was wrong, or it is now."""
        plane = self._router.plane
        ahead_us = plane.hlc - plane.clock_us
        if ahead_us <= 0:
            self._trust_time()
        elif clock_synchronised():
            plane.hlc = 0  # they are brought together as well
            changed = plane.retime(0, 0, plane.clock_us, begin=plane.beginning)
            log.warning("%d params had versions from the future, up to %.0f s: set to now", changed, ahead_us / 1e6)
        else:
            # It goes on where it has stopped, which is too early by as long as it was off. Others are told no time
            # before a hub has told this router, or does not seem to come.
            plane.skip_time(ahead_us)
            if self._config.uplink:
                self._router.loop.call_later(DOUBT_S, self._trust_time)
            else:
                self._trust_time()

    def _trust_time(self) -> None:
        plane = self._router.plane
        if not plane.timeline:
            plane.timeline = plane.beginning

    def _keep_time(self) -> None:
        """Versions go by the monotonic clock, so that the wall clock may be set. The router above all follows that
        when it goes forward; others do until a hub has told its time."""
        self._router.loop.call_later(KEEP_TIME_S, self._keep_time)
        plane = self._router.plane
        uplinks = self._uplinks.running.values() if self._uplinks is not None else ()
        drift_us = self._router.clock.wall_us() - plane.clock_us
        if abs(drift_us) < LARGEST_DRIFT_US or any(uplink.time_known for uplink in uplinks):
            return
        if not uplinks:
            # Never back: what others have written since would be from the future.
            plane.base_us += max(0, drift_us)
        elif clock_synchronised():
            plane.retime(drift_us, self._start_hlc, plane.clock_us + drift_us)

    def router_ids(self) -> RouterIds:
        """Whose router id is whose."""
        if self._ids is None:
            from clasp_edge.federation.downstream.router_ids import RouterIds

            self._ids = RouterIds(self._journal, self._router.authenticator)
        return self._ids

    def _of_this_router(self) -> tuple[Identity, Seen, DedupRecovery]:
        if self._common is None:
            from clasp_edge.devices.values import use_in_dataplane
            from clasp_edge.federation.shared.dedup import Seen
            from clasp_edge.federation.shared.dedup_recovery import DedupRecovery
            from clasp_edge.federation.shared.identity import Identity

            use_in_dataplane()  # other routers tell what their MQTT clients have published
            wall_us = self._router.clock.wall_us()
            store, run = wall_us, 0
            if self._journal is not None and self._journal.run:
                run = self._journal.run
                store = self._journal.cursor(EPOCH) or wall_us
                self._journal.set_cursor(EPOCH, store)
            config = self._config
            identity = Identity(config.data_dir, wall_us, store, run, config.federation.router_id, self._runs)
            seen = Seen()
            self._common = identity, seen, DedupRecovery(self._journal, seen)
            plane = self._router.plane
            plane.versions = True
            plane.tag = tag_of(identity.router_id)
            plane.referee = self._decides
            self._set_time()
            self._keep_time()
        return self._common
