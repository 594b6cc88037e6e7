"""Many boxes that come back at once: each is told what it carries, once and in order, by one reading of the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import pytest
from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.federated import JOURNAL, client
from support.live import eventually

from clasp_edge.federation.downstream.turns import TURN_S, Turns
from clasp_edge.federation.shared.extensions import checkpoint_frame, follow_frame, peer_frame, stored_frame
from clasp_edge.wire import FederationOp, FederationSync, Publish, SignalType, decode, encode

BOXES = 12
CUES = 300
_POINT = checkpoint_frame(0)[4:-8]


class Box:
    """One that owns /box/NUMBER, wants /all, and answers for what it has heard."""

    def __init__(self, hub: Daemon, number: int, *, answers: bool = True) -> None:
        name = f"box-{number}"
        self._answers = answers
        self._owes = False
        self.heard: list[tuple[str, object]] = []
        self._client = WsClient(hub.ws_url).hello(name, features=("param", "event", "federation"))
        self._client.send_raw(peer_frame(name, 1, (f"/box/{number}/**",), link=1))
        self._until(FederationOp.PEER)
        wanted = (f"/box/{number}/**", "/all/**")
        self._client.send_raw(follow_frame({}))
        for operation in (FederationOp.DECLARE_NAMESPACES, FederationOp.REQUEST_SYNC):
            self._client.send_raw(encode(FederationSync(operation, patterns=wanted, origin=name)))

    def _until(self, operation: FederationOp) -> None:
        while self.read() is not operation:
            pass

    def settled(self) -> Box:
        self._until(FederationOp.SYNC_COMPLETE)
        return self

    def read(self) -> FederationOp | None:
        """One message; the operation of one between routers."""
        frame = self._client.recv_raw(30)
        if frame.startswith(_POINT, 4):
            self._owes = False
            if self._answers:
                self._client.send_raw(stored_frame(int.from_bytes(frame[-8:], "big")))
            return None
        message = decode(frame)[1]
        if isinstance(message, Publish):
            self._owes = True
            self.heard.append((message.address, message.value))
        return message.op if isinstance(message, FederationSync) else None

    def hear(self, count: int) -> list[tuple[str, object]]:
        """At least so many, to the checkpoint behind them."""
        while len(self.heard) < count or self._owes:
            self.read()
        return self.heard

    def leave(self) -> None:
        self._client.close()


@pytest.fixture
def hub() -> Iterator[Daemon]:
    with Daemon(sets=JOURNAL) as running:
        yield running
        assert "Traceback" not in running.stderr


def publish(hub: Daemon, cues: range) -> None:
    with client(hub) as teller:
        for cue in cues:
            for number in range(BOXES):
                teller.send(Publish(f"/box/{number}/cue", signal=SignalType.EVENT, value=cue), qos=0)
            teller.send(Publish("/all/cue", signal=SignalType.EVENT, value=cue), qos=0)
        teller.sync()


def wanted(number: int, cues: range) -> list[tuple[str, object]]:
    return [each for cue in cues for each in ((f"/box/{number}/cue", cue), ("/all/cue", cue))]


def waiting(hub: Daemon) -> dict[str, int]:
    peers = ask(hub.control_path, request="status")["result"]["federation"]["peers"]
    return {name: told["queue"] for name, told in peers.items()}


def test_each_is_told_its_own_once_and_in_order(hub: Daemon) -> None:
    boxes = [Box(hub, number).settled() for number in range(BOXES)]
    for box in boxes:
        box.leave()
    publish(hub, range(CUES))
    # Some come together, and the last ones when the others are in the middle of it.
    boxes = [Box(hub, number) for number in range(BOXES - 2)]
    boxes[0].read()
    boxes += [Box(hub, number) for number in range(BOXES - 2, BOXES)]
    publish(hub, range(CUES, CUES + 20))
    cues = range(CUES + 20)
    for number, box in enumerate(boxes):
        assert box.hear(2 * len(cues)) == wanted(number, cues)
    eventually(lambda: set(waiting(hub).values()) == {0})
    publish(hub, range(CUES + 20, CUES + 21))
    for number, box in enumerate(boxes):
        assert box.hear(2 * len(cues) + 2)[-2:] == wanted(number, range(CUES + 20, CUES + 21))
        box.leave()


def test_one_that_goes_in_the_middle_of_it_goes_on_where_it_was(hub: Daemon) -> None:
    for number in range(BOXES):
        Box(hub, number).settled().leave()
    publish(hub, range(CUES))
    quitter, stayer = Box(hub, 0, answers=False), Box(hub, 1)
    quitter.hear(50)
    quitter.leave()
    assert stayer.hear(2 * CUES) == wanted(1, range(CUES))
    # It has acknowledged nothing: it hears all of it again.
    again = Box(hub, 0)
    assert again.hear(2 * CUES) == wanted(0, range(CUES))
    for box in (stayer, again):
        box.leave()


def test_how_much_waits_is_known_before_the_first_is_told(hub: Daemon) -> None:
    for number in range(2):
        Box(hub, number).settled().leave()
    publish(hub, range(CUES))
    boxes = [Box(hub, number, answers=False) for number in range(2)]
    for box in boxes:
        box.hear(2 * CUES)
    assert waiting(hub) == {"box-0": 2 * CUES, "box-1": 2 * CUES}
    for box in boxes:
        box.leave()


def test_links_take_turns_and_leave_time_for_others() -> None:
    now = [0.0]
    soon: deque[Callable[[], None]] = deque()
    later: list[float] = []

    def later_s(seconds: float, callback: Callable[[], None]) -> None:
        later.append(seconds) if seconds else soon.append(callback)

    turns = Turns(later_s, lambda: now[0])
    done: list[str] = []

    def work(name: str, left: int) -> None:
        done.append(name)
        now[0] += TURN_S * 0.6
        if left:
            turns.later_s(0, lambda: work(name, left - 1))

    for name in "abc":
        turns.later_s(0, lambda name=name: work(name, 2))  # type: ignore[misc]
    turns.later_s(0.5, lambda: None)
    assert later == [0.5]
    in_a_turn = []
    while soon:
        before = len(done)
        soon.popleft()()
        in_a_turn.append(len(done) - before)
    assert "".join(done) == "abcabcabc"
    assert max(in_a_turn) == 2


def test_a_fault_of_one_does_not_stop_the_others() -> None:
    soon: deque[Callable[[], None]] = deque()
    turns = Turns(lambda seconds, callback: soon.append(callback), lambda: 0.0)
    done = []

    def fail() -> None:
        raise ValueError("on purpose")

    turns.later_s(0, fail)
    turns.later_s(0, lambda: done.append(True))
    with pytest.raises(ValueError, match="on purpose"):
        soon.popleft()()
    soon.popleft()()
    assert done == [True]
