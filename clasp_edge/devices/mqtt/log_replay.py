"""The queue of a session that an earlier life of the router has left: read from the log when its client comes back.

Until all of it has been queued the session takes nothing from deliveries that the log has too. Knows no store: the log
is handed in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from clasp_edge.dataplane.payload import printed_value
from clasp_edge.devices.mqtt.address import to_topic
from clasp_edge.devices.mqtt.codec.primitives import put_varint
from clasp_edge.devices.mqtt.will import NO_EXPIRY
from clasp_edge.wire import MessageType, Ttl, TtlMode, decode, encode_value

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Sequence

    from clasp_edge.devices.mqtt.log_batches import LogBatches, Part
    from clasp_edge.devices.mqtt.session import Session
    from clasp_edge.devices.mqtt.session_record import Entry
    from clasp_edge.devices.mqtt.subscribe import Held

log = logging.getLogger("clasp_edge.mqtt")

WAIT_S = 0.02
"""Between looks at whether the client has made room in its queue."""

RETRY_S = 1.0
"""After a reading of the log has failed."""

MOST_FAILURES = 5
"""Readings that fail one after the other: the client gets the newest values instead, and what comes from then on."""

MOST_MATCHES_BYTES = 1 << 18
MATCH_BYTES = 200
"""What is remembered of which subscriptions take what; for each address beside its own bytes."""

MAX_WRITER_BYTES = 36
"""What is left of a client's name in a record of the log (dataplane/state.pyx)."""

EMPTY_TEXT = b'""'
_QOS = 3
_NO_LOCAL = 4
_RETAIN_AS_PUBLISHED = 8
_PARAM, _EVENT, _STREAM, _GESTURE = 0, 1, 2, 3
_SET_REVISION, _SET_TTL = 0x80, 0x10


class Own(Protocol):
    """What an MQTT client published, as it was (`journal.format.Own`)."""

    @property
    def properties(self) -> bytes: ...
    @property
    def payload(self) -> bytes | None: ...
    @property
    def expiry_s(self) -> int: ...
    @property
    def qos(self) -> int: ...
    @property
    def retain(self) -> bool: ...


class Logged(Protocol):
    """A record of the log (`journal.following.Logged`)."""

    @property
    def number(self) -> int: ...
    @property
    def run(self) -> int: ...
    @property
    def wall_us(self) -> int: ...
    @property
    def author(self) -> bytes: ...
    @property
    def address(self) -> bytes: ...
    @property
    def signal(self) -> int: ...
    @property
    def frame(self) -> bytes: ...
    @property
    def synchronised(self) -> bool: ...
    @property
    def own(self) -> Own | None: ...


class Readable(Protocol):
    """What is needed of a log to read it."""

    @property
    def last_sequence(self) -> int: ...
    @property
    def run(self) -> int: ...
    def waited_s(self, record: Any) -> int: ...
    def fetch_wanted(
        self, sequence: int, limit_records: int, limit_bytes: int, wanted: Callable[[bytes], Any],
        known: dict[bytes, Any], then: Callable[[tuple[Sequence[Logged], int] | Exception], None],
    ) -> None: ...  # fmt: skip


class Message(NamedTuple):
    """What a client is sent of a record."""

    topic: bytes
    payload: bytes
    properties: bytes
    expiry_s: int
    qos: int
    retain: bool
    identifiers: bytes | None


