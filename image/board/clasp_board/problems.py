"""What is wrong, in sentences for the person who set the box up: collected during the start, shown where people look.

In problems.txt on the card's boot partition, in a file of /run that the router makes a param, and on the screen
(screen.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

from clasp_board.locks import locked
from clasp_board.places import Places
from clasp_board.system import writable, write_atomically

FILE = "problems.txt"
HEAD = "What this box found wrong when it was last started:\n\n"


def add_problem(places: Places, sentence: str) -> None:
    """Remember a sentence, once."""
    sentence = _one_line(sentence)
    print(sentence, file=sys.stderr)
    with locked(_lock(places)):
        if sentence in read_problems(places):
            return
        places.problems.parent.mkdir(parents=True, exist_ok=True)
        with places.problems.open("a") as file:
            file.write(f"{sentence}\n")


def replace_problem(places: Places, before: str, sentence: str) -> None:
    """Put a sentence in the place of another; an empty one stands for none."""
    with locked(_lock(places)):
        kept = [line for line in read_problems(places) if line != _one_line(before)]
        places.problems.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(places.problems, "".join(f"{line}\n" for line in kept).encode())
        if sentence:
            add_problem(places, sentence)


def _lock(places: Places) -> Path:
    """Beside the sentences: the start, the watch and the confirmation all write them."""
    return places.problems.with_name("problems.lock")


def _one_line(sentence: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in sentence).split())


def read_problems(places: Places) -> list[str]:
    """The sentences so far."""
    try:
        return places.problems.read_text(errors="replace").splitlines()
    except OSError:
        return []


def publish_problems(places: Places) -> None:
    """Bring the card up to date. It is written only when that changes something."""
    problems = read_problems(places)
    text = (HEAD + "".join(f"- {line}\n\n" for line in problems)).replace("\n", "\r\n") if problems else ""
    file = places.firmware / FILE
    try:
        if (file.read_bytes().decode(errors="replace") if file.exists() else "") == text:
            return
        with writable(places.firmware):
            if text:
                file.write_bytes(text.encode())
            else:
                file.unlink()
    except OSError as error:
        print(f"{FILE} could not be written to the card: {error}", file=sys.stderr)
