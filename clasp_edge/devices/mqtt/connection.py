"""One network connection of an MQTT client: the handshake's bytes, then everything to the session.

`Connection` knows no transport; a TCP connection is below, the WebSocket one is in the transports. What ends a
connection is decided elsewhere; here it is carried out so that the last packet still arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from clasp_edge.dataplane.account import Charge, Holding
from clasp_edge.devices.mqtt.codec.types import PacketType
from clasp_edge.devices.mqtt.handshake import Refusal, open_session, refusal_of
from clasp_edge.devices.mqtt.input_buffer import InputBuffer
from clasp_edge.devices.mqtt.socket_input import LARGE_REST_BYTES, SocketInput
from clasp_edge.router.other_protocol import FIRST_BYTES, other_protocol
from clasp_edge.router.principal import host_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.devices.mqtt.session import Session

log = logging.getLogger("clasp_edge.mqtt")

LINGER_S = 1.0
"""How long input is still read and thrown away after our last packet: closing at once would take that packet back."""

SHORTEST_PAUSE_S = 0.002
"""Of a client over its rate: below this the pause would cost more than it brings."""

MOST_WAITING_BYTES = 1 << 20
"""Read ahead from a client over its rate, so that its PINGREQs are found; the rest stays in the kernel."""

MOST_CONNECT_BYTES = 1 << 17
"""A CONNECT with will, name and password of 64 KiB in all fits twice; it comes from somebody unknown."""

RIGHT_PORT = {"TLS": "mqtt.tls_listen", "HTTP": "websocket.listen"}

PATIENCE_S = 5.0
"""Who comes back waits no longer than this for what its last connection sent above the rate; less than any handshake
may take."""

HURRIED_BYTES = 16_384
"""Of it at a time, so that others get their turn: about half a millisecond of work."""

LONGEST_DEBT_S = 2.0
"""Whoever owes the rate more than a full bucket, by coming back again and again, loses what still waits."""

GRACE_S = 0.05
"""A client that comes back at once may be heard before the end of its last connection is."""


class Connection(SocketInput, ABC):
    """From the first byte on. `session` is None before CONNECT and after the end.

    A client may send and close in one breath: what was read before its end counts, also where it waits for its turn.
    `gone` is set when there is no transport any more, and something is still left to do.
    """

    websocket = False

    def __init__(self, server: MqttServer) -> None:
        super().__init__(server.buffer)
        self.server = server
        self.remote = "?"
        self.gone = False
        self._after_input: Callable[[], None] | None = None
        self._charged_bytes = 0
        self._resuming: asyncio.TimerHandle | None = None
        self.successors: list[tuple[Connection, bytes, Callable[[], None]]] = []
        self.yields = False
        """Whether nothing is read because somebody with the client's name waits."""
        self._patience: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<mqtt connection {self.remote}>"

    # ---- input ----

    def received(self, data: bytes | bytearray, filled: int) -> None:
        """The first `filled` bytes of `data`, which begin with what the last call left as `rest`."""
        self.rest = b""
        if self.closing:
            return
        if self.awaits_login:
            # What came before reading stopped.
            self.rest = bytes(data[:filled])
            if filled > LARGE_REST_BYTES:
                self.abort()
            return
        used = 0
        if self.session is None:
            used = self._handshake(data, filled)
        session = self.session
        if session is not None and not self.closing:
            if not used:
                used = session.receive(data, filled)
            elif used < filled:
                used += session.receive(memoryview(data)[used:filled], filled - used)
        if used < filled and not self.closing:
            self.rest = bytes(data[used:filled])
            waits = session is not None and (session.input_paused or session.occupied)
            if filled - used > LARGE_REST_BYTES or waits:
                self.own_buffer()

    # ---- a buffer of its own ----

    def own_buffer(self) -> None:
        """What came and could not be used yet moves into a buffer of the connection's own."""
        self.input = InputBuffer(self.rest)
        self.rest = b""
        self.server.inputs.add(self)
        if self._charged():
            self._look_ahead()

    def _charged(self) -> bool:
        """Charge the buffer to whoever fills it; False, and the end, where there is no room."""
        size = self.input.held if self.input is not None else 0
        if size == self._charged_bytes:
            return True
        if self.holding is None:
            self.holding = self.open_holding()
        self.holding.release(self._charged_bytes, Charge.INPUT)
        self._charged_bytes = size
        if size and not self.holding.charge(size, Charge.INPUT):
            self._charged_bytes = 0
            self.no_room()
            return False
        return True

    def open_holding(self) -> Holding:
        """For what is coming in: on the account of the host, whoever it says it is."""
        return Holding(self.server.router.account_of(host_of(self.remote)))

    def no_room(self) -> None:
        """What is coming in finds no room on its account: the connection ends."""
        log.info("%r: closed, %s", self.session or self, self.server.router.memory_full())
        self.drop()

    def _drop_buffer(self) -> None:
        self.missing = 0
        if self.input is not None:
            self.input = None
            self.server.inputs.discard(self)
            self._charged()

    def received_own(self, nbytes: int) -> None:
        """So many more bytes are in the buffer of its own."""
        buffer = self.input
        if buffer is None or self.closing:
            return
        buffer.end += nbytes
        if not self._charged():
            return
        if self.session is not None and (self.session.input_paused or self.session.occupied):
            self._look_ahead()
        else:
            self._use_own()
        self.server.inputs.check()

    def _use_own(self) -> None:
        buffer, session = self.input, self.session
        self.missing = 0
        if buffer is None or self.closing or self.awaits_login:
            return
        if session is None:
            # A CONNECT in many pieces.
            used = self._handshake(buffer.data, buffer.end) if buffer.begin == 0 else 0
            session = self.session
            buffer.used(used)
        if session is not None and session.hurried:
            self._use_part(buffer, session)
            if session.hurried:
                return
        elif session is not None and len(buffer):
            buffer.used(session.receive(buffer.rest(), len(buffer)))
        if self.closing:
            return
        if session is not None and (session.input_paused or session.occupied):
            self._look_ahead()
        elif len(buffer) <= LARGE_REST_BYTES:
            self.rest = bytes(buffer.rest())
            self._drop_buffer()
        elif session is not None:
            self.await_rest()

    def _use_part(self, buffer: InputBuffer, session: Session) -> None:
        """Act upon the next packets of what the client sent above its rate before it came back."""
        size = HURRIED_BYTES
        while True:
            size = min(size, len(buffer))
            with buffer.rest() as rest:
                used = session.receive(rest[:size], size)
            waits = session.occupied or session.input_paused
            if used or waits or self.closing or size == len(buffer):
                break
            size *= 4  # a large packet
        buffer.used(used)
        if not used and not waits:
            session.hurried = False  # what is left is no whole packet

    def _look_ahead(self) -> None:
        """The client sends faster than it may: what it has sent waits here, but its PINGREQs are answered in time."""
        buffer, session = self.input, self.session
        if buffer is None or session is None or not (session.input_paused or session.occupied):
            return
        if self.gone:
            return
        at = session.answer_pings(buffer.rest(), buffer.scanned - buffer.begin, len(buffer))
        buffer.scanned = buffer.begin + at
        if len(buffer) < MOST_WAITING_BYTES and self.server.inputs.room and not session.pressed:
            self.resume_reading()
        else:
            self.pause_reading()

    def _handshake(self, data: bytes | bytearray, filled: int) -> int:
        """Look for a whole CONNECT; returns the bytes it took."""
        remaining, at = 0, 1
        while True:
            if at >= filled:
                if filled and data[0] != PacketType.CONNECT << 4:
                    self._no_connect(data, filled)
                return 0
            remaining |= (data[at] & 0x7F) << (7 * (at - 1))
            at += 1
            if not data[at - 1] & 0x80:
                break
            if at > 4:
                self._no_connect(data, filled)
                return 0
        if data[0] != PacketType.CONNECT << 4 or at + remaining > min(self.server.max_packet, MOST_CONNECT_BYTES):
            self._no_connect(data, filled)
            return 0
        if filled < at + remaining:
            return 0
        body = bytes(data[at : at + remaining])
        self.server.waiting.discard(self)
        self._login(body, lambda: open_session(self, body))
        return at + remaining

    def _no_connect(self, data: bytes | bytearray, filled: int) -> None:
        """What comes first is no CONNECT, or none of any use: there is nothing to answer [MQTT-3.1.0-1]."""
        begun = bytes(data[: min(filled, FIRST_BYTES)])
        self._note_refused(f"no CONNECT that could be read; {other_protocol(begun, RIGHT_PORT)}")
        self.abort()

    def _note_refused(self, text: str) -> None:
        more = self.server.notices.due(self.remote)
        if more is not None:
            log.warning("%s: refused: %s%s", self.remote, text, more)

    def _login(self, body: bytes, opens: Callable[[], None]) -> None:
        try:
            opens()
        except Refusal as refusal:
            self._note_refused(str(refusal))
            answer = refusal_of(refusal, body)
            if answer:
                self.send_early(answer)
            self.end()

    def await_login(self) -> None:
        """A password is being checked: nothing is read, and the connection is half-open as before."""
        self.awaits_login = True
        self.server.waiting.add(self)
        self.pause_reading()

    def login_known(self, body: bytes, opens: Callable[[], None]) -> None:
        """The check has ended: `opens` greets the client or raises Refusal."""
        if self.closing or not self.awaits_login:
            return
        self.awaits_login = False
        self.server.waiting.discard(self)
        core = self.server.router.core
        core.begin_pass()
        try:
            self._login(body, opens)
        finally:
            core.end_pass()
        # From the top: the check may have ended before the CONNECT's bytes were done with.
        self.server.loop.call_soon(self.resume_input)

    def pause_input(self, delay_s: float) -> None:
        """Stop reading; after `delay_s`, if given, go on."""
        self.pause_reading()
        if delay_s > 0 and self._resuming is None:
            delay_s = max(delay_s, SHORTEST_PAUSE_S)
            self._resuming = self.server.loop.call_later(delay_s, self.resume_input)

    def resume_input(self) -> None:
        """Take up what was left over, then read on."""
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        if self.closing or self.session is None:
            return
        if self.input is not None:
            self._use_own()
        else:
            rest, self.rest = self.rest, b""
            if rest:
                self.received(rest, len(rest))
        if self.session is None:
            return
        if self.session.input_paused or self.session.occupied or self.closing:
            return
        if self.session.hurried and self.input is not None:
            self.server.loop.call_soon(self.resume_input)
            return
        self.session.hurried = False
        if self._after_input is not None:
            after, self._after_input = self._after_input, None
            after()
        else:
            self.resume_reading()

    # ---- the end ----

    @property
    def input_waits(self) -> bool:
        """Whether something was received that could not be acted upon yet."""
        if self.closing or not (self.rest or self.input):
            return False
        session = self.session
        return self.awaits_login or (
            session is not None and (session.input_paused or session.occupied or session.hurried)
        )

    @property
    def ends_after_input(self) -> bool:
        """Whether the client has closed, and only what it sent before keeps the connection."""
        return self._after_input is not None

    def after_input(self, end: Callable[[], None]) -> None:
        """The client has closed: `end` follows when everything that came before has been acted upon. How long that
        takes is up to the rate; nothing more comes, and what waits is charged to the client."""
        self._after_input = end

    def wait_for(self, other: Connection, body: bytes, opens: Callable[[], None]) -> None:
        """The client is back while what it sent over the `other` connection still waits: `opens` greets it when that is
        done, or raises Refusal."""
        self.await_login()
        other.successors = [one for one in other.successors if one[0].awaits_login and not one[0].closing]
        other.successors.append((self, body, opens))
        self.server.loop.call_later(GRACE_S, other.yield_place)
        if other._patience is None:
            patience_s = min(PATIENCE_S, self.server.router.config.limits.handshake_timeout_s / 2)
            other._patience = self.server.loop.call_later(patience_s, other.cut_short)

    def cut_short(self) -> None:
        """The client is back and has waited long enough: what it sent before is acted upon without regard to its rate,
        which its next messages make up for. Who owes too much already loses it."""
        self._patience = None
        session = self.session
        if self.closing or session is None or not self.input_waits:
            return
        if session.used_s > LONGEST_DEBT_S:
            size = len(self.input) if self.input is not None else len(self.rest)
            self.server.cut_short += 1
            more = self.server.notices.due(self.remote)
            if more is not None:
                log.warning(
                    "%r: the client connected again, %d bytes above limits.messages_per_second dropped%s",
                    session, size, more,
                )  # fmt: skip
            self.drop()
            return
        if not self.gone and session.pressed:
            self.abort()  # it does not read what it is answered
        session.hurried = True
        self.resume_input()

    def yield_place(self) -> None:
        """The client is back on another connection: what was read of this one is acted upon, then the other one is
        greeted."""
        if self.ends_after_input:
            return
        if self.input_waits:
            self.yields = True
            self.after_input(self._yielded)
        else:
            self._let_in()

    def _yielded(self) -> None:
        """Greet who waits, and read on: it may have been somebody else, who is refused."""
        self.yields = False
        self._let_in()
        self.server.loop.call_soon(self.resume_reading)

    def end(self) -> None:
        """Our side has said its last: what is queued goes out, then the connection ends."""
        if self.closing:
            return
        self.closing = True
        self._let_in()
        self.server.loop.call_soon(self._finish)

    def _finish(self) -> None:
        if self.gone:
            self._over()
            return
        self.finish_output()
        self.server.loop.call_later(LINGER_S, self.abort)

    def drop(self) -> None:
        """End the connection at once, with what it has received."""
        self.rest = b""
        self._drop_buffer()
        if self.gone:
            self._over()
        else:
            self.abort()

    def lost(self) -> None:
        """The transport is gone."""
        endings = self.server.router.endings
        if self.session is None:
            self._over()  # at once: a login that is known soon is not to open a session here
            return
        if not self.input_waits and not endings.is_busy:
            endings.do(self._ending())
            return
        if not self.input_waits:
            self.gone = True
            self.server.router.places.give_back(self.session)  # its client may be back before its turn comes
            self.session.depart()
            endings.do(self._ending())
            return
        self.gone = True
        self._after_input = self._over
        self.session.depart()
        self.server.loop.call_soon(self.resume_input)

    def _ending(self) -> Iterator[None]:
        """One step: `_over`, unless the client has come back meanwhile and that was done."""
        self._over()
        yield

    def _over(self) -> None:
        self.closing = True
        self.awaits_login = False
        self.rest = b""
        self._drop_buffer()
        self.holding = None
        self.server.waiting.discard(self)
        for timer in (self._resuming, self._patience):
            if timer is not None:
                timer.cancel()
        session, self.session = self.session, None
        if session is not None:
            session.connection_lost(self)
        self._let_in()

    def _let_in(self) -> None:
        successors, self.successors = self.successors, []
        for connection, body, opens in successors:
            self.server.loop.call_soon(connection.login_known, body, opens)

    # ---- the transport ----

    @abstractmethod
    def fileno(self) -> int:
        """The socket's descriptor, which the session writes to."""

    @abstractmethod
    def send_early(self, data: bytes) -> None:
        """Send while there is no session."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Leave input to the kernel."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Read again."""

    @abstractmethod
    def finish_output(self) -> None:
        """Tell the peer that nothing more comes."""

    @abstractmethod
    def abort(self) -> None:
        """End the connection at once."""


