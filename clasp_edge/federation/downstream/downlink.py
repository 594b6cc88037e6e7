"""What a clasp-edge that dialled in is told, through its session; and the log that it follows across its absences.

Params, streams and all that a router without a journal tells go out as they come. Where the other router follows
(FOLLOW) and there is a journal here, messages under policy `log` go through a backlog whose place in the log is kept
while it is away (`places`). Knows nothing of who the router is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from clasp_edge.callbacks import call_each
from clasp_edge.dataplane import Plane, Subscription
from clasp_edge.federation.downstream.session_port import SessionPort
from clasp_edge.federation.shared.agreement import Comparison
from clasp_edge.federation.shared.batches import Item
from clasp_edge.federation.shared.dedup import Route
from clasp_edge.federation.shared.identity import Identity
from clasp_edge.federation.shared.mqtt_messages import details_of_record
from clasp_edge.federation.shared.namespace import Namespaces
from clasp_edge.federation.shared.policy import Policies, Policy
from clasp_edge.federation.shared.queue import LinkQueue
from clasp_edge.federation.shared.sender import BYTES_AT_ONCE, PeerSender
from clasp_edge.journal.followed_log import Log
from clasp_edge.router.subscribe import drop_subscriptions
from clasp_edge.wire import SignalType

if TYPE_CHECKING:
    from clasp_edge.federation.downstream.digests import Mending
    from clasp_edge.federation.downstream.log_pass import LogPass
    from clasp_edge.federation.downstream.turns import Turns
    from clasp_edge.journal.cursors import Logged
    from clasp_edge.router.session import Session

ALL_SIGNALS = 0x1F

COUNTED_AT_ONCE = 4096
"""Params that are added to a digest in one turn of the loop: about half a millisecond."""

WINDOW_MESSAGES = 32_768
"""Under way: they are acknowledged when the other router's journal has them, perhaps ten times a second. Fewer than the
numbers that `Seen` remembers of each epoch."""

SUBSCRIBED_AT_ONCE = 16
"""Subscriptions that come or go before others get their turn: half a millisecond for the deepest."""

SHARE_OF_OUTBOX = 4
"""A replay has a fourth of the outbox at a time, and only where less than that waits: what lives finds room in it."""


class LeafPolicies(Policies):
    """As the other router has them. A param that it owns is as it is there: it wants no values of the past for it."""

    def __init__(self, declared: Namespaces, table: Mapping[str, str], owned: Namespaces) -> None:
        super().__init__(declared, table)
        self._owned = owned

    def _find(self, address: bytes) -> tuple[Policy, ...] | None:
        found = super()._find(address)
        if found is not None and found[SignalType.PARAM] is Policy.LOG and self._owned.admits(address):
            return (Policy.LATEST, *found[1:])
        return found


class Downlink(PeerSender):
    """In the place of the session, for what its router has declared."""

    def __init__(self, plane: Plane, session: Session, identity: Identity, turns: Turns) -> None:
        super().__init__(
            plane, Policies((), {}), identity.logged, identity.unlogged, turns.later_s, session.router.clock.wall_s,
        )  # fmt: skip
        self.twin = session
        self._session = session
        self.port = SessionPort(session)
        self._subscriptions: list[Subscription] = []
        self._table: Mapping[str, str] = {}
        self._journal: Log | None = None
        self._log_pass: LogPass | None = None
        self._place = ""
        self._begins_at = 0
        self._counted = True
        self._state_told = False
        self.pair_policies: Policies | None = None
        """Where this is the link of a pair of hubs: all that it carries."""
        self.on_moved: Callable[[], None] | None = None
        self.mending: Mending | None = None
        self.comparison = Comparison()
        self._counting = False
        self._waiting: list[Callable[[], None]] = []

    # ---- life ----

    def follow(
        self, table: Mapping[str, str], journal: Log, log_pass: LogPass, place: str, *, begins_at: int, restarted: bool,
        all_again: bool = False,
    ) -> None:  # fmt: skip
        """From the next `carry` on, let nothing under policy `log` be missed. `place`: the cursor's name in the log,
        which is put to `begins_at` if it is new. `restarted`: what has come from there may not be there any more;
        `all_again`: nor what was first said there."""
        self._log_pass = log_pass
        self._table, self._journal, self._place, self._begins_at = table, journal, place, begins_at
        self.retells_up_to = journal.last_sequence if restarted or all_again else 0
        self.retells_all = all_again
        journal.log_whole_messages(place, True)

    def carry(self, declared: Namespaces, router_id: str, owned: Namespaces) -> Iterator[None]:
        """Tell this from now on, and nothing else. In parts; the change itself is one of them, between two messages."""
        trie = self.plane.trie
        subscriptions = self._subscriptions
        old = len(subscriptions)
        self.scopes = self._session.scopes
        for number, pattern in enumerate(declared.patterns):
            if number % SUBSCRIBED_AT_ONCE == 0:
                yield
                if subscriptions is not self._subscriptions:
                    return  # dropped meanwhile: another session has come in the place of this one
            if pattern is not None:
                # What only these stand for is passed over until the change: no policy is for it.
                subscriptions.append(Subscription(self, number, pattern, ALL_SIGNALS))
                trie.add(subscriptions[-1])
        for number in range(old):
            if number % SUBSCRIBED_AT_ONCE == 0:
                yield
                if subscriptions is not self._subscriptions:
                    return
            trie.discard(subscriptions[number])
        del subscriptions[:old]
        self._end()
        self.policies = self.pair_policies or LeafPolicies(declared, self._table, owned)
        self.decided_there = owned.admits
        self.awaits_word = self._session.versioned
        if self._session.versioned:
            self.speak_versions(True)
            self.count()
        self.open(self.port, router_id, is_edge=True, checkpoints=False, mqtt=self._session.details is not None)
        if self._journal is not None and self._log_pass is not None:
            log_pass = self._log_pass
            router = self._session.router
            limits = router.config.federation
            self.drain_bytes = min(BYTES_AT_ONCE, router.core.high_water // SHARE_OF_OUTBOX)
            self.backlog = LinkQueue(
                self._place, self._journal, limits.keep_mib << 20, limits.keep_s, lambda record: None, self.pump_soon,
                router.clock.wall_s, router.loop.call_later, begins_at=self._begins_at,
                source=lambda at, then: log_pass.read(self, at, then),
            )  # fmt: skip
            self.backlog.moved = self.on_moved
            log_pass.attach(self)
            backlog = self.backlog
            self._counted = backlog.drained
            if self._counted:
                self._start()
            else:
                log_pass.count(self, backlog, lambda: self._has_counted(backlog))

    def count(self) -> None:
        """Make the digest of all that is carried, anew."""
        self.begin_digest()
        if not self._counting:
            self._counting = True
            self._count()

    def _count(self) -> None:
        if not self.versioned:
            self._counting = False
        elif self.count_on(COUNTED_AT_ONCE):
            self._counting = False
            waiting, self._waiting = self._waiting, []
            call_each(waiting)
        else:
            self._later_s(0.0, self._count)

    def when_counted(self, then: Callable[[], None]) -> None:
        """Call when the digest is complete."""
        if self._counting:
            self._waiting.append(then)
        else:
            then()

    def _has_counted(self, backlog: LinkQueue) -> None:
        if backlog is self.backlog:
            self._counted = True
            self._start()

    def turn_later(self, callback: Callable[[], None]) -> None:
        """Call back when this link has its turn among the others."""
        self._later_s(0.0, callback)

    def state_told(self) -> None:
        """The other router has been sent the state it asked for: now what happened meanwhile."""
        self._state_told = True
        self._start()

    @property
    def has_told_state(self) -> bool:
        """Whether the other router has been sent the state it asked for."""
        return self._state_told

    def _start(self) -> None:
        """What has waited comes after the state, in order. Where nothing waits, what happens now is told beside it."""
        backlog = self.backlog
        if self._counted and self.is_open and backlog is not None and (self._state_told or backlog.drained):
            self.start_draining()

    def drop(self) -> None:
        """Tell nothing any more."""
        self._end()
        self.policies = Policies((), {})
        self._session.router.core.start_work(drop_subscriptions(self.plane, self._subscriptions))
        self._subscriptions = []

    def _end(self) -> None:
        self._state_told = False
        self.comparison = Comparison()
        if self.mending is not None:
            self.mending.end()
            self.mending = None
        self.speak_versions(False)
        self.close()
        if self.backlog is not None:
            self.backlog.close()
            self.backlog = None
        if self._log_pass is not None:
            self._log_pass.detach(self)

    # ---- what waits ----

    def room_to_drain(self) -> bool:
        """As of any link; and not so much to all of them together that the arena runs short."""
        core = self._session.router.core
        return self._session.queued_bytes <= self.drain_bytes and core.arena_free * 2 > core.arena_total

    def enough_under_way(self, backlog: LinkQueue) -> bool:
        """As of any link, by messages alone: what lives goes out one by one."""
        return backlog.flying >= WINDOW_MESSAGES

    def rest(self) -> None:
        """Called now and then: what others log need not be read for it when it comes back."""
        if self.backlog is not None and self._draining:
            self.backlog.rest()

    def wants(self, address: bytes, signal: int) -> bool:
        """Whether it is to be told, in order, all that is said there."""
        carried = self.policies.of(address)
        if carried is None or carried[signal] is not Policy.LOG:
            return False
        return self.scopes is None or self.scopes.allows("read", address)

    def item_of(self, record: Logged, route: Route, number: int) -> Item | None:
        """A record of the log as every router with the same `tells_mqtt` is told it; None: its time is over. Raises
        ValueError where it cannot be told."""
        details = b""
        if self.tells_mqtt and record.own is not None:
            waited = details_of_record(record, self._journal.waited_s(record)) if self._journal is not None else b""
            if waited is None:
                return None
            details = waited
        frame = record.frame
        if record.signal == SignalType.PARAM:
            frame = self.without_version(self.relayed(frame))
        return Item(details + frame if details else frame, route, number, record.number, record.wall_us / 1e6)
