"""What another router is told of a write: no revision of ours, and the life that the param has here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.plane_rig import ALL_SIGNALS, EVERYTHING, LOCK, UNLOCK, Line, Rig, publish_payload, set_payload

from clasp_edge.dataplane import Plane, Subscription
from clasp_edge.dataplane.write_run import WriteRun, content_of
from clasp_edge.federation.shared.dedup import Route
from clasp_edge.federation.shared.relay import Relay
from clasp_edge.federation.shared.relay import Relay as Compiled
from clasp_edge.wire import Set, Ttl, TtlMode, decode

GONE = 0x80
NEVER, SLIDING, ABSOLUTE = 0, 60, 0x8000_0000 | 60


class Ear(Relay):
    """Hears everything."""

    def __init__(self, plane: Plane) -> None:
        self.heard: list[tuple[int, bytes, bytes, Any, int, int]] = []

    def on_deliveries(self, deliveries: list[tuple[int, bytes, bytes, Any, int, int]]) -> None:  # type: ignore[override]
        self.heard += deliveries

    def sets(self) -> list[Set]:
        messages = [decode(frame)[1] for kind, _, frame, _, _, _ in self.heard if kind in (0, GONE)]
        self.heard.clear()
        assert all(isinstance(message, Set) for message in messages)
        return messages  # type: ignore[return-value]


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    made.plane.param_ttl_s = 1000
    yield made
    made.close()


@pytest.fixture
def ear(rig: Rig) -> Iterator[Ear]:
    made = Ear(rig.plane)
    rig.plane.register(made, b"uplink:hub")
    subscription = Subscription(made, 0, EVERYTHING, ALL_SIGNALS)
    rig.plane.trie.add(subscription)
    yield made
    rig.plane.trie.discard(subscription)
    rig.plane.unregister(made)


@pytest.fixture
def line(rig: Rig) -> Line:
    return rig.line(b"client")


def test_it_is_the_compiled_one() -> None:
    assert Relay is Compiled


def test_revisions_and_locks_stay_at_home(line: Line, ear: Ear) -> None:
    line.feed(
        [set_payload(b"/a", 1, flags=LOCK), set_payload(b"/a", 2, expected=1), set_payload(b"/a", 3, flags=UNLOCK)]
    )
    life = Ttl(TtlMode.SLIDING, 1000)
    assert ear.sets() == [Set("/a", number, ttl=life) for number in (1, 2, 3)]


def test_a_hub_that_knows_versions_is_told_what_is_locked_and_what_state_was_expected(line: Line, ear: Ear) -> None:
    ear.speak_versions(True)
    ear.tells_locks = True
    line.feed([set_payload(b"/a", 1, flags=LOCK)])
    first = ear.sets()
    known = ear.version(b"/a")
    assert known is not None
    line.feed([set_payload(b"/a", 2, expected=1), set_payload(b"/a", 3, flags=UNLOCK)])
    changes = ear.sets()
    told = [(message.value, message.lock, message.unlock) for message in first + changes]
    assert told == [(1, True, False), (2, True, False), (3, False, True)]
    assert [message.revision for message in first + changes] == [None, known[0], None]
    line.feed([set_payload(b"/a", 4, flags=LOCK)])
    assert [address for address, _ in ear.locked(0, 1000)[0]] == [b"/a"]
    ear.unlock(b"/a")
    assert ear.locked(0, 1000)[0] == []
    assert ear.lock_flags(b"/a") == UNLOCK


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (None, Ttl(TtlMode.SLIDING, 1000)),
        (NEVER, Ttl(TtlMode.NEVER)),
        (SLIDING, Ttl(TtlMode.SLIDING, 60)),
        (ABSOLUTE, Ttl(TtlMode.ABSOLUTE, 60)),
    ],
)
def test_a_param_lives_there_as_long_as_here(line: Line, ear: Ear, word: int | None, told: Ttl) -> None:
    line.feed([set_payload(b"/a", 1, ttl=word)])
    assert ear.sets() == [Set("/a", 1, ttl=told)]
    # A later write without one does not change the life that the param has.
    line.feed([set_payload(b"/a", 2)])
    assert ear.sets() == [Set("/a", 2, ttl=told)]
    image = ear.image(b"/a")
    assert image is not None
    assert decode(image)[1] == Set("/a", 2, ttl=told)


def test_where_params_have_no_end_by_default_they_have_none_there(rig: Rig, line: Line, ear: Ear) -> None:
    rig.plane.param_ttl_s = 0
    line.feed([set_payload(b"/a", 1)])
    assert ear.sets() == [Set("/a", 1, ttl=Ttl(TtlMode.NEVER))]


def test_of_an_absolute_life_the_rest_is_told(rig: Rig, line: Line, ear: Ear) -> None:
    line.feed([set_payload(b"/a", 1, ttl=0x8000_0000 | 3)])
    rig.turn(1.2)
    rig.core.begin_pass()
    rig.core.end_pass()
    image = ear.image(b"/a")
    assert image is not None
    assert decode(image)[1] == Set("/a", 1, ttl=Ttl(TtlMode.ABSOLUTE, 2))


def test_flags_tell_whether_an_ack_is_wanted(line: Line, ear: Ear) -> None:
    for flags in (0x41, 0x01):
        ear.flags = flags
        line.feed([set_payload(b"/a", flags)])
        image = ear.image(b"/a")
        assert image is not None
        assert ear.heard[-1][2][1] == image[1] == flags


def test_held_is_the_param(line: Line, ear: Ear) -> None:
    assert ear.held(b"/a") is ear.image(b"/a") is None
    line.feed([set_payload(b"/a", True)])
    held = ear.held(b"/a")
    assert held is not None
    assert held[:3] == (1, b"\x01", b"client")


def test_what_came_from_the_neighbour_is_not_told_to_it(rig: Rig, line: Line, ear: Ear) -> None:
    other = rig.line(b"other")
    ear.twin = other.peer
    other.feed([set_payload(b"/a", 1), publish_payload(b"/e", b"x")])
    ear.set(b"/a", 0, b"")
    assert ear.heard == []
    line.feed([set_payload(b"/a", 2)])
    assert [message.value for message in ear.sets()] == [2]
    ear.twin = None


def test_what_a_router_says_of_itself_is_not_told(line: Line, ear: Ear) -> None:
    line.feed([set_payload(b"/clasp-edge/x", 1), set_payload(b"/clasp-edgy", 1)])
    assert [message.address for message in ear.sets()] == ["/clasp-edgy"]


def test_events_are_passed_on_as_they_are(line: Line, ear: Ear) -> None:
    payload = publish_payload(b"/e", b"x")
    line.feed([payload])
    ((kind, address, frame, route, number, logged),) = ear.heard
    assert (kind, address, frame[4:], route, logged) == (1, b"/e", payload, None, 0)
    assert number > 0


def test_the_way_of_a_write_is_that_of_its_writer(line: Line, ear: Ear) -> None:
    route = Route("there", 5, 1)
    line.peer.route, line.peer.number = route, 70
    line.feed([set_payload(b"/a", 1), publish_payload(b"/e"), set_payload(b"/a", 2)])
    assert [entry[3:5] for entry in ear.heard] == [(route, 70), (route, 71), (route, 72)]


def test_some_of_a_run_are_passed_over_and_counted(line: Line, ear: Ear) -> None:
    line.peer.route, line.peer.number = Route("there", 5, 1), 70
    writes = [set_payload(b"/a", number) for number in range(5)]
    known = [content_of(writes[0]), 0, content_of(writes[2]), content_of(writes[0])]
    line.peer.run = WriteRun()
    line.peer.run.begin(b"".join(content.to_bytes(4, sys.byteorder) for content in known), 4)
    line.feed(writes)
    assert [(entry[4], decode(entry[2])[1].value) for entry in ear.heard] == [(71, 1), (73, 3), (74, 4)]  # type: ignore[union-attr]
    assert line.peer.run.came_from(2) == b"".join(content_of(write).to_bytes(4, sys.byteorder) for write in writes[2:4])
    line.feed([set_payload(b"/a", 9)])
    assert ear.heard[-1][4] == 75


def test_a_logged_set_is_told_like_a_new_one(line: Line, ear: Ear) -> None:
    watcher = line.rig.line(b"watcher")
    watcher.subscribe()
    line.feed([set_payload(b"/a", "x", ttl=SLIDING), set_payload(b"/b", 1)])
    frames = watcher.read_frames()
    assert [decode(ear.relayed(frame))[1] for frame in frames] == [
        Set("/a", "x", ttl=Ttl(TtlMode.SLIDING, 60)), Set("/b", 1),
    ]  # fmt: skip
    for junk in (b"", frames[0][:10], b"\x53\x01\x00\x0c" + publish_payload(b"/e", b"xxxxxxxx")):
        with pytest.raises(ValueError, match="not the frame of a logged SET"):
            ear.relayed(junk)
