"""One connection to a hub, from HELLO to its end: the handshake, and what the hub says afterwards.

Written for the reference hub as it is (federation.md 3, 7) and for a clasp-edge, which its WELCOME shows. States are
compared by `state_sync`; what is to be told goes through the uplink's `PeerSender`; what is asked of the uplink is
in `Owner`. Knows no sockets.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from clasp_edge.dataplane import Verdict as Written
from clasp_edge.federation.shared.conflicts import Terms
from clasp_edge.federation.shared.dedup import Arrival, Route, way_of
from clasp_edge.federation.shared.extensions import (
    follow_frame,
    peer_frame,
    read_buckets,
    read_heard,
    read_lifetimes,
    read_route,
    stored_frame,
)
from clasp_edge.federation.shared.sender import PeerSender
from clasp_edge.federation.shared.unpack import Unreadable, set_parts, snapshot_params
from clasp_edge.federation.shared.waiting_frames import GONE_TTL
from clasp_edge.federation.upstream.contested import Contested
from clasp_edge.federation.upstream.heartbeat import Heartbeat
from clasp_edge.federation.upstream.incoming import hand_out, take_publish, take_version_set
from clasp_edge.federation.upstream.reference_hub import ReferenceGuard
from clasp_edge.federation.upstream.state_sync import NULL, StateSync
from clasp_edge.federation.upstream.timers import Timers
from clasp_edge.federation.upstream.version_sync import VersionSync
from clasp_edge.wire import (
    Ack,
    Error,
    ErrorCode,
    FederationOp,
    FederationSync,
    Hello,
    MessageType,
    Pong,
    Welcome,
    WireError,
    decode_payload,
    encode,
)
from clasp_edge.wire.enums import BARE
from clasp_edge.wire.extensions import is_edge

if TYPE_CHECKING:
    from clasp_edge.federation.shared.dedup import Seen
    from clasp_edge.federation.upstream.connection import Connection

log = logging.getLogger("clasp_edge.uplink")

HAS_TTL = 0x10
DECLARE_TIMEOUT_S = 3.0
"""A hub without federation ignores the declaration (federation.md 2); then plain subscriptions must do."""

DECIDED = (Written.LOCK_HELD, Written.STRATEGY_REJECTED, Written.REVISION_CONFLICT)

HELLO_FEATURES = ("param", "event", "stream", "gesture", "timeline", "federation", BARE)
"""The states are compared later: a hub that sent all of its own after WELCOME would send it for nothing, and what is
asked of it would wait behind that. The reference does not know BARE and sends it."""

TURN_NS = 2_000_000
LAST_TURN_NS = 20_000_000
"""So much of what a hub says is dealt with before others get their turn, and at the link's end."""

_MQTT = bytes((FederationOp.MQTT,))


class Owner(Protocol):
    """The uplink, as its connections see it."""

    sender: PeerSender
    seen: Seen
    router_id: str
    instance: int
    link_number: int
    loop: AbstractEventLoop
    former_sessions: list[bytes]

    def same_id(self, instance: int) -> str: ...
    def own_up_to(self, origin: str, epoch: int) -> int: ...
    def hello_name(self) -> str: ...
    def token(self) -> str: ...
    def owns(self) -> Sequence[str]: ...
    def patterns(self) -> Sequence[str]: ...
    def owned(self, address: bytes) -> bool: ...
    def policies(self) -> Mapping[str, str]: ...
    def apart_s(self) -> float | None: ...
    def heard_of(self) -> str: ...
    def pair_flags(self) -> int: ...
    def pair_places(self) -> Mapping[str, int]: ...
    def is_served(self) -> bool: ...
    def pair_answer(self, session: HubSession) -> str | None: ...
    def pair_said(self, session: HubSession, message: FederationSync) -> None: ...
    def heard_all(self, since_s: float) -> None: ...
    def when_stored(self, then: Callable[[], None]) -> None: ...
    def is_same_life(self, hub_instance: int) -> bool: ...
    def terms(self, hub_time_us: int) -> Terms: ...
    def established(self, session: HubSession) -> None: ...
    def measured(self, hub_us: int, timeline: int, took_s: float) -> None: ...
    def differed(self, names: Sequence[str], count: int) -> None: ...
    def refused_write(self, address: bytes, code: int, text: str) -> None: ...
    def refusal(self, address: bytes, verdict: Written) -> tuple[int, str]: ...
    def settled(self, session: HubSession) -> None: ...
    def trouble(self, text: str) -> None: ...
    def echoed(self, rtt_s: float) -> None: ...
    def monotonic_s(self) -> float: ...


