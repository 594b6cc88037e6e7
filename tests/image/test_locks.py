"""Several programs of the board at once: none loses another's sentence or makes the card read-only under its hands."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import subprocess
from pathlib import Path

import pytest
from clasp_board import system
from clasp_board.places import Places
from clasp_board.problems import add_problem, read_problems, replace_problem

PROGRAMS, SENTENCES = 4, 40


def tell(root: Path, program: int) -> None:
    places = Places(root)
    for number in range(SENTENCES):
        add_problem(places, f"{program} {number}")
        replace_problem(places, f"{program} {number}", f"{program} {number} anew")


def test_no_sentence_is_lost_between_programs(board: Places) -> None:
    fork = multiprocessing.get_context("fork")
    programs = [fork.Process(target=tell, args=(board.root, program)) for program in range(PROGRAMS)]
    for program in programs:
        program.start()
    for program in programs:
        program.join(60)
        assert program.exitcode == 0
    told = {f"{program} {number} anew" for program in range(PROGRAMS) for number in range(SENTENCES)}
    assert set(read_problems(board)) == told


def write_card(root: Path, log: Path) -> None:
    def mount(*command: str | Path, **_: object) -> subprocess.CompletedProcess[str]:
        with log.open("a") as file:
            file.write(f"{command[2]} {os.getpid()}\n")
        return subprocess.CompletedProcess([], 0, "")

    system.run = mount  # type: ignore[assignment]
    system.CARD_LOCK = root / "card.lock"
    os.path.ismount = lambda _path: True  # type: ignore[assignment]
    for _ in range(20):
        with system.writable(root), system.writable(root):
            os.sched_yield()


def test_the_card_is_writable_for_one_program_at_a_time_and_nesting_closes_it_once(board: Places) -> None:
    log = board.root / "log"
    fork = multiprocessing.get_context("fork")
    programs = [fork.Process(target=write_card, args=(board.root, log)) for _ in range(PROGRAMS)]
    for program in programs:
        program.start()
    for program in programs:
        program.join(60)
        assert program.exitcode == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) == PROGRAMS * 20 * 2
    for (opened, by), (closed, also_by) in zip(lines[::2], lines[1::2], strict=True):
        assert (opened, closed, by) == ("remount,rw", "remount,ro", also_by)


def test_a_program_that_hangs_on_the_card_does_not_silence_the_others(
    board: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clasp_board.locks.PATIENCE_S", 0.0)
    with board.problems.with_name("problems.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        add_problem(board, "the card is broken")
    assert read_problems(board) == ["the card is broken"]
