"""Makes one log block of several small ones: a router with little to do writes a block of a record or two each time.

Knows what is in blocks, not where they lie. Nothing of a record changes, and none gets another number.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from clasp_edge.journal.format import HEADER_BYTES, SAME_WRITER, BadBlock, Header, check, log_sizes, make_log_block

JOINED_BYTES = 1 << 16
"""What blocks are joined to; as large as the data plane makes them."""

SMALL_BYTES = JOINED_BYTES // 2
"""Larger ones stay as they are."""


class Small:
    """The small blocks at the end of the log that wait to be joined."""

    def __init__(self) -> None:
        self._headers: list[Header] = []
        self._bytes = 0

    def add(self, header: Header) -> list[Header]:
        """A block has been added to the log. Returns those that are to be joined now, a single one that stays as it is,
        or none; the new one is not among them."""
        follows = bool(self._headers) and _follows(self._headers[-1], header)
        fits = self._bytes + header.size <= JOINED_BYTES and header.size <= SMALL_BYTES
        full: list[Header] = []
        if not (follows and fits):
            full, self._headers, self._bytes = self._headers, [], 0
        if header.size <= SMALL_BYTES:
            self._headers.append(header)
            self._bytes += header.size
        return full

    def clear(self) -> None:
        """What was noted is not in the store."""
        self._headers.clear()
        self._bytes = 0


def _follows(one: Header, other: Header) -> bool:
    return other.number == one.last + 1 and other.run == one.run and other.flags == one.flags


def join(blocks: Sequence[memoryview]) -> bytes:
    """One sealed block with the records of these, which follow one another. Raises BadBlock."""
    headers = [check(block) for block in blocks]
    if not headers or not all(_follows(one, other) for one, other in itertools.pairwise(headers)):
        raise BadBlock("blocks that do not follow one another")
    body = bytearray()
    writer = b""
    for number, block in enumerate(blocks):
        at = HEADER_BYTES
        while at < len(block):
            head, size, writer_size = log_sizes(block, at)
            name_end = at + head + (0 if writer_size == SAME_WRITER else writer_size)
            if number and at == HEADER_BYTES and block[at + head : name_end] == writer and b"\0" not in writer:
                # Every block names its first writer; within one that is said once. (Where numbers of another router
                # stand beside it, they go on from here.)
                body += (size - len(writer)).to_bytes(4, "little") + block[at + 4 : at + head - 1]
                body.append(SAME_WRITER)
            else:
                if writer_size != SAME_WRITER:
                    writer = bytes(block[at + head : name_end])
                body += block[at:name_end]
            body += block[name_end : at + size]
            at += size
    size = HEADER_BYTES + len(body)
    return make_log_block(
        headers[0]._replace(
            size=size,
            records=sum(header.records for header in headers),
            min_us=min(header.min_us for header in headers),
            max_us=max(header.max_us for header in headers),
            signals=_union(headers),
        ),
        body,
    )


def _union(headers: Sequence[Header]) -> int:
    signals = 0
    for header in headers:
        signals |= header.signals
    return signals
