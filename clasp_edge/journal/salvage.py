"""What can be saved from a store that LMDB cannot, or should not, open.

State blocks say themselves where they begin, how long they are and what their checksum is, and LMDB keeps each in one
piece. So they are found by searching the file, however much of the tree around them is broken. Nothing is written.

Freed pages hold blocks too: older ones, and ones that a power cut kept from counting. The numbers in the blocks tell
which is which: a later start goes on from the last block that counted, and so takes the place of everything that an
earlier one has written from that number on; what a block names as its base, and nothing before it, holds every param.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clasp_edge.dataplane.journal_buffer import LOG_MAGIC, STATE_MAGIC
from clasp_edge.journal.format import HEADER_BYTES, LARGEST_BLOCK, BadBlock, check, read_header

_WINDOW = 1 << 22
_MAGIC = re.compile(re.escape(LOG_MAGIC) + b"|" + re.escape(STATE_MAGIC))


class _Place(NamedTuple):
    """A sound block in the file."""

    offset: int
    size: int
    base: int


def salvage_state(path: Path) -> Iterator[bytes]:
    """The state blocks in `path` that still count, in their order. Unreadable parts of the file are passed over.

    Where a block is missing among those that count, older ones come first: what has been forgotten since is a smaller
    evil than what is lost.
    """
    runs: dict[int, dict[int, _Place]] = {}
    for offset, block in _blocks(path):
        header = read_header(block)
        runs.setdefault(header.run, {})[header.number] = _Place(offset, header.size, header.base)
    counting: dict[int, _Place] = {}
    taken: float = math.inf
    for run in sorted(runs, reverse=True):
        counting.update((number, place) for number, place in runs[run].items() if number < taken)
        taken = min(taken, *runs[run])
    if not counting:
        return
    newest = max(counting)
    base = counting[newest].base
    complete = all(number in counting for number in range(base, newest + 1))
    with path.open("rb") as file:
        for number in sorted(counting):
            if number >= base or not complete:
                file.seek(counting[number].offset)
                yield file.read(counting[number].size)


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every piece of the file that is a sound state block, with its offset."""
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        begin = 0
        at = 0
        while begin < size:
            window = _read(file.fileno(), begin, _WINDOW + LARGEST_BLOCK)
            while (match := _MAGIC.search(window, at)) is not None and (at := match.start()) < _WINDOW:
                block = _block_at(window, at)
                if block is not None and match[0] == STATE_MAGIC:
                    yield begin + at, block
                # What lies in a sound block is what somebody wrote, even if it looks like a block.
                at += 4 if block is None else len(block)
            begin += _WINDOW
            at = max(0, at - _WINDOW)


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
