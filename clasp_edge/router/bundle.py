"""BUNDLE: all or nothing, in the listed order, now or at a given time (router.md 6).

Everything that could refuse one of its writes is checked before the first is applied: addresses, scopes, revisions,
locks, strategies, sizes, capacity. Between check and application nothing else runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from clasp_edge.dataplane import Strategy, Verdict
from clasp_edge.dataplane.scan import measure_value
from clasp_edge.router.schedule import NotScheduled, ScheduleFull, TooFarAhead
from clasp_edge.wire import (
    Ack,
    Bundle,
    ErrorCode,
    Message,
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


_PARAM_BYTES = 256
"""What a new param takes beside address and value, generously."""

SESSIONS_TO_FILL_SCHEDULE = 4
"""One session gets this part of the schedule, so that others find places in it too."""

SMALLEST_SHARE = 16
"""What one session may have waiting however small the schedule is: a cue list of a few steps needs as much."""

_numbers = count(1)
"""Of bundles: who is sent what they contain may want to know what belongs together."""


@dataclass(slots=True)
class _Param:
    """A param as it stands, or as the writes of the bundle checked so far would leave it."""

    revision: int
    value_type: int
    value: bytes
    holder: bytes
    strategy: int


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a bundle is not executed."""

    code: int
    text: str
    address: str | None = None


def handle_bundle(session: Session, message: Bundle, envelope: Envelope) -> None:
    """Check, then execute at once or put into the schedule. One ACK when executed, if the frame asked for one."""
    try:
        if envelope.legacy:
            payloads = [encode_payload(timeline_as_value(m)) for m in message.messages]
        else:
            payloads = split_bundle(envelope.payload)[1]
    except WireError as error:
        session.on_garbage(error.kind)
        return
    session.charge(max(0, len(payloads) - 1))
    payloads = [p for p in payloads if p[0] in (MessageType.SET, MessageType.PUBLISH)]
    refusal = check_bundle(session, payloads)
    if refusal is not None:
        session.error(refusal.code, refusal.text, refusal.address)
        return
    due_us = message.timestamp or 0
    if due_us <= session.router.clock.wall_us():
        execute_bundle(session, payloads, envelope.qos)
    else:
        _schedule(session, due_us, payloads, envelope.qos)


def _schedule(session: Session, due_us: int, payloads: Sequence[bytes], qos: int) -> None:
    """Let a checked bundle wait, or send the ERROR that says why not."""
    try:
        _check_share(session)
        session.router.schedule.add(due_us, partial(_execute_due, session, payloads, qos))
    except NotScheduled as refusal:
        code = ErrorCode.REVISION_CONFLICT if isinstance(refusal, TooFarAhead) else ErrorCode.MESSAGES_DROPPED
        session.error(code, f"Bundle rejected: {refusal}")
    else:
        session.scheduled += 1


