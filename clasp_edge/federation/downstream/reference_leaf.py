"""What the reference's own leaves are told (federation.md 8): all they subscribe to, as SETs without a revision.

Such a leaf takes the revision of a SET for the one that it has itself, and refuses whatever does not fit; of a SNAPSHOT
it believes only what it did not have. It also asks for nothing but its own part, until the hub declares that of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from clasp_edge.callbacks import call_each
from clasp_edge.dataplane import Plane
from clasp_edge.dataplane.account import Charge
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

OFFERED_BYTES = 64
"""What a leaf takes for each beside its text."""

LOOKED_AT_AT_ONCE = 64
"""Patterns, before others get their turn: a tenth of a millisecond, with scopes half a one."""

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
        self._offering = self._offers_again = False

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
        if self._offering:
            self._offers_again = True
        elif self._senders and self._due is None:
            self._due = self._router.loop.call_later(OFFER_DELAY_S, self._offer)

    def _offer(self) -> None:
        self._due = None
        self._offering = True
        self._router.core.start_work(self._offer_all())

    def _offer_all(self) -> Iterator[None]:
        """In parts: leaves are as many as clients, and what is offered to each is all that others own."""
        try:
            for session in list(self._senders):
                offered = yield from self._to_offer(session)
                sender = self._senders.get(session)
                if sender is not None and offered != sender.offered and not session.closing:
                    call_each((self._offer_to,), session, sender, offered)
                yield
        finally:
            self._offering = False
            if self._offers_again:
                self._offers_again = False
                self.offer_soon()

    def _offer_to(self, session: Session, sender: LeafSender, offered: tuple[str, ...]) -> None:
        session.holding.release(_size(sender.offered), Charge.FEDERATION)
        sender.offered = ()
        if not session.holding.charge(_size(offered), Charge.FEDERATION):
            return  # the next change may find room
        sender.offered = offered
        if offered:
            router_id = self._identity.router_id
            session.send(encode(FederationSync(FederationOp.DECLARE_NAMESPACES, offered, origin=router_id)))

    def _to_offer(self, session: Session) -> Generator[None, None, tuple[str, ...]]:
        """What others own and the session may read, as much as fits."""
        found: dict[str, None] = {}
        size = 0
        for number, pattern in enumerate(self._owned_by_others(session), 1):
            if number % LOOKED_AT_AT_ONCE == 0:
                yield
            if session.scopes is not None and not session.scopes.covers("read", pattern):
                continue
            text = pattern.text.decode()
            if text in found:
                continue
            size += 2 + len(pattern.text)
            if len(found) >= MAX_OFFERED or size > MAX_OFFERED_BYTES:
                break
            found[text] = None
        return tuple(found)


def _size(offered: tuple[str, ...]) -> int:
    return sum(OFFERED_BYTES + len(text) for text in offered)
