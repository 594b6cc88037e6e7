"""The way to a router that has dialled in: its session, as what is told to neighbours wants a way to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clasp_edge.router.session import Session


class SessionPort:
    """An `Port`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def backlog_bytes(self) -> int:
        return self._session.queued_bytes

    def send(self, frames: list[bytes]) -> None:
        """Whole frames, each with its transport's header."""
        self._session.send_raw(self._session.images(frames))
