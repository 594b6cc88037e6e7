"""The MQTT server: its listener, its sessions by client identifier, and the once-a-second look at them.

Binding the socket is the caller's business; so is MQTT over WebSocket, which brings its connections from the transports
(`connect`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from clasp_edge.config.model import Config
from clasp_edge.dataplane.payload import use_converters
from clasp_edge.devices.mqtt.address import to_address, to_topic
from clasp_edge.devices.mqtt.codec import Reason
from clasp_edge.devices.mqtt.connection import Connection, TcpConnection
from clasp_edge.devices.mqtt.context import MqttContext
from clasp_edge.devices.mqtt.notices import Notices
from clasp_edge.devices.mqtt.session import Session
from clasp_edge.devices.mqtt.shared import SharedGroups
from clasp_edge.devices.mqtt.sys_topics import SysTopics
from clasp_edge.devices.values import encoded_value_of, payload_of
from clasp_edge.router.access import Identity
from clasp_edge.router.router import Router
from clasp_edge.wire import decode_value

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from clasp_edge.devices.mqtt.session_store import Journal, SessionStore

log = logging.getLogger("clasp_edge.mqtt")

READ_BYTES = 131_072
"""Room for one read beside the beginning of a packet that the last one left."""

LOOK_PERIOD_S = 1.0

KEPT_CURSOR = "mqtt-sessions"
"""The place in the journal's log before which no session needs anything."""


def _payload_of(value_type: int, data: bytes) -> bytes:
    return payload_of(decode_value(value_type, data))


class MqttServer:
    """All MQTT clients of one router."""

    def __init__(self, router: Router) -> None:
        config = router.config.mqtt
        self.router = router
        self.loop = router.loop
        self.namespace = config.namespace
        self.max_packet = config.max_packet_kib * 1024
        self.context = MqttContext(router.plane, config.namespace.encode(), to_topic, to_address)
        self.context.max_packet = self.max_packet
        use_converters(encoded_value_of, _payload_of)
        self.sessions: dict[str, Session] = {}
        self.kept: SessionStore | None = None
        self._journal: Journal | None = None
        self.connected = 0
        self.started_s = router.clock.monotonic_s()
        self.waiting = Waiting(self)
        self.notices = Notices(router.clock)
        self.shared = SharedGroups(router.plane.trie, self.context)
        self.sys_topics = SysTopics(self)
        self.buffer = bytearray(self.max_packet + READ_BYTES)
        self.view = memoryview(self.buffer)
        self._server: asyncio.Server | None = None
        self._look_timer: TimerHandle | None = None
        self.apply_config(router.config)

    def apply_config(self, config: Config) -> None:
        """Take over what can change while running."""
        self.config = config.mqtt
        self.context.unretained_is_param = self.config.unretained == "param"
        self.context.session_queue = self.config.offline_queue_kib * 1024
        self.context.total_queue = self.config.queues_mib * 1024 * 1024
        for session in self.sessions.values():
            session.set_rate(config.limits.messages_per_second)
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
        elif session.keeps and self._journal is not None:
            self._keeper(self._journal).changed(session)

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
        """Accept no more clients and say goodbye to those that are here; their wills are not due."""
        if self._server is not None:
            self._server.close()
        self.waiting.close_all()
        self.sys_topics.stop()
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        for session in list(self.sessions.values()):
            if session.connection is not None or self._journal is None:
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
            "bad_input": self.notices.total,
            "queued_bytes": context.queued,
            "shared_groups": len(self.shared),
        }

    # ---- sessions ----

    def new_session(self, client_id: str) -> Session:
        """A fresh session for this client."""
        session = Session(self.router.core, self.context, self, client_id)
        self.sessions[client_id] = session
        return session

    def forget(self, session: Session) -> None:
        """The session has ended."""
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
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
        """A session is now kept without a connection: beyond the limit the one that has been away longest ends."""
        # The dictionary is in the order in which sessions were left.
        self.sessions[session.client_id] = self.sessions.pop(session.client_id)
        kept = len(self.sessions) - self.connected
        if kept > self.config.max_kept_sessions:
            for other in self.sessions.values():
                if other.connection is None and other is not session:
                    log.warning("%r: ended, %d sessions of absent clients are kept at most", other, kept - 1)
                    other.end()
                    return
            session.end()

    def still_valid(self, session: Session) -> bool:
        """Whether the session's token still admits it."""
        authenticator = self.router.authenticator
        if authenticator is None or session.identity is None:
            return True
        from clasp_edge.router.access import Refused

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
        for session in list(self.sessions.values()):
            session.check_access()
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
        for session in list(self.sessions.values()):
            session.check(now_us)
        core.end_pass()
        if self.connected or (self.sessions and self.router.authenticator is not None):
            self.after_connect()


class Waiting:
    """Connections that have not sent CONNECT yet, bounded in number and time [MQTT-3.1.4-1]."""

    def __init__(self, server: MqttServer) -> None:
        self._server = server
        self._timers: dict[Connection, TimerHandle] = {}

    def add(self, connection: Connection) -> None:
        """Start the clock; when too many wait, the one that has waited longest goes."""
        limits = self._server.router.config.limits
        if len(self._timers) >= limits.max_half_open:
            oldest = next(iter(self._timers))
            self.discard(oldest)
            oldest.abort()
        self._timers[connection] = self._server.loop.call_later(limits.handshake_timeout_s, self._late, connection)

    def discard(self, connection: Connection) -> None:
        """It has sent CONNECT, or is gone."""
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def close_all(self) -> None:
        """The server stops."""
        for connection in list(self._timers):
            self.discard(connection)
            connection.abort()

    def _late(self, connection: Connection) -> None:
        self._timers.pop(connection, None)
        connection.abort()
