"""Wills of connected clients as documents beside the journal's log: when the router stops or is killed, they are
published after the restart, unless the client is back in time (5.0, 3.1.2.5).

Sessions that outlive their connection carry their will in their own record (`session_store`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from clasp_edge.dataplane.account import Holding
from clasp_edge.devices.mqtt.codec import Will
from clasp_edge.devices.mqtt.session_record import WillRecord
from clasp_edge.devices.mqtt.will import PendingWill
from clasp_edge.router.access import Identity, Refused

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.devices.mqtt.session import Session

log = logging.getLogger("clasp_edge.mqtt")

WILL = "mqtt-will:"
"""Documents are named by this and the client identifier."""

FORM = 1
KEEP_ALIVES = 1.5
"""How long a client has to come back after a restart, in keep-alives: by then it would be taken for gone."""

SHORTEST_GRACE_S = 1.0
"""For a client without a keep-alive."""


class Record(msgspec.Struct, array_like=True, frozen=True):
    """A will and who left it: `owner` its token's fingerprint, None in open mode."""

    form: int
    owner: str | None
    will: WillRecord


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def record_of(session: Session, now_s: float) -> WillRecord | None:
    """The session's will as it is stored, None if it has none. `now_s` by the loop's clock."""
    pending = session.will
    if pending is None:
        return None
    said = pending.will
    left_s = pending.left_s(now_s)
    if session.connection is not None:
        left_s += max(KEEP_ALIVES * session.keep_alive_s, SHORTEST_GRACE_S)
    return WillRecord(said.topic, said.payload, said.qos, said.retain, dict(said.properties), left_s)


def pending_will(record: WillRecord, holding: Holding) -> PendingWill:
    """The will of a record, whose memory `holding` is charged for."""
    return PendingWill(
        Will(topic=record.topic, payload=record.payload, qos=record.qos, retain=record.retain,
             properties=record.properties),
        holding,
    )  # fmt: skip


class WillStore:
    """The documents of clients whose sessions end with the connection."""

    def __init__(self, server: MqttServer) -> None:
        self._server = server
        self._stored: set[str] = set()
        self._due: dict[str, bytes | None] = {}

    def changed(self, session: Session) -> bool:
        """It has a will, or not any more. Returns whether something is to be stored."""
        record = record_of(session, self._server.loop.time()) if not session.keeps else None
        if record is None or session.is_ghost:
            return not session.is_ghost and self.forget(session.client_id)
        owner = session.identity.fingerprint if session.identity is not None else None
        self._due[session.client_id] = _encoder.encode(Record(FORM, owner, record))
        self._stored.add(session.client_id)
        return True

    def forget(self, client_id: str) -> bool:
        """Its will is done with. Returns whether something is to be stored."""
        if client_id not in self._stored:
            return False
        self._stored.discard(client_id)
        self._due[client_id] = None
        return True

    def source(self) -> dict[str, bytes | None]:
        """What a commit has to store."""
        due, self._due = self._due, {}
        return {WILL + client_id: data for client_id, data in due.items()}

    def restore(self, stored: Mapping[str, bytes | None]) -> None:
        """Wait for the clients whose wills are stored, each for its time."""
        for name, data in stored.items():
            if not name.startswith(WILL):
                continue
            client_id = name.removeprefix(WILL)
            self._stored.add(client_id)
            try:
                if data is None:
                    raise ValueError("its checksum is wrong")
                record = _decoder.decode(data)
                if record.form != FORM or client_id in self._server.sessions:
                    raise ValueError("it is of another form, or its client has a session")
                self._restore(client_id, record)
            except (ValueError, Refused) as error:
                log.warning("the stored will of %r was dropped: %s", client_id[:64], error)
                self.forget(client_id)

    def _restore(self, client_id: str, record: Record) -> None:
        identity = self._owner(client_id, record)
        session = self._server.new_session(client_id, self._server.router.account_of("", identity))
        session.is_ghost = True
        session.identify(identity)
        session.will = pending_will(record.will, Holding(session.holding.account))
        session.will.charge()  # it was accepted before: there or not, it stays
        session.will.resume(session, record.will.left_s)

    def _owner(self, client_id: str, record: Record) -> Identity | None:
        authenticator = self._server.router.authenticator
        if authenticator is None:
            return None
        if record.owner is None:
            raise ValueError("it is from a time when nobody had to log in")
        return authenticator.recognise(record.owner, client_id)
