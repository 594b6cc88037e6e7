"""One QUIC connection of a client: its one stream of frames, its outbox under back-pressure, its end (quic.md 6).

Knows datagrams only as the server's `inbox` and what it hands back to be sent; which connection a datagram belongs to
is the server's business.
"""

from __future__ import annotations

import contextlib
import logging
import time
from asyncio import TimerHandle
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qh3.quic.connection import QuicConnection, QuicConnectionError
from qh3.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    ConnectionTerminated,
    HandshakeCompleted,
    PingAcknowledged,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from clasp_edge.dataplane import Framing
from clasp_edge.dataplane.account import Charge
from clasp_edge.router.link import CloseCode
from clasp_edge.router.session import Session
from clasp_edge.transports.quic.answers import Answers
from clasp_edge.transports.quic.engine import (
    CONNECTION_WINDOW,
    MOST_ADDRESSES,
    bytes_in_flight,
    incoming,
    is_from_peer,
    outgoing,
    said_at_end,
)

if TYPE_CHECKING:
    from clasp_edge.transports.quic.server import QuicServer
    from clasp_edge.transports.udp import Address

log = logging.getLogger("clasp_edge.transports")

STREAM = 0
"""The first bidirectional stream of a client is the one that is served."""

MAX_SURPLUS_STREAMS = 100
"""Further streams that are reset before the connection ends: whoever opens more does not look at what it is told."""

CLOSE_TIMEOUT_S = 0.5
"""How long a client may take to acknowledge what was queued when its session ends."""

CONNECTION_BYTES = 49_152
"""What the library takes for a connection, measured, beside what a session takes."""

FLIGHT_STEP = 32_768
FLIGHT_LIMIT = 262_144
"""Bytes handed to the library and not acknowledged. Every connection may have the first; more by steps, as far as its
account has room, since the library keeps them until then."""

UNSENT_LIMIT = 32_768
"""Of those, bytes that the library has not sent at all, because the network takes no more at present: what waits in the
outbox instead can still be overtaken, or become a newer value.
"""

HELD_LIMIT = 65_536
SMALL_DATAGRAM = 150
"""While the session reads nothing and so much input waits, larger datagrams are dropped: the client takes that for a
full network and slows down. Those with nothing but acknowledgements are small, and still count."""

CHARGE_STEP = 16_384
PACKET_OVERHEAD = 64
"""Bytes of a datagram that carry no stream data, generously."""

LARGEST_WITHOUT_STREAM = 29
SMALL_OVERHEAD = 40
PIECE_BYTES = 8
"""A datagram of more than the first, which is a PING, may carry a piece of the stream: what it has beyond the second,
or so little that what the library keeps beside a piece costs more, 93 bytes, measured: as GAP_COST times the third."""

MOST_OWED = 512
"""Acknowledgements that a client may have to send us at a time: it has no more datagrams of ours on their way to it."""

GAP_COST = 12
CHEAP_GAP_BYTES = 12_288
"""What the library takes for a byte that waits for those before it, where each of them came by itself (measured). The
first of them count once: probes of the path, which carry nothing, look the same."""

MOST_GAP_BYTES = 5 * CONNECTION_WINDOW
"""What all that a client may have sent ahead counts as in the smallest pieces, at what they cost."""

FIRST_GAP_BYTES = 16_384
"""Before there is a session to charge: more than a HELLO."""

MAX_REASON_BYTES = 120

_ENDS = frozenset({ConnectionTerminated, StreamReset, StopSendingReceived})