def _check_share(session: Session) -> None:
    share = max(SMALLEST_SHARE, session.router.config.limits.max_scheduled_bundles // SESSIONS_TO_FILL_SCHEDULE)
    if session.scheduled >= share:
        raise ScheduleFull(f"{share} bundles of this session are already waiting for their time")


def _execute_due(session: Session, payloads: Sequence[bytes], qos: int) -> None:
    """The world may have changed since the bundle was accepted: scopes, locks and revisions are checked again."""
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


def execute_bundle(session: Session, payloads: Sequence[bytes], qos: int) -> None:
    """Apply a checked bundle in its order and acknowledge it."""
    last_revision: int | None = None
    session.bundle_number = next(_numbers)
    try:
        for payload in payloads:
            if payload[0] == MessageType.SET:
                session.carry_out(payload)
                last_revision = session.last_revision
            else:
                # Past the gesture throttle: what is timed in a bundle is meant to arrive as timed.
                session.relay(*_canonical(payload))
    finally:
        session.bundle_number = 0
    if qos:
        session.reply(Ack(revision=last_revision))


def _canonical(payload: bytes) -> tuple[bytes, bytes]:
    """A PUBLISH payload without what decoders skip, and its address."""
    message = decode_compact(payload)
    assert isinstance(message, Publish)
    return encode_payload(message) if _has_tail(payload, message) else payload, message.address.encode()


def _has_tail(payload: bytes, message: Publish) -> bool:
    return payload[1] >> 5 > 4 or payload[1] & 0x07 > 3 or message.rate is None


def check_bundle(session: Session, payloads: Sequence[bytes]) -> Refusal | None:
    """A dry run. Returns the first reason not to execute the bundle, or None."""
    params: dict[bytes, _Param | None] = {}
    for payload in payloads:
        try:
            message = decode_compact(payload)
        except WireError as error:
            return Refusal(ErrorCode.INVALID_MESSAGE, f"Bundle rejected: {error}")
        refusal = _check_message(session, message, payload, params)
        if refusal is not None:
            return refusal
    plane = session.router.plane
    if not plane.evict:
        new = sum(1 for address in params if plane.describe(address) is None)
        # As if nothing were overwritten: what is promised here must not fail half-way.
        size = sum(
            _PARAM_BYTES + len(address) + len(param.value) for address, param in params.items() if param is not None
        )
        if (plane.max_params and plane.params + new > plane.max_params) or (
            plane.max_bytes and plane.state_bytes + size > plane.max_bytes
        ):
            return Refusal(ErrorCode.REVISION_CONFLICT, "Bundle rejected: AtCapacity")
    return None


def _check_message(
    session: Session, message: Message, payload: bytes, params: dict[bytes, _Param | None]
) -> Refusal | None:
    assert isinstance(message, Set | Publish)
    address = message.address.encode()
    kind = "SET" if isinstance(message, Set) else "PUBLISH"
    try:
        validate_address(address)
    except AddressError as error:
        return Refusal(ErrorCode.INVALID_ADDRESS, f"Bundle rejected: {error}", message.address[:256])
    if not session.router.plane.permits(session, address):
        reason = session.outside(address, kind) or f"insufficient scope for {kind} to {message.address}"
        return Refusal(ErrorCode.SCOPE_FAILURE, f"Bundle rejected: {reason}", message.address)
    if isinstance(message, Publish):
        return None
    return _check_set(session, message, address, payload, params)


def _check_set(
    session: Session, message: Set, address: bytes, payload: bytes, params: dict[bytes, _Param | None]
) -> Refusal | None:
    router = session.router
    flags = payload[1]
    if address in params:
        param = params[address]
    else:
        described = router.plane.describe(address)
        param = _Param(*described) if described is not None else None
    # The bytes as they came: what is stored is not the decoded value written again.
    value_type, value = flags & 0x0F, payload[4 + len(address) :]
    value = value[: measure_value(value_type, value)]
    if param is None:
        param = _Param(0, value_type, value, b"", router.strategy_of(address))
    expected = message.revision or 0
    if param.strategy == Strategy.MERGE and param.revision:
        merged_type, merged = router.merge(param.value_type, param.value, value_type, value)
    else:
        merged_type, merged = value_type, value
    if router.too_large(address, value) or router.too_large(address, merged):
        verdict = Verdict.TOO_LARGE
    else:
        verdict = Verdict(
            router.plane.judge(
                session, param.revision, param.holder, flags, expected,
                param.strategy, param.value_type, param.value, value_type, value,
            )
        )  # fmt: skip
    if verdict != Verdict.ACCEPTED:
        code, text = router.refusal(session, verdict, address, param.revision, expected, True)
        return Refusal(code, f"Bundle rejected: {text}", message.address)
    holder = param.holder
    if message.unlock:
        holder = b""
    if message.lock and not holder:
        holder = session.id.encode()
    params[address] = _Param(param.revision + 1, merged_type, merged, holder, param.strategy)
    return None
