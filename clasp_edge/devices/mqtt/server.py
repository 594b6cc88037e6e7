"""The MQTT server: its listener, its sessions by client identifier, and the once-a-second look at them.

Binding the socket is the caller's business; so is MQTT over WebSocket, which brings its connections from the transports
(`connect`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from clasp_edge.callbacks import call_each
from clasp_edge.config.checks import is_topic_filter
from clasp_edge.config.model import Config
from clasp_edge.dataplane.account import Account
from clasp_edge.devices.mqtt.address import to_address, to_pattern, to_topic
from clasp_edge.devices.mqtt.codec import Reason
from clasp_edge.devices.mqtt.connection import Connection, TcpConnection
from clasp_edge.devices.mqtt.context import MqttContext
from clasp_edge.devices.mqtt.input_watch import InputWatch
from clasp_edge.devices.mqtt.mounts import Mounts
from clasp_edge.devices.mqtt.session import Session
from clasp_edge.devices.mqtt.shared import SharedGroups
from clasp_edge.devices.mqtt.socket_input import ReadBuffer
from clasp_edge.devices.mqtt.sys_topics import SysTopics
from clasp_edge.devices.mqtt.take_overs import TakeOvers
from clasp_edge.devices.values import use_in_dataplane
from clasp_edge.router.access import Identity
from clasp_edge.router.notices import Notices
from clasp_edge.router.principal import host_of
from clasp_edge.router.router import Router
from clasp_edge.wire.address import AddressError, validate_address
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from clasp_edge.devices.mqtt.session_store import Journal, SessionStore

log = logging.getLogger("clasp_edge.mqtt")

READ_BYTES = 131_072
"""Room for one read beside the beginning of a packet that the last one left."""

INPUTS_MIB = 16
"""Memory that all connections together may take for packets that have not come whole, and at least for four of the
largest."""

LONGEST_ADDRESS = 65_000
"""A longer one leaves no room for a value in its frame."""

LOOK_PERIOD_S = 1.0

KEPT_CURSOR = "mqtt-sessions"
"""The place in the journal's log before which no session needs anything."""