class TcpConnection(Connection, asyncio.BufferedProtocol):
    """A client on a plain socket. Its reads are the watch's (`MqttServer.watch`); the transport is there for how a
    connection begins and ends."""

    def __init__(self, server: MqttServer, remote: str = "") -> None:
        super().__init__(server)
        self._behind = remote
        self.local = bool(remote)  # behind a local socket nothing is delayed
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._watched = False
        self._fd = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.remote = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else self._behind or "local"
        if not self.local:
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.waiting.add(self)
        self._fd = self.fileno()
        self.server.loop.call_soon(self._begin_watch)  # the transport begins to read when this has returned

    def _begin_watch(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._watched = True
            self._transport.pause_reading()
            if self._reading:
                self._watch()

    def _watch(self) -> None:
        assert self._transport is not None
        try:
            self.server.watch.add(self._fd, self)
        except OSError:  # the process has no descriptor left for it: the loop has one that is open
            self._watched = False
            self._transport.resume_reading()

    def _end_watch(self) -> None:
        self._watched = False
        self.server.watch.discard(self._fd, self)

    def input_ended(self) -> None:
        """The client has closed its side. Acted upon at once, and not when the transport finds out as well: what the
        client has used of its rate is to be known when it is back."""
        self._end_watch()
        if self._transport is not None and not self.eof_received():
            self._transport.close()

    def input_failed(self) -> None:
        """The connection is broken."""
        self.abort()

    def eof_received(self) -> bool:
        if self.input_waits:
            self.after_input(self._close)
            return True
        return False

    def _close(self) -> None:
        assert self._transport is not None
        self._end_watch()
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_watch()
        self.lost()

    def fileno(self) -> int:
        assert self._transport is not None
        number: int = self._transport.get_extra_info("socket").fileno()
        return number

    def send_early(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def pause_reading(self) -> None:
        if self._reading and not self.gone and self._transport is not None:
            self._reading = False
            if self._watched:
                self.server.watch.discard(self._fd, self)
            else:
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading or self.ends_after_input or self._transport is None:
            return
        if not self._transport.is_closing():
            self._reading = True
            if self._watched:
                self._watch()
            else:
                self._transport.resume_reading()

    def finish_output(self) -> None:
        assert self._transport is not None
        self.resume_reading()
        if not self._transport.is_closing():
            with contextlib.suppress(OSError, RuntimeError):  # the peer was faster
                self._transport.write_eof()

    def abort(self) -> None:
        self._end_watch()
        if self._transport is not None:
            self._transport.abort()
