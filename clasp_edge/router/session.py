"""One client's session: its identity, its life from connection to end, and what it is told when something is refused.

The compiled half (`dataplane.ClaspReceiver`) settles SET and PUBLISH by itself and calls the `on_...` methods here
for the rest. What the messages mean is in the handler modules; this file only finds the handler.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from clasp_edge.dataplane import ClaspReceiver, Framing, Subscription, Verdict
from clasp_edge.dataplane.account import Charge, Holding
from clasp_edge.router.access import ConfinedAccess
from clasp_edge.router.bundle import handle_compact_bundle
from clasp_edge.router.link import CloseCode, Link
from clasp_edge.router.long_message import carry_out
from clasp_edge.router.principal import author_of, host_of
from clasp_edge.wire import (
    Error,
    ErrorCode,
    Kind,
    Message,
    MessageType,
    WireError,
    decode_payload,
    decode_payload_in_steps,
    encode,
    encode_payload,
)
from clasp_edge.wire.messages import Hello, Ping, Publish, Set
from clasp_edge.wire.timeline import timeline_as_value

if TYPE_CHECKING:
    from clasp_edge.dataplane.sink import Sink
    from clasp_edge.router.access import Access, Confinement, Identity
    from clasp_edge.router.gesture import GestureThrottle
    from clasp_edge.router.router import Router

log = logging.getLogger("clasp_edge.router")

SESSION_BYTES = 6144
"""What a session takes with its connection, before it has asked for anything."""

MAX_LEGACY_HELLO_BYTES = 12_288
"""Of a HELLO in MessagePack with all its fields: a token has 4,096. In the compact encoding size costs nothing."""

_SHOWN_ADDRESS_BYTES = 256
"""How much of a refused address an ERROR repeats: enough to recognise it, not enough to amplify."""

# What is refused for lack of a scope.
_REFUSALS = frozenset({ErrorCode.FORBIDDEN, ErrorCode.SCOPE_FAILURE})

# Frames that could not be read are code 100, messages 101 (wire.md 5.2).
_FRAME_FAULTS = frozenset({Kind.TRUNCATED_HEADER, Kind.BAD_MAGIC, Kind.LENGTH_MISMATCH, Kind.EMPTY_PAYLOAD})

LONG_BYTES = 4096
"""Of a message that is read in steps, if it is a list: shorter ones take half a millisecond."""

LONG_HOLD_S = 1.0
"""Another router whose input is held for so long is shown that this one lives, each time."""

LONGEST_ERROR = 300
"""Characters that are remembered of what a client was told last."""


class Session(ClaspReceiver):
    """A connection of a CLASP client, from its first byte on. `greeted` turns true with WELCOME."""

    __slots__ = (
        "bundle_number",
        "closing",
        "confinement",
        "connected_s",
        "features",
        "gestures",
        "granted",
        "holds",
        "id",
        "identity",
        "last_error",
        "link",
        "name",
        "on_held",
        "own_rate",
        "p2p_capable",
        "pinged_us",
        "proxied",
        "rate_limit",
        "revoked",
        "router",
        "scheduled",
        "subscriber",
        "subscriptions",
        "told_drops_s",
    )

    def __init__(self, core: Any, plane: Any, router: Router, link: Link, fd: int, framing: Framing) -> None:
        self.router = router
        self.link = link
        self.framing = framing
        self.id = str(uuid.uuid4())
        self.name = ""
        self.features: tuple[str, ...] = ()
        self.identity: Identity | None = None
        self.granted: Access | None = None
        self.confinement: Confinement | None = None
        self.subscriber: Sink | None = None  # who is told in its place what it subscribes to
        self.subscriptions: dict[int, Subscription] = {}
        self.gestures: GestureThrottle | None = None
        self.on_held: Callable[[], None] | None = None  # its input is held back for its rate
        self.own_rate: float | None = None  # in place of limits.messages_per_second
        self.rate_limit = ""
        self.p2p_capable = False
        self.proxied = False  # the address is a proxy's, and says nothing about who it is
        self.holds = 0
        self.closing = False
        self.revoked = False
        self.scheduled = 0
        self.bundle_number = 0
        self.connected_s = router.clock.monotonic_s()
        self.pinged_us = 0
        self.told_drops_s = 0.0
        self.last_error = ""
        self.holding = Holding(router.account_of(host_of(link.remote)))
        self.holding.force(SESSION_BYTES, Charge.SESSIONS)
        self.open_outbox(fd)

    def __repr__(self) -> str:
        # Quoted: a name is the client's, and must not be able to write lines of its own into a log.
        return f"<{repr(self.name[:64]) if self.name else 'session'} {self.id} {self.link.remote}>"

    def journal_fields(self) -> dict[str, str]:
        """What a log line about this session carries beside its text (daemon/logs.py)."""
        return {"CLASP_SESSION": self.id, "CLASP_CLIENT": self.name, "CLASP_REMOTE": self.link.remote}

    # ---- what the session may do ----

    def grant(self, identity: Identity) -> None:
        """Take over what the token allows. A confinement stays, or a second HELLO would be the way out of it."""
        self.identity = identity
        self.granted = identity.scopes
        self.author = author_of(identity)
        self.audited = identity.administers
        self.holding.move(self.router.account_of("", identity))
        self._update_scopes()

    def confine(self, confinement: Confinement | None) -> None:
        """Keep every write of this session, by whatever message, inside `confinement`; None lifts that again."""
        self.confinement = confinement
        self._update_scopes()

    def outside(self, address: bytes, kind: str) -> str | None:
        """Why the confinement refuses a write that the token allows, or None if that is not the reason."""
        if self.confinement is None or self.confinement.admits(address):
            return None
        if self.granted is not None and not self.granted.allows("write", address):
            return None
        return self.confinement.refusal(kind)

    def _update_scopes(self) -> None:
        self.scopes = self.granted if self.confinement is None else ConfinedAccess(self.granted, self.confinement)
        if self.subscriptions:
            self.router.plane.scopes_changed()
        else:
            # Nobody's fan-out depends on what a session may read that has asked for nothing.
            self.router.plane.gate_changed()

    # ---- sending ----

    def reply(self, message: Message) -> None:
        """Send one message to this client."""
        self.send(encode(message))

    def error(self, code: int, text: str, address: str | None = None) -> None:
        """Send an ERROR."""
        self.router.count_error(code)
        self.last_error = (f"{text}: {address}" if address else text)[:LONGEST_ERROR]
        self.router.note_refusal(self.name, self.link.remote, code, self.last_error)
        if code in _REFUSALS and self.identity is not None:
            self.router.trail.note(
                "refused", self.identity, remote=self.link.remote, client=self.name, target=address or "", reason=text
            )
        self.reply(Error(code=code, message=text, address=address))

    # ---- what the data plane hands up ----

    def on_message(self, payload: bytes, qos: int) -> None:
        if self.closing:
            return
        if not self.greeted and not _may_be_hello(payload):
            # router.md 1.3: silence towards whoever has not said HELLO, but a real close. No more of it is looked at.
            self.close(CloseCode.PROTOCOL_ERROR, "the first message must be HELLO")
            return
        if payload[0] == MessageType.BUNDLE:
            handle_compact_bundle(self, payload, qos)
            return
        if self.greeted and len(payload) > LONG_BYTES:
            carry_out(self, self._take_in_steps(payload, qos))
            return
        try:
            message = decode_payload(payload)
        except WireError as error:
            self.on_garbage(error.kind)
            return
        if not self.greeted and not isinstance(message, Hello):
            self.close(CloseCode.PROTOCOL_ERROR, "the first message must be HELLO")
            return
        self._handle_message(message, payload, qos)

    def _take_in_steps(self, payload: bytes, qos: int) -> Iterator[None]:
        try:
            message = yield from decode_payload_in_steps(payload)
        except WireError as error:
            self.on_garbage(error.kind)
            return
        self._handle_message(message, payload, qos)

    def _handle_message(self, message: Message, payload: bytes, qos: int) -> None:
        if isinstance(message, Set | Publish):
            # The legacy encoding of a hot message: translated once, then the same way as all others.
            try:
                payload = encode_payload(timeline_as_value(message))
            except WireError as error:
                # It takes more room than it did: small integers, for example, have one byte there and eight here.
                self.error(
                    ErrorCode.INVALID_VALUE, f"Message too large: {error}", message.address[:_SHOWN_ADDRESS_BYTES]
                )
                return
            self.submit(payload, qos)
            return
        handler = self.router.handlers.get(message.type)
        if handler is not None:
            legacy = payload[0] != message.type
            handler(self, message, Envelope(payload, qos, legacy))

    def on_garbage(self, fault: str) -> None:
        if not self.greeted:
            self.close(CloseCode.PROTOCOL_ERROR, f"not a CLASP frame ({fault})")
            return
        code = ErrorCode.INVALID_FRAME if fault in _FRAME_FAULTS else ErrorCode.INVALID_MESSAGE
        self.error(code, f"Message not understood: {fault}")

    def on_refused(self, verdict: int, address: bytes, revision: int, expected: int, is_set: bool) -> None:
        shown = shown_address(address)
        code, text = self.router.refusal(self, Verdict(verdict), address, revision, expected, is_set)
        self.error(code, text, shown)
        if "federation" in self.features and self.router.on_peer_refused is not None:
            self.router.on_peer_refused(self, Verdict(verdict), address, text, is_set)

    def on_reserved(self, payload: bytes, address: bytes) -> bool:
        # Who is asked looks at address and scope before it looks at the value: that may be large.
        return (
            self.router.on_switch is not None
            and self.confinement is None
            and self.router.on_switch(self, address, payload)
        )

    def on_audited(self, address: bytes) -> None:
        self.note_writes(shown_address(address))

    def note_writes(self, address: str = "") -> None:
        """Write down what an administrator has written since this was done last."""
        count, self.unaudited = self.unaudited, 0
        if count:
            self.router.trail.note(
                "admin write", self.identity, remote=self.link.remote, client=self.name, target=address, count=count
            )

    def on_special(self, payload: bytes, address: bytes) -> None:
        self.router.p2p.publish(self, payload, address)

    def on_gesture(self, payload: bytes, address: bytes, phase: int, gesture_id: int) -> None:
        if self.gestures is None:
            self.gestures = self.router.new_gestures(self)
        self.gestures.offer(payload, address, phase, gesture_id)

    def on_rate_limited(self) -> None:
        self.error(ErrorCode.RATE_LIMITED, f"Rate limit exceeded: {self.rate_limit}")

    def on_no_room(self) -> None:
        self.close(CloseCode.TRY_AGAIN_LATER, self.router.memory_full())

    def pause_input(self) -> None:
        self.link.pause_reading()

    def resume_input(self) -> None:
        self.link.resume_reading()

    def hold_input(self, wait_s: float) -> None:
        self.router.loop.call_later(wait_s, self.take_deferred)
        if wait_s >= LONG_HOLD_S:
            self.reply(Ping())  # its own may wait behind the rest of its input
        if self.on_held is not None:
            self.on_held()

    def end_abruptly(self) -> None:
        self.link.abort()

    def hold(self) -> None:
        """What the client says from here on waits, until `let_on` was called as often as this."""
        self.holds += 1
        self.hold_back()

    def let_on(self) -> None:
        """Whatever has held its input is over: what has waited is dealt with, if nothing else holds it."""
        self.holds -= 1
        if not self.holds and not self.closing:
            self.take_deferred()

    # ---- the end ----

    def close(self, code: CloseCode, reason: str, level: int = logging.INFO) -> None:
        """End the session from our side, telling the client why; `level` of the log's line about it."""
        if not self.closing:
            self.stop_listening()
            log.log(level, "%r: closing: %s", self, reason)
            self.link.close(code, reason)

    def apply_rate(self) -> None:
        """Others of the same token have come or gone (`router.quota`)."""
        self.router.apply_limits(self)

    def limit_rate(self, messages_per_second: float, bytes_per_second: float = 0) -> None:
        """Let the client send so many messages and bytes; 0: any number."""
        limits = ((messages_per_second, "messages/second"), (bytes_per_second, "bytes/second"))
        self.rate_limit = ", ".join(f"{limit:.10g} {unit}" for limit, unit in limits if limit)
        self.set_rate(messages_per_second, bytes_per_second)

    def give_up_place(self, reason: str) -> None:
        """As `places.Holder`."""
        self.close(CloseCode.TRY_AGAIN_LATER, reason)

    def stop_listening(self) -> None:
        """The end has begun: nothing the client still says counts."""
        self.closing = True
        self.greeted = False  # so that the compiled half hands up everything, to be dropped in `on_message`

    def disconnected(self) -> None:
        """The transport is gone: called once by it, whoever ended the connection."""
        self.stop_listening()
        self.close_outbox()
        self.router.ended(self)


def _may_be_hello(payload: bytes) -> bool:
    """Of what has not been let in yet, only type and size are looked at: what is read before HELLO costs the sender
    nothing. In MessagePack the type is anywhere in a map."""
    is_map = payload[0] >= 0x80
    return len(payload) <= MAX_LEGACY_HELLO_BYTES if is_map else payload[0] == MessageType.HELLO


class Envelope:
    """How a message came: its payload, its frame's QoS, and whether it was in the legacy encoding."""

    __slots__ = ("legacy", "payload", "qos")

    def __init__(self, payload: bytes, qos: int, legacy: bool) -> None:
        self.payload = payload
        self.qos = qos
        self.legacy = legacy


def shown_address(address: bytes) -> str:
    """An address from outside as an ERROR repeats it: valid text, cut to a sensible length."""
    return address[:_SHOWN_ADDRESS_BYTES].decode("utf-8", "replace")


def message_name(message: Message) -> str:
    """The type's name for logs and metrics."""
    return MessageType(message.type).name