class LogReplay:
    """One session's. `begin` with every connection, instead of `Session.start_sending`, until `done`.

    `entries` were in flight under the numbers from `first` on; what is logged after record `place` may be missing.
    """

    def __init__(
        self, session: Session, journal: LogBatches, place: int, first: int, entries: Sequence[Entry], behind: bool
    ) -> None:
        self.done = False
        self._session = session
        self._journal = journal
        self._at = place
        self._in_flight = {entry.logged: first + at for at, entry in enumerate(entries) if entry.logged}
        self._complete_at = max(self._in_flight, default=0)  # from here on all that was in flight has been found
        self.behind = behind
        self._entered = False
        self._sending = False
        self._reading = False
        self._failures = 0
        self._timer: TimerHandle | None = None
        self._full: tuple[int, int] | None = None
        self._matches: dict[bytes, list[Held]] = {}
        self._matches_bytes = 0
        self._own_name = f"mqtt:{session.client_id}".encode()[:MAX_WRITER_BYTES]  # without a token
        session.following = True
        session.read_to = place

    @property
    def sink(self) -> Session:
        """Who reads."""
        return self._session

    @property
    def position(self) -> int:
        """The number of the last record that has been dealt with."""
        return self._at

    def begin(self) -> None:
        """The client is here. What was in flight goes first [MQTT-4.4.0-1], with its content from the log."""
        self._sending = False
        if not self._entered:
            self._entered = True
            self._journal.enter(self)
        self._step()

    def pause(self) -> None:
        """The client is gone: `begin` comes again with it."""
        self._leave()
        self._reading = False
        self._full = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stop(self) -> None:
        """The session is over."""
        self.done = True
        self.pause()

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self._journal.leave(self)

    def interests_changed(self) -> None:
        """It is subscribed to something else, or may read something else: what matches has to be looked up anew."""
        self._matches.clear()
        self._matches_bytes = 0

    # ---- reading ----

    def _step(self) -> None:
        self._timer = None
        if self.done or self._session.connection is None:
            return  # `begin` comes again with the client
        if not self._sending and self._at >= self._complete_at:
            self._sending = True
            self._session.start_sending()
        if self._at >= self._journal.last_sequence:
            self._finish()
        elif self._full is not None and not self._has_room(*self._full):
            self._later(WAIT_S)
        elif not self._reading:
            self._full = None
            self._reading = True
            self._journal.read(self, self._at, self._have)

    def _has_room(self, waiting: int, queued: int) -> bool:
        """Whether there may be room again since there was none."""
        session = self._session
        return not session.waiting_bytes or session.waiting_bytes < waiting or session.context.queued < queued

    def _later(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = self._session.server.loop.call_later(delay_s, self._step)

    def _have(self, result: Part | Exception) -> None:
        self._reading = False
        session = self._session
        if self.done:
            return
        if isinstance(result, Exception):
            self._failures += 1
            given_up = self._failures >= MOST_FAILURES
            more = ": given up" if given_up else ""
            log.error("%r: what waits cannot be read from the journal: %s%s", session, result, more)
            if given_up:
                self.behind = True
                self._at = session.read_to = self._journal.last_sequence
            self._later(0 if given_up else RETRY_S)
            return
        self._failures = 0
        core = session.server.router.core
        core.begin_pass()
        try:
            full = not all(map(self._take, result.records))
            # Before what is queued goes out, by which there may be room again.
            self._full = (session.waiting_bytes, session.context.queued) if full else None
        finally:
            core.end_pass()
        if full:
            self._later(WAIT_S)
        else:
            self._at = session.read_to = max(self._at, result.end)
            self._later(0)

    def _finish(self) -> None:
        self.done = True
        self._leave()
        session = self._session
        if not self._sending:
            self._sending = True
            session.start_sending()
        session.from_log = None
        session.go_live(self.behind)

    def _take(self, record: Logged) -> bool:
        """Queue it, if the client wants it. False: there is no room now."""
        session = self._session
        if record.number <= self._at:
            return True
        number = self._in_flight.get(record.number)
        if number is not None or record.number > self._complete_at:
            try:
                message = self._message(record)
            except Exception as error:
                # Whatever it is, what waits behind it goes on.
                log.warning("%r: record %d cannot be sent: %s", session, record.number, error)
                message = None
            if message is None:
                pass
            elif number is not None:
                session.complete(
                    number, message.topic, message.payload, message.properties, message.expiry_s, message.identifiers
                )
            elif not session.refill(*message, record.number):
                return False
        self._at = session.read_to = record.number
        return True

    # ---- records as messages ----

    def _message(self, record: Logged) -> Message | None:
        """What the client gets of it with QoS 1 or 2, None for nothing. Raises ValueError."""
        held = self._matches.get(record.address)
        if held is None:
            held = self._held(record.address)
        if not held:
            return None  # most of a log is nothing to this client
        own = record.own
        if own is not None:
            published = own.qos
        else:
            published = 0 if record.signal in (_STREAM, _GESTURE) else 1
        if not published:
            return None
        mine = record.author == (self._session.author or self._own_name)
        held = [one for one in held if one.since < record.number and not (mine and one.options & _NO_LOCAL)]
        qos = min(published, max((one.options & _QOS for one in held), default=0))
        if not qos:
            return None
        expiry_s = own.expiry_s if own is not None else _lifetime_s(record)
        if own is None and expiry_s == 0:
            expiry_s = NO_EXPIRY  # it says that the param was forgotten, and that stays so
        if expiry_s != NO_EXPIRY:
            expiry_s -= self._journal.waited_s(record)
            if expiry_s <= 0:
                return None
        payload = own.payload if own is not None and own.payload is not None else _payload(record)
        if own is not None and own.payload is None and payload == EMPTY_TEXT:
            payload = b""  # what a value is printed as, where the value is all that was published
        topic = self._topic(record.address)
        if payload is None or topic is None:
            return None
        retain = own.retain if own is not None else record.signal == _PARAM
        return Message(
            topic, payload, own.properties if own is not None else b"", expiry_s, qos,
            retain and any(one.options & _RETAIN_AS_PUBLISHED for one in held),
            b"".join(b"\x0b" + put_varint(one.identifier) for one in held if one.identifier) or None,
        )  # fmt: skip

    def _held(self, address: bytes) -> list[Held]:
        """The subscriptions that take the address."""
        found = self._matches.get(address)
        if found is None:
            session = self._session
            found = []
            if session.scopes is None or session.scopes.allows("read", address):
                found = [
                    held
                    for held in session.subscriptions.values()
                    if any(one.pattern.matches(address) for one in held.subscriptions)
                ]
            if self._matches_bytes > MOST_MATCHES_BYTES:
                self.interests_changed()
            self._matches[address] = found
            self._matches_bytes += len(address) + MATCH_BYTES
        return found

    def _topic(self, address: bytes) -> bytes | None:
        """As the data plane has it: some addresses have no topic (context.pyx)."""
        mounts = self._session.context.mounts
        found: bytes | None = mounts.topic_of(address) if mounts is not None else None
        if found is not None:
            return found or None
        prefix = self._session.context.prefix
        below = address[len(prefix) :]
        if not address.startswith(prefix) or not below or below.startswith(b"$") or set(b"+#\0") & set(below):
            return None
        return to_topic(below) if b"%" in below else below


def _lifetime_s(record: Logged) -> int:
    """For how long the param that a CLASP client has set is there; 0: it is forgotten, NO_EXPIRY: for ever."""
    frame = record.frame
    if frame[4] != MessageType.SET or not frame[5] & _SET_TTL:
        return NO_EXPIRY
    ttl = Ttl.from_word(int.from_bytes(frame[-4:], "big"))
    return ttl.seconds if ttl.mode is TtlMode.ABSOLUTE else NO_EXPIRY


def _payload(record: Logged) -> bytes | None:
    """The value in the frame as MQTT clients see it, empty for an event without one; None for what they do not get.
    Raises ValueError."""
    frame = record.frame
    at = 8 + len(record.address)
    if frame[4] == MessageType.SET:
        if _lifetime_s(record) == 0:
            return b""  # it was forgotten
        end = len(frame) - (8 if frame[5] & _SET_REVISION else 0) - (4 if frame[5] & _SET_TTL else 0)
        return printed_value(frame[5] & 0x0F, frame[at:end]) or EMPTY_TEXT  # an empty one would say that it is gone
    says = frame[at : at + 1]
    if says != b"\x01":
        return b"" if says == b"\0" and record.signal == _EVENT else None
    value = decode(frame)[1]
    return printed_value(*encode_value(getattr(value, "value", None)))
