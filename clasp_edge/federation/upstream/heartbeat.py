"""A box's question, every ten seconds, that only a hub answers which still routes for it (federation.md 7.10).

The reference sends the echo of a small param, a clasp-edge reaches a checkpoint. Whether bytes come in at all is
`health`'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_edge.federation.shared.extensions import checkpoint_frame
from clasp_edge.federation.upstream.reference_hub import heartbeat_address

if TYPE_CHECKING:
    from clasp_edge.federation.upstream.hub_session import HubSession

HEARTBEAT_S = 10.0
ECHO_TIMEOUT_S = 5.0
"""A hub that is connected but no longer routes to us is noticed within the two together (federation.md 7.10)."""


class Heartbeat:
    """Of one connection; `beat` begins it."""

    def __init__(self, session: HubSession) -> None:
        self.address = b""
        """Of the param whose echo is awaited, with the reference."""
        self._session = session
        self._sent_s = 0.0
        self._number = 0

    def beat(self) -> None:
        """Ask, and require the answer in time."""
        session, owner = self._session, self._session.owner
        if session.is_edge:
            self._number = owner.sender.next_checkpoint()
            frame = checkpoint_frame(self._number)
        else:
            self.address = b"" if session.plain else heartbeat_address(owner.patterns(), owner.router_id)
            if not self.address:
                return
            frame = session.guard.heartbeat(self.address)
        self._sent_s = owner.monotonic_s()
        session.link.send([frame])
        session.timers.start("deaf", ECHO_TIMEOUT_S, self._deaf)

    def reached(self, checkpoint: int, waiting: int = 0) -> None:
        """A clasp-edge has got so far, and has told all but so many messages of its log. 0: it lives, and reads slowly
        because we say more than it lets us: what is behind that takes its time."""
        if not checkpoint:
            self._session.link.held_back()
            if self._sent_s:
                self._session.timers.start("deaf", ECHO_TIMEOUT_S, self._deaf)
            return
        if checkpoint >= self._number:
            if self._sent_s and not waiting:
                self._session.owner.heard_all(self._sent_s)
            self.echoed()

    def echoed(self) -> None:
        """The answer is here."""
        if self._sent_s:
            self._session.owner.echoed(self._session.owner.monotonic_s() - self._sent_s)
            self._sent_s = 0.0
            self._session.timers.cancel("deaf")
            self._session.timers.start("beat", HEARTBEAT_S, self.beat)

    def _deaf(self) -> None:
        self._session.link.abort(f"the hub answers but no longer routes to us: no echo within {ECHO_TIMEOUT_S:g} s")
