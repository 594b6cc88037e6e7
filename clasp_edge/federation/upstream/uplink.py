"""One uplink of the configuration: a party of this router that keeps one hub up to date and hears of it what it wants.

Puts the parts together: the dialer's links, a `HubSession` on each of them, the sender half, the backlog, the status.
Everything it writes goes through the router's one gate, confined to what the link carries.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

from clasp_edge.clock import Clock
from clasp_edge.config.endpoint import parse_endpoint
from clasp_edge.config.model import Uplink as UplinkConfig
from clasp_edge.dataplane import Subscription, Verdict
from clasp_edge.dataplane.account import Holding
from clasp_edge.dataplane.mqtt_details import MqttDetails
from clasp_edge.federation.shared.batches import Item
from clasp_edge.federation.shared.conflicts import Terms
from clasp_edge.federation.shared.dedup import Seen, route_of_record
from clasp_edge.federation.shared.dedup_recovery import DedupRecovery
from clasp_edge.federation.shared.extensions import LOCK_HELD
from clasp_edge.federation.shared.identity import Identity
from clasp_edge.federation.shared.mqtt_messages import details_of_record
from clasp_edge.federation.shared.namespace import Namespaces
from clasp_edge.federation.shared.pair_places import says_place
from clasp_edge.federation.shared.policy import PairPolicies, Policies, Policy
from clasp_edge.federation.shared.queue import LinkQueue
from clasp_edge.federation.shared.sender import MESSAGES_AT_ONCE, WINDOW_STORED, PeerSender
from clasp_edge.federation.shared.status import UplinkStatus
from clasp_edge.federation.upstream.connector import Connector, DialOptions
from clasp_edge.federation.upstream.hub_session import HubSession
from clasp_edge.federation.upstream.tls import TlsOptions
from clasp_edge.journal.cursor_names import HEARD, HUB, NOT_A_RECORD, UPLINK
from clasp_edge.journal.followed_log import Log
from clasp_edge.router.access import ConfinedAccess
from clasp_edge.wire import ErrorCode, SignalType
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.federation.shared.pair import Pair
    from clasp_edge.federation.upstream.box_reporter import BoxReporter
    from clasp_edge.federation.upstream.connection import Connection
    from clasp_edge.journal.cursors import Logged
    from clasp_edge.router.router import Router
    from clasp_edge.wire import FederationSync

log = logging.getLogger("clasp_edge.uplink")

ALL_SIGNALS = 0x1F

TICK_S = 1.0


class Uplink:
    """`start` once, `stop` once, on the loop."""

    def __init__(
        self, router: Router, name: str, config: UplinkConfig, identity: Identity, seen: Seen, recall: DedupRecovery,
        journal: Log | None, random: Random, decided_above: Callable[[bytes], bool], reporter: BoxReporter,
        pair: Pair | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.config = config
        self.seen = seen
        self._pair = pair
        """Whose link this is, if it is that of a pair of hubs."""
        self._identity = identity
        self._recall = recall
        self._reporter = reporter
        self._journal = journal
        self._life_place = HUB + name
        if journal is not None:
            journal.log_whole_messages(UPLINK + name, True)
        self._hub_life = journal.cursor(self._life_place) if journal is not None else 0
        self._hub_id = ""
        self._heard_all_s: float | None = None
        self._heard_up_to = -1  # at the first time it is noted also where the log is empty still
        self.router_id = identity.router_id
        self.instance = identity.instance
        self.link_number = crc32(name.encode())
        self.loop: AbstractEventLoop = router.loop
        self.former_sessions: list[bytes] = []
        self._router = router
        self._clock: Clock = router.clock
        self._writer = f"uplink:{name}".encode()
        self._owned = Namespaces("", with_stems(config.owns))
        self._patterns = tuple(dict.fromkeys((*with_stems(config.owns), *with_stems(config.wants))))
        policies = (
            Policies(self._patterns, config.policy) if pair is None else PairPolicies(self._patterns, whole=pair.strict)
        )
        self.sender = PeerSender(
            router.plane, policies, identity.logged, identity.unlogged, self.loop.call_later, self._clock.wall_s
        )
        self.sender.tells_mqtt = self.sender.awaits_word = True  # as far as is known before the first link
        self.sender.decided_there = decided_above
        self.sender.scopes = ConfinedAccess(None, policies)
        self.backlog = LinkQueue(
            UPLINK + name, journal, config.queue_mib * 1024 * 1024, config.queue_age_s, self._item_of,
            self.sender.pump_soon, self._clock.wall_s, self.loop.call_later,
        )  # fmt: skip
        self.sender.backlog = self.backlog
        if pair is not None:
            self.backlog.moved = pair.moved
            pair.dial = self._dial
        urls = (config.url,) if isinstance(config.url, str) else config.url
        tls = TlsOptions(config.tls_ca, config.tls_cert, config.tls_key, config.tls_server_name, config.tls_pin)
        options = DialOptions(
            name,
            [parse_endpoint(url) for url in urls],
            tls,
            dead_after_s=config.dead_after_ms / 1000,
            own_id=identity.router_id,
        )
        self.dialer = Connector(options, self, self.loop, self._clock, random)
        self.status = UplinkStatus(router.plane, name, self, self._clock)
        self._sessions: dict[Connection, HubSession] = {}
        self._session: HubSession | None = None
        self._subscriptions = [
            Subscription(self.sender, number, Pattern(text.encode()), ALL_SIGNALS)
            for number, text in enumerate(self._patterns)
        ]
        self._tick: TimerHandle | None = None
        self._clock_offset_s = self._clock.wall_s() - self._clock.monotonic_s()
        self._clock_jumped = False
        self._apart_since = router.plane.hlc  # versions above were assigned while the hub was away
        self._measured_hlc = router.plane.hlc or router.plane.now_hlc  # when our time was last compared with a hub's
        self.time_known = False
        self._silent_until_s = 0.0  # a hub may give a thousand reasons a second to complain
        self._stopped = False
        self._connecting = False  # what an earlier life has left to send is known
        self._dialling = True
        self.state = "connecting"
        self.echo_rtt_s = 0.0
        self._up_until_s = 0.0  # Unix time; 0 for never
        self.last_error = ""
        self._earlier_error = ""  # as it was when the present link was established

    # ---- life ----

    def start(self) -> None:
        """Take part, find out what an earlier life has left to send, and begin to connect."""
        self._router.plane.register(self.sender, self._writer)
        self.status.open()
        for subscription in self._subscriptions:
            self._router.plane.trie.add(subscription)
        self._tick = self.loop.call_later(TICK_S, self._on_tick)
        self.backlog.scan(self._on_left_over, lambda: self._recall.when_done(self._connect))

    def _connect(self) -> None:
        if not self._stopped:
            self._connecting = True
            if self._dialling:
                self.dialer.start()

    def _dial(self, wanted: bool) -> None:
        """As the pair has it: the other router of it may be the one that dials."""
        self._dialling = wanted
        if self._stopped or not self._connecting:
            return
        if wanted:
            self.dialer.start()
        else:
            self.dialer.stop("the other router of the pair dials")

    def take_over(self, predecessor: Uplink) -> None:
        """Go on where the uplink of this name has stopped that had another configuration."""
        self.former_sessions = predecessor.former_sessions
        self._hub_life = predecessor._hub_life
        self.sender.tombstones = predecessor.sender.tombstones
        for item in predecessor.backlog.unlogged():
            self.backlog.offer(item)

    def stop(self, *, for_good: bool = True) -> None:
        """Take part no more, and disconnect. `for_good`: no uplink of this name follows."""
        self._stopped = True
        if for_good and self._journal is not None:
            self._journal.log_whole_messages(UPLINK + self.name, False)
        for subscription in self._subscriptions:
            self._router.plane.trie.discard(subscription)
        if self._tick is not None:
            self._tick.cancel()
        self.dialer.stop()
        if self._session is not None:
            self._session.end()
            self._session.note_session()
            self._session = None
        self.sender.close()
        self.state = "stopped"
        self.status.write()
        if for_good:
            self.status.forget()
        self.status.close()
        self._router.plane.unregister(self.sender)

    # ---- from the dialer ----

    def on_open(self, link: Connection) -> None:
        session = self._sessions[link] = HubSession(self, link)
        session.start()

    def on_frames(self, link: Connection, frames: list[bytes]) -> None:
        session = self._sessions.get(link)
        if session is not None:
            session.receive(frames)

    def on_not_found(self, reason: str) -> None:
        if not self._stopped and self._session is None:
            self.last_error = reason
            self.state = "down"
            self.status.write()

    def on_close(self, link: Connection, reason: str) -> None:
        session = self._sessions.pop(link, None)
        if self._stopped:
            return
        self.last_error = reason
        if session is not None:
            session.end()
            session.note_session()
        if session is not None and session is self._session:
            if self._pair is not None:
                self._pair.unlinked(session, reason)
            self._session = None
            self._up_until_s = self._clock.wall_s()
            self.sender.close()
            self._apart_since = self._router.plane.hlc
            self._clock_offset_s = self._clock.wall_s() - self._clock.monotonic_s()
            self._clock_jumped = False
            self.state = "down"
        elif self._pair is not None:
            self._pair.trouble(reason, logged=True)
        self.status.write()

    # ---- from the hub session ----

    def established(self, session: HubSession) -> None:
        """The hub takes what we tell it on this link; an earlier one is not used any more."""
        if self._session is not None:
            if self._pair is not None:
                self._pair.unlinked(self._session, "the link was made anew")
            self._session.end()
            self._session.note_session()
            self.sender.close()
        self._session = session
        self._reporter.begin()
        self.sender.speak_versions(session.versioned)
        self.sender.window = WINDOW_STORED if session.hub_stores else MESSAGES_AT_ONCE
        self.sender.tells_locks = self.sender.awaits_word = session.versioned
        if not session.versioned:
            self.sender.agreement.nobody_decides()
        neighbour = session.hub_id if session.is_edge else f"reference:{session.hub_name}"
        self.sender.open(session, neighbour, is_edge=session.is_edge, mqtt=session.tells_mqtt)
        # What a hub says of a message and never sends is on an account as well.
        account = self._router.accounts.of(f"uplink {self.name}")
        self.sender.details = MqttDetails(Holding(account)) if session.tells_mqtt else None
        session.link.on_drain = self.sender.pump_soon
        self._tell_again(session)
        if session.versioned and self.backlog.drained:
            # Nothing waits, so what happens from now on need not wait for the states to be compared.
            self.sender.start_draining()
        self.dialer.established(session.link)
        if self._pair is not None and session.pair_flags:
            self._pair.linked(session, session.pair_flags)
        self.state = "syncing"
        self._earlier_error = self.last_error
        self.status.write()

    def settled(self, session: HubSession) -> None:
        """The states are the same on both ends, or on their way to be."""
        if session is self._session:
            self._note_life(session)
            self.state = "up"
            # Not before: a hub that takes the declaration and then fails does so every few seconds.
            if self.last_error == self._earlier_error:
                self.last_error = ""
            if shared := session.also_owned:
                self.trouble(f"{shared} is owned by another router as well: at each link-up one overrules the other")
            self.sender.start_draining()
            self.status.write()

    def _tell_again(self, session: HubSession) -> None:
        """Another hub than before, or one that was started anew, may lack what was acknowledged in the last seconds, or
        since the hubs were apart: it is told once more what was said here, and what was heard here, if it recognises
        what it has."""
        changed = not self.is_same_life(session.hub_instance) or self._hub_id not in ("", session.hub_id)
        self._hub_id = session.hub_id
        again = changed and session.recalls and self._journal is not None
        self.sender.retells_up_to = self._journal.last_sequence if again and self._journal is not None else 0
        if again:
            self.backlog.rewind(self._identity.heard_up_to(session.heard))
        self.sender.retells_all = False
        if self._pair is not None and self._journal is not None and says_place(session.told):
            self.sender.retells_up_to, self.sender.retells_all = self._journal.last_sequence, True
            self.backlog.go_back(self._pair.places.begins_at(session.told, UPLINK + self.name, session.hub_id))

    def heard_all(self, since_s: float) -> None:
        """At this time the hub had nothing more to tell of what must all arrive."""
        self._heard_all_s = since_s
        if self._journal is not None and self._journal.last_sequence != self._heard_up_to:
            self._heard_up_to = self._journal.last_sequence
            self._journal.set_cursor(HEARD + self.name, self._router.plane.clock_us // 1_000_000 | NOT_A_RECORD)

    def apart_s(self) -> float | None:
        """How long ago that was, also in an earlier life; None: it never was."""
        if self._heard_all_s is not None:
            return self._clock.monotonic_s() - self._heard_all_s
        kept = self._journal.cursor(HEARD + self.name) if self._journal is not None else 0
        return max(0.0, self._router.plane.clock_us / 1e6 - (kept & (NOT_A_RECORD - 1))) if kept else None

    def heard_of(self) -> str:
        """The id of the hub that this was."""
        return self._hub_id

    def is_served(self) -> bool:
        """Whether there is an established link, which a new one would take the place of."""
        return self._session is not None

    # ---- the pair ----

    @property
    def is_pair(self) -> bool:
        """Whether this is the link of a pair of hubs."""
        return self._pair is not None

    def pair_flags(self) -> int:
        """For PEER."""
        return self._pair.flags if self._pair is not None else 0

    def pair_places(self) -> Mapping[str, int]:
        """For PEER."""
        return self._pair.places.kept() if self._pair is not None else {}

    def pair_answer(self, session: HubSession) -> str | None:
        """The hub has said who it is. Why this is not the link of the pair, if it was to be."""
        pair = self._pair
        if pair is None:
            return None
        if not session.pair_flags:
            pair.trouble(
                f"{session.hub_name[:64]!r} takes no part in the pair: it has no [federation.pair], or is too old"
            )
        elif objection := pair.objection(session.hub_id):
            pair.trouble(objection)
            return objection
        else:
            pair.take(session.hub_id)
            self.sender.policies = PairPolicies(self._patterns, whole=pair.carries_whole(session.pair_flags))
        return None

    def pair_said(self, session: HubSession, message: FederationSync) -> None:
        """PAIR."""
        if self._pair is not None:
            self._pair.said(session, message)

    def is_same_life(self, hub_instance: int) -> bool:
        """Whether the hub is the process whose state was settled with ours last, be it before we were started anew."""
        return self._hub_life == _life(hub_instance)

    def _note_life(self, session: HubSession) -> None:
        if session.is_edge and not self.is_same_life(session.hub_instance):
            self._hub_life = _life(session.hub_instance)
            if self._journal is not None:
                self._journal.set_cursor(self._life_place, self._hub_life)

    def measured(self, hub_us: int, timeline: int, took_s: float) -> None:
        """The hub's versions go by this time, since `timeline`: ours have to, too. What was written with a clock that
        was wrong, while the hub was away, is moved to when it was written by the hub's. Where the hub's time has begun
        anew since it was last compared with ours, nothing that is here has its version by it."""
        if not 0 < hub_us < 1 << 63:
            return
        plane = self._router.plane
        apart_us = hub_us - plane.clock_us
        tolerance_us = self.config.clock_tolerance_ms * 1000 + int(took_s * 1e6)
        if abs(apart_us) > tolerance_us:
            # Before the first hub has told its time, the clock was as wrong when this run began as it is now.
            floor = self._apart_since if self.time_known else max(0, self._apart_since + min(0, apart_us))
            is_new = plane.timeline != timeline <= hub_us and timeline - apart_us > self._measured_hlc
            changed = plane.retime(apart_us, self._apart_since, hub_us, floor, timeline if is_new else None)
            log.warning(
                "uplink %s: our clock is %.1f s %s the hub's: the hub's time counts, %d params moved",
                self.name, abs(apart_us) / 1e6, "behind" if apart_us > 0 else "ahead of", changed,
            )  # fmt: skip
        elif plane.hlc > hub_us + tolerance_us:
            plane.retime(0, self._apart_since, hub_us + tolerance_us)
        self.time_known = True
        self._measured_hlc = plane.now_hlc
        plane.timeline = timeline or plane.timeline or hub_us

    def differed(self, names: Sequence[str], count: int) -> None:
        """A comparison while the link was up has found these to differ."""
        more = f" and {count - len(names)} more" if count > len(names) else ""
        log.warning(
            "uplink %s: %d params differed from the hub's and are told again: %s%s", self.name, count,
            ", ".join(names), more,
        )  # fmt: skip

    def refused_write(self, address: bytes, code: int, text: str) -> None:
        """The hub has refused what was written here: whoever wrote it hears of it."""
        writers = self.sender.writers_refused(address, text)
        if text.startswith(LOCK_HELD):
            self.sender.unlock(address)
        session = self._router.session_of(writers)
        if session is not None:
            session.error(code, text, address[:256].decode("utf-8", "replace"))

    def refusal(self, address: bytes, verdict: Verdict) -> tuple[int, str]:
        """What whoever wrote it elsewhere is told of a write that was refused here."""
        if verdict is Verdict.LOCK_HELD:
            described = self._router.plane.describe(address)
            holder = described[3].decode() if described is not None else ""
            return self._router.config.security.lock_error_code, f'{LOCK_HELD} {{ holder: "{holder}" }}'
        if verdict is Verdict.STRATEGY_REJECTED:
            return ErrorCode.REVISION_CONFLICT, "ConflictRejected"
        return ErrorCode.REVISION_CONFLICT, "RevisionConflict { another write came before it }"

    def terms(self, hub_time_us: int) -> Terms:
        """On what terms this state sync is settled."""
        apart_ms = abs(hub_time_us / 1000 - self._clock.wall_s() * 1000)
        agree = apart_ms <= self.config.clock_tolerance_ms and not self._clock_jumped
        if not agree:
            log.warning(
                "uplink %s: the clocks do not agree (%.0f ms apart%s): differences are settled for the %s",
                self.name, apart_ms, ", and ours was set meanwhile" if self._clock_jumped else "", self.config.merge,
            )  # fmt: skip
        return Terms(self._writer, frozenset(self.former_sessions), agree, self.config.merge == "edge")

    def trouble(self, text: str) -> None:
        """Something was refused or went wrong while the link goes on."""
        now_s = self._clock.monotonic_s()
        if text != self.last_error and now_s >= self._silent_until_s:
            self._silent_until_s = now_s + TICK_S
            log.warning("uplink %s: %s", self.name, text)
        self.last_error = text

    def echoed(self, rtt_s: float) -> None:
        self.echo_rtt_s = rtt_s

    def same_id(self, instance: int) -> str:
        return self._identity.same_id(instance)

    def own_up_to(self, origin: str, epoch: int) -> int:
        return self._identity.own_up_to(origin, epoch)

    def hello_name(self) -> str:
        return self._router.config.name

    def token(self) -> str:
        return self.config.token

    def owns(self) -> Sequence[str]:
        return with_stems(self.config.owns)

    def patterns(self) -> Sequence[str]:
        return self._patterns

    def owned(self, address: bytes) -> bool:
        return self._owned.admits(address)

    def policies(self) -> Mapping[str, str]:
        return self.config.policy

    def when_stored(self, then: Callable[[], None]) -> None:
        if self._journal is None:
            then()
        else:
            self._journal.when_stored(then)

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    # ---- what waits ----

    def _item_of(self, record: Logged) -> Item | None:
        """What the link carries of a record of the log."""
        if record.author == self._writer and record.number > self.sender.retells_up_to:
            return None
        carried = self.sender.policies.of(record.address)
        if carried is None or carried[record.signal] is not Policy.LOG:
            return None
        details = b""
        if self.sender.tells_mqtt and record.own is not None and self._journal is not None:
            waited = details_of_record(record, self._journal.waited_s(record))
            if waited is None:
                return None
            details = waited
        frame = record.frame
        if record.signal == SignalType.PARAM:
            frame = self.sender.without_version(self.sender.relayed(frame))
        route, number = route_of_record(record, self._identity.route_of)
        if record.author == self._writer and (not number or self.sender.is_back(route, number, record.number)):
            return None
        return Item(details + frame, route, number, record.number, record.wall_us / 1e6)

    def _on_left_over(self, record: Logged) -> None:
        """A record from before the start that the hub has not acknowledged: a param that was cleared leaves no other
        trace than its last SET, to null."""
        to_null = record.signal == SignalType.PARAM and record.frame[5] & 0x0F == 0
        ours = record.author != self._writer and self.sender.policies.admits(record.address)
        if to_null and ours and self.sender.held(record.address) is None:
            self.sender.tombstones[record.address] = record.wall_us / 1e6

    def _on_tick(self) -> None:
        self._tick = self.loop.call_later(TICK_S, self._on_tick)
        offset_s = self._clock.wall_s() - self._clock.monotonic_s()
        if abs(offset_s - self._clock_offset_s) * 1000 > self.config.clock_tolerance_ms:
            self._clock_jumped = True
        session = self._session
        if session is not None and self.state == "up":
            self.backlog.rest()
            self.backlog.keep_place()
            if session.hears_box:
                self._reporter.tick(session.send, session.backlog_bytes)
        self.status.write()

    # ---- for status and metrics ----

    @property
    def endpoint(self) -> str:
        return self.dialer.status.endpoint

    def statistics(self) -> dict[str, int | float | str | bool]:
        """How the link is doing."""
        now_s = self._clock.wall_s()
        dial = self.dialer.status
        link = self.dialer.link
        return {
            "state": self.state,
            "hub": dial.endpoint,
            "peer": "" if self._session is None else "clasp-edge" if self._session.is_edge else "reference",
            "since": round(dial.since_us / 1e6, 3),
            "up_until": round(self._up_until_s, 3),
            "queue": self.backlog.depth,
            "queue_bytes": self.backlog.bytes,
            "queue_age_s": round(max(0.0, now_s - self.backlog.oldest_s), 1) if self.backlog.oldest_s else 0.0,
            "echo_rtt_ms": round(self.echo_rtt_s * 1000, 2),
            "drops": self.backlog.dropped + sum(self.sender.dropped.values()),
            "told": self.sender.told,
            "mended": self.sender.agreement.mended,
            "differing": self.sender.agreement.differing,
            "differs": ", ".join(self.sender.agreement.names),
            "pending": self.sender.agreement.pending,
            "awaited": ", ".join(self.sender.agreement.waiting),
            "refused": self._session.refused if self._session is not None else 0,
            "connects": dial.connects,
            "failures": dial.failures,
            "bytes_in": dial.bytes_in + (link.bytes_in if link is not None else 0),
            "bytes_out": dial.bytes_out + (link.bytes_out if link is not None else 0),
            "last_error": self.last_error,
        }


def _life(instance: int) -> int:
    """The hub's instance as it is kept among the places in the log: beyond all numbers of records, so that none is held
    back for it."""
    return instance & (NOT_A_RECORD - 1) | NOT_A_RECORD


def with_stems(patterns: Sequence[str]) -> tuple[str, ...]:
    """The patterns, and beside each `/a/**` the address `/a` itself: the reference's matchers do not agree whether one
    contains the other (federation.md 5)."""
    found: dict[str, None] = {}
    for pattern in patterns:
        stem = pattern.removesuffix("/**")
        if stem and stem != pattern:
            found[stem] = None
        found[pattern] = None
    return tuple(found)
