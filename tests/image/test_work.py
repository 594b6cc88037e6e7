"""Files on the card that are made to cost time: what each costs grows with its size, and no faster.

Each of these took minutes to hours; the bound in CPU time is far above what they take.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from clasp_board.imager import ADDED, MOST_KEYS, read_wish
from clasp_board.secrets import redact_toml, redact_wireless, restore_toml

from clasp_edge.config.lines import lines_of

SIZE = 256 * 1024
ENOUGH_S = 8


def filled(line: str) -> str:
    return line * (SIZE // len(line))


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (lambda text: restore_toml(text, None), "[" + " " * SIZE),
        (lambda text: restore_toml(text, None), "[a" + " " * SIZE + "b"),
        (redact_toml, filled("[[a]]\n")),
        (redact_wireless, "password = a" + " " * SIZE + "b"),
        (lines_of, "[" + " " * SIZE),
        (lines_of, "[a" + " " * SIZE + "b"),
        (lambda text: read_wish({"firstrun.sh": text}), filled("imager_custom \\''\n")),
        (
            lambda text: read_wish({"network-config": text}),
            "access-points:\n" + "".join(f" {n}:\n" for n in range(SIZE // 8)),
        ),
        (ADDED.search, " " * SIZE),
    ],
)
def test_what_a_file_costs_grows_with_its_size(work: Callable[[str], object], text: str) -> None:
    began = time.process_time()
    work(text)
    assert time.process_time() - began < ENOUGH_S


def test_thousands_of_keys_are_not_compared_with_each_other() -> None:
    wish = read_wish({"user-data": "".join(f"- ssh-rsa {n}\n" for n in range(SIZE // 16))})
    assert len(wish.keys) == MOST_KEYS
