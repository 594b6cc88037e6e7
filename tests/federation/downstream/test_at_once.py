"""Routers that come, declare and are replaced while what they declare is dealt with in parts."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config, Federation
from clasp_edge.dataplane import Framing
from clasp_edge.federation.downstream.downlink import Downlink
from clasp_edge.federation.downstream.peers import Peers
from clasp_edge.federation.downstream.router_ids import RouterIds
from clasp_edge.federation.downstream.turns import Turns
from clasp_edge.federation.shared.dedup import Seen
from clasp_edge.federation.shared.dedup_recovery import DedupRecovery
from clasp_edge.federation.shared.identity import Identity
from clasp_edge.federation.shared.namespace import Namespaces
from clasp_edge.router.link import CloseCode
from clasp_edge.router.router import Router
from clasp_edge.router.session import Session

T = TypeVar("T")


class Wire:
    """The link of a session that is told nothing here."""

    remote = "10.0.0.1:1000"

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def ping(self) -> None: ...
    def close(self, code: CloseCode, reason: str) -> None: ...
    def abort(self) -> None: ...


def session_of(router: Router) -> Session:
    return Session(router.core, router.plane, router, Wire(), -1, Framing.TCP)


def names(owner: str, prefix: str, count: int) -> Namespaces:
    return Namespaces(owner, [f"/{prefix}/{number}/**" for number in range(count)])


def to_its_end(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found


def peers_of(router: Router, data_dir: Path) -> Peers:
    seen = Seen()
    return Peers(router, Identity(data_dir, 1, 1, 1), seen, DedupRecovery(None, seen), None, RouterIds(None, None))


def exclusive() -> Config:
    return Config(federation=Federation(exclusive=True))


def test_of_two_who_claim_the_same_at_once_one_is_refused(tmp_path: Path) -> None:
    """The first is admitted just when the second has begun to look who is there."""

    async def run() -> None:
        router = Router(exclusive(), asyncio.get_running_loop(), Clock(), None)
        peers = peers_of(router, tmp_path)
        third, first, second = session_of(router), session_of(router), session_of(router)
        many = names("third", "third", 1000)
        to_its_end(peers.declared(third, many, many))
        claim, same = names("first", "x", 10), names("second", "x", 10)
        objection_to_first = peers.objection(first, "first", 1, claim)
        objection_to_second = peers.objection(second, "second", 2, same)
        next(objection_to_first)
        for _ in range(3):
            next(objection_to_second)
        assert to_its_end(objection_to_first) is None
        to_its_end(peers.declared(first, claim, claim))
        assert to_its_end(objection_to_second) == "/x/0/** overlaps with /x/0/**, which 'first' owns"

    asyncio.run(run())


def test_a_claim_of_one_who_has_left_or_was_refused_is_in_nobodys_way(tmp_path: Path) -> None:
    async def run() -> None:
        router = Router(exclusive(), asyncio.get_running_loop(), Clock(), None)
        peers = peers_of(router, tmp_path)
        gone, refused, last = session_of(router), session_of(router), session_of(router)
        claims = [peers.objection(one, name, 1, names(name, name, 9)) for one, name in ((gone, "a"), (refused, "b"))]
        for claim in claims:
            next(claim)
        both = Namespaces("last", ["/a/**", "/b/**"])
        steps = peers.objection(last, "last", 2, both)
        next(steps)
        gone.stop_listening()
        claims[1].close()
        assert to_its_end(steps) is None

    asyncio.run(run())


def test_who_is_replaced_in_the_middle_of_its_declaration_leaves_no_subscription(tmp_path: Path) -> None:
    async def run() -> None:
        router = Router(Config(), asyncio.get_running_loop(), Clock(), None)
        turns = Turns(router.loop.call_later, router.clock.monotonic_s)
        link = Downlink(router.plane, session_of(router), Identity(tmp_path, 1, 1, 1), turns)
        nothing = Namespaces("box", [])
        for _ in link.carry(names("box", "before", 40), "box", nothing):
            pass
        assert router.plane.trie.size == 40
        for begun in (2, 5):  # while some come; while some go
            steps = link.carry(names("box", "after", 40), "box", nothing)
            for _ in range(begun):
                next(steps)
            link.drop()
            for _ in steps:
                pass
            async with asyncio.timeout(20):
                while router.plane.trie.size:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            for _ in link.carry(names("box", "before", 40), "box", nothing):
                pass

    asyncio.run(run())
