"""BUNDLE: all or nothing, in the listed order, now or at a given time (router.md 6).

Everything that could refuse one of its writes is checked before the first is applied: addresses, scopes, revisions,
locks, strategies, sizes, capacity. Between check and application nothing else runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from clasp_edge.dataplane import Verdict
from clasp_edge.dataplane.account import Charge, Holding
from clasp_edge.dataplane.bundle import TOO_MUCH, UNREADABLE, dry_run, split
from clasp_edge.router.schedule import NotScheduled, Schedule, ScheduleFull, TooFarAhead
from clasp_edge.wire import (
    Ack,
    Bundle,
    ErrorCode,
    MessageType,
    Publish,
    Set,
    WireError,
    encode_payload,
    split_bundle,
)
from clasp_edge.wire.address import AddressError, validate_address
from clasp_edge.wire.compact import decode_payload as decode_compact
from clasp_edge.wire.timeline import timeline_as_value

if TYPE_CHECKING:
    from clasp_edge.router.session import Envelope, Session


_PAYLOAD_BYTES = 64
"""What a message of a scheduled bundle takes beside its bytes."""

_CARRIED_OUT = (MessageType.SET, MessageType.PUBLISH)

SESSIONS_TO_FILL_SCHEDULE = 4
"""One session gets this part of the schedule, so that others find places in it too."""

SMALLEST_SHARE = 16
"""What one session may have waiting however small the schedule is: a cue list of a few steps needs as much."""

_numbers = count(1)
"""Of bundles: who is sent what they contain may want to know what belongs together."""


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a bundle is not executed."""

    code: int
    text: str
    address: str | None = None


def handle_bundle(session: Session, message: Bundle, envelope: Envelope) -> None:
    """One in the legacy encoding: its messages are translated once."""
    try:
        payloads = [encode_payload(timeline_as_value(m)) for m in message.messages if isinstance(m, Set | Publish)]
    except WireError as error:
        session.on_garbage(error.kind)
        return
    _take(session, message.timestamp, payloads, len(message.messages), envelope.qos)


def handle_compact_bundle(session: Session, payload: bytes, qos: int) -> None:
    """One in the compact encoding: its messages stay the bytes that they are."""
    found = split(payload)
    try:
        timestamp, payloads = split_bundle(payload) if found is None else found
        for part in payloads if found is None else ():
            if part[0] not in _CARRIED_OUT:
                decode_compact(part)  # passed over, but a broken one breaks the bundle
    except WireError as error:
        session.on_garbage(error.kind)
        return
    count = len(payloads)
    if found is None:
        payloads = [part for part in payloads if part[0] in _CARRIED_OUT]
    _take(session, timestamp, payloads, count, qos)


def _take(session: Session, timestamp: int | None, payloads: list[bytes], count: int, qos: int) -> None:
    """Check, then execute at once or put into the schedule. One ACK when executed, if the frame asked for one."""
    session.charge(max(0, count - 1))
    refusal = check_bundle(session, payloads)
    if refusal is not None:
        session.error(refusal.code, refusal.text, refusal.address)
        return
    due_us = timestamp or 0
    if due_us <= session.router.clock.wall_us():
        execute_bundle(session, payloads, qos)
    else:
        _schedule(session, due_us, payloads, qos)


def _schedule(session: Session, due_us: int, payloads: list[bytes], qos: int) -> None:
    """Let a checked bundle wait, or send the ERROR that says why not."""
    try:
        _check_share(session)
        # Of its own: the bundle may outlive the session.
        holding = Holding(session.holding.account)
        if not holding.charge(sum(map(len, payloads)) + _PAYLOAD_BYTES * (len(payloads) + 8), Charge.SCHEDULE):
            raise ScheduleFull(session.router.memory_full())
        session.router.schedule.add(due_us, partial(_execute_due, session, payloads, qos, holding))
    except NotScheduled as refusal:
        code = ErrorCode.REVISION_CONFLICT if isinstance(refusal, TooFarAhead) else ErrorCode.MESSAGES_DROPPED
        session.error(code, f"Bundle rejected: {refusal}")
    else:
        session.scheduled += 1


