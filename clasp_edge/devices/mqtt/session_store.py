"""Sessions that outlive the process: stored as documents beside the journal's log, and taken up again at the start.

What changes with messages (`place`) is a document of its own, written with commits that happen anyway where that costs
nothing but repetition. The messages themselves are in the log. Knows no store: the journal is handed in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from clasp_edge.dataplane.account import Holding
from clasp_edge.dataplane.journal_buffer import clock_synchronised
from clasp_edge.devices.mqtt import session_record as records
from clasp_edge.devices.mqtt.codec import MqttError, SubscribeFilter
from clasp_edge.devices.mqtt.log_batches import LogBatches
from clasp_edge.devices.mqtt.log_replay import LogReplay, Readable
from clasp_edge.devices.mqtt.server import KEPT_CURSOR
from clasp_edge.devices.mqtt.session_record import BadRecord, Entry, HeldRecord, Place, SessionRecord, WillRecord
from clasp_edge.devices.mqtt.subscribe import subscribe
from clasp_edge.devices.mqtt.will_store import WillStore, pending_will, record_of
from clasp_edge.router.access import Refused

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.devices.mqtt.session import Session
    from clasp_edge.router.access import Identity

log = logging.getLogger("clasp_edge.mqtt")

SESSION, PLACE = "mqtt-session:", "mqtt-place:"
"""Documents are named by these and the client identifier."""

REFRESH_S = 30.0
"""How old a stored place may become while others write: what came since is looked through after a restart."""

SKIPPED = 4096
"""Packet identifiers passed over after a restart: in `group` mode so many messages may have gone out in the time that
is not stored."""

_QOS, _NO_LOCAL, _RETAIN_AS_PUBLISHED = 3, 4, 8


class _Disowned(Exception):
    """The session is nobody's any more; the text says why."""


class Journal(Readable, Protocol):
    """What is needed of a journal that keeps a log (`journal.journal.Journal`)."""

    def notes(self) -> Mapping[str, bytes | None]: ...
    def keep_notes(self, source: Callable[[bool], Mapping[str, bytes | None]]) -> None: ...
    def notes_changed(self, urgent: bool) -> None: ...
    def log_whole_messages(self, who: str, whole: bool) -> None: ...
    def set_cursor(self, name: str, sequence: int) -> None: ...
    def forget_cursor(self, name: str) -> None: ...


