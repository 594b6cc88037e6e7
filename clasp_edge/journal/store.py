"""The store: one LMDB environment with state blocks and log blocks, written by one thread.

Always synchronous (never `writemap`, `map_async` or `sync=False`): a commit that has returned survives a power cut. A
store that is damaged, foreign or too new is never repaired or overwritten in place; who opens it decides (`guard`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from clasp_edge.journal.format import (
    LOG_PREFIX,
    SCHEMA,
    SCHEMA_KEY,
    STATE_PREFIX,
    BadBlock,
    Header,
    check,
    log_key,
    make_state_block,
    read_header,
    seal,
    state_key,
)

DATA_FILE = "data.mdb"
DIRECTORY_MODE = 0o750
"""What people have said and set is not for everybody on the machine."""

MIGRATIONS: Mapping[int, Callable[[lmdb.Transaction], None]] = {}
"""For each older schema, what turns a store of it into the next one, in the transaction that also notes the number."""

SMALLEST_MAP = 1 << 28
"""Address space, not memory or disk: doubled when it is full."""

DROPPED_AT_ONCE = 512
"""Blocks that retention removes in one transaction: it goes on with the next."""

SLACK = 16
"""Retention waits until it is over by a sixteenth, so that it does not dirty pages at both ends with each commit."""

_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.BadTxnError,
)


class Damaged(Exception):
    """The store cannot be used as it is; the text says why."""


class TooNew(Damaged):
    """The store was written by a later version."""


class Unavailable(Exception):
    """The store cannot be written or opened now: disk full, read-only, not ours. The text says which."""


@dataclass(frozen=True)
class Retention:
    """How much of the log is kept; 0 = no limit of that kind."""

    max_bytes: int = 0
    max_age_s: float = 0
    max_records: int = 0


class Store:
    """`Store(directory)`. `commit` is for one thread, `read_log` for any."""

    def __init__(self, directory: Path, retention: Retention) -> None:
        self.directory = directory
        self.retention = retention
        self._env: lmdb.Environment | None = None
        self._growing = threading.Lock()  # the map may only grow while nobody reads
        self._oldest: Header | None = None
        self._more_to_drop = False

    def open(self) -> None:
        """Open or create. Raises Damaged, TooNew, Unavailable."""
        try:
            self.directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            path = self.directory / DATA_FILE
            size = path.stat().st_size if path.exists() else 0
            env = lmdb.open(
                str(self.directory),
                map_size=max(SMALLEST_MAP, size * 2),
                max_dbs=0,
                readahead=False,
                max_readers=32,
                mode=0o640,
            )
        except _DAMAGE as error:
            raise Damaged(reason(error)) from None
        except (lmdb.Error, OSError) as error:
            raise Unavailable(reason(error)) from None
        try:
            with env.begin(write=True) as txn:
                prepare(txn)
                self._oldest = first_header(txn)
            env.reader_check()
        except Damaged:
            env.close()
            raise
        except _DAMAGE as error:
            env.close()
            raise Damaged(reason(error)) from None
        except lmdb.Error as error:
            env.close()
            raise Unavailable(reason(error)) from None
        self._env = env

    def close(self) -> None:
        """Let go of the files; `commit` opens them again."""
        with self._growing:
            if self._env is not None:
                self._env.close()
                self._env = None

    @property
    def is_open(self) -> bool:
        return self._env is not None

    def commit(self, states: Sequence[memoryview], logs: Sequence[memoryview], base: int, wall_us: int) -> None:
        """Store blocks (their checksums are put in here), durably when this returns.

        `base` other than 0: state blocks below it are not needed any more. Raises Damaged, Unavailable.
        """
        for block in (*states, *logs):
            seal(block)
        for _ in range(16):
            try:
                if self._env is None:
                    self.open()
                assert self._env is not None
                with self._env.begin(write=True) as txn:
                    self._write(txn, states, logs, base, wall_us)
                return
            except lmdb.MapFullError:
                self._grow()
            except _DAMAGE as error:
                self.close()
                raise Damaged(reason(error)) from None
            except (lmdb.Error, OSError) as error:
                # After an error in the middle of a commit the environment is not to be used any more.
                self.close()
                raise Unavailable(reason(error)) from None
        raise Unavailable("the map of the store cannot grow further")

    def _write(
        self, txn: lmdb.Transaction, states: Sequence[memoryview], logs: Sequence[memoryview], base: int, wall_us: int
    ) -> None:
        for block in states:
            txn.put(state_key(read_header(block).number), block)
        newest = None
        for block in logs:
            newest = read_header(block)
            txn.put(log_key(newest.number), block)
        if base:
            drop_states(txn, base, read_header(states[-1]).number if states else None)
            if last_header(txn, STATE_PREFIX) is None:
                # No param is left. The numbers must go on all the same: freed pages may hold blocks with higher ones.
                nothing = make_state_block([], number=base, run=0, base=base, before=0, wall_us=wall_us)
                txn.put(state_key(base), nothing)
        if newest is not None:
            if self._oldest is None:
                self._oldest = read_header(logs[0])
            self._retain(txn, newest, wall_us)

    def _retain(self, txn: lmdb.Transaction, newest: Header, wall_us: int) -> None:
        """Drop whole blocks from the old end of the log."""
        assert self._oldest is not None
        if not self._more_to_drop and not self._exceeds(self._oldest, newest, wall_us, SLACK):
            return
        with txn.cursor() as cursor:
            found = cursor.set_range(LOG_PREFIX)
            for _ in range(DROPPED_AT_ONCE):
                if not found or cursor.key() == log_key(newest.number):
                    break
                self._oldest = read_header(cursor.value())
                if not self._exceeds(self._oldest, newest, wall_us, 0):
                    self._more_to_drop = False
                    return
                found = cursor.delete()
            if found:
                self._oldest = read_header(cursor.value())
                self._more_to_drop = self._exceeds(self._oldest, newest, wall_us, 0)

    def _exceeds(self, oldest: Header, newest: Header, wall_us: int, slack: int) -> bool:
        limits = self.retention
        size = newest.before + newest.size - oldest.before
        if limits.max_bytes and size > limits.max_bytes + (limits.max_bytes // slack if slack else 0):
            return True
        count = newest.last - oldest.number + 1
        if limits.max_records and count > limits.max_records + (limits.max_records // slack if slack else 0):
            return True
        # A time from a clock that was not set says nothing about age.
        believable = oldest.synchronised and newest.synchronised
        age_s = (wall_us - oldest.max_us) / 1e6
        return bool(limits.max_age_s and believable and age_s > limits.max_age_s * (1 + (1 / slack if slack else 0)))

    def _grow(self) -> None:
        assert self._env is not None
        with self._growing:
            try:
                self._env.set_mapsize(self._env.info()["map_size"] * 2)
            except lmdb.Error as error:
                raise Unavailable(reason(error)) from None

    def read_log(
        self, first: int, last: int, from_us: int, to_us: int, mask: int, max_bytes: int, max_blocks: int = 4096
    ) -> tuple[list[bytes], int]:
        """Log blocks with records from `first` to `last` that may hold some of the times and signals asked for.

        At least `max_bytes` of them if there are as many. Returns them and the number to go on from (past `last` at
        the end). Raises Damaged, Unavailable.
        """
        found: list[bytes] = []
        try:
            with self._growing:
                if self._env is None:
                    raise Unavailable("the store is not open")
                with self._env.begin(buffers=True) as txn, txn.cursor() as cursor:
                    there = seek(cursor, first)
                    while there and max_bytes > 0 and max_blocks:
                        value = cursor.value()
                        header = read_header(value)
                        if header.number > last:
                            return found, last + 1
                        if header.last >= first:
                            first = header.last + 1
                            if header.signals & mask and header.max_us >= from_us and header.min_us <= to_us:
                                block = bytes(value)
                                check(block)
                                found.append(block)
                                max_bytes -= len(block)
                        max_blocks -= 1
                        there = cursor.next() and cursor.key()[:1] == LOG_PREFIX
                    return found, first if there else last + 1
        except BadBlock as error:
            raise Damaged(str(error)) from None
        except _DAMAGE as error:
            raise Damaged(reason(error)) from None
        except lmdb.Error as error:
            raise Unavailable(reason(error)) from None


def reason(error: Exception) -> str:
    """LMDB's or the system's words for what went wrong, without the function's name that LMDB puts before them."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    return text.rpartition(": ")[2] or text


