"""What a hub answers to a box's DIGEST: what it has in the buckets that differ, then MEND (docs/federation.md).

Both ends merge by version, so nothing here decides who is right, and it does no harm to send what the other one has.
"""

from __future__ import annotations

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
from clasp_edge.router.link import CloseCode

if TYPE_CHECKING:
    from clasp_edge.federation.downstream.downlink import Downlink
    from clasp_edge.router.session import Session
    from clasp_edge.wire import FederationSync

PIECE_BYTES = 30_000
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
        if message.since_revision != downlink.root:
            session.send(ask_digest_frame())
        return
    ours = downlink.digest
    differing = sorted(bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket))
    downlink.mended += len(differing)
    session.start_job(_mend(session, downlink, differing))


def _mend(session: Session, downlink: Downlink, differing: Sequence[int]) -> Iterator[bytes]:
    """Wire images."""
    if differing:
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
                break
    yield session.image(mend_frame(differing))
    downlink.state_told()
