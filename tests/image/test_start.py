"""The order of a start, and what belongs to the board and not to its card."""

from __future__ import annotations

from pathlib import Path

import pytest
from clasp_board import start as starting
from clasp_board.apply import HOST_KEY, make_host_key
from clasp_board.places import Places
from clasp_board.problems import read_problems
from clasp_board.secrets import MARK
from clasp_board.start import ROUTER_ID, know_board, start


@pytest.fixture
def card(board: Places) -> Places:
    """A card that has been used in board one."""
    in_board(board, "one")
    know_board(board)
    for name in (ROUTER_ID, HOST_KEY, f"{HOST_KEY}.pub", "clasp-edge/journal", "settings/hostname.txt"):
        path = board.data / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("one")
    return board


def in_board(board: Places, identity: str) -> None:
    (board.root / "etc").mkdir(exist_ok=True)
    (board.root / "etc/machine-id").write_text(f"{identity}\n")


def test_a_card_that_stays_keeps_everything(card: Places) -> None:
    know_board(card)
    assert (card.data / ROUTER_ID).read_text() == "one"
    assert (card.data / HOST_KEY).read_text() == "one"


def test_a_copied_card_is_a_router_of_its_own_in_another_board(card: Places) -> None:
    in_board(card, "two")
    know_board(card)
    assert not (card.data / ROUTER_ID).exists()
    assert not (card.data / HOST_KEY).exists()
    assert (card.data / "clasp-edge/journal").exists()
    assert (card.data / "settings/hostname.txt").exists()
    (card.data / ROUTER_ID).write_text("two")
    know_board(card)
    assert (card.data / ROUTER_ID).read_text() == "two"


@pytest.mark.parametrize("left", [b"", b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz", bytes(400)])
def test_a_host_key_that_a_power_cut_has_spoilt_is_made_anew(board: Places, left: bytes) -> None:
    make_host_key(board)
    key = board.data / HOST_KEY
    made = key.read_bytes()
    make_host_key(board)
    assert key.read_bytes() == made
    key.write_bytes(left)
    make_host_key(board)
    assert key.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert len(key.read_bytes()) == len(made)


def test_a_card_that_fails_keeps_no_box_from_starting(board: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_places: Places) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(starting, "mount_disks", fail)
    Path(board.firmware / "hostname.txt").write_text("left")
    assert start(board) == 0
    assert (board.root / "etc/hostname").read_text() == "left\n"
    assert "Input/output error" in read_problems(board)[0]
    assert "Input/output error" in (board.firmware / "problems.txt").read_text()


@pytest.mark.parametrize("text", [f"x = {'[' * 5000}\n", f"x = {'{a=' * 5000}\n", f"x{'.a' * 5000} = 1\n"])
def test_a_configuration_that_is_nested_without_end_costs_nothing_else(board: Places, text: str) -> None:
    (board.firmware / "hostname.txt").write_text("left")
    (board.firmware / "clasp-edge.toml").write_text(text)
    (board.firmware / "show").mkdir()
    (board.firmware / "show/a.toml").write_text(text)
    assert start(board) == 0
    assert (board.root / "etc/hostname").read_text() == "left\n"
    for name in ("clasp-edge.toml", "show/a.toml"):
        assert any(p.startswith(f"{name}: ") and "nested too deeply" in p for p in read_problems(board))


def test_what_nobody_thought_of_costs_neither_the_name_nor_the_problems(
    board: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    (board.accepted / "hostname.txt").write_text("left")
    (board.accepted / "clasp-edge.toml").write_text(
        f'[[security.token]]\nsubject = "a"\ntoken = "{MARK}"\nscopes = ["read:/**"]\n'
    )

    def fail(*_: object) -> None:
        raise RuntimeError("a card of a new kind")

    monkeypatch.setattr(starting, "take_over_imager", fail)
    monkeypatch.setattr(starting.settings, "take_over", fail)
    assert start(board) == 0
    assert (board.root / "etc/hostname").read_text() == "left\n"
    assert MARK not in board.daemon_config.read_text(), "everybody knows it"
    assert (board.firmware / "problems.txt").read_text().count("a card of a new kind") == 2
