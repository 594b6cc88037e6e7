"""What waits for the broker, compared with a simple model, and the three policies one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from support.examples import examples

from clasp_edge.config.model import BridgeMap
from clasp_edge.devices.mqtt_bridge.events import CLEARING
from clasp_edge.devices.mqtt_bridge.mapping import Mapping
from clasp_edge.devices.mqtt_bridge.queue import MARK_BYTES, RECORD_BYTES, OutQueue, Record

MAPPINGS = {
    (policy, qos): Mapping(0, BridgeMap(topic="#", address="/**", policy=policy, qos=qos))  # type: ignore[arg-type]
    for policy in ("latest", "log", "drop")
    for qos in (0, 1)
}


def record(policy: str, address: str = "/a", frame: bytes | None = b"", now_s: float = 0.0, qos: int = 1) -> Record:
    made = Record(MAPPINGS[policy, qos], "t", address.encode(), frame, True, now_s)
    made.qos = qos  # as the bridge does when it sends it
    return made


def taken(queue: OutQueue) -> Iterator[Record]:
    while (found := queue.next()) is not None:
        yield found


def test_latest_keeps_one_waiting_while_there_is_no_link() -> None:
    queue = OutQueue(10_000, 0)
    first, second, third = (record("latest") for _ in range(3))
    queue.offer(first)
    queue.offer(second)
    assert list(taken(queue)) == [second]
    queue.offer(first)
    queue.offer(third)
    assert list(taken(queue)) == [third]
    queue.done(second)
    queue.done(third)
    assert len(queue) == 0
    assert queue.dropped.total() == 0


def test_latest_sends_every_value_while_the_link_is_up() -> None:
    queue = OutQueue(10_000, 0)
    queue.online = True
    records = [record("latest") for _ in range(5)]
    for item in records:
        queue.offer(item)
    assert [queue.next(), queue.next()] == records[:2]
    queue.link_lost()
    assert list(taken(queue)) == records[4:]


def test_latest_conflates_when_it_is_full() -> None:
    queue = OutQueue(2 * (RECORD_BYTES + 10), 0)
    queue.online = True
    old, new, other, third = (record("latest", a, frame=b"x" * 10) for a in ("/a", "/a", "/b", "/c"))
    for item in (old, other, new, third):
        queue.offer(item)
    # The one without room is read when it is sent.
    assert list(taken(queue)) == [other, new, third]
    assert third.frame is None
    assert queue.dropped.total() == 0


@pytest.mark.parametrize("online", [False, True])
def test_a_clear_stays_one_when_it_meets_a_full_queue(online: bool) -> None:
    queue = OutQueue(RECORD_BYTES + 10, 0)
    queue.online = online
    queue.offer(record("latest", "/full", frame=b"x" * 10))
    clear, value = record("latest", "/a", frame=None), record("latest", "/a", frame=b"x" * 10)
    clear.message = CLEARING
    queue.offer(value)
    queue.offer(clear)
    assert [one.message for one in taken(queue)] == [None, CLEARING]
    queue.link_lost()
    queue.start_over()
    queue.offer(value)  # a later value takes the place of the clear that has come back
    assert [one.message for one in taken(queue)] == [None, None]
    assert queue.dropped.total() == 0


def test_a_clear_for_which_there_is_not_even_a_mark_is_counted() -> None:
    queue = OutQueue(1, 0)
    while not queue.has_missed:
        queue.offer(record("latest", f"/{len(queue)}", frame=b"x"))
    queue.has_missed = False
    clear = record("latest", "/a" + "b" * MARK_BYTES, frame=None)
    clear.message = CLEARING
    queue.offer(clear)
    assert queue.dropped == {"full": 1}
    assert not queue.has_missed


def test_latest_never_conflates_events() -> None:
    queue = OutQueue(10_000, 0)
    events = [Record(MAPPINGS["latest", 1], "t", b"/a", b"", False, 0.0) for _ in range(3)]
    for item in events:
        queue.offer(item)
    queue.link_lost()
    assert list(taken(queue)) == events


def test_latest_sends_the_newest_after_starting_over() -> None:
    queue = OutQueue(10_000, 0)
    old, new, other = record("latest"), record("latest"), record("latest", "/b")
    queue.offer(old)
    queue.offer(other)
    assert list(taken(queue)) == [old, other]
    queue.offer(new)
    queue.link_lost()
    queue.start_over()
    assert set(taken(queue)) == {new, other}
    queue.done(old)
    assert queue.busy(b"/a")


def test_a_log_goes_out_in_order_and_again_from_the_first_that_was_not_acknowledged() -> None:
    queue = OutQueue(10_000, 0)
    records = [record("log") for _ in range(5)]
    for item in records[:4]:
        queue.offer(item)
    assert [queue.next(), queue.next(), queue.next()] == records[:3]
    queue.done(records[0])
    queue.link_lost()
    queue.start_over()
    queue.offer(records[4])
    assert list(taken(queue)) == records[1:]


def test_a_full_log_drops_its_oldest_and_counts_them() -> None:
    queue = OutQueue(3 * (RECORD_BYTES + 10), 0)
    records = [record("log", frame=b"x" * 10) for _ in range(5)]
    for item in records:
        queue.offer(item)
    assert list(taken(queue)) == records[2:]
    assert queue.dropped == {"full": 2}
    # All of it is under way now: what comes on top has no place.
    queue.offer(record("log", frame=b"x" * 10))
    assert queue.dropped == {"full": 3}


def test_a_log_drops_what_is_too_old() -> None:
    queue = OutQueue(10_000, 60.0)
    old, young = record("log", now_s=0.0), record("log", now_s=30.0)
    queue.offer(old)
    queue.offer(young)
    queue.expire(61.0)
    assert list(taken(queue)) == [young]
    queue.expire(1000.0)
    assert queue.dropped == {"old": 1}
    assert queue.busy(b"/a")


def test_drop_takes_nothing_while_the_broker_is_away() -> None:
    queue = OutQueue(10_000, 0)
    queue.offer(record("drop"))
    assert list(taken(queue)) == []
    queue.online = True
    sent, waiting = record("drop"), record("drop")
    queue.offer(sent)
    queue.offer(waiting)
    assert queue.next() is sent
    queue.link_lost()
    assert queue.dropped == {"away": 2}
    assert not queue.online
    assert len(queue) == 1
    queue.done(sent)
    assert not queue.busy(b"/a")


def test_without_acknowledgements_what_was_under_way_is_taken_back_at_once() -> None:
    queue = OutQueue(10_000, 0)
    item = record("latest", qos=0)
    queue.offer(item)
    assert list(taken(queue)) == [item]
    queue.link_lost()
    assert list(taken(queue)) == [item]


def test_what_is_refused_is_counted_once() -> None:
    queue = OutQueue(10_000, 0)
    for policy in ("latest", "log"):
        queue.offer(record(policy))
    for item in list(taken(queue)):
        queue.done(item, refused=True)
        queue.done(item, refused=True)
    assert queue.dropped == {"refused": 2}
    assert len(queue) == 0


def test_what_goes_beside_the_queue_takes_room_until_it_is_done_or_lost() -> None:
    queue = OutQueue(10_000, 0)
    sure, unsure, last = record("latest"), record("latest", qos=0), record("latest")
    queue.beside([sure, unsure, last])
    assert (queue.flying, len(queue)) == (3, 0)
    queue.done(last)
    queue.link_lost()
    assert queue.flying == 1  # the link goes on with it
    queue.start_over()
    assert queue.flying == 0


@pytest.mark.parametrize("policy", ["latest", "log", "drop"])
def test_an_address_is_busy_until_its_last_value_has_arrived(policy: str) -> None:
    queue = OutQueue(10_000, 0)
    queue.online = True
    for _ in range(2):
        queue.offer(record(policy))
    assert queue.busy(b"/a")
    assert not queue.busy(b"/b")
    for item in list(taken(queue)):
        assert queue.busy(b"/a")
        queue.done(item)
    assert not queue.busy(b"/a")


class LogModel(RuleBasedStateMachine):
    """Whatever happens to the link: nothing is lost within the bound, the order holds, the count is right."""

    flying = Bundle("flying")

    def __init__(self) -> None:
        super().__init__()
        self.queue = OutQueue(12 * RECORD_BYTES, 0)
        self.written = 0
        self.numbers: dict[int, int] = {}
        self.expected: list[Record] = []  # waiting or under way, in order
        self.sent: list[Record] = []
        self.acknowledged = 0

    @rule(address=st.sampled_from(["/a", "/b"]))
    def write(self, address: str) -> None:
        item = record("log", address)
        self.queue.offer(item)
        waiting = [one for one in self.expected if one not in self.sent]
        if len(self.expected) >= 12:
            if not waiting:
                return
            self.expected.remove(waiting[0])
        self.expected.append(item)

    @rule(target=flying)
    def send(self) -> Record | None:
        found = self.queue.next()
        waiting = [one for one in self.expected if one not in self.sent]
        assert found is (waiting[0] if waiting else None)
        if found is not None:
            self.sent.append(found)
        return found

    @rule(item=consumes(flying))
    def acknowledge(self, item: Record | None) -> None:
        if item is None:
            return
        self.queue.done(item)
        if item in self.sent:
            self.sent.remove(item)
            self.expected.remove(item)

    @rule()
    def start_over(self) -> None:
        self.queue.link_lost()
        self.queue.start_over()
        self.sent.clear()

    @invariant()
    def agrees(self) -> None:
        assert len(self.queue) == len(self.expected)
        assert self.queue.flying == len(self.sent)
        for address in (b"/a", b"/b"):
            assert self.queue.busy(address) == any(one.address == address for one in self.expected)


TestLogModel = LogModel.TestCase
TestLogModel.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)


class LatestModel(RuleBasedStateMachine):
    """Whatever happens to the link: the last thing the broker gets for an address is the last that was written."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = OutQueue(10_000, 0)
        self.newest: dict[str, Record] = {}
        self.sent: list[Record] = []
        self.got: dict[str, Record] = {}

    @rule(address=st.sampled_from(["/a", "/b", "/c"]))
    def write(self, address: str) -> None:
        self.newest[address] = record("latest", address)
        self.queue.offer(self.newest[address])

    @rule()
    def send(self) -> None:
        if (found := self.queue.next()) is not None:
            self.sent.append(found)

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        if self.sent:
            address = data.draw(st.sampled_from(self.sent)).address
            item = next(one for one in self.sent if one.address == address)  # acknowledged in order
            self.sent.remove(item)
            self.got[item.address.decode()] = item
            self.queue.done(item)

    @rule()
    def start_over(self) -> None:
        self.queue.link_lost()
        self.queue.start_over()
        self.sent.clear()

    def teardown(self) -> None:
        while self.sent or self.queue.next() is not None:
            self.start_over()
            for item in list(taken(self.queue)):
                self.got[item.address.decode()] = item
                self.queue.done(item)
        assert self.got == self.newest
        assert len(self.queue) == 0


TestLatestModel = LatestModel.TestCase
TestLatestModel.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
