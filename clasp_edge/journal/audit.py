"""The stream of audit entries beside the log: keys of their own in the store, with their own retention.

An entry is sealed bytes that the journal does not look into. Its header says how many bytes were kept before it, so
that retention needs no counting. Called within transactions that somebody else has begun.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import lmdb

from clasp_edge.journal.documents import sealed, unsealed

PREFIX = b"A"
"""In the order of keys nothing may lie between the log and the params."""

_HEADER = struct.Struct("<QQB")
"""Bytes of all entries before this one, Unix microseconds, whether the clock could be believed."""

DROPPED_AT_ONCE = 256

MOST_WAITING = 2048
"""Entries that wait for a disk that takes nothing; past it the oldest go, which is counted."""


class Limits(NamedTuple):
    """How much is kept; 0 = no limit of that kind."""

    max_bytes: int
    max_age_s: float


class Kept(NamedTuple):
    """One entry. `number` rises by one with each."""

    number: int
    wall_us: int
    data: bytes


class Entries:
    """What the next commit has to store, as `cursors.Cursors` and `documents.Documents` have theirs."""

    def __init__(self) -> None:
        self.lost = 0
        self._waiting: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, entry: bytes) -> None:
        self._waiting.append(entry)
        self._bound()

    def waiting(self) -> list[bytes]:
        """What is not stored yet, oldest first."""
        return list(self._waiting)

    def take(self) -> list[bytes]:
        """What is to be stored now."""
        taken, self._waiting = self._waiting, []
        return taken

    def give_back(self, taken: list[bytes]) -> None:
        """A commit with these has failed."""
        self._waiting[:0] = taken
        self._bound()

    def _bound(self) -> None:
        beyond = len(self._waiting) - MOST_WAITING
        if beyond > 0:
            del self._waiting[:beyond]
            self.lost += beyond


def append(
    txn: lmdb.Transaction, entries: Sequence[bytes], wall_us: int, believable: bool, limits: Limits
) -> None:  # fmt: skip
    """Store entries behind the newest one, and drop what is beyond the limits."""
    number, before = _end(txn)
    for entry in entries:
        data = sealed(_HEADER.pack(before, wall_us, believable) + entry)
        txn.put(_key(number), data)
        before += len(data)
        number += 1
    for key in _superfluous(txn, _key(number - 1), before, wall_us if believable else 0, limits):
        txn.delete(key)


def _superfluous(txn: lmdb.Transaction, newest: bytes, end: int, now_us: int, limits: Limits) -> list[bytes]:
    """The keys that go, oldest first. What was kept while the clock was not set is as old as what came after it."""
    gone: list[bytes] = []
    undecided: list[bytes] = []
    with txn.cursor() as cursor:
        there = cursor.set_range(PREFIX)
        while there and len(gone) + len(undecided) < DROPPED_AT_ONCE:
            key = bytes(cursor.key())
            if key[:1] != PREFIX or key == newest:
                break
            undecided.append(key)
            header = _header(bytes(cursor.value()))
            if header is not None:
                before, when_us, sound = header
                large = limits.max_bytes and end - before > limits.max_bytes
                old = limits.max_age_s and now_us and sound and now_us - when_us > limits.max_age_s * 1e6
                if large or old:
                    gone += undecided
                    undecided = []
                elif sound:
                    break
            there = cursor.next()
    return gone


def newest(txn: lmdb.Transaction, most: int) -> Iterator[Kept]:
    """The newest entries, at most so many, the newest first, without damaged ones."""
    with txn.cursor() as cursor:
        beyond = cursor.set_range(bytes((PREFIX[0] + 1,)))
        there = cursor.prev() if beyond else cursor.last()
        while there and most > 0 and bytes(cursor.key()[:1]) == PREFIX:
            data = unsealed(bytes(cursor.value()))
            if data is not None and len(data) > _HEADER.size:
                most -= 1
                wall_us = _HEADER.unpack_from(data)[1]
                yield Kept(int.from_bytes(bytes(cursor.key()[1:]), "big"), wall_us, data[_HEADER.size :])
            there = cursor.prev()


def read(txn: lmdb.Transaction, first: int = 0) -> Iterator[Kept]:
    """The entries from number `first` on, without damaged ones."""
    with txn.cursor() as cursor:
        there = cursor.set_range(_key(first))
        while there and bytes(cursor.key()[:1]) == PREFIX:
            data = unsealed(bytes(cursor.value()))
            if data is not None and len(data) > _HEADER.size:
                wall_us = _HEADER.unpack_from(data)[1]
                yield Kept(int.from_bytes(bytes(cursor.key()[1:]), "big"), wall_us, data[_HEADER.size :])
            there = cursor.next()


def _end(txn: lmdb.Transaction) -> tuple[int, int]:
    """The number of the next entry, and the bytes of all before it."""
    with txn.cursor() as cursor:
        found = cursor.prev() if cursor.set_range(bytes((PREFIX[0] + 1,))) else cursor.last()
        if not found or bytes(cursor.key()[:1]) != PREFIX:
            return 1, 0
        value = bytes(cursor.value())
        header = _header(value)
        number = int.from_bytes(bytes(cursor.key()[1:]), "big") + 1
        return number, (header[0] if header is not None else 0) + len(value)


def _header(value: bytes) -> tuple[int, int, bool] | None:
    data = unsealed(value)
    if data is None or len(data) < _HEADER.size:
        return None
    before, wall_us, sound = _HEADER.unpack_from(data)
    return before, wall_us, bool(sound)


def _key(number: int) -> bytes:
    return PREFIX + number.to_bytes(8, "big")
