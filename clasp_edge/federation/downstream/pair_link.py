"""The other router of a pair, where that one has dialled: whether it is the one, and what is confirmed to whom.

The pair itself is `shared.pair`; this is its way through sessions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from clasp_edge.federation.shared.extensions import stored_frame
from clasp_edge.federation.shared.pair import PATTERNS
from clasp_edge.federation.shared.policy import PairPolicies
from clasp_edge.wire import Ping, encode
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.federation.downstream.downlink import Downlink
    from clasp_edge.federation.shared.pair import Pair
    from clasp_edge.federation.shared.sender import PeerSender
    from clasp_edge.journal.followed_log import Log
    from clasp_edge.router.session import Session
    from clasp_edge.wire import FederationSync

log = logging.getLogger("clasp_edge.federation")

EVERYTHING = Pattern(b"/**")

MAX_WAITING = 256
"""Checkpoints of one box that are confirmed one by one."""


class DownPairLink:
    """A `PairLink`: its session, and what it is told by."""

    dialled = False

    def __init__(self, session: Session, downlink: Downlink, told: Mapping[str, int]) -> None:
        self.told = told
        """What its PEER says."""
        self._session = session
        self._downlink = downlink

    @property
    def sender(self) -> PeerSender:
        return self._downlink

    @property
    def is_settled(self) -> bool:
        return self._downlink.has_told_state

    def say(self, frame: bytes) -> None:
        """Past all replies that wait for a commit."""
        if not self._session.closing:
            self._downlink.port.send([frame])

    def ask(self) -> None:
        self.say(encode(Ping()))

    def silent_s(self) -> float:
        return max(0.0, (self._session.router.core.monotonic_us - self._session.heard_us) / 1e6)

    def end_link(self, reason: str) -> None:
        """At once: a polite end waits for an answer."""
        log.warning("%r: %s", self._session, reason)
        self._session.link.abort()


def pair_objection(pair: Pair, session: Session, router_id: str, message: FederationSync) -> str | None:
    """Why a router cannot be the other one of our pair, as it says it is; or why a box should stay where it is."""
    if not message.revisions.get("pair"):
        return pair.not_ready(served=bool(message.revisions.get("served")))
    granted = session.granted
    if granted is not None and not (granted.covers("read", EVERYTHING) and granted.covers("write", EVERYTHING)):
        return f"insufficient scope: one of a pair needs read:/** and write:/**, {router_id[:64]!r} has less"
    return pair.objection(router_id)


def join_pair(
    pair: Pair, session: Session, downlink: Downlink, router_id: str, told: Mapping[str, int]
) -> DownPairLink:
    """The other router is here, to which there is no objection."""
    pair.take(router_id)
    downlink.pair_policies = PairPolicies(PATTERNS, whole=pair.carries_whole(told.get("pair", 0)))
    downlink.on_moved = pair.moved
    return DownPairLink(session, downlink, told)


class BoxConfirmations:
    """STORED, to one box, when both of the pair have everything before its checkpoint. What waits is bounded, for it
    may do so as long as the other router is away: the latest of more checkpoints stands for those before it."""

    def __init__(self, pair: Pair, journal: Log, session: Session) -> None:
        self._pair = pair
        self._journal = journal
        self._session = session
        self._count = 0
        self._later = 0

    def ask(self, checkpoint: int) -> None:
        """CHECKPOINT."""
        if self._count >= MAX_WAITING:
            self._later = checkpoint
            return
        self._count += 1
        up_to = self._journal.last_sequence
        self._journal.when_stored(lambda: self._is_stored(up_to, checkpoint))

    def end(self) -> None:
        """The box has left: it asks again by its next link."""
        self._later = 0
        self._pair.forget(self)

    def _is_stored(self, up_to: int, checkpoint: int) -> None:
        if not self._session.closing:
            self._pair.when_there(up_to, lambda: self._confirm(checkpoint), self)

    def _confirm(self, checkpoint: int) -> None:
        self._count -= 1
        if self._session.closing:
            return
        self._session.await_commit()  # in strict mode, where the disk has failed
        self._session.send(stored_frame(checkpoint))
        if self._later:
            later, self._later = self._later, 0
            self.ask(later)


def confirm_to_other(journal: Log, link: DownPairLink, checkpoint: int) -> None:
    """STORED, to the other router itself, as soon as the journal here has everything: each stands for the other, so
    neither may wait for the other's word."""
    journal.when_stored(lambda: link.say(stored_frame(checkpoint)))
