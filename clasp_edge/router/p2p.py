"""Signalling between two clients: a PUBLISH addressed to one session (router.md 8.5, wire.md 4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_edge.dataplane import ClaspReceiver
from clasp_edge.wire import ErrorCode, SignalType, encode_frame

if TYPE_CHECKING:
    from clasp_edge.router.router import Router
    from clasp_edge.router.session import Session

SIGNAL_PREFIX = b"/clasp/p2p/signal/"
ANNOUNCE_ADDRESS = b"/clasp/p2p/announce"


def is_p2p(address: bytes) -> bool:
    """Whether a PUBLISH to `address` is signalling. A SET to it is an ordinary param."""
    if address == ANNOUNCE_ADDRESS:
        return True
    target = address.removeprefix(SIGNAL_PREFIX)
    return target != address and target != b"" and b"/" not in target


class P2p:
    """Relays signals to the session they name, subscribed or not, and announcements to whoever subscribed."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def publish(self, session: Session, payload: bytes, address: bytes) -> None:
        """Handle a PUBLISH that passed the gate."""
        frame = encode_frame(payload)
        if address == ANNOUNCE_ADDRESS:
            session.p2p_capable = True
            # Type filters do not apply to announcements (router.md 8.5).
            audience = {subscription.sink for subscription in self._router.plane.trie.matching(address)}
            for sink in audience - {session}:
                if isinstance(sink, ClaspReceiver) and (sink.scopes is None or sink.scopes.allows("read", address)):
                    sink.offer(frame, address, SignalType.EVENT, False)
            return
        name = address.removeprefix(SIGNAL_PREFIX).decode()
        target = self._router.sessions.get(name)
        if target is None:
            session.error(ErrorCode.TARGET_NOT_FOUND, f"Target session not found: {name[:64]}", address.decode()[:256])
            return
        target.offer(frame, address, SignalType.EVENT, False)
