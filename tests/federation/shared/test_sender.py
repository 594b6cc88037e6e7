"""What a neighbour is told, on a real plane: with a hub whose order counts, both ends come to the same values."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.plane_rig import ALL_SIGNALS, EVERYTHING, LOCK, Rig, publish_payload, set_payload

from clasp_edge.dataplane import Subscription
from clasp_edge.federation.shared.dedup import MAX_HOPS, Route
from clasp_edge.federation.shared.extensions import read_route
from clasp_edge.federation.shared.policy import Policies
from clasp_edge.federation.shared.sender import PRESSURE_BYTES, PeerSender
from clasp_edge.federation.shared.waiting_frames import GONE_TTL
from clasp_edge.wire import FederationOp, FederationSync, Message, MessageType, Publish, Set, Ttl, TtlMode, decode

LOGGED, UNLOGGED = Route("box", 1, 0), Route("box", 2, 0)
ADDRESSES = (b"/a", b"/b")


class Wire:
    """The way to the neighbour, held by the test."""

    def __init__(self) -> None:
        self.backlog_bytes = 0
        self.frames: deque[bytes] = deque()

    def send(self, frames: list[bytes]) -> None:
        self.frames.extend(frames)

    def messages(self) -> list[Message]:
        found = [decode(frame)[1] for frame in self.frames]
        self.frames.clear()
        return found


class Box:
    """A plane, a client of it, and the sender half of a link without a backlog."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.due: list[Callable[[], None]] = []
        self.client = self.rig.line(b"client")
        self.wire = Wire()
        self.sender = PeerSender(
            self.rig.plane, Policies(("/**",), {"/s/**": "drop"}), LOGGED, UNLOGGED,
            lambda delay_s, callback: self.due.append(callback), lambda: 1000.0,
        )  # fmt: skip
        self.rig.plane.register(self.sender, b"uplink:hub")
        self.subscription = Subscription(self.sender, 0, EVERYTHING, ALL_SIGNALS)
        self.rig.plane.trie.add(self.subscription)

    def open(self, *, is_edge: bool = True) -> None:
        self.sender.open(self.wire, "hub", is_edge=is_edge)

    def put(self, address: bytes, value: object) -> None:
        self.client.feed([set_payload(address, value)])

    def run_due(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()

    def close(self) -> None:
        self.rig.plane.trie.discard(self.subscription)
        self.rig.plane.unregister(self.sender)
        self.rig.close()


@pytest.fixture
def box() -> Iterator[Box]:
    made = Box()
    yield made
    made.close()


def told(messages: list[Message]) -> list[object]:
    return [message.value for message in messages if isinstance(message, Set | Publish)]


# ---- runs ----


def test_every_run_says_where_it_comes_from(box: Box) -> None:
    box.open()
    box.client.feed([set_payload(b"/a", 1), set_payload(b"/a", 2), publish_payload(b"/e")])
    box.rig.turn()  # on a busy machine the slice of time ends within the three, and there are two runs
    messages, written = box.wire.messages(), 0
    while messages:
        route = messages.pop(0)
        assert isinstance(route, FederationSync)
        origin, _, count = read_route(route)
        assert origin == UNLOGGED
        *writes, checkpoint = messages[: count + 1]
        assert not any(isinstance(write, FederationSync) for write in writes)
        assert isinstance(checkpoint, FederationSync)
        assert checkpoint.op is FederationOp.CHECKPOINT
        messages, written = messages[count + 1 :], written + count
    assert written == 3


def test_what_has_come_from_the_neighbour_or_too_far_is_not_told(box: Box) -> None:
    box.open()
    for route in (Route("hub", 1, 1), Route("other", 1, MAX_HOPS)):
        box.client.peer.route = route
        box.put(b"/a", 1)
    assert box.wire.messages() == []
    box.client.peer.route, box.client.peer.number = Route("other", 7, 1), 5
    box.put(b"/a", 2)
    first = box.wire.messages()[0]
    assert isinstance(first, FederationSync)
    assert read_route(first) == (Route("other", 7, 1), 5, 1)


# ---- pressure ----


def test_under_pressure_params_converge_and_streams_are_dropped(box: Box) -> None:
    box.open()
    box.wire.backlog_bytes = PRESSURE_BYTES + 1
    for number in range(50):
        box.put(b"/a", number)
        box.client.feed([publish_payload(b"/s", signal=2)])
    assert (box.wire.messages(), box.sender.dropped["pressure"]) == ([], 50)
    box.run_due()
    assert box.wire.messages() == []
    box.wire.backlog_bytes = 0
    box.run_due()
    assert told(box.wire.messages()) == [49]


def test_a_reference_that_limits_gets_params_in_bundles(box: Box) -> None:
    box.open(is_edge=False)
    box.sender.slow_down()
    for number in range(10):
        box.put(b"/%d" % number, number)
    while box.due:
        box.run_due()
    (bundle,) = box.wire.messages()
    assert sorted(message.value for message in bundle.messages) == list(range(10))  # type: ignore[attr-defined]
    assert box.sender.bundle_under_way
    box.put(b"/0", "newer")
    box.run_due()
    box.run_due()
    assert box.wire.messages() == []  # one at a time
    box.sender.bundle_done()
    while box.due:
        box.run_due()
    (bundle,) = box.wire.messages()
    assert [message.value for message in bundle.messages] == ["newer"]  # type: ignore[attr-defined]
    assert not box.sender.is_in_flight(b"/1")


def test_a_bundle_that_is_refused_is_tried_one_by_one(box: Box) -> None:
    box.open(is_edge=False)
    box.sender.slow_down()
    for number in range(4):
        box.put(b"/%d" % number, number)
    accepted: list[object] = []
    refused = 0
    for _ in range(20):
        box.run_due()
        for bundle in box.wire.messages():
            values = [message.value for message in bundle.messages]  # type: ignore[attr-defined]
            if 2 in values:
                refused += box.sender.bundle_refused()
            else:
                accepted += values
                box.sender.bundle_done()
    assert (sorted(accepted, key=str), refused) == ([0, 1, 3], 1)
    assert not box.sender.bundle_under_way


# ---- the hub's order counts ----

moves = st.lists(
    st.tuples(st.sampled_from(["here", "there", "to hub", "to box"]), st.sampled_from(ADDRESSES), st.integers(1, 3)),
    max_size=40,
)


@settings(max_examples=examples(60), deadline=None)
@given(moves)
def test_both_ends_come_to_the_hubs_last_value(chosen: list[tuple[str, bytes, int]]) -> None:
    """The hub deals with what it has been sent message by message, so that others come between a write and its
    checkpoint; the box asks it for what was contested."""
    box = Box()
    box.open()
    there: dict[bytes, object] = {}
    to_box: deque[tuple[str, bytes, object]] = deque()
    contested: set[bytes] = set()

    def hub() -> None:
        if not box.wire.frames:
            return
        message = decode(box.wire.frames.popleft())[1]
        if isinstance(message, Set):
            there[message.address.encode()] = message.value
        elif isinstance(message, FederationSync) and message.op is FederationOp.CHECKPOINT:
            to_box.append(("reached", b"", message.since_revision))

    def hear() -> None:
        if not to_box:
            return
        kind, address, value = to_box.popleft()
        if kind == "reached":
            assert isinstance(value, int)
            box.sender.reached(value)
            for free in [one for one in contested if not box.sender.is_in_flight(one)]:
                contested.discard(free)
                to_box.append(("set", free, there[free]))  # its answer to a GET, which it gives later still
        elif box.sender.is_in_flight(address):
            contested.add(address)
        else:
            box.sender.set(address, 8, _text(value))

    number = 0
    try:
        for move, address, count in chosen:
            for _ in range(count):
                number += 1
                if move == "here":
                    box.put(address, f"here {number}")
                elif move == "there":
                    there[address] = f"there {number}"
                    to_box.append(("set", address, there[address]))
                elif move == "to hub":
                    hub()
                else:
                    hear()
        while box.wire.frames or to_box:
            hub()
            hear()
        for address, value in there.items():
            image = box.sender.image(address)
            assert image is not None
            message = decode(image)[1]
            assert isinstance(message, Set)
            assert message.value == value
    finally:
        box.close()


def _text(value: object) -> bytes:
    data = str(value).encode()
    return len(data).to_bytes(2, "big") + data


# ---- cleared params ----


def test_a_clear_is_told_as_one(box: Box) -> None:
    box.put(b"/a", 1)
    box.sender.tell(b"/a")
    box.open()
    box.sender.tell(b"/gone")
    box.run_due()
    messages = [message for message in box.wire.messages() if isinstance(message, Set)]
    assert [(message.address, message.value) for message in messages] == [("/a", 1), ("/gone", None)]
    assert messages[1].ttl is not None
    assert messages[1].ttl.word == GONE_TTL


def test_what_waits_in_the_log_says_nothing_of_locks_and_of_what_was_expected(box: Box) -> None:
    """By the time it is told, these may be others'."""
    box.sender.speak_versions(True)
    box.sender.tells_locks = True
    box.open()
    box.client.feed([set_payload(b"/a", 1, flags=LOCK), set_payload(b"/a", 2, expected=1, ttl=60)])
    frames = [frame for frame in box.wire.frames if decode(frame)[1].type == MessageType.SET]
    assert [decode(frame)[1].lock for frame in frames] == [True, True]  # type: ignore[union-attr]
    waiting = [decode(box.sender.without_version(frame))[1] for frame in frames]
    life = Ttl(TtlMode.SLIDING, 60)
    assert [(each.value, each.revision, each.lock, each.unlock) for each in waiting if isinstance(each, Set)] == [
        (1, None, False, False),
        (2, None, False, False),
    ]
    assert isinstance(waiting[1], Set)
    assert waiting[1].ttl == life
