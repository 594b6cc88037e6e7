"""The queue of a link, on a real journal: everything once and in order, but for what its bounds drop and it counts."""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.examples import examples

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.config.model import Journal as Settings
from clasp_edge.dataplane import Plane, Subscription
from clasp_edge.federation.shared import queue as module
from clasp_edge.federation.shared.dedup import Route
from clasp_edge.federation.shared.queue import KEPT_PLACES, Item, LinkQueue
from clasp_edge.federation.shared.relay import Relay
from clasp_edge.journal.cursors import Logged
from clasp_edge.journal.journal import Journal
from clasp_edge.router.router import Router
from clasp_edge.wire import SignalType
from clasp_edge.wire.pattern import Pattern

HERE = Route("here", 1, 0)
PLENTY = 1 << 30
PAYLOAD_BYTES = 40


def number_in(item: Item) -> int:
    """The number that a test has put into a message."""
    return int(item.frame[-PAYLOAD_BYTES:])


class Ear(Relay):
    """Offers every event of the plane to the backlog, as an uplink does."""

    def __init__(self, plane: Plane, box: Box) -> None:
        self.box = box

    def on_deliveries(self, deliveries: list[tuple[int, bytes, bytes, Any, int, int]]) -> None:  # type: ignore[override]
        for _, _, frame, _, _, logged in deliveries:
            self.box.backlog.offer(Item(frame, HERE, logged, logged, self.box.now_s))


class Box:
    """A router with a journal (or none), its backlog, and a neighbour who takes what it is given."""

    def __init__(self, directory: Path | None, *, max_bytes: int = PLENTY, max_age_s: float = 0) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = directory
        self.bounds = (max_bytes, max_age_s)
        self.now_s = 1_000_000.0
        self.published = 0
        self.waiting: deque[tuple[int, list[int]]] = deque()
        self.checkpoint = 0
        self.received: list[int] = []
        self.start()

    def start(self) -> None:
        router = Router(Config(), self.loop, Clock())
        self.plane = router.plane
        self.journal: Journal | None = None
        if self.directory is not None:
            self.journal = Journal(router, Settings(commit_interval_ms=5), self.directory)
            self.journal.open()
        self.ear = Ear(self.plane, self)
        self.plane.register(self.ear, b"uplink:hub")
        self.plane.trie.add(Subscription(self.ear, 0, Pattern(b"/e"), 0x1F))
        self.client = Relay(self.plane)
        self.plane.register(self.client, b"somebody")
        self.backlog = LinkQueue(
            "uplink:hub",
            self.journal,
            *self.bounds,
            self.item_of,
            lambda: None,
            lambda: self.now_s,
            self.loop.call_later,
        )
        scanned = self.loop.create_future()
        self.backlog.scan(lambda record: None, lambda: scanned.set_result(None))
        self.loop.run_until_complete(asyncio.wait_for(scanned, 10))

    def item_of(self, record: Logged) -> Item | None:
        return Item(record.frame, HERE, record.number, record.number, self.now_s) if record.address == b"/e" else None

    def publish(self, count: int) -> None:
        for _ in range(count):
            self.say(b"/e", self.published)
            self.published += 1

    def say(self, address: bytes, number: int) -> None:
        text = b"%0*d" % (PAYLOAD_BYTES, number)
        head = bytes((0x20, SignalType.EVENT << 5)) + len(address).to_bytes(2, "big") + address
        self.client.publish(head + b"\x01\x08" + len(text).to_bytes(2, "big") + text, address)

    def send(self, limit: int = 512, limit_bytes: int = PLENTY) -> list[int]:
        """What an uplink does when there is room: take, send, remember."""
        items = self.backlog.take(limit, limit_bytes)
        if items:
            self.checkpoint += 1
            self.backlog.sent(items, self.checkpoint)
            self.waiting.append((self.checkpoint, [number_in(item) for item in items]))
        return [number_in(item) for item in items]

    def acknowledge(self) -> None:
        """The neighbour has got the oldest batch that is under way."""
        if self.waiting:
            checkpoint, numbers = self.waiting.popleft()
            self.received += numbers
            self.backlog.done(checkpoint)

    def lose_link(self) -> None:
        self.waiting.clear()
        self.backlog.link_lost()

    def stop(self) -> None:
        if self.journal is not None:
            self.journal.close(10)
        self.plane.unregister(self.ear)

    def restart(self) -> None:
        self.waiting.clear()
        self.stop()
        self.start()

    def turn(self, seconds: float = 0) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def drain(self) -> None:
        """Until everything has arrived."""

        async def drain() -> None:
            while not self.backlog.idle:
                while self.send():
                    pass
                while self.waiting:
                    self.acknowledge()
                await asyncio.sleep(0.001)

        self.loop.run_until_complete(asyncio.wait_for(drain(), 20))

    def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

        self.loop.run_until_complete(asyncio.wait_for(wait(), 10))

    def stored(self) -> None:
        """Wait until everything up to now lies on the disk, where reading it takes a thread."""
        journal = self.journal
        assert journal is not None
        buffer = journal.journal_buffer
        assert buffer is not None
        self.until(lambda: buffer.tail_begins > journal.last_sequence)

    def close(self) -> None:
        self.stop()
        self.turn()
        self.loop.close()