class MqttServer:
    """All MQTT clients of one router."""

    def __init__(self, router: Router) -> None:
        config = router.config.mqtt
        self.router = router
        self.loop = router.loop
        self.namespace = config.namespace
        # A packet has to fit into the arena beside those of others.
        self.max_packet = min(config.max_packet_kib * 1024, router.config.limits.arena_mib << 18)
        self.context = MqttContext(router.plane, config.namespace.encode(), to_topic, to_address, self.max_packet)
        if config.mount:
            self.context.mounts = Mounts(config.mount)
        use_in_dataplane()
        self.sessions: dict[str, Session] = {}
        self.kept: SessionStore | None = None
        self._journal: Journal | None = None
        self.connected = 0
        self.most_connected = 0
        self.connects = 0
        self._sent_before = 0  # by sessions that are over
        self.stopping = False
        self.started_s = router.clock.monotonic_s()
        self.waiting = Waiting(self)
        self.on_presence: list[Callable[[str, bool], None]] = []
        """Told of each client that connects (true) or is gone, by its identifier, soon after."""
        self.notices = Notices(router.clock)
        self.subscription_notices = Notices(router.clock)
        self.take_overs = TakeOvers(router.clock)
        self.refused_subscriptions = 0
        self.cut_short = 0
        self.shared = SharedGroups(router.plane.trie, self.context)
        self.sys_topics = SysTopics(self)
        self.inputs = Inputs(max(INPUTS_MIB << 20, 4 * self.max_packet))
        self.buffer = ReadBuffer(READ_BYTES)
        self.watch = InputWatch(router.core)
        self._server: asyncio.Server | None = None
        self._look_timer: TimerHandle | None = None
        self.apply_config(router.config)

    def apply_config(self, config: Config) -> None:
        """Take over what can change while running."""
        self.config = config.mqtt
        self.context.unretained_is_param = self.config.unretained == "param"
        self.context.set_events(
            [
                Pattern(to_pattern(self.namespace, text) if is_topic_filter(text) else text.encode())
                for text in self.config.events
            ]
        )
        self.context.session_queue = self.config.offline_queue_kib * 1024
        self.context.total_queue = self.config.queues_mib * 1024 * 1024
        for session in self.sessions.values():
            session.apply_rate()
        self.check_all_access()

    def keep_sessions(self, journal: Journal) -> None:
        """Take up the sessions that an earlier start has stored, and store what becomes of them from now on. Before
        anybody is connected."""
        self._journal = journal
        stored = journal.notes()
        if stored:
            self._keeper(journal).restore(stored)
        else:
            journal.forget_cursor(KEPT_CURSOR)

    def session_changed(self, session: Session) -> None:
        """What has to outlive the process, if the session does, is not what it was. Most boxes have no such session."""
        if self.kept is not None:
            self.kept.changed(session)
        elif (session.keeps or session.will is not None) and self._journal is not None:
            self._keeper(self._journal).changed(session)

    def patterns_of(self, text: str) -> list[bytes]:
        """The addresses that a valid topic filter takes, as patterns: of the namespace, and of mounts."""
        found = [to_pattern(self.namespace, text)]
        return [*found, *self.context.mounts.patterns_of(text)] if self.context.mounts is not None else found

    def usable_topic(self, topic: bytes) -> bool:
        """Whether the address of a topic is one."""
        address = self.context.prefix + to_address(topic)
        try:
            validate_address(address)
        except AddressError:
            return False
        return len(address) <= LONGEST_ADDRESS

    def subscription_refused(self, session: Session, text: str) -> None:
        """A limit of subscriptions was reached."""
        self.refused_subscriptions += 1
        more = self.subscription_notices.due(session.client_id + ":")
        if more is not None:
            log.warning("%r: subscription refused: %s%s", session, text, more)

    def _keeper(self, journal: Journal) -> SessionStore:
        from clasp_edge.devices.mqtt.session_store import SessionStore

        self.kept = SessionStore(self, journal)
        return self.kept

    @property
    def last_logged(self) -> int:
        """The number of the newest record in the journal's log, 0 without one."""
        return self._journal.last_sequence if self._journal is not None else 0

    async def start(self, sock: socket.socket) -> None:
        """Listen on a bound socket."""
        self._server = await self.loop.create_server(self.accepted, sock=sock, backlog=1024)

    def accepted(self, remote: str = "") -> TcpConnection:
        """The protocol of a new connection; `remote` is who is there, `host:port`, where its socket does not tell."""
        return TcpConnection(self, remote)

    @property
    def listening(self) -> bool:
        """Whether clients are accepted."""
        return self._server is not None and self._server.is_serving()

    def stop(self) -> None:
        """Accept no more clients and say goodbye to those that are here. Their wills are published now, or after
        the restart where a journal keeps them."""
        if self._server is not None:
            self._server.close()
        self.waiting.close_all()
        self.sys_topics.stop()
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        for session in list(self.sessions.values()):
            if session.connection is not None and session.connection.input_waits:
                # Nobody will be here to do it later, and nobody any more whom its rate could protect.
                session.set_rate(0)
                session.connection.resume_input()
        sessions = list(self.sessions.values())
        if self._journal is None:
            for session in sessions:
                # Nobody will be here to do it later.
                if session.will is not None:
                    will, session.will = session.will, None
                    will.publish(session)
        self.stopping = True
        for session in sessions:
            if session.connection is not None:
                if self.kept is not None:
                    self.kept.part(session)
                session.will = None
            session.disconnect(Reason.SERVER_SHUTTING_DOWN, "the server stops")
            session.changed()  # how long it still has to wait is stored

    def statistics(self) -> dict[str, int]:
        """Every counter by its name, and how much there is now of what comes and goes."""
        context = self.context
        return {
            "connected": self.connected,
            "kept": len(self.sessions) - self.connected,
            "received": context.received,
            "sent": context.sent,
            "received_bytes": context.received_bytes,
            "refused": context.refused,
            "dropped": context.dropped,
            "refused_subscriptions": self.refused_subscriptions,
            "cut_short": self.cut_short,
            "bad_input": self.notices.total,
            "queued_bytes": context.queued,
            "shared_groups": len(self.shared),
        }

    # ---- sessions ----

    def new_session(self, client_id: str, account: Account) -> Session:
        """A fresh session for this client. What is kept for it is charged to `account`."""
        session = Session(self.router.core, self.context, self, client_id, account)
        self.sessions[client_id] = session
        return session

    def tell_presence(self, client_id: str, *, here: bool) -> None:
        """A client has connected, or is gone."""
        for told in self.on_presence:
            # Not in the middle of what the session does.
            self.loop.call_soon(told, client_id, here)

    def is_here(self, session: Session) -> None:
        """The session has a connection."""
        self.connected += 1
        self.connects += 1
        self.most_connected = max(self.most_connected, self.connected)
        self.tell_presence(session.client_id, here=True)

    @property
    def sent_bytes(self) -> int:
        """Written to the sockets of all clients."""
        return self._sent_before + sum(session.sent_bytes for session in self.sessions.values())

    def forget(self, session: Session) -> None:
        """The session has ended."""
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
            self._sent_before += session.sent_bytes
            if self.kept is not None:
                self.kept.forget(session.client_id)

    def foreign(self, session: Session, identity: Identity | None) -> bool:
        """Whether the session belongs to the bearer of another token, who alone may take it over."""
        if session.identity is None or identity is None:
            return session.identity is not identity
        if not session.check_access():
            return False  # its owner's token is no more
        return session.identity != identity

    def bound_kept(self, session: Session) -> None:
        """A session is now kept without a connection. Beyond the limit one ends of the principal that has most of them:
        the one that has been away longest, of those that hold nothing if there are any."""
        # The dictionary is in the order in which sessions were left.
        self.sessions[session.client_id] = self.sessions.pop(session.client_id)
        kept = len(self.sessions) - self.connected
        if kept > self.config.max_kept_sessions:
            away = [other for other in self.sessions.values() if other.connection is None]
            most = Counter(other.holding.account for other in away).most_common(1)[0][0]
            theirs = [other for other in away if other.holding.account is most]
            gone = next((other for other in theirs if not other.holds_something), theirs[0])
            more = self.notices.due(f"kept {most.principal}:")
            if more is not None:
                log.warning("%r: ended, mqtt.max_kept_sessions = %d reached%s", gone, kept - 1, more)
            gone.end()

    def still_valid(self, session: Session) -> bool:
        """Whether the session's token still admits it."""
        authenticator = self.router.authenticator
        if authenticator is None:
            return True
        from clasp_edge.router.access import Refused

        if session.identity is None:
            # From a time when nobody had to log in.
            here = session.connection
            session.identify(authenticator.of_network("mqtt", host_of(here.remote)) if here is not None else None)
            return session.identity is not None
        try:
            session.identify(authenticator.revalidate(session.identity))
        except Refused:
            return False
        return True

    def check_all_access(self) -> None:
        """Tokens may have changed: sessions of those that are no more end, and with them their wills and queues."""
        if self.router.authenticator is None or not self.sessions:
            return
        core = self.router.core
        core.begin_pass()
        call_each(session.check_access for session in list(self.sessions.values()))
        core.end_pass()

    def after_connect(self) -> None:
        """Somebody is here to be looked after."""
        if self._look_timer is None:
            self._look_timer = self.loop.call_later(LOOK_PERIOD_S, self._look)

    def _look(self) -> None:
        self._look_timer = None
        core = self.router.core
        core.begin_pass()
        now_us = core.monotonic_us
        call_each(partial(session.check, now_us) for session in list(self.sessions.values()))
        core.end_pass()
        if self.connected or (self.sessions and self.router.authenticator is not None):
            self.after_connect()


