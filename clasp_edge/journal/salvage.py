"""What can be saved from a store that LMDB cannot, or should not, open.

State blocks say themselves where they begin, how long they are and what their checksum is, and LMDB keeps each in one
piece. So they are found by searching the file, however much of the tree around them is broken. Nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from clasp_edge.dataplane.tap import STATE_MAGIC
from clasp_edge.journal.format import HEADER_BYTES, LARGEST_BLOCK, BadBlock, check, read_header

_WINDOW = 1 << 22


def salvage_state(path: Path) -> Iterator[bytes]:
    """The state blocks in `path` that still count, in their order. Unreadable parts of the file are passed over."""
    found: dict[int, tuple[int, int]] = {}
    base_of: dict[int, int] = {}
    for offset, block in _blocks(path):
        header = read_header(block)
        found[header.number] = offset, header.size
        base_of[header.number] = header.base
    if not found:
        return
    base = base_of[max(found)]
    with path.open("rb") as file:
        for number in sorted(found):
            if number >= base:
                offset, size = found[number]
                file.seek(offset)
                yield file.read(size)


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every piece of the file that is a sound state block, with its offset."""
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        begin = 0
        while begin < size:
            window = _read(file.fileno(), begin, _WINDOW + LARGEST_BLOCK)
            at = window.find(STATE_MAGIC)
            while 0 <= at < _WINDOW:
                block = _block_at(window, at)
                if block is not None:
                    yield begin + at, block
                at = window.find(STATE_MAGIC, at + 4)
            begin += _WINDOW


def _block_at(window: bytes, at: int) -> bytes | None:
    try:
        header = read_header(window[at : at + HEADER_BYTES])
        if header.size > LARGEST_BLOCK:
            return None
        block = window[at : at + header.size]
        check(block)
    except BadBlock:
        return None
    return block


def _read(fd: int, begin: int, size: int) -> bytes:
    try:
        return os.pread(fd, size, begin)
    except OSError:
        # A bad sector: what lies in the other pages of the window can still be read.
        pieces = []
        for offset in range(begin, begin + size, 4096):
            try:
                pieces.append(os.pread(fd, 4096, offset))
            except OSError:
                pieces.append(bytes(4096))
        return b"".join(pieces)
