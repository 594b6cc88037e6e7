"""The control plane's centre: sessions, the handlers of the messages, and what the data plane asks of it.

Knows no transport, no MQTT, no file. Transports bring connections (`connect`), the daemon brings the configuration and
the authenticator.
"""

from __future__ import annotations

import logging
import math
from asyncio import AbstractEventLoop, TimerHandle
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from clasp_edge.callbacks import call_each
from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.dataplane import Core, Framing, Plane, Route, Strategy, Verdict
from clasp_edge.dataplane.account import Account, Accounts, Charge, Holding
from clasp_edge.dataplane.maps import merge_maps
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.dataplane.trie import subscription_bytes
from clasp_edge.router import bundle, hello, quota, requests, signals, subscribe
from clasp_edge.router.access import Authenticator, Identity, Refused, Trail
from clasp_edge.router.debts import Debts
from clasp_edge.router.gesture import GestureThrottle
from clasp_edge.router.in_turn import InTurn
from clasp_edge.router.link import CloseCode, Link
from clasp_edge.router.p2p import P2p, is_p2p
from clasp_edge.router.places import HalfOpen, Places
from clasp_edge.router.principal import RefusalLog, host_of, may_administrate, principal_of
from clasp_edge.router.schedule import Schedule
from clasp_edge.router.session import Envelope, Session
from clasp_edge.router.signals import SignalRegistry
from clasp_edge.wire import ErrorCode, MessageType, ValueType
from clasp_edge.wire.address import validate_address
from clasp_edge.wire.limits import MAX_PAYLOAD_BYTES
from clasp_edge.wire.pattern import Pattern

log = logging.getLogger("clasp_edge.router")

SNAPSHOT_OVERHEAD_BYTES = 61
"""What a param takes in a snapshot of its own beside address and value (dataplane/state.pyx)."""

MOST_REFUSALS = 20
"""Remembered for who asks why something was refused."""

_KINDS = {Framing.WS: "websocket", Framing.TCP: "tcp", Framing.QUIC: "quic"}

Handler = Callable[[Session, Any, Envelope], None]


