"""What holds for compiled sources, which the linters do not read: the order of the rooms, and what they may not use."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clasp_edge"
IMPORT = re.compile(r"^\s*(?:from|import|cimport)\s+clasp_edge\.(\w+)", re.MULTILINE)


def room_depths() -> dict[str, int]:
    """Each room with its depth in the layers contract; rooms of one layer share a depth."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if "containers" in contract]
    return {room: depth for depth, layer in enumerate(layers) for room in re.findall(r"\w+", layer)}


def upward_imports(room: str, source: str, depths: dict[str, int]) -> list[str]:
    return [target for target in IMPORT.findall(source) if target != room and depths[target] < depths[room]]


def test_compiled_sources_import_downwards_only() -> None:
    depths = room_depths()
    sources = [path for suffix in ("*.pyx", "*.pxd", "*.pxi") for path in PACKAGE.rglob(suffix)]
    assert sources
    wrong = {
        str(path.relative_to(ROOT)): upward
        for path in sources
        if (upward := upward_imports(path.relative_to(PACKAGE).parts[0], path.read_text("utf-8"), depths))
    }
    assert not wrong


def test_no_compiled_source_has_a_typed_memoryview() -> None:
    """One of them brings half a megabyte of C into its module, and seconds of compiling: see dataplane/view.pyx."""
    typed = re.compile(r"\w\[:+1?(, ?:+1?)*\]")
    sources = [path for suffix in ("*.pyx", "*.pxd") for path in PACKAGE.rglob(suffix)]
    wrong = {
        str(path.relative_to(ROOT)): line
        for path in sources
        for line in path.read_text("utf-8").splitlines()
        if (line.lstrip().startswith(("cdef ", "def ", "cpdef ")) and typed.search(line))
    }
    assert not wrong


def test_an_upward_import_is_seen() -> None:
    depths = room_depths()
    assert upward_imports("wire", "from clasp_edge.router.gate cimport Gate\n", depths) == ["router"]
    assert upward_imports("dataplane", "    cimport clasp_edge.transports.tcp\n", depths) == ["transports"]
    assert upward_imports("dataplane", "from clasp_edge.wire.frame import HEADER_BYTES\n", depths) == []
