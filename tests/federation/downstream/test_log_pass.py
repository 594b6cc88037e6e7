"""Routers that read the log side by side: who leaves, or fails, costs the others nothing, and what is remembered is
bounded."""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Callable
from random import Random

import pytest

from clasp_edge.federation.downstream import log_pass as module
from clasp_edge.federation.downstream.log_pass import MAX_INTEREST_BYTES, LogPass
from clasp_edge.federation.shared.dedup import Route
from clasp_edge.federation.shared.queue import Item, Part
from clasp_edge.journal.cursors import Logged
from clasp_edge.journal.format import NO_EXPIRY, Own

RUN = Route("here", 1, 0)


class Pages:
    """A log in memory. Like the journal, it answers later."""

    def __init__(self, records: list[Logged], later: Later) -> None:
        self.records = records
        self.later = later

    @property
    def last_sequence(self) -> int:
        return len(self.records)

    def fetch_after(self, at: int, records: int, size: int, then: Callable[[list[Logged] | Exception], None]) -> None:
        found = self.records[at : at + records]
        self.later(0.0, lambda: then(found))


class Later:
    """What is to be done later, when told."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def __call__(self, _seconds: float, callback: Callable[[], None]) -> None:
        self.waiting.append(callback)

    def run(self, count: int = 1000) -> None:
        while self.waiting and count:
            count -= 1
            self.waiting.popleft()()


class Router:
    """A link that carries everything."""

    def __init__(self, *, tells_mqtt: bool = False) -> None:
        self.tells_mqtt = tells_mqtt
        self.neighbour = ""
        self.position = 0
        self.counted = 0

    def wants(self, address: bytes, signal: int) -> bool:
        return True

    def is_back(self, route: Route, number: int, logged: int) -> bool:
        return False

    def item_of(self, record: Logged, route: Route, number: int) -> Item | None:
        return Item(record.frame, route, number, record.number, 0.0)

    def count(self, messages: int, size: int, since_s: float) -> None:
        self.counted += messages


def records(count: int, address: bytes = b"/a/%d", own: Own | None = None) -> list[Logged]:
    return [
        Logged(number, 1, 0, b"", address % number if b"%" in address else address, 1, b"S\0\0\1x", own=own)
        for number in range(1, count + 1)
    ]


def log_pass(pages: list[Logged], routers: list[Router]) -> tuple[LogPass, Later]:
    later = Later()
    one = LogPass(Pages(pages, later), lambda address: list(routers), lambda: 1, lambda run: RUN, later)  # type: ignore[arg-type]
    for router in routers:
        one.attach(router)
    return one, later


def test_who_leaves_while_the_log_is_read_is_told_nothing_more() -> None:
    leaves, stays = Router(), Router()
    one, later = log_pass(records(3000), [leaves, stays])
    told: list[str] = []
    parts: list[Part] = []

    def stays_has(part: Part | Exception) -> None:
        assert isinstance(part, Part)
        parts.append(part)
        if part.end < 3000:
            one.read(stays, part.end, stays_has)

    one.read(leaves, 0, lambda part: told.append("left"))
    one.read(stays, 0, stays_has)
    one.detach(leaves)
    one.attach(leaves)  # anew: what it asked for before is not answered any more
    later.run()
    assert told == []
    assert [item.logged for part in parts for item in part.items] == list(range(1, 3001))


def test_one_that_fails_does_not_keep_the_others_waiting() -> None:
    fails, other = Router(), Router()
    one, later = log_pass(records(10), [fails, other])
    parts: list[Part | Exception] = []

    def breaks(part: Part | Exception) -> None:
        raise RuntimeError("it has gone")

    one.read(fails, 0, breaks)
    one.read(other, 0, parts.append)
    later.run()
    assert isinstance(parts[0], Part)
    assert len(parts[0].items) == 10


def test_routers_of_one_kind_share_what_they_are_told() -> None:
    routers = [Router(), Router(), Router(tells_mqtt=True)]
    published = Own(b"", b"1", NO_EXPIRY, 1, False)
    one, later = log_pass(records(5, own=published), routers)
    found: list[list[Item]] = []

    def keep(part: Part | Exception) -> None:
        assert isinstance(part, Part)
        found.append(part.items)

    for router in routers:
        one.read(router, 0, keep)
    later.run()
    assert len(found) == 3
    assert all(first is second for first, second in zip(found[0], found[1], strict=True))
    assert not any(first is third for first, third in zip(found[0], found[2], strict=True))


def test_counting_goes_on_without_those_that_have_left() -> None:
    routers = [Router() for _ in range(3)]
    one, later = log_pass(records(5000), routers)
    done: list[int] = []

    def broken() -> None:
        done.append(0)
        raise RuntimeError("it has gone")

    one.count(routers[0], routers[0], broken)
    one.count(routers[1], routers[1], lambda: done.append(1))
    one.count(routers[2], routers[2], lambda: done.append(2))
    one.detach(routers[1])
    later.run()
    assert done == [0, 2]
    assert [router.counted for router in routers] == [5000, 0, 5000]


def test_all_that_count_may_leave() -> None:
    router, late = Router(), Router()
    one, later = log_pass(records(20_000), [router, late])
    done: list[str] = []
    one.count(router, router, lambda: done.append("left"))
    later.run(6)
    one.detach(router)
    one.count(late, late, lambda: done.append("late"))
    later.run()
    assert done == ["late"]


def test_what_is_remembered_of_addresses_is_bounded_in_bytes() -> None:
    routers = [Router() for _ in range(100)]
    long = records(20_000, b"/" + b"y" * 1000 + b"/%d")
    one, later = log_pass(long, routers)
    most = 0
    counted: list[bool] = []
    one.count(routers[0], routers[0], lambda: counted.append(True))
    while later.waiting:
        later.run(1)
        held = sum(250 + len(address) for address, _ in one._interest)
        most = max(most, held)
    assert counted == [True]
    assert MAX_INTEREST_BYTES // 4 < most <= MAX_INTEREST_BYTES


@pytest.mark.parametrize("kinds", [1, 100_000], ids=["all of one kind", "each address carried by others"])
def test_the_bound_is_what_it_really_takes(monkeypatch: pytest.MonkeyPatch, kinds: int) -> None:
    """With which of them a route leads back to: that is remembered beside them."""
    monkeypatch.setattr(module, "MAX_INTEREST_BYTES", 1 << 20)
    chance = Random(1)
    routers = [Router() for _ in range(100)]
    some = [[router for router in routers if chance.random() < 0.7] for _ in range(min(kinds, 1500))]
    later = Later()
    one = LogPass(
        Pages([], later), lambda address: list(some[int(address[3:]) % len(some)]), lambda: 1, lambda run: RUN, later
    )  # type: ignore[arg-type]
    for router in routers:
        one.attach(router)
    written = records(1500)
    tracemalloc.start()
    try:
        at_first, most = tracemalloc.get_traced_memory()[0], 0
        for begin in range(0, 1500, 50):
            one._made(begin, written[begin : begin + 50])
            most = max(most, tracemalloc.get_traced_memory()[0] - at_first)
    finally:
        tracemalloc.stop()
    assert 100_000 < most <= 1.2 * (1 << 20)