class Router:
    """One router: state, subscriptions, sessions. Needs a running loop; everything runs on its thread."""

    def __init__(
        self, config: Config, loop: AbstractEventLoop, clock: Clock, authenticator: Authenticator | None = None
    ) -> None:
        limits = config.limits
        self.config = config
        self.loop = loop
        self.clock = clock
        self.authenticator = authenticator
        self.trail = Trail()
        self.core = Core(limits.arena_mib, limits.outbox_kib * 1024, limits.event_backlog_kib * 1024)
        self.core.loop = loop
        self.plane = Plane(self.core, limits.history_kib * 1024)
        self.plane.control = self
        self.accounts = Accounts()
        self.plane.share_total(self.accounts)
        self._refusals = RefusalLog(self.accounts, clock)
        self.sessions: dict[str, Session] = {}
        self.on_peer_refused: Callable[[Session, Verdict, bytes, str, bool], None] | None = None
        self.on_switch: Callable[[Session, bytes, bytes], bool] | None = None
        """Asked of a SET (address, payload) to one of the router's own addresses: whether that is a switch, and was
        turned."""
        self.connections: set[Session] = set()
        self.places = Places(lambda: self.config.limits.max_sessions)
        self.half_open = HalfOpen(lambda: self.config.limits.max_half_open)
        self.debts = Debts(clock)
        self.signals = SignalRegistry(clock)
        self.p2p = P2p(self)
        self.schedule = Schedule(self)
        self.endings = InTurn(self.core)
        """Sessions that end, of whatever protocol."""
        self.histories = InTurn(self.core)
        """Searches in what is remembered: each takes memory."""
        self.errors: Counter[int] = Counter()
        self.refusals: OrderedDict[tuple[str, str, int, str], int] = OrderedDict()
        """What clients were refused lately, each once: name and address of the client, code, text; and when it was,
        in Unix microseconds. The newest is the last."""
        self.on_admitted: list[Callable[[Session], None]] = []
        self.on_regranted: list[Callable[[Session], None]] = []
        """Called when a session has said HELLO again, and is somebody else or may do something else now."""
        self.on_ended: list[Callable[[Session], None]] = []
        self.extensions = False  # WELCOME tells other routers that this is a clasp-edge
        self.handlers: dict[MessageType, Handler] = {
            MessageType.HELLO: hello.handle_hello,
            MessageType.SUBSCRIBE: subscribe.handle_subscribe,
            MessageType.UNSUBSCRIBE: subscribe.handle_unsubscribe,
            MessageType.GET: requests.handle_get,
            MessageType.SYNC: requests.handle_sync,
            MessageType.PING: requests.handle_ping,
            MessageType.REPLAY: requests.handle_replay,
            MessageType.BUNDLE: bundle.handle_bundle,
            MessageType.ANNOUNCE: signals.handle_announce,
            MessageType.QUERY: signals.handle_query,
        }
        self._expiry: TimerHandle | None = None
        self._strategies: list[tuple[Pattern, Strategy]] = []
        self.apply_config(config)

    def apply_config(self, config: Config) -> None:
        """Take over what can change while running (limits, state, strategies); called again after a reload."""
        self.config = config
        state, limits = config.state, config.limits
        self.core.high_water = limits.outbox_kib * 1024
        self.core.event_backlog = limits.event_backlog_kib * 1024
        self.accounts.total = limits.memory_mib << 20
        self.plane.max_params = state.max_params
        self.accounts.give_params(state.max_mib << 20)
        self.plane.evict = state.eviction == "lru"
        self._strategies = [
            (Pattern(rule.pattern.encode()), Strategy[rule.strategy.upper()]) for rule in state.strategy
        ]
        ttl_s = math.ceil(state.param_ttl_s)  # never 0, which would mean for ever
        if ttl_s != self.plane.param_ttl_s:
            self.plane.param_ttl_s = ttl_s
            self.plane.restamp()
        self.plane.reclassify()
        for session in self.sessions.values():
            self.apply_limits(session)
        self.check_all_access()

    # ---- connections and sessions ----

    def session_of(self, writers: Iterable[bytes]) -> Session | None:
        """The first of these writers (`Sink.writer`'s texts) that is a session, and here still."""
        found = (self.sessions.get(writer.decode()) for writer in writers)
        return next((session for session in found if session is not None and not session.closing), None)

    def connect(self, link: Link, fd: int, framing: Framing) -> Session:
        """A new connection. It is half-open until its HELLO. `fd`: -1 where the link has no socket of its own and says
        `open_stream`."""
        session = Session(self.core, self.plane, self, link, fd, framing)
        self.connections.add(session)
        self.half_open.add(session, host_of(link.remote), session.give_up_place)
        return session

    def open_to(self, remote: str) -> bool:
        """Whether somebody from this address (`host:port`) may become a session. With tokens only HELLO can tell."""
        host = host_of(remote)
        return self.authenticator is not None or self.places.open_to(principal_of(host), host)

    @property
    def guests(self) -> int:
        """Clients of other protocols' servers, which have places too."""
        return len(self.places) - len(self.sessions)

    def admit(self, session: Session) -> bool:
        """Turn a half-open connection into a session, if there is room."""
        if not self._take_place(session):
            return False
        self.half_open.discard(session)
        self.plane.register(session, session.id.encode())
        self.sessions[session.id] = session
        self.apply_limits(session)
        self._begin_rate(session)
        return True

    def readmit(self, session: Session, before: Identity | None) -> bool:
        """The session's token is another one: its place and its rates are those of that, if there is room."""
        self.places.give_back(session)
        self.debts.leave(principal_of(host_of(session.link.remote), before), session.used_s)
        quota.share_anew(self.places, before)
        if not self._take_place(session):
            return False
        self.apply_limits(session)
        self._begin_rate(session)
        return True

    def _begin_rate(self, session: Session) -> None:
        """What others have used of the rate is used: those who have left, and those who share it."""
        session.owe(self.debts.take(session.holding.account.principal))
        session.owe(quota.used_by_others(self.places, session, session.identity))
        quota.share_anew(self.places, session.identity)

    def _take_place(self, session: Session) -> bool:
        host, identity = host_of(session.link.remote), session.identity
        kind = _KINDS[Framing(session.framing)]
        principal = principal_of(host, identity)
        return self.places.take(session, kind, principal, host, admin=may_administrate(identity))

    def apply_limits(self, session: Session) -> None:
        limit = self.config.limits.messages_per_second if session.own_rate is None else session.own_rate
        bytes_per_second = quota.bytes_rate(self.places, session.identity)
        session.limit_rate(quota.rate(self.places, session.identity, limit), bytes_per_second)

    def new_gestures(self, session: Session) -> GestureThrottle:
        # What another router tells was thinned where it was made; what waited here would go out under a later number.
        interval_s = self._gesture_interval_s if session.route is None else _at_once
        return GestureThrottle(session.relay, self.loop, interval_s, self.clock.wall_us)

    def _gesture_interval_s(self) -> float:
        return self.config.limits.gesture_coalesce_ms / 1000

    def ended(self, session: Session) -> None:
        """A connection is gone: cancel its strokes, drop its subscriptions, release its locks after a grace. Of many
        that end at once all but the first wait for their turn."""
        self.connections.discard(session)
        self.half_open.discard(session)
        if self.sessions.pop(session.id, None) is None:
            session.holding.close()
            return
        # At once: its client may be back before its turn comes, and is to find a place, and its debt.
        self.places.give_back(session)
        self.debts.leave(session.holding.account.principal, session.used_s)
        self.endings.do(self._end(session))

    def _end(self, session: Session) -> Iterator[None]:
        # Each by itself: whatever one of them raises, nothing of the session stays behind.
        try:
            call_each((partial(quota.share_anew, self.places, session.identity), session.note_writes))
            log.info("%r: disconnected", session)
            call_each(self.on_ended, session)
            call_each((_cancel_gestures, self.settle), session)
            yield
        finally:
            yield from subscribe.drop_all(session)
            session.holding.close()

    def settle(self, session: Session) -> None:
        """Let go of what a session that has ended holds, and of itself once nothing it scheduled is still to come."""
        if session.id in self.sessions or not session.writer:
            return
        # Also after each bundle that was still to come: it may have taken locks.
        if self.plane.locks_held(session):
            grace_s = 0.0 if session.revoked else self.config.state.lock_grace_s
            self.loop.call_later(grace_s, self._release_locks, session.writer, session.id.encode())
        if not session.scheduled:
            self.plane.unregister(session)

    def _release_locks(self, writer: int, name: bytes) -> None:
        self.core.start_work(self.plane.release_locks(writer, name))

    def lost_access(self, session: Session) -> Refused | None:
        """Why the session's token no longer admits it, if it has expired or been revoked since its HELLO."""
        if self.authenticator is None or session.identity is None:
            return None
        try:
            identity = self.authenticator.revalidate(session.identity)
        except Refused as refusal:
            return refusal
        if identity is not session.identity:
            session.grant(identity)
        return None

    def check_access(self, session: Session) -> bool:
        """Close the session if its token admits it no more; whether it may stay. Its locks go with it."""
        refusal = self.lost_access(session)
        if refusal is None:
            return True
        session.revoked = True
        self.trail.note(
            "session ended", session.identity, remote=session.link.remote, client=session.name, reason=refusal.text
        )
        session.error(refusal.code, refusal.text)
        session.close(CloseCode.POLICY_VIOLATION, refusal.text)
        return False

    def check_all_access(self) -> None:
        """Tokens may have changed: what a session may do from its next message on is what its token says now."""
        if self.authenticator is None or not self.sessions:
            return
        self.core.begin_pass()
        # Whoever cannot be asked stops nobody else from being asked.
        call_each(
            partial(self.check_access, session) for session in list(self.sessions.values()) if not session.closing
        )
        self.core.end_pass()

    def stop(self) -> None:
        """Tell every client and let go of the timers."""
        call_each(partial(each.close, CloseCode.GOING_AWAY, "router stops") for each in list(self.connections))
        self.schedule.close()
        if self._expiry is not None:
            self._expiry.cancel()

    # ---- what is said when something is refused ----

    def count_error(self, code: int) -> None:
        self.errors[code] += 1

    def note_refusal(self, name: str, remote: str, code: int, text: str) -> None:
        """Keep for the page what a client was told. One that tries again and again is one entry."""
        key = (name[:64], remote, code, text)
        self.refusals[key] = self.clock.wall_us()
        self.refusals.move_to_end(key)
        if len(self.refusals) > MOST_REFUSALS:
            self.refusals.popitem(last=False)

    def refusal(
        self, session: Session, verdict: Verdict, address: bytes, revision: int, expected: int, is_set: bool
    ) -> tuple[int, str]:
        """The ERROR code and text of a refused write (router.md 2.1, 13)."""
        if verdict is Verdict.BAD_ADDRESS:
            return ErrorCode.INVALID_ADDRESS, self.plane.refusal_text
        if verdict is Verdict.NO_SCOPE:
            outside = session.outside(address, "SET" if is_set else "PUBLISH")
            if outside is not None:
                return ErrorCode.SCOPE_FAILURE, outside
            if address.startswith(RESERVED):
                return ErrorCode.FORBIDDEN, f"{RESERVED.decode()} is the router's own: only it writes there"
            return ErrorCode.FORBIDDEN, f"Insufficient scope for {'write' if is_set else 'publish'} operation"
        if verdict is Verdict.REVISION_CONFLICT:
            return ErrorCode.REVISION_CONFLICT, f"RevisionConflict {{ expected: {expected}, actual: {revision} }}"
        if verdict is Verdict.LOCK_HELD:
            described = self.plane.describe(address)
            holder = described[3].decode() if described is not None else ""
            return self.config.security.lock_error_code, f'LockHeld {{ holder: "{holder}" }}'
        if verdict is Verdict.STRATEGY_REJECTED:
            return ErrorCode.REVISION_CONFLICT, "ConflictRejected"
        if verdict is Verdict.FROM_FUTURE:
            return ErrorCode.REVISION_CONFLICT, "the version is from the future: the clock is wrong"
        if verdict is Verdict.TOO_LARGE:
            return ErrorCode.INVALID_VALUE, (
                "Value too large: address and value may take "
                f"{MAX_PAYLOAD_BYTES - SNAPSHOT_OVERHEAD_BYTES} bytes together"
            )
        return ErrorCode.REVISION_CONFLICT, "AtCapacity"

    def account_of(self, host: str, identity: Identity | None = None) -> Account:
        """The account of who is there: of its token, else of its host."""
        account = self.accounts.of(principal_of(host, identity))
        if identity is not None:
            account.limit = identity.quota.kept_kib << 10
        return account

    def charge_subscription(self, holding: Holding, pattern: Pattern) -> str | None:
        """Take a further subscription's memory from its owner's account (give it back with `release_subscription`). Why
        it cannot be had, where it cannot; None if it can."""
        full = self.no_room_for_subscription()
        if full is None and not holding.charge(subscription_bytes(pattern), Charge.SUBSCRIPTIONS):
            full = self.memory_full()
        return full

    def release_subscription(self, holding: Holding, pattern: Pattern) -> None:
        """It is no more."""
        holding.release(subscription_bytes(pattern), Charge.SUBSCRIPTIONS)

    def memory_full(self) -> str:
        """What somebody is told whose account has no room."""
        whole = f"your share of the {self.config.limits.memory_mib} MiB of limits.memory_mib is used up"
        return f"{whole}, or the token's kept_kib"

    def no_room_for_subscription(self, replaces: bool = False) -> str | None:
        """Why no client can have a further subscription now, or one in place of another; None if it can."""
        limits, trie = self.config.limits, self.plane.trie
        if limits.max_subscriptions and not replaces and trie.size >= limits.max_subscriptions:
            return f"max {limits.max_subscriptions} of all clients together"
        # A replaced one may have been short, and the new one long.
        if limits.max_subscriptions_mib and trie.memory_bytes >= limits.max_subscriptions_mib << 20:
            return f"max {limits.max_subscriptions_mib} MiB of all clients together"
        return None

    # ---- what the data plane asks ----

    def classify(self, address: bytes) -> tuple[int, int]:
        """Route and strategy of an address seen for the first time. Raises ValueError for one that is not valid."""
        validate_address(address)
        return Route.P2P if is_p2p(address) else Route.PLAIN, self.strategy_of(address)

    def strategy_of(self, address: bytes) -> Strategy:
        """The first matching rule of the config, else last writer wins."""
        for pattern, strategy in self._strategies:
            if pattern.matches(address):
                return strategy
        return Strategy.LWW

    def merge(self, old_type: int, old: bytes, new_type: int, new: bytes) -> tuple[int, bytes]:
        """Strategy `merge`: a map's entries are laid over those of the map that is there; all else replaces it."""
        if old_type == new_type == ValueType.MAP:
            return new_type, merge_maps(old, new)
        return new_type, new

    def arm(self, deadline_ms: int) -> None:
        """Have `Plane.expire` called at a monotonic time."""
        if self._expiry is not None:
            self._expiry.cancel()
        delay_s = max(0.0, deadline_ms / 1000 - self.clock.monotonic_s())
        self._expiry = self.loop.call_later(delay_s, self.plane.expire)


def _cancel_gestures(session: Session) -> None:
    if session.gestures is not None:
        session.number = 0  # these are ours, and none of those that its router counts
        session.gestures.cancel_all()


def _at_once() -> float:
    return 0
