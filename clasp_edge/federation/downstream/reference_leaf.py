"""What the reference's own leaves are told (federation.md 8): all they subscribe to, as SETs without a revision.

Such a leaf takes the revision of a SET for the one that it has itself, and refuses whatever does not fit; of a SNAPSHOT
it believes only what it did not have. It also asks for nothing but its own part, until the hub declares that of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from clasp_edge.dataplane import Plane
from clasp_edge.federation.downstream.session_port import SessionPort
from clasp_edge.federation.shared.batches import Item
from clasp_edge.federation.shared.identity import Identity
from clasp_edge.federation.shared.policy import Policies
from clasp_edge.federation.shared.sender import PeerSender
from clasp_edge.federation.shared.unpack import snapshot_params
from clasp_edge.router.snapshot import PIECE_BYTES, SCAN_AT_ONCE
from clasp_edge.wire import FederationOp, FederationSync, encode
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.router.router import Router
    from clasp_edge.router.session import Session

NAME = "clasp-federation"
"""What it calls itself in HELLO, whatever its own name is."""

OFFER_DELAY_S = 0.2
"""Two hundred leaves that come back together change what each of them is offered two hundred times."""

MAX_OFFERED = 1000
MAX_OFFERED_BYTES = 60_000
"""Patterns in one declaration, and what fits into its frame."""

EVERYTHING = ("/**",)


class LeafSender(PeerSender):
    """In the place of the session, for all that it has subscribed to."""

    def __init__(self, plane: Plane, session: Session, identity: Identity) -> None:
        router = session.router
        super().__init__(
            plane, Policies(EVERYTHING, {}), identity.logged, identity.unlogged, router.loop.call_later,
            router.clock.wall_s,
        )  # fmt: skip
        self._session = session
        self.port = SessionPort(session)
        self.twin = session
        self.offered: tuple[str, ...] = ()

    def _send(self, sending: list[Item], written: list[bytes], *, to_be_done: bool = False) -> None:
        self.told += len(sending)
        self.port.send([item.frame for item in sending])

    def begin(self, router_id: str) -> None:
        """Tell from now on, within what the session may read."""
        self.scopes = self._session.scopes
        self.open(self.port, router_id, is_edge=True, checkpoints=False)

    def present(self, patterns: Iterable[Pattern]) -> Iterator[bytes]:
        """Wire images: each param below the patterns as a SET."""
        for pattern in patterns:
            cursor = b""
            while True:
                size = min(PIECE_BYTES, self._session.piece_bytes)
                payload, cursor = self.plane.snapshot(pattern, self.scopes, cursor, size, SCAN_AT_ONCE)
                images = map(self._session.image, self._images(payload)) if payload is not None else ()
                del payload
                yield b"".join(images)
                if not cursor:
                    break

    def _images(self, payload: bytes) -> Iterator[bytes]:
        for address, *_ in snapshot_params(payload):
            if (frame := self.image(address)) is not None:
                yield frame


class ReferenceLeaves:
    """All of one router. `owned_by_others(session)` gives what other routers that are here own."""

    def __init__(
        self, router: Router, identity: Identity, owned_by_others: Callable[[Session], Iterable[Pattern]]
    ) -> None:
        self._router = router
        self._identity = identity
        self._owned_by_others = owned_by_others
        self._senders: dict[Session, LeafSender] = {}
        self._due: asyncio.TimerHandle | None = None

    def of(self, session: Session) -> LeafSender | None:
        """What tells this session, if it is such a leaf."""
        return self._senders.get(session)

    def declares(self, session: Session, router_id: str) -> None:
        """Before the subscriptions of its declaration are made."""
        if session.name != NAME:
            return
        sender = self._senders.get(session)
        if sender is None:
            sender = self._senders[session] = LeafSender(self._router.plane, session, self._identity)
            session.subscriber = sender
        sender.begin(router_id)

    def declared(self, session: Session, patterns: Sequence[Pattern]) -> None:
        """After the ACK: how things are, as it believes it."""
        sender = self._senders.get(session)
        if sender is not None:
            session.start_job(sender.present(patterns))

    def ended(self, session: Session) -> None:
        sender = self._senders.pop(session, None)
        if sender is not None:
            sender.close()

    def offer_soon(self) -> None:
        """Somebody has come, gone or declared something else."""
        if self._senders and self._due is None:
            self._due = self._router.loop.call_later(OFFER_DELAY_S, self._offer)

    def _offer(self) -> None:
        self._due = None
        for session, sender in self._senders.items():
            offered = tuple(_fitting(self._readable(session)))
            if offered and offered != sender.offered and not session.closing:
                router_id = self._identity.router_id
                session.send(encode(FederationSync(FederationOp.DECLARE_NAMESPACES, offered, origin=router_id)))
            sender.offered = offered

    def _readable(self, session: Session) -> Iterator[str]:
        for pattern in self._owned_by_others(session):
            if session.scopes is None or session.scopes.covers("read", pattern):
                yield pattern.text.decode()


def _fitting(texts: Iterable[str]) -> Iterator[str]:
    size = 0
    for number, text in enumerate(dict.fromkeys(texts)):
        size += 2 + len(text.encode())
        if number >= MAX_OFFERED or size > MAX_OFFERED_BYTES:
            return
        yield text
