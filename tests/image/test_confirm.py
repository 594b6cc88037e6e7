"""The verdict on a new system or configuration, with a daemon whose health the test decides."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clasp_board import confirm, settings
from clasp_board.confirm import PATIENCE_S, STEADY_S, wait_until_steady
from clasp_board.daemon_files import CONFIG
from clasp_board.places import Places
from clasp_board.problems import add_problem, read_problems
from clasp_board.slots import SlotState, read_state, write_state


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of systemd."""
    commands: list[str] = []
    run = confirm.run

    def record(*command: str, **options: object) -> object:
        if command[0] in ("systemctl", "journalctl"):
            commands.append(" ".join(command))
            return run("true")
        return run(*command)

    monkeypatch.setattr(confirm, "run", record)
    return commands


def verdict(board: Places, clock: Clock, healthy: Callable[[], bool]) -> int:
    return confirm.confirm(board, healthy, clock, clock.sleep)


def on_trial(board: Places) -> None:
    board.boot.write_text("booted=b\nslot=a\ntrying=b\nfailed=\ndisk=x\npartition=x\n")
    write_state(board.slot_state, SlotState(slot="a", trying="b", id="12"))


def test_a_new_system_that_is_well_is_kept(board: Places, clock: Clock, asked: list[str]) -> None:
    on_trial(board)
    assert verdict(board, clock, lambda: clock.now > 60) == 0
    assert read_state(board.slot_state) == SlotState(slot="b", id="12")
    assert "trying=\n" in board.boot.read_text()
    assert clock.now >= 60 + STEADY_S
    assert asked == []


def test_a_new_system_that_is_not_well_is_left(board: Places, clock: Clock, asked: list[str]) -> None:
    on_trial(board)
    before = board.slot_state.read_bytes()
    assert verdict(board, clock, lambda: False) == 1
    assert asked == ["systemctl reboot"]
    assert board.slot_state.read_bytes() == before


@pytest.mark.parametrize("well", [True, False])
def test_a_new_system_that_did_not_even_start_is_not_kept(
    board: Places, clock: Clock, asked: list[str], well: bool
) -> None:
    board.boot.write_text("booted=a\nslot=a\ntrying=b\nfailed=\ndisk=x\npartition=x\n")
    write_state(board.slot_state, SlotState(slot="a", trying="b"))
    assert verdict(board, clock, lambda: well) == (0 if well else 1)
    assert read_state(board.slot_state).slot == "a"
    assert "systemctl reboot" not in asked


def test_a_configuration_is_taken_back_though_the_card_can_only_be_read(
    board: Places, clock: Clock, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(confirm, "write_atomically", refuse)
    (board.accepted / (CONFIG + settings.BEFORE)).write_text("name = 'old'\n")
    assert verdict(board, clock, lambda: False) == 1
    assert board.daemon_config.read_text() == "name = 'old'\n"
    assert "systemctl restart --no-block clasp-edge.service" in asked
    assert "Read-only file system" in read_problems(board)[1]


def test_a_daemon_that_comes_and_goes_is_not_well(clock: Clock) -> None:
    assert not wait_until_steady(lambda: int(clock.now) % STEADY_S != 0, clock, clock.sleep)
    assert clock.now >= PATIENCE_S


def test_a_new_configuration_that_works_stays(board: Places, clock: Clock, asked: list[str]) -> None:
    (board.accepted / CONFIG).write_text("new")
    (board.accepted / (CONFIG + settings.BEFORE)).write_text("old")
    assert verdict(board, clock, lambda: True) == 0
    assert (board.accepted / CONFIG).read_text() == "new"
    assert not (board.accepted / (CONFIG + settings.BEFORE)).exists()


@pytest.mark.parametrize("before", ["", "name = 'old'\n"])
def test_a_new_configuration_that_does_not_is_taken_back(
    board: Places, clock: Clock, asked: list[str], before: str
) -> None:
    (board.accepted / CONFIG).write_text("new")
    (board.accepted / (CONFIG + settings.BEFORE)).write_text(before)
    board.daemon_config.parent.mkdir(parents=True)
    board.daemon_config.write_text("new")
    assert verdict(board, clock, lambda: False) == 1
    for path in (board.accepted / CONFIG, board.daemon_config):
        assert (path.read_text() if path.exists() else "") == before
    assert "the router does not start with it" in read_problems(board)[0]
    assert "systemctl restart --no-block clasp-edge.service" in asked
    assert verdict(board, clock, lambda: True) == 0


def test_a_daemon_that_does_not_start_is_reported(board: Places, clock: Clock, asked: list[str]) -> None:
    board.boot.write_text("booted=a\nslot=a\ntrying=\n")
    assert verdict(board, clock, lambda: False) == 1
    assert read_problems(board)[0].startswith("The router does not start.")
    assert (board.firmware / "problems.txt").exists()


def test_a_daemon_that_starts_after_all_is_no_problem_any_more(board: Places, clock: Clock, asked: list[str]) -> None:
    board.boot.write_text("booted=a\nslot=a\ntrying=\n")
    add_problem(board, "Something else.")
    said: list[str] = []

    def late() -> bool:
        said.extend(read_problems(board))
        return clock() > 2 * PATIENCE_S

    assert verdict(board, clock, late) == 0
    assert said[-1].startswith("The router does not start.")
    assert read_problems(board) == ["Something else."]
