"""Whether the box reaches anybody, as the verdict on an update asks it; what ip and ping say is played."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable

import pytest
from clasp_board import confirm, network_health
from clasp_board.network_health import FILE, network_is_as_before, reached, remember_network
from clasp_board.places import Places
from clasp_board.slots import SlotState, read_state, write_state


class Net:
    """A network whose machines answer to pings, only with their hardware address, or not at all."""

    def __init__(self, gateways: Iterable[str] = (), pinged: Iterable[str] = (), known: Iterable[str] = ()) -> None:
        self.gateways, self.pinged, self.known = list(gateways), list(pinged), list(known)
        self.said: str | None = None
        self.state = "REACHABLE"

    def run(self, *words: str, timeout_s: float = 0) -> subprocess.CompletedProcess[str]:
        if words[0] == "ping":
            return subprocess.CompletedProcess([], 0 if words[-1] in self.pinged else 1, "")
        shown: list[object] = [{"dst": "default", "gateway": gateway} for gateway in self.gateways]
        if words[2] == "neighbour":
            asked = words[4] if len(words) > 4 else None
            shown = [{"dst": a, "lladdr": "52:54", "state": [self.state]} for a in self.known if asked in (None, a)]
        return subprocess.CompletedProcess([], 0, json.dumps(shown) if self.said is None else self.said)


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    net = Net()
    monkeypatch.setattr(network_health, "run", net.run)
    return net


def test_a_gateway_that_answers_in_any_way_is_reached(net: Net) -> None:
    net.gateways, net.pinged = ["10.0.0.1"], ["10.0.0.1"]
    assert reached() == ["10.0.0.1"]
    net.pinged, net.known = [], ["10.0.0.1"]
    assert reached() == ["10.0.0.1"]
    net.known = ["10.0.0.9"]
    assert reached() == []


def test_without_a_gateway_neighbours_count(net: Net) -> None:
    net.known = ["169.254.3.4", "10.0.0.9"]
    assert reached() == ["169.254.3.4", "10.0.0.9"]


@pytest.mark.parametrize("said", ["", "{", "null", "7", '["x", 3]'])
def test_answers_that_make_no_sense_are_nobody(net: Net, said: str) -> None:
    net.said = said
    assert reached() == []


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [(["10.0.0.1"], ["10.0.0.1"], True), (["10.0.0.1"], [], False), ([], [], True), ([], ["10.0.0.1"], True)],
)
def test_an_update_that_ends_the_network_is_not_kept(
    board: Places, net: Net, monkeypatch: pytest.MonkeyPatch, before: list[str], after: list[str], kept: bool
) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(confirm, "run", lambda *words: commands.append(words))
    net.gateways, net.pinged = ["10.0.0.1"], before
    remember_network(board)
    board.boot.write_text("booted=b\nslot=a\ntrying=b\nfailed=\ndisk=x\npartition=x\n")
    write_state(board.slot_state, SlotState(trying="b"))
    net.pinged = after
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    assert confirm.confirm(board, lambda: True, lambda: passed[0], sleep) == (0 if kept else 1)
    assert read_state(board.slot_state) == (SlotState(slot="b") if kept else SlotState(trying="b"))
    assert (("systemctl", "reboot") in commands) is not kept
    assert (board.data / FILE).exists() is not kept


def test_nothing_is_asked_where_nothing_was_kept(board: Places, net: Net) -> None:
    assert network_is_as_before(board)
    (board.data / FILE).write_text("")
    assert network_is_as_before(board)


def test_on_a_network_without_a_gateway_those_of_before_are_asked(board: Places, net: Net) -> None:
    net.known = net.pinged = ["10.0.0.9"]
    remember_network(board)
    net.known = []  # the box has just started, and nobody has sent it anything
    assert network_is_as_before(board)
    net.pinged = []
    assert not network_is_as_before(board)


@pytest.mark.parametrize("state", ["STALE", "DELAY", "PROBE", "FAILED", "INCOMPLETE"])
def test_one_that_was_there_and_does_not_answer_is_not_reached(net: Net, state: str) -> None:
    net.known, net.state = ["10.0.0.9"], state
    assert reached() == []
