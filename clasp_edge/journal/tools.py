"""What the command line does with a store: look into it while a router may be writing it, and compact it.

Only `compact` writes, and it takes the data directory's lock first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb

from clasp_edge.journal.audit import Kept, read
from clasp_edge.journal.errors import DAMAGE, Damaged, Unavailable, reason
from clasp_edge.journal.format import (
    LOG_PREFIX,
    STATE_PREFIX,
    BadBlock,
    Param,
    Record,
    check,
    params,
    read_header,
    records,
)
from clasp_edge.journal.lock import DirectoryLock
from clasp_edge.journal.probe import file_fault
from clasp_edge.journal.queries import first_header, last_header, seek
from clasp_edge.journal.store import DATA_FILE, LOCK_FILE
from clasp_edge.wire import Publish, Set, decode
from clasp_edge.wire.pattern import Pattern
from clasp_edge.wire.plain import plain

Progress = Callable[[int, int], None]

PIECE_BYTES = 1 << 20
"""Of the log in one transaction."""

ENTRIES_AT_ONCE = 1000
"""Of the audit stream in one transaction."""


@contextmanager
def reading(directory: Path) -> Iterator[lmdb.Transaction[memoryview]]:
    """A read transaction on the store in `directory`. Raises Damaged, Unavailable."""
    with environment(directory) as env, env.begin(buffers=True) as txn:
        yield txn


@contextmanager
def environment(directory: Path) -> Iterator[lmdb.Environment]:
    """The store in `directory`, to be read. Raises Damaged, Unavailable."""
    if not (directory / DATA_FILE).exists():
        raise Unavailable(f"there is no journal in {directory}")
    if (problem := file_fault(directory / DATA_FILE, repair=False)) is not None:
        raise Damaged(problem)
    try:
        with lmdb.open(str(directory), readonly=True, create=False, map_size=map_size(directory), max_dbs=0) as env:
            yield env
    except BadBlock as error:
        raise Damaged(str(error)) from None
    except DAMAGE as error:
        raise Damaged(reason(error)) from None
    except lmdb.Error as error:
        raise Unavailable(reason(error)) from None


def map_size(directory: Path) -> int:
    """Room for LMDB's map of the store's file, and for it to grow."""
    return max(1 << 28, (directory / DATA_FILE).stat().st_size * 2)


def log_records(
    directory: Path,
    first: int = 0,
    progress: Progress | None = None,
    damaged: Callable[[int, str], None] | None = None,
) -> Iterator[Record]:
    """The log from record `first` on. A damaged block is passed over; `damaged` gets its number and what is wrong.

    Each piece is read in a transaction of its own: whoever takes the records may stop for as long as it likes without
    keeping a running router from using the pages that it has freed."""
    with environment(directory) as env:
        with env.begin(buffers=True) as txn:
            newest = last_header(txn, LOG_PREFIX)
        after = first - 1
        looked_at = -1
        while True:
            # A damaged block may say that it goes on for ever, and would be found again each time.
            blocks = [found for found in _log_blocks(env, after + 1) if found[0] > looked_at]
            if not blocks:
                return
            for number, block in blocks:
                looked_at = number
                after = max(after, number)
                try:
                    header = check(block)
                except BadBlock as error:
                    if damaged is not None:
                        damaged(number, str(error))
                    continue
                after = max(after, header.last)
                if progress is not None and newest is not None:
                    progress(header.number, newest.last)
                yield from _usable(block, first, damaged)


def _log_blocks(env: lmdb.Environment, first: int) -> list[tuple[int, bytes]]:
    """Some blocks of the log with their numbers, from the one that holds record `first` on; those that end before it
    are left out. Empty at the end."""
    found: list[tuple[int, bytes]] = []
    size = 0
    with env.begin(buffers=True) as txn, txn.cursor() as cursor:
        there = seek(cursor, first)
        while there and size < PIECE_BYTES and bytes(cursor.key()[:1]) == LOG_PREFIX:
            number = int.from_bytes(bytes(cursor.key()[1:]), "big")
            block = bytes(cursor.value())
            if number >= first or _holds(block, first):
                found.append((number, block))
                size += len(block)
            there = _onwards(cursor)
    return found


def _holds(block: bytes, record: int) -> bool:
    try:
        return read_header(block).last >= record
    except BadBlock:
        return False


def _onwards(cursor: lmdb.Cursor[memoryview]) -> bool:
    """The next entry. Raises Damaged where a broken page leads backwards, which would never end."""
    before = bytes(cursor.key())
    there = cursor.next()
    if there and bytes(cursor.key()) <= before:
        raise Damaged("its entries are not in order")
    return there


def _usable(block: bytes, first: int, damaged: Callable[[int, str], None] | None) -> Iterator[Record]:
    """The records of a sound block from `first` on, without those that nobody can use."""
    reached = 0
    try:
        for record in records(block):
            reached = record.number
            if not record.fault:
                if record.number >= first:
                    yield record
            elif damaged is not None:
                damaged(record.number, record.fault)
    except BadBlock as error:
        if damaged is not None:
            damaged(reached + 1, str(error))


def audit_entries(directory: Path, first: int = 0) -> Iterator[Kept]:
    """The audit stream from entry `first` on."""
    with environment(directory) as env:
        while True:
            # A piece in a transaction of its own: who takes the entries may stop without holding freed pages.
            with env.begin(buffers=True) as txn:
                piece = list(islice(read(txn, first), ENTRIES_AT_ONCE))
            if not piece:
                return
            yield from piece
            first = piece[-1].number + 1


def last_record(directory: Path) -> int:
    """The number of the newest record, 0 if there is none."""
    with reading(directory) as txn:
        newest = last_header(txn, LOG_PREFIX)
        return newest.last if newest is not None else 0


def state_params(directory: Path) -> dict[bytes, Param]:
    """The params as the store has them."""
    found: dict[bytes, Param] = {}
    with reading(directory) as txn, txn.cursor() as cursor:
        there = cursor.set_range(STATE_PREFIX)
        while there and bytes(cursor.key()[:1]) == STATE_PREFIX:
            block = bytes(cursor.value())
            check(block)
            for param in params(block):
                found.pop(param.address, None)  # the order is that of the last write
                if param.revision:
                    found[param.address] = param
            there = _onwards(cursor)
    return found


def statistics(directory: Path) -> dict[str, Any]:
    """Numbers for `stat`: times as Unix seconds, sizes in bytes."""
    with reading(directory) as txn:
        oldest, newest = first_header(txn), last_header(txn, LOG_PREFIX)
        newest_state = last_header(txn, STATE_PREFIX)
        entries = txn.stat()["entries"]
    kept = state_params(directory)
    log = oldest is not None and newest is not None
    return {
        "file_bytes": (directory / DATA_FILE).stat().st_size,
        "blocks": entries,
        "params": len(kept),
        "param_bytes": sum(len(p.address) + len(p.data) for p in kept.values()),
        "log_first": oldest.number if oldest else 0,
        "log_last": newest.last if newest else 0,
        "log_bytes": newest.before + newest.size - oldest.before if log and newest and oldest else 0,
        "log_from_s": oldest.min_us / 1e6 if oldest else None,
        "log_to_s": newest.max_us / 1e6 if newest else None,
        "starts": max(newest.run if newest else 0, newest_state.run if newest_state else 0),
        "clock_synchronised": newest.synchronised if newest else None,
    }


def describe(record: Record) -> dict[str, Any]:
    """A record for people and for JSON."""
    message = decode(record.frame)[1]
    assert isinstance(message, Set | Publish)
    described: dict[str, Any] = {
        "record": record.number,
        "time_s": record.wall_us / 1e6,
        "start": record.run,
        "clock_synchronised": record.synchronised,
        "writer": record.writer,
        "signal": ("param", "event", "stream", "gesture", "timeline")[record.signal],
        "address": message.address,
    }
    if isinstance(message, Set):
        return described | {"value": plain(message.value), "revision": message.revision}
    fields = {name: getattr(message, name) for name in ("samples", "rate", "id", "timestamp")}
    described |= {name: plain(value) for name, value in fields.items() if value is not None}
    if record.signal == 3 and message.phase is not None:
        described["phase"] = message.phase.name.lower()
    return described | ({"value": plain(message.value)} if _is_value(message.value) else {})


def _is_value(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | bytes | list | tuple | dict)


def matching(found: Iterable[Record], pattern: Pattern | None) -> Iterator[Record]:
    """The records whose address matches."""
    for record in found:
        size = int.from_bytes(record.frame[6:8], "big")
        if pattern is None or pattern.matches(record.frame[8 : 8 + size]):
            yield record


def compact(data_dir: Path, directory: Path) -> tuple[int, int]:
    """Rewrite the file without free pages. Returns its size before and after. Raises InUse, Unavailable."""
    if not (directory / DATA_FILE).exists():
        raise Unavailable(f"there is no journal in {directory}")
    lock = DirectoryLock(data_dir)
    fresh = directory.with_name(directory.name + ".compacting")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        with lmdb.open(str(directory), readonly=True, create=False, map_size=map_size(directory), max_dbs=0) as env:
            env.copy(str(fresh), compact=True)
        before, after = (d.joinpath(DATA_FILE).stat().st_size for d in (directory, fresh))
        with (fresh / DATA_FILE).open("rb") as file:
            os.fsync(file.fileno())
        os.replace(fresh / DATA_FILE, directory / DATA_FILE)
        (directory / LOCK_FILE).unlink(missing_ok=True)
        return before, after
    except (lmdb.Error, OSError) as error:
        raise Unavailable(reason(error)) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        lock.release()