class QuicLink:
    """One client. Implements `router.link.Link` and `dataplane.outbox.Stream`."""

    __slots__ = (
        "_accepted_s", "_answers", "_buffer", "_charged", "_code", "_ended", "_ending", "_flight", "_gap", "_moved_to",
        "_over", "_owed", "_reading", "_reason", "_resuming", "_server", "_surplus", "_terminal", "_timeout", "_timer",
        "_timer_s", "addresses", "cids", "dirty", "handshaken", "heard_s", "host", "inbox", "inbox_address", "quic",
        "remote", "session",
    )  # fmt: skip

    def __init__(self, server: QuicServer, quic: QuicConnection, remote: str, host: str) -> None:
        self._server = server
        self.quic = quic
        self.remote = remote
        self.host = host
        self.session: Session | None = None
        self.cids: set[bytes] = set()
        self.inbox: list[bytes] = []
        self.inbox_address: Address = ("", 0)
        self.addresses: set[Address] = set()
        self.dirty = False
        self.handshaken = False
        self.heard_s = time.monotonic()
        self._answers = Answers()
        self._accepted_s = server.router.clock.monotonic_s()
        self._buffer = bytearray()
        self._charged = 0
        self._gap = 0
        self._owed = 0  # acknowledgements of what was sent to the client, at most
        self._surplus: set[int] = set()
        self._flight = FLIGHT_STEP
        self._reading = True
        self._resuming = False
        self._over = False
        self._ended: Callable[[], None] | None = None
        self._terminal = False
        self._ending = False
        self._code = CloseCode.NORMAL
        self._reason = ""
        self._moved_to: Address | None = None
        self._timer: TimerHandle | None = None
        self._timer_s = 0.0
        # QUIC's handshake, the stream and HELLO have one timeout together: the session takes over what is left of it.
        self._timeout: TimerHandle | None = server.router.loop.call_later(
            server.router.config.limits.handshake_timeout_s, self._no_stream
        )

    # ---- from the server ----

    def absorb(self) -> None:
        """Take in the datagrams of `inbox`."""
        datagrams, self.inbox = self.inbox, []
        self.heard_s = time.monotonic()
        if len(self._buffer) > HELD_LIMIT and not self._reading:
            datagrams = [datagram for datagram in datagrams if len(datagram) <= SMALL_DATAGRAM]
        try:
            accepted = incoming(self.quic, datagrams, self.inbox_address, self.heard_s)
            delivered = self._take_events()
        except Exception as error:
            self._broken(error)
            return
        self._answers.came(sum(map(len, datagrams)))
        more = self._may_wait(datagrams, accepted) - delivered
        if more:
            self._gap = min(max(0, self._gap + more), MOST_GAP_BYTES)
        if self._gap_takes() + len(self._buffer) > self._charged:
            self._charge_input()
        self._server.due(self)

    def _may_wait(self, datagrams: list[bytes], accepted: int) -> int:
        """Bytes of the stream that have come with these, at most, at what keeping them costs; none with those that are
        owed as acknowledgements."""
        large = small = pieces = 0
        for datagram in datagrams:
            size = len(datagram)
            if size > SMALL_DATAGRAM:
                large += size - PACKET_OVERHEAD
            elif size > LARGEST_WITHOUT_STREAM:
                small += max(PIECE_BYTES, size - SMALL_OVERHEAD)
                pieces += 1
        if pieces:
            spared = min(pieces, self._owed)
            self._owed -= spared
            small = small * (pieces - spared) // pieces
        if accepted < len(datagrams):
            # A network may say things twice, or somebody in it; and the handshake is not of the stream.
            return min(large + small, accepted * max(map(len, datagrams), default=0))
        return large + small

    def transmit(self) -> list[tuple[Address, list[bytes]]]:
        """What is to be sent now, and where to; afterwards the outbox may go on."""
        now_s = time.monotonic()
        before = bytes_in_flight(self.quic)
        try:
            datagrams = outgoing(self.quic, now_s)
            due_s = self.quic.get_timer()
        except Exception as error:
            self._broken(error)
            return []
        if self.handshaken and datagrams:
            sent = sum(sum(map(len, several)) for _, several in datagrams)
            if bytes_in_flight(self.quic) > before:  # else these were acknowledgements themselves
                self._owed = min(MOST_OWED, self._owed + sum(len(several) for _, several in datagrams))
            handed = self._flight if self.session is not None or self._over else 0
            if self._answers.too_many(sent, bytes_in_flight(self.quic), handed) and not self._terminal:
                return self._asks_too_much(now_s)
        if due_s is not None and (self._timer is None or due_s < self._timer_s):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_s = due_s
            self._timer = self._server.router.loop.call_later(max(0.001, due_s - now_s), self._fire)
        if self._moved_to is not None:
            return [(self._moved_to, several) for _, several in datagrams]
        if datagrams and len(self.addresses) > 1:
            self.remote = self._server.name_of(datagrams[-1][0])
        return datagrams

    def moved_too_often(self, datagram: bytes, address: Address) -> None:
        """The engine follows no further. Told to begin anew, the client is back after two round trips; else it would
        wait for its timeout."""
        if self._moved_to is None and is_from_peer(self.quic, datagram, self.inbox_address, time.monotonic()):
            self._moved_to = address
            self._code = CloseCode.GOING_AWAY
            self._reason = f"moved more than {MOST_ADDRESSES - 1} times: connect again"
            log.info("%s: closing: %s", self.remote, self._reason)
            self._end()

    def make_room(self) -> None:
        """Let the outbox write what the library may take now."""
        session = self.session
        if session is None:
            return
        unsent = self.quic.get_send_buffer_size(STREAM)
        outstanding = unsent + bytes_in_flight(self.quic)
        if self._ending:
            if not outstanding:
                self._end()
            return
        if (
            session.blocked
            and not unsent
            and outstanding * 2 > self._flight
            and self._flight < FLIGHT_LIMIT
            and session.holding.charge(FLIGHT_STEP, Charge.SESSIONS)
        ):
            self._flight += FLIGHT_STEP
        room = min(self._flight - outstanding, UNSENT_LIMIT - unsent)
        session.room = max(0, room)
        if session.blocked and room >= FLIGHT_STEP // 4:
            session.on_writable()

    def keep_alive(self) -> None:
        """The client has been silent: ask it."""
        if self.handshaken and not self._over:
            self.quic.send_ping(1)
            self._server.due(self)

    def forget(self) -> None:
        """The server knows it no more."""
        for timer in (self._timer, self._timeout):
            if timer is not None:
                timer.cancel()
        self._timer = self._timeout = None

    # ---- events ----

    def _fire(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        try:
            due_s = self.quic.get_timer()
            if due_s is not None and due_s <= now_s:
                self.quic.handle_timer(now_s)
                self._take_events()
        except Exception as error:
            self._broken(error)
            return
        self._server.due(self)

    def _take_events(self) -> int:
        """Act on what has happened; returns how many bytes of streams have come."""
        data: list[bytes] = []
        ends: list[QuicEvent] = []
        delivered = 0
        ended = False
        while (event := self.quic.next_event()) is not None:
            if type(event) is StreamDataReceived:
                delivered += len(event.data)
                if event.stream_id == STREAM:
                    data.append(event.data)
                    ended = ended or event.end_stream
                else:
                    self._refuse_stream(event.stream_id)
            elif type(event) in _ENDS:
                ends.append(event)  # what came before it counts
            else:
                self._other_event(event)
        if data:
            self._stream_data(data[0] if len(data) == 1 else b"".join(data))
        if ended:
            self._after_input(partial(self.close, CloseCode.NORMAL, "the client has ended its stream"))
        for event in ends:
            self._other_event(event)
        return delivered

    def _after_input(self, end: Callable[[], None]) -> None:
        """A client may write and end in one breath: what came before counts, and may wait for its turn."""
        session = self.session
        waits = session is not None and (session.input_waits or self._resuming)
        if waits and session is not None and not session.pressed and not self._over:
            self._ended = self._ended or end
        else:
            end()

    def _other_event(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionIdIssued):
            self._server.add_cid(event.connection_id, self)
        elif isinstance(event, ConnectionIdRetired):
            self._server.drop_cid(event.connection_id, self)
        elif isinstance(event, HandshakeCompleted):
            self.handshaken = True
            self._server.handshakes += 1
            if not self._server.router.open_to(self.remote):
                self.close(CloseCode.TRY_AGAIN_LATER, "too many sessions")
        elif isinstance(event, PingAcknowledged):
            if self.session is not None:
                self.session.touch()
        elif isinstance(event, StreamReset | StopSendingReceived):
            if event.stream_id == STREAM:
                self._after_input(partial(self.close, CloseCode.NORMAL, "the client has reset its stream"))
            elif isinstance(event, StreamReset):
                self._refuse_stream(event.stream_id)
        elif isinstance(event, ConnectionTerminated):
            self._terminated(event)

    def _refuse_stream(self, stream_id: int) -> None:
        """A connection has one stream (quic.md 6.1)."""
        if stream_id in self._surplus:
            return  # it was on its way, or is the client's answer
        self._server.surplus_streams += 1
        self._surplus.add(stream_id)
        if len(self._surplus) > MAX_SURPLUS_STREAMS:
            self.close(CloseCode.POLICY_VIOLATION, "a connection has one stream, and no others")
            return
        with contextlib.suppress(ValueError):  # the client has ended it already
            self.quic.stop_stream(stream_id, CloseCode.POLICY_VIOLATION)
        with contextlib.suppress(ValueError):
            if not stream_id & 2:
                self.quic.reset_stream(stream_id, CloseCode.POLICY_VIOLATION)

    def _terminated(self, event: ConnectionTerminated) -> None:
        if not self.handshaken and not self._over:
            self._server.handshake_failed(self, event)
        elif not self._over:
            log.info("%s: QUIC: %s", self.remote, said_at_end(event))
        # It is said only once, and there is nobody left to be told of a stream's end.
        self._terminal = True
        self._ended = None
        self._after_input(self._forgotten)

    def _forgotten(self) -> None:
        self._gone()
        self._server.forget(self)

    # ---- the stream ----

    def _stream_data(self, data: bytes) -> None:
        if self._over:
            return
        if self.session is None and not self._begin():
            return
        self._server.bytes_in += len(data)
        if self._buffer or not self._reading:
            self._buffer += data
            if self._reading:
                self._feed(self._buffer)
            return
        self._feed(data)

    def _begin(self) -> bool:
        """The stream is there: it is a session now, half-open until its HELLO."""
        router = self._server.router
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        router.half_open.discard(self)
        self.session = session = router.connect(self, -1, Framing.QUIC)
        session.connected_s = self._accepted_s
        session.open_stream(self, self._flight)
        if not session.holding.charge(CONNECTION_BYTES, Charge.SESSIONS):
            session.close(CloseCode.TRY_AGAIN_LATER, router.memory_full())
            return False
        return True

    def _feed(self, source: bytes | bytearray) -> None:
        assert self.session is not None
        try:
            used = self.session.receive_frames(source, len(source))
        except ValueError as error:
            self._buffer.clear()
            self.session.close(CloseCode.PROTOCOL_ERROR, str(error))
            return
        if source is self._buffer:
            del self._buffer[:used]
        elif used < len(source):
            self._buffer += source[used:]
        if self._charged and not self._buffer and not self._gap:
            self.session.holding.release(self._charged, Charge.INPUT)
            self._charged = 0

    def _gap_takes(self) -> int:
        return self._gap + (GAP_COST - 1) * max(0, self._gap - CHEAP_GAP_BYTES)

    def _charge_input(self) -> None:
        """What waits to be complete, or for its turn, is on the client's account."""
        needed = -(-(self._gap_takes() + len(self._buffer)) // CHARGE_STEP) * CHARGE_STEP
        session = self.session
        if session is None and self._gap > FIRST_GAP_BYTES:
            self.close(CloseCode.POLICY_VIOLATION, "the beginning of the stream is missing")
        if session is None or self._over:
            return
        if not session.holding.charge(needed - self._charged, Charge.INPUT):
            self._buffer.clear()
            session.close(CloseCode.TRY_AGAIN_LATER, self._server.router.memory_full())
            return
        self._charged = needed

    def write(self, data: bytes) -> None:
        """As `dataplane.outbox.Stream`."""
        try:
            self.quic.send_stream_data(STREAM, data)
        except (QuicConnectionError, ValueError):
            # The client has closed the connection, or its half of the stream: that is told in a moment. What it has
            # said before may still wait for its turn.
            self._after_input(self.abort)
            return
        self._server.bytes_out += len(data)
        self._answers.written(len(data))
        self._server.due(self)

    # ---- Link ----

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = self._resuming = True
            # Not from here: a pass of somebody else may be under way.
            self._server.router.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._resuming = False
        if self._buffer and self._reading and not self._over:
            self._feed(self._buffer)
        if self._ended is not None and self._reading:
            end, self._ended = self._ended, None
            end()

    def ping(self) -> None:
        self.keep_alive()

    def close(self, code: CloseCode, reason: str) -> None:
        # What is queued still goes out, and the stream's end after it. The connection's end waits until that has
        # arrived: it would overtake what has to be sent again.
        if self._over:
            return
        self._over = True
        self._code, self._reason = code, reason
        if self.session is None or self.session.blocked:
            self._server.router.loop.call_soon(self._end)
        else:
            self._server.router.loop.call_soon(self._finish_stream)

    def _finish_stream(self) -> None:
        try:
            self.quic.send_stream_data(STREAM, b"", end_stream=True)
        except Exception:
            self._end()  # the client wants to hear no more
            return
        self._ending = True
        self._server.due(self)
        self._server.router.loop.call_later(CLOSE_TIMEOUT_S, self._end)

    def abort(self) -> None:
        self._over = True
        self._server.router.loop.call_soon(self._end)

    def give_up(self, reason: str) -> None:
        """Others need its place among those that have not said who they are."""
        self.close(CloseCode.TRY_AGAIN_LATER, reason)

    # ---- the end ----

    def _asks_too_much(self, now_s: float) -> list[tuple[Address, list[bytes]]]:
        """At once: what the library holds goes with it. Returns the last that is sent."""
        reason = "asks for answers for their own sake"
        log.warning("%s: closing: %s", self.remote, reason)
        self._terminal = True
        try:
            self.quic.close(error_code=int(CloseCode.POLICY_VIOLATION), reason_phrase=reason)
            last = outgoing(self.quic, now_s)
        except Exception:
            last = []
        self._forgotten()
        return last

    def _no_stream(self) -> None:
        self._timeout = None
        log.info("%s: closing: no stream in time (limits.handshake_timeout_s)", self.remote)
        self.close(CloseCode.POLICY_VIOLATION, "no stream in time")

    def _end(self) -> None:
        """Tell the client, and let the session go. The library answers late packets until its time is over."""
        if self._terminal:
            self._forgotten()
            return
        self._over = True
        self._ending = False
        code = 0 if self._code == CloseCode.NORMAL else int(self._code)
        reason = self._reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        try:
            self.quic.close(error_code=code, reason_phrase=reason)
        except Exception as error:
            self._broken(error)
            return
        self._server.due(self)
        kept = self.session is not None and self.session.id in self._server.router.sessions
        self._gone()
        if not kept:
            self._server.flush()
            self._server.forget(self)

    def _broken(self, error: Exception) -> None:
        """The library has failed: it costs this connection, and nothing else."""
        log.warning("%s: QUIC connection dropped: %r", self.remote, error)
        self._over = True
        self._gone()
        self._server.forget(self)

    def _gone(self) -> None:
        self._over = True
        self._server.router.half_open.discard(self)
        session, self.session = self.session, None
        if session is not None:
            session.stop_listening()
            session.disconnected()
        self._buffer.clear()