def is_subsequence(part: list[int], whole: list[int]) -> bool:
    rest = iter(whole)
    return all(number in rest for number in part)


# ---- everything, once and in order ----

steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 12)),
        st.tuples(st.just("other"), st.integers(1, 5)),
        st.tuples(st.just("send"), st.integers(1, 6)),
        st.tuples(st.just("acknowledge"), st.just(0)),
        st.tuples(st.just("lose_link"), st.just(0)),
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.just("stored"), st.just(0)),
        st.tuples(st.just("rest"), st.just(0)),
    ),
    max_size=40,
)


def take_steps(box: Box, chosen: list[tuple[str, int]], *, exactly_once: bool) -> None:
    for name, argument in chosen:
        if name == "publish":
            box.publish(argument)
        elif name == "other":
            for _ in range(argument):
                box.say(b"/elsewhere", 0)
        elif name == "send":
            box.send(argument)
        elif name == "turn":
            box.turn(0.002)
        elif name == "rest":
            box.backlog.rest()
        elif name == "stored" and box.journal is not None:
            box.stored()
        elif name in ("acknowledge", "lose_link"):
            getattr(box, name)()
        if exactly_once:
            assert box.received == list(range(len(box.received)))
            assert box.backlog.depth == box.published - len(box.received)


@settings(max_examples=examples(25), deadline=None)
@given(steps, st.sampled_from([3, 4096]))
@example([("publish", 4), ("send", 1), ("lose_link", 0)], 3)
def test_with_a_journal_everything_arrives_once_and_in_order(chosen: list[tuple[str, int]], recent: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RECENT", recent)
        patch.setattr(module, "READ_RECORDS", 4)
        box = Box(Path(name))
        try:
            take_steps(box, chosen, exactly_once=True)
            box.drain()
            assert box.received == list(range(box.published))
            assert (box.backlog.depth, box.backlog.bytes, box.backlog.dropped, box.backlog.oldest_s) == (0, 0, 0, 0.0)
        finally:
            box.close()


@settings(max_examples=examples(25), deadline=None)
@given(steps)
def test_without_a_journal_too(chosen: list[tuple[str, int]]) -> None:
    box = Box(None)
    try:
        take_steps(box, chosen, exactly_once=True)
        box.drain()
        assert box.received == list(range(box.published))
    finally:
        box.close()


@settings(max_examples=examples(8), deadline=None)
@given(st.lists(steps, min_size=2, max_size=3), st.sampled_from([3, 4096]))
def test_over_restarts_too(lives: list[list[tuple[str, int]]], recent: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RECENT", recent)
        box = Box(Path(name))
        try:
            for chosen in lives:
                take_steps(box, chosen, exactly_once=True)
                box.restart()
                assert box.backlog.depth == box.published - len(box.received)
            box.drain()
            assert box.received == list(range(box.published))
        finally:
            box.close()


def test_what_was_queued_before_anything_was_ever_logged_is_not_forgotten(tmp_path: Path) -> None:
    """The first night of a box whose hub is down, and then a power cut."""
    box = Box(tmp_path)
    box.publish(5)
    box.restart()
    assert box.backlog.depth == 5
    box.drain()
    assert box.received == [0, 1, 2, 3, 4]
    box.close()


def test_what_was_logged_before_the_link_was_configured_is_not_for_it(tmp_path: Path) -> None:
    box = Box(tmp_path)
    assert box.journal is not None
    box.publish(5)
    box.journal.forget_cursor("uplink:hub")
    box.restart()
    assert (box.backlog.depth, box.backlog.idle) == (0, True)
    box.published = 0
    box.publish(2)
    box.drain()
    assert box.received == [0, 1]
    box.close()


def test_a_link_lost_while_the_log_is_read_loses_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.publish(40)
    box.stored()
    box.restart()  # so that all of it is in the log only
    box.until(lambda: bool(box.send(10)))
    while box.send(500):
        pass
    box.publish(20)
    box.stored()
    box.backlog.take(1, 1)
    box.lose_link()
    box.drain()
    assert box.received == list(range(60))
    box.close()


# ---- bounds ----


@settings(max_examples=examples(20), deadline=None)
@given(steps, st.booleans(), st.integers(1, 12))
def test_what_bytes_bound_is_dropped_oldest_first_and_counted(
    chosen: list[tuple[str, int]], journaled: bool, room: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        box = Box(Path(name) if journaled else None, max_bytes=room * 300)
        try:
            take_steps(box, chosen, exactly_once=False)
            box.drain()
            everything = list(range(box.published))
            assert is_subsequence(box.received, everything)
            assert box.backlog.dropped == box.published - len(box.received)
            assert (box.backlog.depth, box.backlog.bytes) == (0, 0)
            if box.published and box.backlog.dropped < box.published:
                assert box.received[-1] == box.published - 1
        finally:
            box.close()


@pytest.mark.parametrize("journaled", [True, False])
def test_what_is_too_old_is_dropped_and_counted_once(tmp_path: Path, journaled: bool) -> None:
    box = Box(tmp_path if journaled else None, max_age_s=60)
    box.publish(3)
    box.now_s += 40
    box.publish(4)
    assert box.backlog.oldest_s == 1_000_000.0
    box.now_s += 30
    assert box.send(2) == [3, 4]
    box.lose_link()
    box.drain()
    if journaled:
        # Their age in the log is that of the test's clock: what was given up stays given up.
        assert box.received == [3, 4, 5, 6]
    assert (box.received, box.backlog.dropped, box.backlog.depth) == ([3, 4, 5, 6], 3, 0)
    box.close()


def test_what_the_log_has_let_go_of_is_counted(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.publish(2000)
    box.stored()
    box.stop()
    box.start()
    assert box.journal is not None
    box.journal.apply_config(Settings(commit_interval_ms=5, retention_records=100))
    box.say(b"/elsewhere", 0)
    box.stored()
    box.drain()
    assert len(box.received) < 2000
    assert box.backlog.dropped == 2000 - len(box.received)
    assert (box.backlog.depth, box.backlog.oldest_s) == (0, 0.0)
    box.close()


# ---- rest ----


def test_a_link_with_nothing_to_do_holds_no_records_back(tmp_path: Path) -> None:
    box = Box(tmp_path)
    assert box.journal is not None
    for _ in range(10):
        box.say(b"/elsewhere", 0)
    assert box.journal.cursor("uplink:hub") == 0
    box.backlog.rest()
    assert box.journal.cursor("uplink:hub") == 0, "what has just come from the hub may not be stored there yet"
    box.backlog.rest()
    assert box.journal.cursor("uplink:hub") == 10
    box.publish(1)
    box.backlog.rest()
    assert box.journal.cursor("uplink:hub") == 10
    box.close()


def test_what_was_acknowledged_in_the_last_seconds_can_be_told_again(tmp_path: Path) -> None:
    """For a neighbour that may have lost it, or another one; what is older is done with."""
    box = Box(tmp_path)
    box.publish(5)
    sent = box.send()
    box.acknowledge()
    for _ in range(KEPT_PLACES):  # the first five are as old as that
        box.backlog.keep_place()
    box.publish(3)
    again = box.send()
    box.acknowledge()
    assert (len(sent), len(again), box.backlog.depth) == (5, 3, 0)
    box.publish(2)
    box.backlog.rewind()
    found: list[int] = []
    while len(found) < 5:
        found += box.send()
        box.acknowledge()
        box.turn()
    assert found == [5, 6, 7, 8, 9], "what waited in memory is read from the log too"
    assert box.send() == []
    box.turn()
    assert box.send() == []
    assert (box.backlog.depth, box.backlog.dropped, box.backlog.idle) == (0, 0, True)
    for _ in range(KEPT_PLACES):
        box.backlog.keep_place()
    box.backlog.rewind()
    assert box.send() == []
    box.backlog.rewind(4)  # the numbers of the log begin at 1
    found = []
    while len(found) < 6:
        found += box.send()
        box.acknowledge()
        box.turn()
    assert found == [4, 5, 6, 7, 8, 9]
    assert box.send() == []
    box.turn()
    assert box.send() == []
    assert (box.backlog.depth, box.backlog.dropped, box.backlog.idle) == (0, 0, True)
    box.close()