def prepare(txn: lmdb.Transaction) -> None:
    """Note the schema in a new store, migrate an older one. Raises Damaged, TooNew."""
    noted = txn.get(SCHEMA_KEY)
    if noted is None:
        if txn.stat()["entries"]:
            raise Damaged("an LMDB file of some other program")
        version = SCHEMA
    else:
        version = schema_of(bytes(noted))
        if version > SCHEMA:
            raise TooNew(f"written by a later version (schema {version}; this one knows {SCHEMA})")
        if version == SCHEMA:
            return
        while version < SCHEMA:
            MIGRATIONS[version](txn)
            version += 1
    txn.put(SCHEMA_KEY, json.dumps({"schema": version}).encode())


def schema_of(noted: bytes) -> int:
    """The number in the schema record. Raises Damaged."""
    try:
        version = json.loads(noted)["schema"]
    except (ValueError, KeyError, TypeError):
        raise Damaged("the schema record cannot be read") from None
    if not isinstance(version, int) or version < 1:
        raise Damaged("the schema record has no number")
    return version


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
    """The oldest log block's header. Raises Damaged."""
    with txn.cursor() as cursor:
        if not cursor.set_range(LOG_PREFIX) or bytes(cursor.key()[:1]) != LOG_PREFIX:
            return None
        try:
            return read_header(cursor.value())
        except BadBlock as error:
            raise Damaged(str(error)) from None


def last_header(txn: lmdb.Transaction, prefix: bytes) -> Header | None:
    """The newest block's header of one kind. Raises Damaged."""
    after = bytes((prefix[0] + 1,))
    with txn.cursor() as cursor:
        found = cursor.prev() if cursor.set_range(after) else cursor.last()
        if not found or bytes(cursor.key()[:1]) != prefix:
            return None
        try:
            return read_header(cursor.value())
        except BadBlock as error:
            raise Damaged(str(error)) from None


def drop_states(txn: lmdb.Transaction, base: int, newest: int | None) -> None:
    """Remove the state blocks below `base`, and any above `newest`: left from a time that nobody remembers."""
    with txn.cursor() as cursor:
        found = newest is not None and cursor.set_range(state_key(newest + 1))
        while found and bytes(cursor.key()[:1]) == STATE_PREFIX:
            found = cursor.delete()
        found = cursor.set_range(STATE_PREFIX)
        while found and bytes(cursor.key()[:1]) == STATE_PREFIX and bytes(cursor.key()) < state_key(base):
            found = cursor.delete()
