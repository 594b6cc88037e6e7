"""One client's session: what it is subscribed to and what waits for it, with or without a connection (5.0, 4.1).

The compiled half (`receiver.pyx`) settles PUBLISH and acknowledgements by itself and calls the `on_...`
methods here for the rest.
"""

from __future__ import annotations

import logging
from asyncio import TimerHandle
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from clasp_edge.callbacks import call_each
from clasp_edge.dataplane import Verdict
from clasp_edge.dataplane.account import Account, Charge, Holding
from clasp_edge.devices.mqtt import subscribe
from clasp_edge.devices.mqtt.codec import (
    Ack,
    Connect,
    Disconnect,
    MqttError,
    Packet,
    PacketType,
    Property,
    Reason,
    Subscribe,
    Unsubscribe,
    decode,
    encode,
)
from clasp_edge.devices.mqtt.codec.types import V5
from clasp_edge.devices.mqtt.receiver import MqttReceiver
from clasp_edge.router.principal import author_of
from clasp_edge.router.quota import bytes_rate, rate, share_anew, used_by_others
from clasp_edge.wire import ErrorCode

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.connection import Connection
    from clasp_edge.devices.mqtt.log_replay import LogReplay
    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.devices.mqtt.subscribe import Held
    from clasp_edge.devices.mqtt.unshown import Unshown
    from clasp_edge.devices.mqtt.will import PendingWill
    from clasp_edge.router.access import Identity

log = logging.getLogger("clasp_edge.mqtt")

NO_LIMIT = 2**63
MAX_WRITER_BYTES = 36
"""What names a param's writer in snapshots (dataplane/state.pyx)."""

SESSION_BYTES = 3072
"""What a session takes before it has asked for anything."""

KEEP_ALIVE_FACTOR = 1.5
"""Of the keep-alive, after which a silent client is taken for gone [MQTT-3.1.2-22]."""

NOTICE_PERIOD_S = 60.0
"""A client's refused messages are logged once in this time."""


