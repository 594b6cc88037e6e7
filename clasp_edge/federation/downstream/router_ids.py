"""Whose router id is whose: an id belongs to the token that first dialled in with it, also while its router is away.

The queue of an absent router, its place in the log and what it owns go by its id, so nobody else may take it. Owners
are kept as documents beside the journal's log, as fingerprints, which give nothing of a token away; without a log they
are kept for as long as the process runs. In open mode nobody has a token, and ids belong to nobody. Knows no sessions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from clasp_edge.router.access import Authenticator, Identity, Refused

log = logging.getLogger("clasp_edge.federation")

DOCUMENT = "router-id:"
"""Documents are named by this and the id."""

MAX_IDS_PER_TOKEN = 1000
"""Routers that share one token. A token that claims more loses the ids that it claimed first, never those of others."""


class Owner(msgspec.Struct, array_like=True, frozen=True):
    """A token's fingerprint, and the subject that it had when it took the id."""

    fingerprint: str
    subject: str


class Journal(Protocol):
    """What is needed of a journal that keeps a log (`journal.journal.Journal`)."""

    def notes(self) -> Mapping[str, bytes | None]: ...
    def keep_notes(self, source: Callable[[bool], Mapping[str, bytes | None]]) -> None: ...
    def notes_changed(self, urgent: bool) -> None: ...


class RouterIds:
    """The owners of router ids. `journal` is None where nothing outlives the process."""

    def __init__(self, journal: Journal | None, authenticator: Authenticator | None) -> None:
        self._journal = journal
        self.authenticator = authenticator
        self._owners: dict[str, Owner] = {}
        self._due: set[str] = set()
        if journal is not None:
            self._restore(journal.notes())
            journal.keep_notes(self._source)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._owners))

    def objection(self, router_id: str, identity: Identity | None) -> str | None:
        """Why a router with this token cannot have the id; None if it can."""
        owner = self._owners.get(router_id)
        if owner is None or identity is None or self._same(owner, identity):
            return None
        whose = f"the token of {owner.subject[:64]!r}" if owner.subject else "another token"
        return (
            f"the router id {router_id[:64]!r} belongs to {whose}; "
            f"`clasp-edge release {router_id[:64]}` at this router frees it"
        )

    def take(self, router_id: str, identity: Identity | None) -> None:
        """A router with this token is here under the id, to which there is no objection."""
        if identity is None:
            return
        owner = Owner(identity.fingerprint, identity.subject)
        if self._owners.get(router_id) == owner:
            return
        self._owners[router_id] = owner
        self._changed(router_id)
        held = [name for name, other in self._owners.items() if other.fingerprint == owner.fingerprint]
        for name in held[: max(0, len(held) - MAX_IDS_PER_TOKEN)]:
            log.warning("the router id %r is released: its token has more than %d", name[:64], MAX_IDS_PER_TOKEN)
            self.release(name)

    def release(self, router_id: str) -> bool:
        """Let the next token that comes with the id have it; whether it had belonged to any."""
        if self._owners.pop(router_id, None) is None:
            return False
        self._changed(router_id)
        return True

    def subject(self, router_id: str) -> str:
        """Who has the id, for status; "" for nobody."""
        owner = self._owners.get(router_id)
        return owner.subject if owner is not None else ""

    def _same(self, owner: Owner, identity: Identity) -> bool:
        if owner.fingerprint == identity.fingerprint:
            return True
        # A token that was replaced: the same subject has another one now, and nobody has the old one any more.
        if not owner.subject or owner.subject != identity.subject or self.authenticator is None:
            return False
        try:
            self.authenticator.recognise(owner.fingerprint)
        except Refused:
            return True
        return False

    # ---- what is stored ----

    def _restore(self, stored: Mapping[str, bytes | None]) -> None:
        for name, data in stored.items():
            if not name.startswith(DOCUMENT):
                continue
            router_id = name.removeprefix(DOCUMENT)
            try:
                if data is None:
                    raise ValueError("its checksum is wrong")
                self._owners[router_id] = msgspec.msgpack.decode(data, type=Owner)
            except (msgspec.MsgspecError, ValueError) as error:
                log.error("router id %r: the stored owner is unreadable, the id is free: %s", router_id[:64], error)
                self._due.add(router_id)

    def _changed(self, router_id: str) -> None:
        if self._journal is not None:
            self._due.add(router_id)
            self._journal.notes_changed(True)

    def _source(self, everything: bool) -> dict[str, bytes | None]:
        """For the journal, when a commit is due."""
        due, self._due = self._due, set()
        notes: dict[str, bytes | None] = {}
        for router_id in {*due, *self._owners} if everything else due:
            owner = self._owners.get(router_id)
            notes[DOCUMENT + router_id] = msgspec.msgpack.encode(owner) if owner is not None else None
        return notes
