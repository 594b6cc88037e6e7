"""One router that has dialled in, or its link: who it is, what it owns, and what status shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_edge.federation.downstream.downlink import Downlink
from clasp_edge.federation.downstream.refusals import Refusals
from clasp_edge.federation.shared.agreement import Agreement
from clasp_edge.federation.shared.dedup import Arrival
from clasp_edge.federation.shared.namespace import Namespaces

if TYPE_CHECKING:
    from clasp_edge.federation.downstream.pair_link import BoxConfirmations, DownPairLink
    from clasp_edge.router.session import Session

MAX_SHOWN_NAME = 64

SHOWN_CHARACTERS = 256
"""How much of a pattern status and an ERROR repeat."""


class Peer:
    """A router that is here, or was; where it has several links to us, one of these."""

    def __init__(
        self, router_id: str, link: int, instance: int, session: Session, owns: Namespaces, arrival: Arrival
    ) -> None:
        self.arrival = arrival
        self.router_id = router_id
        self.link = link
        self.instance = instance
        self.session: Session | None = session
        self.owns = owns
        self.shares: tuple[str, str] | None = None
        """A pattern of these that another router owned as well when the later of the two came, and its id."""
        self.downlink: Downlink | None = None
        self.pair: DownPairLink | None = None
        """Where it is the other router of the pair that this one belongs to."""
        self.confirmations: BoxConfirmations | None = None
        """Where this router is one of a pair, and it is not."""
        self.name = session.name
        self.since_s = session.router.clock.wall_s()
        self.refusals = Refusals(router_id[:64], session.router.clock.monotonic_s)

    @property
    def is_here(self) -> bool:
        return self.session is not None and not self.session.closing


def status_of(peer: Peer, subject: str) -> dict[str, object]:
    """For status; `subject` is whose token it has."""
    return {
        "name": peer.name[:MAX_SHOWN_NAME],
        "state": "up" if peer.is_here else "down",
        "kind": "clasp-edge" if peer.instance else "reference",
        "token": subject,
        "since": round(peer.since_s, 3),
        "remote": peer.session.link.remote if peer.session is not None else "",
        "owns": peer.owns,
        "shares": f"{peer.shares[0][:SHOWN_CHARACTERS]} with {peer.shares[1][:64]}" if peer.shares else "",
        "held": peer.session.held if peer.session is not None else 0,
        "refused": peer.refusals.count,
        "last_error": peer.refusals.last,
        "told": peer.downlink.told if peer.downlink is not None else 0,
        **_agreement(peer.downlink),
        **_waiting(peer.downlink),
    }


def _agreement(downlink: Downlink | None) -> dict[str, object]:
    found = downlink.agreement if downlink is not None else Agreement()
    return {
        "mended": found.mended,
        "differing": found.differing,
        "differs": ", ".join(found.names),
        "pending": found.pending,
        "awaited": ", ".join(found.waiting),
    }


def _waiting(downlink: Downlink | None) -> dict[str, int]:
    if downlink is None:
        return {"drops": 0, "queue": 0}
    backlog = downlink.backlog
    drops = sum(downlink.dropped.values()) + (backlog.dropped if backlog is not None else 0)
    return {"drops": drops, "queue": backlog.depth if backlog is not None else 0}