class HubSession:
    """Made when a link has opened; `end` when it is gone."""

    def __init__(self, owner: Owner, link: Connection) -> None:
        self.owner = owner
        self.link = link
        self.is_edge = False
        self.hub_name = ""
        self.hub_id = ""
        self.hub_instance = 0
        self.pair_flags = 0
        self.told: Mapping[str, int] = {}
        """What the hub's PEER says."""
        self.also_owned = ""
        """The first pattern of ours that another router there owns as well."""
        self.plain = False
        self.refused = 0
        self.guard = ReferenceGuard(owner.monotonic_s)
        self.timers = Timers(owner.loop)
        self._session = b""
        self._hub_time_us = 0
        self._handlers: dict[int, Callable[[bytes], None]] = {
            MessageType.WELCOME: self._on_welcome,
            MessageType.ERROR: self._on_error,
        }
        self._same_life = False
        self.hub_stores = False
        self.versioned = False
        self.tells_mqtt = False
        self.recalls = False
        self.hears_box = False
        """Whether the hub wants to know how this box is."""
        self.heard: Mapping[int, int] = {}
        self._introduced_s = 0.0
        self._state_sync: StateSync | VersionSync | None = None
        self._heartbeat = Heartbeat(self)
        self._number = 0
        self._stored_up_to = 0
        self._arrival = Arrival(owner.seen, owner.own_up_to)
        self._contested = Contested(self)
        self._waiting: list[bytes] = []  # frames that have come and have not had their turn
        self._ended = False
        self.is_settled = False

    def start(self) -> None:
        """Say HELLO."""
        hello = Hello(1, self.owner.hello_name(), HELLO_FEATURES, token=self.owner.token() or None)
        self.link.send([encode(hello)])

    def end(self) -> None:
        """The link is gone."""
        if not self._ended:
            if self._waiting and not self.link.is_deaf:
                waiting, self._waiting = self._waiting, []
                self.link.guarded(self._hear_out, waiting)
            self._waiting = []
            self._arrival.end()
        self._ended = True
        self.timers.stop()
        if self._state_sync is not None:
            self._state_sync.end()

    # ---- a port for the sender half ----

    @property
    def backlog_bytes(self) -> int:
        return self.link.backlog

    def send(self, frames: list[bytes]) -> None:
        self.link.send(frames)

    # ---- a link of a pair of hubs (`shared.pair`) ----

    dialled = True

    @property
    def sender(self) -> PeerSender:
        return self.owner.sender

    def say(self, frame: bytes) -> None:
        self.link.send([frame])

    def ask(self) -> None:
        """The connection asks by itself, and ends when there is no answer."""

    def silent_s(self) -> float:
        return 0.0

    def end_link(self, reason: str) -> None:
        self.link.abort(reason)

    # ---- what comes in ----

    def receive(self, frames: list[bytes]) -> None:
        """Whole frames, in order. What takes long waits for its turn, and the link is not read meanwhile."""
        if self._waiting:
            self._waiting += frames
            return
        done = self._take(frames, TURN_NS)
        if done < len(frames) and not self._ended:
            self._waiting = frames[done:]
            self.link.pause_reading()
            self.owner.loop.call_soon(self.link.guarded, self._go_on)

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not self._ended and not self.link.is_deaf:
            self.receive(waiting)
        if not self._waiting:
            self.link.resume_reading()

    def _hear_out(self, frames: list[bytes]) -> None:
        self._take(frames, LAST_TURN_NS)

    def _take(self, frames: list[bytes], for_ns: int) -> int:
        """Returns how many of the frames are done with."""
        core = self.owner.sender.plane.core
        core.begin_pass()
        try:
            return hand_out(self, frames, self._handlers, for_ns)
        except (Unreadable, WireError, ValueError) as error:
            self.link.close(f"the hub sent what cannot be understood: {error}")
            return len(frames)
        finally:
            core.end_pass()

    # ---- handshake ----

    def _on_welcome(self, payload: bytes) -> None:
        message = decode_payload(payload)
        assert isinstance(message, Welcome)
        self.is_edge = is_edge(payload)
        self.hub_name = message.name
        self._hub_time_us = message.time
        self._session = message.session.encode()
        del self._handlers[MessageType.WELCOME]
        self._handlers |= {MessageType.FEDERATION_SYNC: self._on_federation, MessageType.PING: self._on_ping}
        if self.is_edge:
            owner = self.owner
            self._introduced_s = owner.monotonic_s()
            introduction = peer_frame(
                owner.router_id, owner.instance, owner.owns(), link=owner.link_number, versions=True, mqtt=True,
                pair=owner.pair_flags(), served=owner.is_served(), places=owner.pair_places(),
            )  # fmt: skip
            self.link.send([introduction])
        else:
            self._declare()

    def _declare(self) -> None:
        self._handlers[MessageType.ACK] = self._on_declared
        declaration = FederationSync(
            FederationOp.DECLARE_NAMESPACES, patterns=tuple(self.owner.patterns()), origin=self.owner.router_id
        )
        self.link.send([encode(declaration)])
        self.timers.start("declare", DECLARE_TIMEOUT_S, self._without_federation)

    def _on_declared(self, payload: bytes) -> None:
        self.timers.cancel("declare")
        self._go_live()

    def _without_federation(self) -> None:
        """Plain subscriptions; everything works but being told apart from clients."""
        if self.is_edge:
            self.link.abort(f"the hub has not answered the declaration within {DECLARE_TIMEOUT_S:g} s")
            return
        self.plain = True
        self.owner.trouble("the hub has no federation: subscribing like a client")
        self._go_live()

    def _go_live(self) -> None:
        """Writes go both ways from here on; the states are compared meanwhile."""
        neighbour = self.hub_id if self.is_edge else f"reference:{self.hub_name}"
        self._goes_by(Route(neighbour, 0, 1, neighbour), 0)
        self.owner.established(self)
        if self.versioned:
            self._state_sync = VersionSync(self)
        else:
            self._state_sync = StateSync(self, self.owner.terms(self._hub_time_us), same_life=self._same_life)
        on_set = self._on_version_set if self.versioned else self._on_edge_set if self.is_edge else self._on_set
        self._handlers |= {
            MessageType.ACK: self._on_ack,
            MessageType.SET: on_set,
            MessageType.PUBLISH: self._on_publish,
            MessageType.SNAPSHOT: self._on_snapshot,
            MessageType.PONG: self._on_pong,
        }
        self._state_sync.begin()

    def settled(self) -> None:
        """The states are the same on both ends, or on their way to be."""
        self.is_settled = True
        self.owner.settled(self)
        self._heartbeat.beat()

    def note_session(self) -> None:
        """What the hub calls us on this connection will be an earlier connection's name."""
        if self._session:
            self.owner.former_sessions.append(self._session)
            del self.owner.former_sessions[:-8]

    def _on_snapshot(self, payload: bytes) -> None:
        params = snapshot_params(payload)
        if len(params) == 1 and self._contested.is_asked(params[0][0]):
            self._on_answer(*params[0][:3], -1)
        elif isinstance(self._state_sync, StateSync):
            self._state_sync.snapshot(params)

    # ---- what a clasp-edge sends ----

    def _on_federation(self, payload: bytes) -> None:
        if payload[1:2] == _MQTT and self.tells_mqtt:
            if self.owner.sender.details is not None:
                self.owner.sender.details.take_payload(payload)
            return
        message = decode_payload(payload)
        assert isinstance(message, FederationSync)
        if message.op is FederationOp.ROUTE and self.is_edge:
            self._on_route(message)
        elif message.op is FederationOp.REACHED and self.is_edge:
            self._on_reached(message.since_revision or 0, message.revisions.get("waiting", 0))
        elif message.op is FederationOp.STORED and self.is_edge:
            self.owner.sender.stored(message.since_revision or 0)
        elif message.op is FederationOp.CHECKPOINT and self.is_edge:
            number = message.since_revision or 0
            self.owner.when_stored(lambda: self._stored(number))
        elif message.op is FederationOp.PEER and self.is_edge:
            self._on_peer(message)
        elif message.op is FederationOp.PAIR and self.is_edge:
            self.owner.pair_said(self, message)
        elif isinstance(self._state_sync, VersionSync):
            if message.op is FederationOp.MEND:
                self._state_sync.mend(read_buckets(message))
            elif message.op is FederationOp.DIGEST:
                self._state_sync.compare()
        elif self._state_sync is not None:
            if message.op is FederationOp.LIFETIMES and self.is_edge:
                self._state_sync.lifetimes = read_lifetimes(message)
            elif message.op is FederationOp.SYNC_COMPLETE:
                self._state_sync.complete()

    def _on_peer(self, message: FederationSync) -> None:
        if self.hub_id or not message.origin:
            self.link.close("the hub has introduced itself twice" if self.hub_id else "the hub has no id")
            return
        self.hub_id = message.origin
        if self.hub_id == self.owner.router_id:
            self.link.close(self.owner.same_id(message.since_revision or 0))
            return
        self.told = message.revisions
        self.pair_flags = message.revisions.get("pair", 0)
        if objection := self.owner.pair_answer(self):
            self.link.close(objection)
            return
        self.hub_stores = bool(message.revisions.get("strict"))
        self.hub_instance = message.since_revision or 0
        self._same_life = self.owner.is_same_life(self.hub_instance)
        self.versioned = bool(message.revisions.get("versions"))
        self.tells_mqtt = self.versioned and bool(message.revisions.get("mqtt"))
        if self.versioned:
            hub_us, timeline = message.revisions.get("time", 0), message.revisions.get("timeline", 0)
            self.owner.measured(hub_us, timeline, self.owner.monotonic_s() - self._introduced_s)
        self.recalls = bool(message.revisions.get("recalls"))
        self.hears_box = bool(message.revisions.get("boxes"))
        self.heard = read_heard(message)
        self.also_owned = message.patterns[0][:256] if message.patterns else ""
        if message.revisions.get("keeps"):
            self._follow()
        self._declare()

    def _follow(self) -> None:
        try:
            self.link.send([follow_frame(self.owner.policies(), self.owner.apart_s(), self.owner.heard_of())])
        except WireError:
            self.owner.trouble(
                "the table `policy` is too large for the hub: what happens while we are away is not told"
            )

    def _stored(self, checkpoint: int) -> None:
        if not self._stored_up_to:
            # Of all that one commit has stored, the last one tells.
            self.owner.loop.call_soon(self._tell_stored)
        self._stored_up_to = checkpoint

    def _tell_stored(self) -> None:
        checkpoint, self._stored_up_to = self._stored_up_to, 0
        if not self._ended:
            self.link.send([stored_frame(checkpoint)])

    def _on_route(self, message: FederationSync) -> None:
        route, first, count = read_route(message)
        self._arrival.announce(route, first, count)
        self._number = first
        self._goes_by(route._replace(hops=route.hops + 1, via=self.hub_id), first)

    def _goes_by(self, route: Route, number: int) -> None:
        """What comes now has come by this way, and the first of it has this number."""
        sender = self.owner.sender
        sender.route, sender.way, sender.number = route, way_of(route), number

    def _fresh(self, payload: bytes) -> bool:
        """Count a write of the run under way; whether it is new here. `_done` has to follow."""
        self.owner.sender.number = self._number
        if self._number:
            self._number += 1
        return not self._arrival.run.check(payload)

    def _done(self, accepted: bool) -> None:
        """The write has been dealt with. One that was refused here has not been here."""
        self._arrival.run.finish(accepted)
        if self.owner.sender.details is not None:
            self.owner.sender.details.done()

    def _on_edge_set(self, payload: bytes) -> None:
        numbered = self._number
        fresh = self._fresh(payload)
        accepted = False
        try:
            accepted = self._take_edge_set(payload, fresh, numbered != 0)
        finally:
            self._done(accepted)

    def _on_version_set(self, payload: bytes) -> None:
        take_version_set(self, payload)

    def _merged(self, verdict: int, address: bytes, hlc: int, rank: int, *, quiet: bool) -> bool:
        """A SET with a version has been written here, or not. Whether it was not refused."""
        sync, sender = self._state_sync, self.owner.sender
        assert isinstance(sync, VersionSync)
        if sync.comparing and (verdict == Written.ACCEPTED or sender.version(address) == (hlc, rank)):
            sync.note(address, hlc if quiet and verdict == Written.ACCEPTED else 0)
        if verdict in (Written.ACCEPTED, Written.OUTDATED):
            return True
        if verdict == Written.FROM_FUTURE:
            shown = address[:256].decode("utf-8", "replace")
            self.link.close(f"{shown} has a version from the future ({hlc / 1e6:.0f}): the times are compared again")
            return False
        if verdict in DECIDED:
            # We decide, and whoever wrote it there must hear of it.
            code, text = self.owner.refusal(address, Written(verdict))
            self.link.send([encode(Error(code=code, message=text, address=address.decode("utf-8", "replace")))])
        return self._judge(address, verdict)

    def _take_edge_set(self, payload: bytes, fresh: bool, numbered: bool) -> bool:
        """Whether the write was not refused here."""
        address, value_type, value, _, ttl = set_parts(payload)
        if not fresh:
            return True
        if self.owner.sender.is_in_flight(address):
            # Was it written there before ours or after? The hub's checkpoint may come too late to tell.
            self._contested.add(address, gone=True)
            return True
        if not numbered:
            # A param told once more, as after an outage: whoever has it already need not hear of it.
            held = self.owner.sender.held(address)
            if held is not None and held[:2] == (value_type, value):
                return True
        accepted = self.apply(address, value_type, value, ttl)
        self._noted(address)
        return accepted

    def _on_reached(self, number: int, waiting: int) -> None:
        self._heartbeat.reached(number, waiting)
        sender = self.owner.sender
        sender.reached(number)
        if not self.hub_stores:
            sender.stored(number)
        self._contested.ask()

    def _on_answer(self, address: bytes, value_type: int, value: bytes, ttl: int) -> None:
        """What the hub has at an address that both have written to at the same time: that is the later write."""
        if self._contested.answer(address, value_type, value, ttl):
            self._noted(address)

    def _noted(self, address: bytes) -> None:
        if self._state_sync is not None:
            self._state_sync.note(address)

    # ---- what the reference sends ----

    def _on_set(self, payload: bytes) -> None:
        address, value_type, value, revision, ttl = set_parts(payload)
        if address == self._heartbeat.address:
            self._heartbeat.echoed()
            return
        self._noted(address)
        if self.guard.passes(address, value_type, value, revision, ttl, self.owner.sender.is_in_flight(address)):
            held = self.owner.sender.held(address)
            if held is None or held[:2] != (value_type, value):
                # What is here already may have come from us by another link, and must not go round.
                self.apply(address, value_type, value, ttl)

    def _on_ack(self, payload: bytes) -> None:
        message = decode_payload(payload)
        assert isinstance(message, Ack)
        if message.address is None:
            if self.owner.sender.bundle_under_way:
                self.owner.sender.bundle_done()
            return
        self._settled_at_hub(message.address.encode(), message.revision or 0)

    def _refused_by_hub(self, address: bytes) -> None:
        if not self.is_edge:
            self._settled_at_hub(address, 0)
        elif not self.owner.owned(address) and self.owner.sender.policies.admits(address):
            # What it has instead is what stands. An owned param is as it is at home.
            self.refused += 1
            self._contested.add(address)

    def _settled_at_hub(self, address: bytes, revision: int) -> None:
        none_left = self.owner.sender.acknowledged(address)
        held = self.guard.acknowledged(address, revision, none_left)
        if held is not None:
            self.apply(address, *held)

    # ---- both ----

    def _on_publish(self, payload: bytes) -> None:
        take_publish(self, payload)

    def apply(self, address: bytes, value_type: int, value: bytes, ttl: int) -> bool:
        """Write here what the hub has; whether it was not refused."""
        flags = HAS_TTL if ttl >= 0 else 0
        verdict, _ = self.owner.sender.set(address, value_type, value, flags, 0, max(ttl, 0))
        return self._judge(address, verdict)

    def _judge(self, address: bytes, verdict: int) -> bool:
        if verdict != Written.ACCEPTED:
            self.refused += 1
            shown = address[:256].decode("utf-8", "replace")
            self.owner.trouble(f"{shown} from the hub was refused here: {Written(verdict).name.lower()}")
        return verdict == Written.ACCEPTED

    def _on_error(self, payload: bytes) -> None:
        message = decode_payload(payload)
        assert isinstance(message, Error)
        text = f"the hub says {message.code}: {message.message[:256]}"
        if MessageType.SET not in self._handlers:
            # Before that nothing else is asked of it, and the reference leaves the connection open (federation.md 6).
            self.link.close(text)
            return
        if message.code == ErrorCode.ADDRESS_NOT_FOUND and self._contested.is_asked((message.address or "").encode()):
            self._on_answer((message.address or "").encode(), NULL, b"", GONE_TTL)
            return
        self.owner.trouble(f"{text} ({message.address[:256]})" if message.address else text)
        if message.address is not None:
            if self.versioned:
                # What stands there follows, if it is to stand here too.
                self.refused += 1
                self.owner.refused_write(message.address.encode(), message.code, message.message)
                return
            self._refused_by_hub(message.address.encode())
        elif message.code == ErrorCode.MESSAGES_DROPPED or (self.is_edge and message.code == ErrorCode.RATE_LIMITED):
            # Something is lost on one way or the other, a ROUTE perhaps: compare states again.
            self.link.close(text)
        elif message.code == ErrorCode.RATE_LIMITED:
            # The message is lost, and nothing says which one it was (federation.md 6).
            self.owner.sender.slow_down()
            if isinstance(self._state_sync, StateSync):
                self._state_sync.again_soon()
        elif self.owner.sender.bundle_under_way:
            self.refused += self.owner.sender.bundle_refused()
        elif (
            isinstance(self._state_sync, StateSync)
            and self._state_sync.active
            and message.code == ErrorCode.SCOPE_FAILURE
        ):
            self._state_sync.refused()

    def _on_ping(self, payload: bytes) -> None:
        self.link.send([encode(Pong())])

    def _on_pong(self, payload: bytes) -> None:
        if isinstance(self._state_sync, VersionSync):
            self._state_sync.answered()