def waiting_bundles(schedule: Schedule) -> Iterator[tuple[int, Session, list[bytes]]]:
    """Bundles that wait: for when (Unix microseconds), who has sent them, and the payloads of their messages."""
    for due_us, action in schedule.waiting():
        if isinstance(action, partial) and action.func is _execute_due:
            session, payloads = action.args[:2]
            yield due_us, session, payloads


def _check_share(session: Session) -> None:
    share = max(SMALLEST_SHARE, session.router.config.limits.max_scheduled_bundles // SESSIONS_TO_FILL_SCHEDULE)
    if session.scheduled >= share:
        raise ScheduleFull(f"{share} bundles of this session are already waiting for their time")


def _execute_due(session: Session, payloads: list[bytes], qos: int, holding: Holding) -> None:
    """The world may have changed since the bundle was accepted: scopes, locks and revisions are checked again."""
    holding.close()
    session.scheduled -= 1
    if session.router.lost_access(session) is not None:
        session.error(ErrorCode.SCOPE_FAILURE, "Scheduled bundle cancelled: the sender is no longer authorised")
    else:
        refusal = check_bundle(session, payloads)
        if refusal is None:
            execute_bundle(session, payloads, qos)
        else:
            session.error(refusal.code, f"Scheduled bundle cancelled: {refusal.text}", refusal.address)
    session.router.settle(session)


def execute_bundle(session: Session, payloads: list[bytes], qos: int) -> None:
    """Apply a checked bundle in its order and acknowledge it."""
    session.bundle_number = next(_numbers)
    try:
        # Past the gesture throttle: what is timed in a bundle is meant to arrive as timed.
        has_set = session.carry_out(payloads)
    finally:
        session.bundle_number = 0
    if qos:
        session.reply(Ack(revision=session.last_revision if has_set else None))


def check_bundle(session: Session, payloads: list[bytes]) -> Refusal | None:
    """A dry run. Returns the first reason not to execute the bundle, or None."""
    plane = session.router.plane
    place, verdict, revision, expected, new, size = dry_run(plane, session, payloads)
    if place >= 0:
        return _refusal(session, payloads[place], verdict, revision, expected)
    if not plane.evict and (
        # As if nothing were overwritten: what is promised here must not fail half-way.
        (plane.max_params and plane.params + new > plane.max_params) or plane.lacks_room(size)
    ):
        return Refusal(ErrorCode.REVISION_CONFLICT, "Bundle rejected: AtCapacity")
    return None


def _refusal(session: Session, payload: bytes, verdict: int, revision: int, expected: int) -> Refusal:
    """In words."""
    try:
        message = decode_compact(payload)
    except WireError as error:
        return Refusal(ErrorCode.INVALID_MESSAGE, f"Bundle rejected: {error}")
    assert isinstance(message, Set | Publish)
    address = message.address.encode()
    kind = "SET" if isinstance(message, Set) else "PUBLISH"
    if verdict == Verdict.BAD_ADDRESS:
        try:
            validate_address(address)
        except AddressError as error:
            return Refusal(ErrorCode.INVALID_ADDRESS, f"Bundle rejected: {error}", message.address[:256])
    if verdict == Verdict.NO_SCOPE:
        reason = session.outside(address, kind) or f"insufficient scope for {kind} to {message.address}"
        return Refusal(ErrorCode.SCOPE_FAILURE, f"Bundle rejected: {reason}", message.address)
    if verdict == TOO_MUCH:
        return Refusal(ErrorCode.RATE_LIMITED, "Bundle rejected: too many bytes to merge", message.address)
    if verdict == UNREADABLE:
        return Refusal(ErrorCode.INVALID_MESSAGE, "Bundle rejected: a message could not be read", message.address)
    code, text = session.router.refusal(session, Verdict(verdict), address, revision, expected, True)
    return Refusal(code, f"Bundle rejected: {text}", message.address)
