"""A leaf's question, every ten seconds, that only a hub answers which still routes for it (federation.md 7.10).

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

    def __init__(self, leaf: HubSession) -> None:
        self.address = b""
        """Of the param whose echo is awaited, with the reference."""
        self._leaf = leaf
        self._sent_s = 0.0
        self._number = 0

    def beat(self) -> None:
        """Ask, and require the answer in time."""
        leaf, owner = self._leaf, self._leaf.owner
        if leaf.kin:
            self._number = owner.outward.next_checkpoint()
            frame = checkpoint_frame(self._number)
        else:
            self.address = b"" if leaf.plain else heartbeat_address(owner.patterns(), owner.router_id)
            if not self.address:
                return
            frame = leaf.guard.heartbeat(self.address)
        self._sent_s = owner.monotonic_s()
        leaf.link.send([frame])
        leaf.timers.start("deaf", ECHO_TIMEOUT_S, self._deaf)

    def reached(self, checkpoint: int) -> None:
        """A clasp-edge has got so far."""
        if checkpoint >= self._number:
            self.echoed()

    def echoed(self) -> None:
        """The answer is here."""
        if self._sent_s:
            self._leaf.owner.echoed(self._leaf.owner.monotonic_s() - self._sent_s)
            self._sent_s = 0.0
            self._leaf.timers.cancel("deaf")
            self._leaf.timers.start("beat", HEARTBEAT_S, self.beat)

    def _deaf(self) -> None:
        self._leaf.link.abort(f"the hub answers but no longer routes to us: no echo within {ECHO_TIMEOUT_S:g} s")
