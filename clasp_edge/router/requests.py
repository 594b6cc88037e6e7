"""The messages that need a few lines each: GET, SYNC, PING, REPLAY, and those a client has no business sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.dataplane.trie import subscription_bytes
from clasp_edge.router.snapshot import snapshot_job
from clasp_edge.wire import ErrorCode, Get, Ping, Pong, Replay, Sync, encode_frame
from clasp_edge.wire.address import AddressError, validate_address
from clasp_edge.wire.pattern import Pattern, PatternError

if TYPE_CHECKING:
    from clasp_edge.router.session import Envelope, Session


def handle_get(session: Session, message: Get, envelope: Envelope) -> None:
    """One param as a SNAPSHOT of one; all that match a pattern; ERROR 201 for a missing one (router.md 2.3)."""
    address = message.address.encode()
    shown = message.address[:256]
    if "*" in message.address:
        _get_pattern(session, address, shown)
        return
    try:
        validate_address(address)
    except AddressError as error:
        session.error(ErrorCode.INVALID_ADDRESS, str(error), shown)
        return
    if session.scopes is not None and not session.scopes.allows("read", address):
        session.error(ErrorCode.FORBIDDEN, "Insufficient scope for read operation", shown)
        return
    if not address.startswith(RESERVED):  # how the router is, a full disk among it, waits for no disk
        session.await_commit()
    payload = session.router.plane.read(address)
    if payload is None:
        session.error(ErrorCode.ADDRESS_NOT_FOUND, "Address not found", shown)
    else:
        session.send(encode_frame(payload))


def _get_pattern(session: Session, text: bytes, shown: str) -> None:
    try:
        pattern = Pattern(text)
    except PatternError as error:
        session.error(ErrorCode.PATTERN_ERROR, str(error), shown)
        return
    if not session.start_job(snapshot_job(session, pattern, even_if_empty=True), subscription_bytes(pattern)):
        session.error(ErrorCode.RATE_LIMITED, f"Not answered: {session.router.memory_full()}", shown)


def handle_sync(session: Session, message: Sync, envelope: Envelope) -> None:
    """Stamped when the pass began to read, and again as the answer is written (router.md 8.3)."""
    router = session.router
    session.reply(Sync(t1=message.t1, t2=router.core.now_us, t3=max(router.core.now_us, router.clock.wall_us())))


def handle_ping(session: Session, message: Ping, envelope: Envelope) -> None:
    """Answer with PONG."""
    session.reply(Pong())


def handle_replay(session: Session, message: Replay, envelope: Envelope) -> None:
    """Without a journal there is nothing to replay (router.md 8.4)."""
    try:
        pattern = Pattern(message.pattern.encode())
    except PatternError as error:
        session.error(ErrorCode.PATTERN_ERROR, str(error), message.pattern[:256])
        return
    if session.scopes is not None and not session.scopes.covers("read", pattern):
        session.error(ErrorCode.FORBIDDEN, "Insufficient scope for replay", message.pattern[:256])
        return
    session.error(ErrorCode.SERVICE_UNAVAILABLE, "Journal not configured on this router", message.pattern[:256])
