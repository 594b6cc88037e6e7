"""Snapshots: the state in pieces, each read when the client has room for it (router.md 3.6).

Because a piece is read at the moment it is queued, it can only be newer than what the client already has, and a large
state never stands in memory as a whole. Where little of the arena is left, pieces are small, so that none waits
in memory of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clasp_edge.wire import encode_frame
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.router.session import Session

EVERYTHING = Pattern(b"/**")

PIECE_BYTES = 60_000
"""Largest SNAPSHOT payload, unless one param alone is larger: the limit of the frame less some headroom."""

SCAN_AT_ONCE = 4096
"""Params looked at before others get their turn: about half a millisecond."""

_EMPTY = encode_frame(b"\x23\x00\x00")


def snapshot_job(
    session: Session, pattern: Pattern, *, even_if_empty: bool = False, newer_than: int = 0
) -> Iterator[bytes]:
    """The wire images of the SNAPSHOTs of all readable params that match; empty bytes where nothing was found yet.

    With `even_if_empty` there is at least one SNAPSHOT, which clients wait for after WELCOME. `newer_than` leaves out
    params at or below that revision (RequestSync, router.md 8.6).
    """
    plane = session.router.plane
    cursor = b""
    sent = False
    while True:
        size = min(PIECE_BYTES, session.piece_bytes)
        payload, cursor = plane.snapshot(pattern, session.scopes, cursor, size, SCAN_AT_ONCE, newer_than)
        if payload is not None:
            sent = True
            pieces = [session.image(encode_frame(payload))]
            del payload
            yield pieces.pop()  # nothing of it stays here while the client reads, or does not
        elif cursor:
            yield b""
        if not cursor:
            break
    if even_if_empty and not sent:
        yield session.image(_EMPTY)