class SessionStore:
    """`restore` once, before anybody is connected; `changed` and `forget` as sessions come, change and go."""

    def __init__(self, server: MqttServer, journal: Journal) -> None:
        self.journal = journal
        trie = server.router.plane.trie
        self._log = LogBatches(
            journal,
            lambda address: [one.sink for one in trie.matching(address)],
            lambda: trie.generation,
            server.loop.call_later,
        )
        self._server = server
        self._due: set[str] = set()
        self._stored: dict[str, int] = {}  # by client identifier: the place that the store has, or will have
        self._refreshed_s = 0.0
        self._wills = WillStore(server)
        self._parting: dict[str, WillRecord] = {}
        server.context.changed = []
        server.context.wake = journal.notes_changed
        journal.keep_notes(self._source)

    # ---- what is to be stored ----

    def changed(self, session: Session) -> None:
        """It is subscribed to something else, its client came or went, or it is new."""
        if session.ended:
            return
        if self._wills.changed(session):
            self.journal.notes_changed(True)
        if not session.keeps:
            if session.client_id in self._stored:
                self._forget(session.client_id)
            return
        if session.client_id not in self._stored:
            session.seen_to = self._stored[session.client_id] = self.journal.last_sequence
            if len(self._stored) == 1:
                self.journal.log_whole_messages(KEPT_CURSOR, True)
        self._due.add(session.client_id)
        self.journal.notes_changed(True)

    def forget(self, client_id: str) -> None:
        """It has ended."""
        if not self._server.stopping and self._wills.forget(client_id):
            self.journal.notes_changed(True)
        self._forget(client_id)

    def _forget(self, client_id: str) -> None:
        if self._stored.pop(client_id, None) is None:
            return
        self._due.add(client_id)
        if not self._stored:
            self.journal.log_whole_messages(KEPT_CURSOR, False)
            self.journal.forget_cursor(KEPT_CURSOR)
        self.journal.notes_changed(True)

    def part(self, session: Session) -> None:
        """The router stops while its client is there: its will outlives the process."""
        if session.keeps and (will := record_of(session, self._server.loop.time())) is not None:
            self._parting[session.client_id] = will

    def _source(self, everything: bool) -> dict[str, bytes | None]:
        """For the journal, when a commit is due."""
        context = self._server.context
        moved, context.changed, context.urgent = context.changed or [], [], False
        notes: dict[str, bytes | None] = self._wills.source()
        due, self._due = self._due, set()
        now_s = self._server.loop.time()
        refresh = now_s - self._refreshed_s > REFRESH_S
        for client_id in self._stored if everything else due:
            session = self._server.sessions.get(client_id)
            if client_id not in self._stored or session is None:
                notes[SESSION + client_id] = notes[PLACE + client_id] = None
            else:
                self._session(session, now_s, notes)
                self._place(session, notes)
        for session in moved:
            if session.keeps and session.client_id in self._stored:
                self._place(session, notes)
            else:
                session.flight()  # notes no more
        if refresh and self._stored:
            self._refreshed_s = now_s
            last = self.journal.last_sequence
            for client_id, place in list(self._stored.items()):
                if place < last and PLACE + client_id not in notes:
                    self._place(self._server.sessions[client_id], notes)
            self.journal.set_cursor(KEPT_CURSOR, min(self._stored.values()))
        return notes

    def _session(self, session: Session, now_s: float, notes: dict[str, bytes | None]) -> None:
        try:
            notes[SESSION + session.client_id] = records.encode_session(self._record_of(session, now_s))
        except Exception:  # the others are stored all the same
            log.exception("%r cannot be stored", session)

    def _place(self, session: Session, notes: dict[str, bytes | None]) -> None:
        first, following, place, behind, entries = session.flight()
        if session.from_log is not None:
            behind = behind or session.from_log.behind
        self._stored[session.client_id] = place
        notes[PLACE + session.client_id] = records.encode_place(
            Place(first, following, place, behind, [Entry(*entry) for entry in entries], session.unreleased_ids())
        )

    def _record_of(self, session: Session, now_s: float) -> SessionRecord:
        will = record_of(session, now_s)
        if will is None and self._server.stopping:
            will = self._parting.get(session.client_id)
        return SessionRecord(
            records.FORM, session.version, session.expiry_s,
            session.identity.fingerprint if session.identity is not None else None,
            session.left_us, session.left_s, self._server.router.clock.wall_us(), clock_synchronised(),
            [HeldRecord(text, held.options, held.identifier, held.since)
             for text, held in session.subscriptions.items()],
            will,
            session.holding.account.principal,
        )  # fmt: skip

    # ---- the start ----

    def restore(self, stored: Mapping[str, bytes | None]) -> None:
        """Take up what is stored; what cannot be is left out, said, and forgotten."""
        found: list[tuple[str, SessionRecord, bytes | None]] = []
        for name, data in stored.items():
            if name.startswith(PLACE) and SESSION + name.removeprefix(PLACE) not in stored:
                self._due.add(name.removeprefix(PLACE))
            if not name.startswith(SESSION):
                continue
            client_id = name.removeprefix(SESSION)
            try:
                if data is None:
                    raise BadRecord("its checksum is wrong")
                found.append((client_id, records.decode_session(data), stored.get(PLACE + client_id)))
            except BadRecord as error:
                log.error("the stored session of %r cannot be used: %s", client_id[:64], error)
                self._due.add(client_id)
        # Those whose clients were there last, then those who have been away for longest: the order of `bound_kept`.
        found.sort(key=lambda one: (one[1].left_us == 0, one[1].left_us))
        most = self._server.config.max_kept_sessions
        for client_id, _, _ in found[: max(0, len(found) - most)]:
            log.warning("the stored session of %r was dropped: %d are kept at most", client_id[:64], most)
            self._due.add(client_id)
        for client_id, record, place in found[max(0, len(found) - most) :]:
            try:
                self._restore(client_id, record, place)
            except _Disowned as gone:
                log.warning("the stored session of %r was dropped: %s", client_id[:64], gone)
                self._due.add(client_id)
            except Exception:  # whatever was stored, the router starts
                log.exception("the stored session of %r cannot be used", client_id[:64])
                session = self._server.sessions.get(client_id)
                if session is not None:
                    session.will = None
                    session.end()
                self._due.add(client_id)
        if self._stored:
            self.journal.log_whole_messages(KEPT_CURSOR, True)
            self.journal.set_cursor(KEPT_CURSOR, min(self._stored.values()))
            log.info("%d sessions of absent clients are kept", len(self._stored))
        else:
            self.journal.forget_cursor(KEPT_CURSOR)
        self._wills.restore(stored)
        if self._due:
            self.journal.notes_changed(False)

    def _restore(self, client_id: str, record: SessionRecord, place_data: bytes | None) -> None:
        server = self._server
        away_s = 0.0
        if record.synchronised and clock_synchronised():
            away_s = max(0.0, (server.router.clock.wall_us() - record.stored_us) / 1e6)
        # A client that was there counts as gone from now on: nobody saw it go.
        expiry_s = min(record.expiry_s, server.config.max_session_expiry_s)
        left_s = min(record.left_s - away_s, expiry_s) if record.left_us else expiry_s
        if left_s <= 0:
            self._due.add(client_id)
            return
        identity = self._owner(client_id, record)
        account = server.router.accounts.of(record.principal) if identity is None and record.principal else None
        session = server.new_session(client_id, account or server.router.account_of("", identity))
        session.version = record.version
        session.expiry_s = expiry_s
        session.keeps = True
        session.left_us = record.left_us or server.router.clock.wall_us()
        session.identify(identity)
        for held in record.subscriptions:
            self._subscribe(session, held)
        place = self._decoded_place(client_id, place_data)
        unknown = max(0, place.next - place.first - len(place.entries))
        session.restore(place.first, list(place.entries), min(unknown, 2 * SKIPPED) + SKIPPED)
        session.restore_unreleased(place.unreleased)
        session.from_log = LogReplay(session, self._log, place.place, place.first, place.entries, place.behind)
        self._stored[client_id] = place.place
        session.expire_in(left_s)
        if record.will is not None:
            session.will = pending_will(record.will, Holding(session.holding.account))
            session.will.charge()  # it was accepted: there or not, it stays
            session.will.resume(session, max(0.0, record.will.left_s - (away_s if record.left_us else 0.0)))

    def _owner(self, client_id: str, record: SessionRecord) -> Identity | None:
        """Whose session it is, None in open mode."""
        authenticator = self._server.router.authenticator
        if authenticator is None:
            return None
        if record.owner is None:
            raise _Disowned("it is from a time when nobody had to log in")
        try:
            return authenticator.recognise(record.owner, client_id)
        except Refused as refused:
            raise _Disowned(refused.text) from None

    def _subscribe(self, session: Session, held: HeldRecord) -> None:
        entry = SubscribeFilter(
            filter=held.filter,
            qos=held.options & _QOS,
            no_local=bool(held.options & _NO_LOCAL),
            retain_as_published=bool(held.options & _RETAIN_AS_PUBLISHED),
        )
        try:
            subscribe(session, entry, held.identifier)
        except MqttError as error:
            log.warning("%r: a stored subscription was dropped: %s", session, error.text)
            return
        session.subscriptions[held.filter].since = min(held.since, self.journal.last_sequence)

    def _decoded_place(self, client_id: str, data: bytes | None) -> Place:
        """Where the session is, within what the log has; at its end where that is not known."""
        last = self.journal.last_sequence
        nowhere = Place(0, 0, last, True, [], [])
        if data is None:
            return nowhere
        try:
            place = records.decode_place(data)
        except BadRecord as error:
            log.error(
                "%r: stored queue position unreadable, queue restarts at the log's end: %s", client_id[:64], error
            )
            return nowhere
        # Numbers beyond the log's end are those of records that a crash has taken; others will get them.
        entries = [entry._replace(logged=entry.logged if entry.logged <= last else 0) for entry in place.entries]
        return place._replace(place=min(place.place, last), entries=entries)