class Inputs:
    """The connections with a buffer of their own, and how much memory these take together."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._connections: dict[Connection, None] = {}

    def add(self, connection: Connection) -> None:
        """It has received much of a packet, or more packets than it may send."""
        self._connections[connection] = None
        self.check()

    def discard(self, connection: Connection) -> None:
        """It has no such buffer any more."""
        self._connections.pop(connection, None)

    @property
    def bytes(self) -> int:
        """What the buffers take."""
        return sum(one.input.held for one in self._connections if one.input is not None)

    @property
    def room(self) -> bool:
        """Whether more may be read ahead."""
        return self.bytes < self._most_bytes // 2

    def check(self) -> None:
        """Above the bound whoever has kept a packet unfinished for longest has to go."""
        while self._connections and self.bytes > self._most_bytes:
            oldest = next(iter(self._connections))
            log.warning("%r: closed, unfinished packets take more than %d MiB", oldest, self._most_bytes >> 20)
            self.discard(oldest)
            oldest.drop()


class Waiting:
    """Connections that have not sent CONNECT yet, bounded in number and time [MQTT-3.1.4-1]."""

    def __init__(self, server: MqttServer) -> None:
        self._server = server
        self._timers: dict[Connection, TimerHandle] = {}

    def add(self, connection: Connection) -> None:
        """Start the clock; when too many wait, the one that has waited longest goes."""
        limits, half_open = self._server.router.config.limits, self._server.router.half_open
        half_open.add(connection, host_of(connection.remote), lambda reason: self._give_up(connection))
        self._timers[connection] = self._server.loop.call_later(limits.handshake_timeout_s, self._late, connection)

    def discard(self, connection: Connection) -> None:
        """It has sent CONNECT, or is gone."""
        self._server.router.half_open.discard(connection)
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def _give_up(self, connection: Connection) -> None:
        self.discard(connection)
        connection.abort()

    def close_all(self) -> None:
        """The server stops."""
        for connection in list(self._timers):
            self._give_up(connection)

    def _late(self, connection: Connection) -> None:
        self._give_up(connection)
