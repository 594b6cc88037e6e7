"""The named numbers of the control plane against the declarations that the data plane is compiled from."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

import clasp_edge.dataplane
from clasp_edge.dataplane import Framing, Route, Strategy, Verdict
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.wire import MAX_VALUE_DEPTH

SOURCES = Path(clasp_edge.dataplane.__file__).parent


def compiled(declaration: str) -> dict[str, int]:
    """All numbers of the enums in a .pxd."""
    text = (SOURCES / declaration).read_text()
    blocks = re.findall(r"^cdef enum[^:]*:.*\n((?:(?:    .*)?\n)+)", text, re.MULTILINE)
    numbers = re.findall(r"^    (\w+) = (-?\w+)", "".join(blocks), re.MULTILINE)
    return {name: int(number, 0) for name, number in numbers}


@pytest.mark.parametrize(
    ("names", "declaration", "prefix"),
    [
        (Verdict, "verdict.pxd", ""),
        (Strategy, "table.pxd", "STRATEGY_"),
        (Route, "table.pxd", "ROUTE_"),
        (Framing, "clasp_sender.pxd", "FRAMED_"),
    ],
)
def test_names_mean_the_compiled_numbers(names: type[IntEnum], declaration: str, prefix: str) -> None:
    numbers = {name: number for name, number in compiled(declaration).items() if name.startswith(prefix)}
    named = {prefix + member.name: int(member) for member in names}
    if prefix:
        assert named == numbers
    else:
        assert named.items() <= numbers.items()


def test_values_nest_equally_deep_in_both_planes() -> None:
    assert compiled("scan.pxd")["MAX_DEPTH"] == MAX_VALUE_DEPTH


def test_both_planes_reserve_the_same_addresses() -> None:
    assert compiled("reserved.pxd")["RESERVED_BYTES"] == len(RESERVED)
    assert f'b"{RESERVED.decode()}"' in (SOURCES / "reserved.pxd").read_text()
