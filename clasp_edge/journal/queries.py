"""Finds things in a store within a transaction that somebody else has begun: what is noted, blocks, pieces of the log.

A log block whose checksum is wrong is passed over and named; a store is not given up for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import lmdb

from clasp_edge.journal.documents import unsealed
from clasp_edge.journal.errors import Damaged
from clasp_edge.journal.format import (
    CURSOR_PREFIX,
    LOG_PREFIX,
    NOTE_PREFIX,
    RUN_KEY,
    STATE_PREFIX,
    BadBlock,
    Header,
    check,
    log_key,
    read_header,
)
from clasp_edge.journal.summaries import Summaries
from clasp_edge.journal.summary import Question

MOST_RECORDS = 1 << 13
"""Above what a block can hold of the smallest records there are."""

BLOCK_BYTES = 1 << 16
"""Of a block that cannot tell its size."""


class LogEnd(NamedTuple):
    """Where the log goes on: the next number, the bytes of all blocks before it, the newest start seen."""

    number: int
    before: int
    run: int


class Piece(NamedTuple):
    """A part of the log: blocks, the record to go on from (past the last one asked for at the end), and the numbers of
    the blocks that would have been read if they were not damaged."""

    blocks: list[bytes]
    next: int
    damaged: list[int]


def read_piece(
    txn: lmdb.Transaction[memoryview],
    first: int,
    last: int,
    from_us: int,
    to_us: int,
    mask: int,
    max_bytes: int,
    max_blocks: int,
    question: Question | None = None,
) -> Piece:
    """`Store.read_log` within a transaction."""
    piece: list[bytes] = []
    damaged: list[int] = []
    with txn.cursor() as cursor, txn.cursor() as others:
        summaries = Summaries(others, question)
        placed = False
        while max_bytes > 0 and max_blocks:
            max_blocks -= 1
            beyond = summaries.beyond(first)
            if beyond > first:
                first = beyond
                placed = False
                if first > last:
                    return Piece(piece, last + 1, damaged)
                continue
            if not placed and not seek(cursor, first):
                return Piece(piece, last + 1, damaged)
            placed = True
            number = int.from_bytes(cursor.key()[1:], "big")
            if number > last:
                return Piece(piece, last + 1, damaged)
            block = cursor.value()
            try:
                header = check(block)
            except BadBlock:
                # Where it ends is not known; the next one begins behind it.
                damaged.append(number)
                first = max(first, number + 1)
            else:
                if header.last >= first:
                    first = header.last + 1
                    if header.signals & mask and header.max_us >= from_us and header.min_us <= to_us:
                        piece.append(bytes(block))
                        max_bytes -= len(block)
            if not (cursor.next() and cursor.key()[:1] == LOG_PREFIX):
                return Piece(piece, last + 1, damaged)
    return Piece(piece, first, damaged)


def schema_of(noted: bytes) -> int:
    """The number in the schema record. Raises Damaged."""
    try:
        version = json.loads(noted)["schema"]
    except (ValueError, KeyError, TypeError):
        raise Damaged("the schema record cannot be read") from None
    if not isinstance(version, int) or version < 1:
        raise Damaged("the schema record has no number")
    return version


def noted_run(txn: lmdb.Transaction) -> int:
    """The number of the newest start that was noted, 0 in a store that nobody has written blocks to."""
    return int.from_bytes(bytes(txn.get(RUN_KEY) or b""), "big")


def noted_cursors(txn: lmdb.Transaction) -> Iterator[tuple[str, int]]:
    """The places of readers who follow the log, by name."""
    with txn.cursor() as cursor:
        there = cursor.set_range(CURSOR_PREFIX)
        while there and bytes(cursor.key()[:1]) == CURSOR_PREFIX:
            yield bytes(cursor.key()[1:]).decode("utf-8", "replace"), int.from_bytes(bytes(cursor.value()), "big")
            there = cursor.next()


def noted_documents(txn: lmdb.Transaction) -> Iterator[tuple[str, bytes | None]]:
    """Documents by name (`journal.notes`), None for a damaged one."""
    with txn.cursor() as cursor:
        there = cursor.set_range(NOTE_PREFIX)
        while there and bytes(cursor.key()[:1]) == NOTE_PREFIX:
            yield bytes(cursor.key()[1:]).decode("utf-8", "replace"), unsealed(bytes(cursor.value()))
            there = cursor.next()


def seek(cursor: lmdb.Cursor, first: int) -> bool:
    """Put the cursor on the log block that holds record `first`, or on the first one after it."""
    if not cursor.set_range(log_key(first)) or bytes(cursor.key()[:1]) != LOG_PREFIX:
        # Past the last log block: that one may hold it.
        if not cursor.set_range(STATE_PREFIX):
            found: bool = cursor.last()
        else:
            found = cursor.prev()
        return found and bytes(cursor.key()[:1]) == LOG_PREFIX
    if bytes(cursor.key()) == log_key(first):
        return True
    if cursor.prev() and bytes(cursor.key()[:1]) == LOG_PREFIX:
        return True
    return bool(cursor.set_range(log_key(first)))


def first_header(txn: lmdb.Transaction) -> Header | None:
    """The oldest log block's header that can be read, None without a log."""
    with txn.cursor() as cursor:
        there = cursor.set_range(LOG_PREFIX)
        while there and bytes(cursor.key()[:1]) == LOG_PREFIX:
            try:
                return read_header(cursor.value())
            except BadBlock:
                there = cursor.next()
    return None


def last_header(txn: lmdb.Transaction, prefix: bytes) -> Header | None:
    """The newest block's header of one kind, without a look at its checksum. Raises Damaged."""
    after = bytes((prefix[0] + 1,))
    with txn.cursor() as cursor:
        found = cursor.prev() if cursor.set_range(after) else cursor.last()
        if not found or bytes(cursor.key()[:1]) != prefix:
            return None
        try:
            return read_header(cursor.value())
        except BadBlock as error:
            raise Damaged(str(error)) from None


def log_end(txn: lmdb.Transaction) -> LogEnd:
    """Where the log goes on: behind the newest sound block and everything that damaged ones after it may hold."""
    number, size = 0, 0
    with txn.cursor() as cursor:
        found = cursor.prev() if cursor.set_range(STATE_PREFIX) else cursor.last()
        while found and bytes(cursor.key()[:1]) == LOG_PREFIX:
            try:
                header = check(cursor.value())
            except BadBlock:
                number = number or int.from_bytes(bytes(cursor.key()[1:]), "big") + MOST_RECORDS
                size += BLOCK_BYTES
                found = cursor.prev()
                continue
            return LogEnd(max(number, header.last + 1), header.before + header.size + size, header.run)
    return LogEnd(number or 1, size, 0)
