"""The comparison of the hub's state with ours when a link has come up: who tells whom, param by param.

`merge` has the rules; this file asks the hub for what it has, applies or pushes accordingly, and then tells what the
hub lacks, a piece at a time. Knows nothing of the handshake or of live writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from clasp_edge.federation.shared.conflicts import Held, Terms, Verdict, settle, settle_cleared, settle_missing
from clasp_edge.federation.shared.unpack import snapshot_params
from clasp_edge.federation.shared.waiting_frames import GONE_TTL
from clasp_edge.federation.upstream.reference_hub import SyncPlan
from clasp_edge.wire import FederationOp, FederationSync, Subscribe, encode
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.federation.upstream.hub_session import HubSession

NULL = 0

SYNC_TIMEOUT_S = 10.0
"""A hub that was asked for its state and has said nothing of it for so long will not."""

QUIET_S = 1.0
"""Without federation nothing tells the end of the snapshots."""

RESYNC_S = 3.0
"""After the hub has dropped a message of ours because there were too many."""

MOST_UNKNOWN = 100_000
"""Addresses that a hub has told, beside as many as there are params here: with more, those that fell out are among
them."""

SCAN_PARAMS = 2048
"""Params looked at in one turn of the loop: about two milliseconds."""


class StateSync:
    """Of one connection. `same_life`: the hub has not been started anew since we were last connected."""

    def __init__(self, session: HubSession, terms: Terms, *, same_life: bool) -> None:
        self.active = True
        self.lifetimes: Mapping[str, int] = {}
        """The lives of the params in the next SNAPSHOT, from a clasp-edge."""
        self._session = session
        self._terms = terms
        self._same_life = same_life
        self._heard: set[int] = set()  # hashes of addresses that need not be told: the hub has said something of them
        self._is_cut = False
        self._plan = SyncPlan(())
        self._job: Iterator[None] | None = None

    def begin(self) -> None:
        """Ask the hub for its state."""
        session = self._session
        patterns = session.owner.patterns()
        if session.is_edge:
            self._request(patterns)
        elif session.plain:
            for number, pattern in enumerate(patterns, 1):
                session.link.send([encode(Subscribe(number, pattern))])
            session.timers.start("quiet", QUIET_S, self._told_all)
        else:
            self._plan = SyncPlan(patterns)
            self._request_next()

    def again_soon(self) -> None:
        """A write was lost on the way, or more: compare once more (with the reference)."""
        self._session.timers.start("resync", RESYNC_S, self._again)

    def _again(self) -> None:
        if self.active or self._session.plain:
            self.again_soon()
            return
        self._session.owner.sender.forget_in_flight()
        self.active = True
        self.begin()

    def end(self) -> None:
        """The link is gone."""
        self._job = None
        self.active = False

    def note(self, address: bytes) -> None:
        """The hub has said something of this param by itself."""
        if self.active:
            self._hear(address)

    def _hear(self, address: bytes) -> None:
        if len(self._heard) < self._session.owner.sender.plane.params + MOST_UNKNOWN:
            self._heard.add(hash(address))
        else:
            self._is_cut = True  # what it lacks is not known: nothing is cleared for it, at worst told once more

    # ---- what the hub has ----

    def _request(self, patterns: Sequence[str]) -> None:
        session = self._session
        request = FederationSync(FederationOp.REQUEST_SYNC, patterns=tuple(patterns), origin=session.owner.router_id)
        session.link.send([encode(request)])
        session.timers.start("sync", SYNC_TIMEOUT_S, self._no_state)

    def _no_state(self) -> None:
        self._session.link.abort(f"the hub was asked for its state and has not answered for {SYNC_TIMEOUT_S:g} s")

    def _request_next(self) -> None:
        pattern = self._plan.next()
        if pattern is None:
            for lost in self._plan.failed:
                self._session.owner.trouble(f"the hub could not send its params under {lost}")
            self._told_all()
        else:
            self._request((pattern,))

    def complete(self) -> None:
        """SyncComplete: that was all it was asked for."""
        if not self.active:
            return
        if self._session.is_edge:
            self._told_all()
        else:
            self._plan.complete()
            self._request_next()

    def refused(self) -> None:
        """The hub does not answer what it was asked."""
        self._plan.refused()
        if not self._session.is_edge:
            self._request_next()

    def snapshot(self, params: Sequence[tuple[bytes, int, bytes, int, bytes, int]]) -> None:
        """Settle what the hub shows: (address, value type, value, revision, writer, written_us) each."""
        if not self.active:
            return
        session = self._session
        self._plan.got(len(params))
        if session.plain:
            session.timers.start("quiet", QUIET_S, self._told_all)
        else:
            session.timers.start("sync", SYNC_TIMEOUT_S, self._no_state)
        sender, terms = session.owner.sender, self._terms
        for address, value_type, value, revision, writer, written_us in params:
            if not sender.policies.admits(address):
                continue
            self._hear(address)
            if not session.is_edge and not session.guard.snapshot(address, revision):
                continue  # a SET has overtaken it
            if sender.is_in_flight(address):
                continue
            theirs = Held(value_type, value, writer, written_us)
            held = sender.held(address)
            owned = session.owner.owned(address)
            if held is not None:
                verdict = settle(Held(*held), theirs, owned, terms)
            elif address in sender.tombstones:
                verdict = settle_cleared(round(sender.tombstones[address] * 1e6), theirs, owned, terms)
            else:
                verdict = Verdict.ADOPT
            if verdict is Verdict.PUSH:
                sender.tell(address)
                if held is not None and writer in terms.ours and held[3] < sender.all_heard_s * 1e6:
                    shown = address[:256].decode("utf-8", "replace")
                    session.owner.trouble(f"{shown}: the hub shows another value than it has acknowledged")
            elif verdict is Verdict.ADOPT:
                session.apply(address, value_type, value, self.lifetimes.get(address.decode(), -1))

    # ---- what it lacks ----

    def _told_all(self) -> None:
        """All that the hub has is known; what it lacks is told, a piece at a time."""
        self._session.timers.cancel("quiet", "sync")
        if self.active and self._job is None:
            self._job = self._tell_missing()
            self._step()

    def _step(self) -> None:
        session = self._session
        if self._job is None:
            return
        try:
            if session.link.writable:
                next(self._job)
        except StopIteration:
            self._job = None
            self.active = False
            self._heard = set()
            self._is_cut = False
            session.settled()
            return
        session.timers.start("step", 0.0 if session.link.writable else 0.01, self._step)

    def _tell_missing(self) -> Iterator[None]:
        session, sender = self._session, self._session.owner.sender
        for text in session.owner.patterns():
            pattern = Pattern(text.encode())
            cursor = b""
            while True:
                payload, cursor = sender.plane.snapshot(pattern, None, cursor, 60_000, SCAN_PARAMS)
                told: list[tuple[bytes, bytes]] = []
                for address, value_type, value, _, writer, written_us in snapshot_params(payload) if payload else ():
                    if hash(address) in self._heard or not sender.policies.admits(address):
                        continue
                    self._hear(address)
                    if sender.is_in_flight(address):
                        continue
                    ours = Held(value_type, value, writer, written_us)
                    owned = session.owner.owned(address)
                    if settle_missing(ours, owned, self._terms, same_life=self._same_life) is Verdict.ADOPT:
                        if not self._is_cut:
                            session.apply(address, NULL, b"", GONE_TTL)
                    elif (frame := sender.image(address)) is not None:
                        told.append((address, frame))
                if told:
                    sender.push_all(told)
                yield
                if not cursor:
                    break
        sender.forget_tombstones()
