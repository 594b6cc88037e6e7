"""The summaries of log blocks in the store: put there with their blocks, asked before a block is read.

Only blocks that will not be joined any more have one (`coalesce`): of a log of any size, what has none takes 64 KiB or
so. Without one, or with one that is damaged, a block is read: so a log that an older version has written needs nothing.
"""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING

import lmdb

from clasp_edge.journal.format import SUMMARY_PREFIX, read_header, summary_key
from clasp_edge.journal.summary import CRC_BYTES, Question, summary_of

if TYPE_CHECKING:
    from typing_extensions import Buffer


SHARE = 0.02
"""Of a core, for making summaries: some 400,000 records a second at 50 ns each. Above that some blocks have none."""

BURST_S = 0.1
"""That may be used at once, after a time in which there was little to do."""


class SummaryWriter:
    """Makes summaries, for one thread, as far as its share of the time goes."""

    def __init__(self) -> None:
        self._left_s = BURST_S
        self._at_s = time.monotonic()

    def put(self, txn: lmdb.Transaction, block: Buffer) -> None:
        """Store what a sealed log block's summary is."""
        now_s = time.monotonic()
        self._left_s = min(BURST_S, self._left_s + (now_s - self._at_s) * SHARE)
        self._at_s = now_s
        if self._left_s <= 0:
            return
        began_s = time.thread_time()
        summary = summary_of(block)
        if summary is not None:
            summary[:CRC_BYTES] = zlib.crc32(memoryview(summary)[CRC_BYTES:]).to_bytes(CRC_BYTES, "little")
            txn.put(summary_key(read_header(block).number), summary)
        self._left_s -= time.thread_time() - began_s


def drop_below(txn: lmdb.Transaction, number: int, limit: int) -> None:
    """Remove up to `limit` summaries of blocks that begin before record `number`."""
    end = summary_key(number)
    with txn.cursor() as cursor:
        found = cursor.set_range(SUMMARY_PREFIX)
        while found and limit and bytes(cursor.key()) < end:
            found = cursor.delete()
            limit -= 1


class Summaries:
    """What the summaries in a store say to one question; None: nobody asks."""

    def __init__(self, cursor: lmdb.Cursor[memoryview], question: Question | None) -> None:
        self._cursor = cursor
        self._question = question
        self._there = True
        self._placed = False

    def beyond(self, first: int) -> int:
        """The record to go on from: `first`, or where the block that begins with it has nothing, the one behind it. To
        be asked with numbers that rise."""
        if self._question is None:
            return first
        if not self._placed:
            self._placed = True
            self._there = self._cursor.set_range(summary_key(first))
        while self._there:
            key = bytes(self._cursor.key())
            number = int.from_bytes(key[1:], "big")
            if key[:1] != SUMMARY_PREFIX or number > first:
                break
            last = 0
            if number == first:
                summary = self._cursor.value()
                if zlib.crc32(summary[CRC_BYTES:]) == int.from_bytes(summary[:CRC_BYTES], "little"):
                    last = self._question.rules_out(summary, number)
            self._there = self._cursor.next()
            if number == first:
                return last + 1 if last else first
        return first
