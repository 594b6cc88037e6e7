"""Which chips a board has, by its device tree, and which of them a set of kernel modules has drivers for.

The format is that of the Devicetree Specification, chapter 5; modules.alias is depmod's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

BEGIN_NODE, END_NODE, PROPERTY, NOP = 1, 2, 3, 4
ENABLED = (b"okay", b"ok")

_HEADER = struct.Struct(">10I")
_CELL = struct.Struct(">I")
_ALIAS = re.compile(r"^alias of:N\S*?T\S*?C(\S+?)(?:C\*)? (\S+)$", re.MULTILINE)


def chips(blob: bytes) -> Iterator[tuple[str, ...]]:
    """The names (`compatible`, the most exact first) of each device that is not disabled."""
    _, _, at, strings, *_ = _HEADER.unpack_from(blob)
    enabled = [True]
    names: list[tuple[str, ...]] = [()]
    while True:
        (token,) = _CELL.unpack_from(blob, at)
        at += _CELL.size
        if token == BEGIN_NODE:
            at = _aligned(blob.index(b"\0", at) + 1)
            enabled.append(enabled[-1])
            names.append(())
        elif token == PROPERTY:
            size, name_at = struct.unpack_from(">2I", blob, at)
            at += 2 * _CELL.size
            value = blob[at : at + size]
            at = _aligned(at + size)
            name = blob[strings + name_at : blob.index(b"\0", strings + name_at)]
            if name == b"status":
                enabled[-1] = enabled[-1] and value.rstrip(b"\0") in ENABLED
            elif name == b"compatible":
                names[-1] = tuple(value.rstrip(b"\0").decode().split("\0"))
        elif token == END_NODE:
            if enabled.pop() and names[-1]:
                yield names[-1]
            names.pop()
        elif token != NOP:
            return


def _aligned(at: int) -> int:
    return (at + 3) & ~3


def drivers(modules: Path) -> dict[str, set[str]]:
    """By the name of a chip, the modules for it; `modules` is a directory lib/modules/RELEASE with its index."""
    found: dict[str, set[str]] = {}
    for chip, module in _ALIAS.findall((modules / "modules.alias").read_text()):
        found.setdefault(chip, set()).add(module)
    return found


def left_out(tree: Path, every: Path, kept: Path) -> dict[str, set[str]]:
    """By the name of a chip of the board, the modules in `every` that are for it, where `kept` has none of them."""
    known, here = drivers(every), drivers(kept)
    missing = {}
    for names in chips(tree.read_bytes()):
        wanted = set().union(*(known.get(name, set()) for name in names))
        if wanted and not wanted & set().union(*(here.get(name, set()) for name in names)):
            missing[names[0]] = wanted
    return missing