class Session(MqttReceiver):
    """A client, known by its identifier. `connection` is None while it is away."""

    __slots__ = (
        "_expiry",
        "_noticed_s",
        "_silent_after_s",
        "bridge",
        "client_id",
        "connection",
        "ended",
        "expiry_s",
        "filter_bytes",
        "from_log",
        "identity",
        "is_ghost",
        "keep_alive_s",
        "left_us",
        "problem_information",
        "repeats",
        "server",
        "subscriptions",
        "unshown",
        "will",
    )

    def __init__(self, core: Any, context: Any, server: MqttServer, client_id: str, account: Account) -> None:
        self.server = server
        self.client_id = client_id
        self.connection: Connection | None = None
        self.expiry_s = 0
        self.identity: Identity | None = None
        self.subscriptions: dict[str, Held] = {}
        self.filter_bytes = 0
        """Of the texts of all filters."""
        self.unshown: Unshown | None = None
        self.will: PendingWill | None = None
        self.from_log: LogReplay | None = None
        self.left_us = 0
        self.ended = False
        self.bridge = False
        self.repeats = False
        """Its client speaks 3.1 (codec/decoder.py)."""
        self.is_ghost = False
        self.keep_alive_s = 0
        self.problem_information = True
        self._silent_after_s = 0.0
        self._noticed_s = -NOTICE_PERIOD_S
        self._expiry: TimerHandle | None = None
        self.holding = Holding(account)
        self.holding.force(SESSION_BYTES, Charge.SESSIONS)
        server.router.plane.register(self, f"mqtt:{client_id}".encode()[:MAX_WRITER_BYTES])

    def __repr__(self) -> str:
        remote = self.connection.remote if self.connection is not None else "away"
        return f"<mqtt {self.client_id[:64]!r} {remote}>"

    def journal_fields(self) -> dict[str, str]:
        """What a log line about this session carries beside its text (daemon/logs.py)."""
        remote = self.connection.remote if self.connection is not None else ""
        return {"CLASP_CLIENT": self.client_id, "CLASP_REMOTE": remote}

    # ---- connections come and go ----

    def identify(self, identity: Identity | None) -> None:
        """Take over what the client's token allows."""
        changed = identity is not self.identity
        self.identity = identity
        self.scopes = identity.scopes if identity is not None else None
        self.author = author_of(identity, self.client_id)
        self.audited = identity is not None and identity.administers
        if changed:
            self.server.router.plane.scopes_changed()
            if self.from_log is not None:
                self.from_log.interests_changed()

    def begin(self, connection: Connection, packet: Connect, expiry_s: int) -> None:
        """A connection for this session; `attach` and CONNACK follow."""
        from clasp_edge.devices.mqtt.handshake import TOPIC_ALIASES_IN, peer_limits

        config = self.server.config
        self.connection = connection
        self.left_us = 0
        self.expiry_s = expiry_s
        self.keeps = expiry_s > 0
        self.changed()
        self.problem_information = bool(packet.properties.get(Property.REQUEST_PROBLEM_INFORMATION, 1))
        self.keep_alive_s = packet.keep_alive_s
        self._silent_after_s = packet.keep_alive_s * KEEP_ALIVE_FACTOR
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self.will is not None:
            self.will.cancel()
            self.will = None
        self.server.router.core.refresh_clock()  # the keep-alive counts from now
        self.window, self.peer_max_packet = peer_limits(packet, config.max_inflight)
        self.receive_maximum = config.max_inflight
        self.accept_aliases(TOPIC_ALIASES_IN if packet.version == V5 else 0)
        self.apply_rate()
        self.owe(self.server.router.debts.take(self.holding.account.principal))
        self.owe(used_by_others(self.server.router.places, self, self.identity))
        self.server.is_here(self)

    def apply_rate(self) -> None:
        """Others of the same token have come or gone, or the limit has changed (`router.quota`)."""
        router = self.server.router
        messages = rate(router.places, self.identity, router.config.limits.messages_per_second)
        self.set_rate(messages, bytes_rate(router.places, self.identity))

    @property
    def holds_something(self) -> bool:
        """Whether anything would be lost with it: subscriptions, messages that wait, a will that is still due."""
        return bool(self.subscriptions or self.waiting_bytes or self.will is not None or self.unreleased_count)

    def give_up_place(self, reason: str) -> None:
        """As `places.Holder`."""
        self.disconnect(Reason.SERVER_BUSY, reason)

    def taken_over(self) -> None:
        """Another connection uses the client's identifier: this one ends now [MQTT-3.1.4-3]."""
        if self.connection is not None:
            log.info("%r: taken over", self)
            self.disconnect(Reason.SESSION_TAKEN_OVER, "the client connected again")

    def connection_lost(self, connection: Connection) -> None:
        """The connection is gone, whoever ended it."""
        if self.connection is not connection:
            return
        if self.will is not None and not self.server.still_valid(self):
            self.will = None  # not the client's any more to publish
        log.info("%r: disconnected", self)
        # Whatever of it fails, the place, the session and what it was charged are given back.
        call_each((partial(self.server.sys_topics.bridges.disconnected, self), self.note_writes))
        self.connection = None
        if self.from_log is not None:
            call_each((self.from_log.pause,))
        self.server.connected -= 1
        self.server.tell_presence(self.client_id, here=False)
        self.server.router.places.give_back(self)
        self.server.router.debts.leave(self.holding.account.principal, self.used_s)
        call_each((partial(share_anew, self.server.router.places, self.identity), self.detach))
        if self.will is not None:
            if self.will.delay_s and self.expiry_s > 0 and not self.ended:
                self.will.start(self)
            else:
                will, self.will = self.will, None
                call_each((will.publish,), self)
        if self.expiry_s == 0:
            self.end()
        elif not self.ended:
            self.left_us = self.server.router.clock.wall_us()
            self.expire_in(self.expiry_s)
            self.server.bound_kept(self)
        self.changed()

    def expire_in(self, left_s: float) -> None:
        """The client is away: the session ends unless it comes back."""
        self._expiry = self.server.loop.call_later(left_s, self.end)

    @property
    def left_s(self) -> float:
        """How long the session still waits for its client, who is away."""
        return max(0.0, self._expiry.when() - self.server.loop.time()) if self._expiry is not None else self.expiry_s

    def changed(self) -> None:
        """Something changed that has to outlive the process, if the session does."""
        self.server.session_changed(self)

    def subscriptions_changed(self) -> None:
        """What the session is subscribed to is not what it was."""
        self.changed()
        if self.from_log is not None:
            self.from_log.interests_changed()

    def continue_sending(self) -> None:
        """CONNACK is out: what was in flight goes again, then what waits, here or in the journal's log."""
        if self.from_log is not None:
            self.from_log.begin()
        else:
            self.start_sending()

    def revive(self) -> None:
        """A client whose will had outlived the process is back in time: nothing is published, nothing was kept."""
        if self.will is not None:
            self.will.cancel()
            self.will = None
        self.end()

    def end(self) -> None:
        """The session is over: its subscriptions and what waits for it are gone."""
        if self.ended:
            return
        self.ended = True
        if self._expiry is not None:
            self._expiry.cancel()
        self._part()
        if self.will is not None:
            will, self.will = self.will, None
            call_each((will.publish,), self)  # [MQTT-3.1.3-9]: the delay ends with the session
        self.keeps = False
        if self.from_log is not None:
            from_log, self.from_log = self.from_log, None
            call_each((from_log.stop,))
        call_each((self.server.router.plane.unregister, self.server.forget), self)
        self.server.router.endings.do(self._let_go())

    def _let_go(self) -> Iterator[None]:
        # What waits for a shared subscription goes to its other members before the rest is forgotten. Whatever fails of
        # that, nothing of the session stays behind.
        try:
            yield from subscribe.leave_groups(self)
        finally:
            call_each((self.close_outbox,))
            try:
                yield from subscribe.drop_all(self)
            finally:
                self.holding.close()

    def _part(self) -> None:
        """End the connection from our side. After DISCONNECT nothing may follow, so the session leaves it at once."""
        self.stopped = True
        connection = self.connection
        if connection is None:
            return
        self.resume()  # what is queued goes out, as far as the socket takes it
        connection.session = None
        if self.blocked:
            connection.abort()
        else:
            connection.end()
        self.connection_lost(connection)

    # ---- what the client sends ----

    def on_packet(self, first: int, body: bytes) -> None:
        try:
            packet = decode(first, body, self.version, repeats=self.repeats)
            self._handle(packet)
        except MqttError as error:
            self.on_fault(error.reason, error.text)
        except Exception:
            self.failed(PacketType(first >> 4).name)

    def failed(self, kind: str) -> None:
        """A packet could not be dealt with, through no fault of the client: it would wait for the answer for ever."""
        log.exception("%r: %s could not be dealt with", self, kind)
        self.disconnect(Reason.UNSPECIFIED, f"{kind} could not be dealt with")

    def _handle(self, packet: Packet) -> None:
        match packet:
            case Subscribe():
                subscribe.handle_subscribe(self, packet)
            case Unsubscribe():
                subscribe.handle_unsubscribe(self, packet)
            case Ack():
                self.take_acknowledgement(packet.type, packet.packet_id, packet.reason)
            case Disconnect():
                self._goodbye(packet)
            case _:
                # A second CONNECT [MQTT-3.1.0-2], AUTH without a method, or what only servers send.
                raise MqttError(Reason.PROTOCOL_ERROR, f"{PacketType(_type_of(packet)).name} out of place")

    def _goodbye(self, packet: Disconnect) -> None:
        expiry_s = packet.properties.get(Property.SESSION_EXPIRY_INTERVAL)
        if expiry_s is not None:
            if expiry_s and not self.expiry_s:
                raise MqttError(Reason.PROTOCOL_ERROR, "DISCONNECT keeps a session that CONNECT did not")
            self.expiry_s = min(int(expiry_s), self.server.config.max_session_expiry_s)
            self.keeps = self.expiry_s > 0
        if packet.reason == Reason.SUCCESS:
            self.will = None  # [MQTT-3.14.4-3]; any other reason leaves it to be published
        self._part()

    def on_fault(self, reason: int, text: str) -> None:
        remote = self.connection.remote if self.connection is not None else ""
        more = self.server.notices.due(remote)
        if more is not None:
            log.warning("%r: %s%s", self, text, more)
        self.disconnect(Reason(reason), text)

    def on_refused(self, verdict: int, address: bytes) -> None:
        router = self.server.router
        remote = self.connection.remote if self.connection is not None else ""
        code = ErrorCode.SCOPE_FAILURE if verdict == Verdict.NO_SCOPE else ErrorCode.FORBIDDEN
        said = "no scope to write there" if verdict == Verdict.NO_SCOPE else Verdict(verdict).name.lower()
        router.note_refusal(self.client_id, remote, code, f"{said}: {address[:256].decode(errors='replace')}")
        if verdict == Verdict.NO_SCOPE and self.identity is not None:
            self.note("refused", address[:64].decode(errors="replace"), "no scope to write there")
            return
        now_s = self.server.router.clock.monotonic_s()
        if now_s - self._noticed_s >= NOTICE_PERIOD_S:
            self._noticed_s = now_s
            shown = address[:64].decode(errors="replace")
            log.warning("%r: message to %s refused: %s", self, shown, Verdict(verdict).name.lower())

    def on_own_topic(self, topic: bytes, payload: bytes) -> bool:
        return self.server.sys_topics.bridges.said(self, topic, payload)

    def on_audited(self, address: bytes) -> None:
        self.note_writes(address[:64].decode(errors="replace"))

    def note_writes(self, address: str = "") -> None:
        """Write down what an administrator has written since this was done last."""
        count, self.unaudited = self.unaudited, 0
        if count:
            self.note("admin write", address, count=count)

    def note(self, event: str, target: str = "", reason: str = "", count: int = 1) -> None:
        """Write down what concerns security."""
        remote = self.connection.remote if self.connection is not None else ""
        self.server.router.trail.note(
            event, self.identity, remote=remote, client=self.client_id, target=target, reason=reason, count=count
        )

    def pause_input(self, delay_s: float) -> None:
        if self.connection is not None:
            self.connection.pause_input(delay_s)

    def resume_input(self) -> None:
        if self.connection is not None:
            self.connection.resume_input()

    def end_abruptly(self) -> None:
        # Scheduled: a new connection may have come meanwhile.
        if self.dead and self.connection is not None:
            self.connection.abort()

    # ---- what it is told ----

    def send(self, packet: Packet, *, stored: bool = False) -> None:
        """Send one packet of the control plane; `stored`: what it answers is to outlive the process."""
        data = encode(packet, self.version)
        if len(data) > self.peer_max_packet:
            return
        if stored and self.keeps:
            self.send_stored(data)
        else:
            self.send_packet(data)

    def explained(self, reason: int, text: str) -> dict[int, Any]:
        """A reason string, if the client wants one [MQTT-3.1.2-29]."""
        return {Property.REASON_STRING: text} if self.problem_information and reason >= Reason.UNSPECIFIED else {}

    def disconnect(self, reason: Reason, text: str) -> None:
        """End the connection from our side, saying why if the version can. The will is due."""
        connection = self.connection
        if connection is None or connection.closing:
            self.stopped = True
            return
        if self.version == V5:
            # Of DISCONNECT a reason string is always welcome.
            self.send(Disconnect(reason=reason, properties={Property.REASON_STRING: text}))
        self._part()

    def check_access(self) -> bool:
        """Whether the client's token still admits it. If not the session is over, wherever the client is: it gets
        nothing more, and its will, which it could not publish itself any more, is not published."""
        if self.ended or self.server.still_valid(self):
            return True
        reason = "the token has expired or was revoked" if self.identity is not None else "nobody logged in for it"
        self.note("session ended", reason=reason)
        if self.will is not None:
            self.will.cancel()
            self.will = None
        self.expiry_s = 0
        self.disconnect(Reason.NOT_AUTHORIZED, reason)
        self.end()
        return False

    def check(self, now_us: int) -> None:
        """The once-a-second look: is the client silent, slow, or no longer allowed to be here?"""
        connection = self.connection
        if not self.check_access() or connection is None or connection.closing:
            return
        if self.blocked and (now_us - self.progress_us) / 1e6 > self.server.router.config.limits.slow_client_timeout_s:
            log.info("%r: closing, client is not reading (limits.slow_client_timeout_s)", self)
            connection.abort()
        elif self._silent_after_s and not self.input_paused and (now_us - self.heard_us) / 1e6 > self._silent_after_s:
            self.disconnect(Reason.KEEP_ALIVE_TIMEOUT, f"silent for {self._silent_after_s:g} s")


def _type_of(packet: Packet) -> int:
    return encode(packet, V5)[0] >> 4
