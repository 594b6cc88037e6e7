"""What a hub answers to a box's DIGEST: what it has in the buckets that differ, then MEND (docs/federation.md).

Both ends merge by version, so nothing here decides who is right, it does no harm to send what the other one has, and a
piece of the state may come after a newer value: it loses. So the pieces wait for room (`StatePace`), and live traffic
goes by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clasp_edge.federation.shared.extensions import (
    BUCKETS,
    FULL,
    ask_digest_frame,
    mend_frame,
    read_buckets,
    route_frame,
)
from clasp_edge.federation.shared.mqtt_messages import frames_of
from clasp_edge.federation.shared.state_pace import PIECE_BYTES, StatePace
from clasp_edge.router.link import CloseCode
from clasp_edge.wire import Ping, encode

if TYPE_CHECKING:
    from clasp_edge.federation.downstream.downlink import Downlink
    from clasp_edge.router.session import Session
    from clasp_edge.wire import FederationSync

SCANNED_AT_ONCE = 8192
"""Of the params in one part of the answer; looking at one that is not in a wanted bucket takes some nanoseconds."""


def answer_digest(session: Session, downlink: Downlink, message: FederationSync) -> None:
    """DIGEST: nothing, if the roots are equal; else ask for all of it, or mend."""
    try:
        theirs = read_buckets(message)
    except ValueError as error:
        session.close(CloseCode.PROTOCOL_ERROR, str(error))
        return
    downlink.when_counted(lambda: _answer(session, downlink, message, theirs))


def _answer(session: Session, downlink: Downlink, message: FederationSync, theirs: dict[int, int]) -> None:
    if session.closing or not downlink.versioned:
        return
    if message.origin != FULL:
        downlink.agreement.told(message.patterns)
        if message.since_revision != downlink.root:
            session.send(ask_digest_frame())
        return
    ours = downlink.digest
    differing = sorted(bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket))
    differing = downlink.comparison.settled(differing, ours, theirs)
    downlink.agreement.mended += len(differing)
    if downlink.mending is not None:
        downlink.mending.end()
    downlink.mending = Mending(session, downlink, differing)
    downlink.mending.go_on()


class Mending:
    """What one router is told of the state, in pieces, each when there is room for it."""

    def __init__(self, session: Session, downlink: Downlink, differing: Sequence[int]) -> None:
        self._session = session
        self._downlink = downlink
        self._differing = differing
        self._pieces = _pieces(session, downlink, differing)
        self._pace = StatePace()
        self._ping = session.image(encode(Ping()))
        self._due = False
        self._timer: asyncio.TimerHandle | None = None

    def answered(self) -> None:
        """PONG: a piece was taken in."""
        if self._pace.answered(self._now_s()):
            self.go_on()

    def go_on(self) -> None:
        """The next pieces, as far as there is room; others get their turn between two."""
        if self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s = self._now_s()
        if self._pace.has_room(now_s):
            self._due = True
            self._downlink.turn_later(self._turn)
        else:
            self._timer = self._session.router.loop.call_later(self._pace.wait_s(now_s), self.go_on)

    def end(self) -> None:
        """The router has left, or asks anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pieces = iter(())

    def _turn(self) -> None:
        self._due = False
        if self._session.closing or self._downlink.mending is not self:
            self.end()
            return
        piece = next(self._pieces, None)
        if piece is None:
            self._downlink.mending = None
            self._session.start_job(self._last())
            return
        if piece:
            # A job: it waits where the outbox is full.
            self._session.start_job(iter((piece + self._ping,)))
            self._pace.sent(len(piece), self._now_s())
        self.go_on()

    def _last(self) -> Iterator[bytes]:
        """A job like the pieces: what has waited for the state's end comes behind all of them."""
        yield self._session.image(mend_frame(self._differing))
        self._downlink.state_told()

    def _now_s(self) -> float:
        return self._session.router.clock.monotonic_s()


def _pieces(session: Session, downlink: Downlink, differing: Sequence[int]) -> Iterator[bytes]:
    """Wire images; an empty one where much was looked at and nothing found."""
    if not differing:
        return
    wanted = bytearray(BUCKETS)
    for bucket in differing:
        wanted[bucket] = 1
    cursor = 0
    while downlink.versioned:
        found, cursor = downlink.in_buckets(bytes(wanted), cursor, PIECE_BYTES, SCANNED_AT_ONCE)
        if found:
            frames = [route_frame(downlink.unlogged_route, 0, len(found))]
            for _, told in found:
                frames += frames_of(told)
            pieces = [b"".join(map(session.image, frames))]
            del found, frames
            yield pieces.pop()  # nothing of it stays here while the peer reads
        else:
            yield b""
        if not cursor:
            return
