"""docs/architecture.md shows what is really sent between two clasp-edges, and names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

from clasp_edge.federation.shared.dedup import Route
from clasp_edge.federation.shared.extensions import route_frame
from clasp_edge.wire import FederationOp
from clasp_edge.wire.frame import HEADER_BYTES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_the_route_that_is_shown_is_the_one_that_is_sent() -> None:
    shown = re.search(r"^    (04 41 .*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert shown is not None
    words = re.findall(r'"[^"]*"|[0-9a-f]+', shown[1])
    payload = b"".join(word[1:-1].encode() if word[0] == '"' else bytes.fromhex(word) for word in words)
    assert payload == route_frame(Route("box-1", 5, 0), 7, 1)[HEADER_BYTES:]


def test_every_operation_is_in_the_table() -> None:
    table = {
        int(number, 16): name for number, name in re.findall(r"^\| (0x4[0-9a-f]) \| ([A-Z]+) \|", PAGE, re.MULTILINE)
    }
    assert table == {op: op.name for op in FederationOp if op >= 0x40}


def test_the_files_that_it_names_are_there() -> None:
    named = set(re.findall(r"\b[a-z_]+(?:/[a-z_]+)+\.pyx?\b", PAGE))
    assert len(named) > 10
    package = ROOT / "clasp_edge"
    folders = (package, package / "federation", ROOT)
    assert [name for name in sorted(named) if not any((folder / name).exists() for folder in folders)] == []
