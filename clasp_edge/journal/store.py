"""The store: one LMDB environment with state blocks and log blocks, written by one thread.

Always synchronous (never `writemap`, `map_async` or `sync=False`): a commit that has returned survives a power cut. A
store that is damaged, foreign or too new is never repaired or overwritten in place; who opens it decides (`guard`).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import lmdb

from clasp_edge.dataplane.journal_buffer import clock_synchronised
from clasp_edge.journal import audit, summaries
from clasp_edge.journal.coalesce import SMALL_BYTES, Small, join
from clasp_edge.journal.documents import sealed
from clasp_edge.journal.errors import DAMAGE, Damaged, TooNew, Unavailable, reason
from clasp_edge.journal.format import (
    LOG_PREFIX,
    RUN_KEY,
    SCHEMA,
    SCHEMA_KEY,
    STATE_PREFIX,
    BadBlock,
    Header,
    cursor_key,
    log_key,
    note_key,
    read_header,
    seal,
    state_key,
)
from clasp_edge.journal.lock import InUse
from clasp_edge.journal.mapped_pages import MappedPages
from clasp_edge.journal.queries import (
    Piece,
    first_header,
    log_end,
    noted_documents,
    noted_run,
    read_piece,
    schema_of,
)
from clasp_edge.journal.summary import Question

DATA_FILE = "data.mdb"
NO_FILE = (0, 0)
"""In place of a file's device and inode."""
LOCK_FILE = "lock.mdb"
LOCK_BYTES = 8192
"""Of LMDB's table with its default of 126 readers."""
DIRECTORY_MODE = 0o750
FILE_MODE = 0o640
"""What people have said and set is not for everybody on the machine."""


def _nothing_to_do(txn: lmdb.Transaction) -> None:
    """Each schema adds a version of blocks; older blocks are read as they are, and written anew with time."""


MIGRATIONS: Mapping[int, Callable[[lmdb.Transaction], None]] = {1: _nothing_to_do, 2: _nothing_to_do}
"""For each older schema, what turns a store of it into the next one, in the transaction that also notes the number."""

SMALLEST_MAP = 1 << 28
"""Address space, not memory or disk: doubled when it is full."""

DROPPED_AT_ONCE = 512
"""Blocks that retention removes in one transaction: it goes on with the next."""

FULL_BYTES = 1 << 20
"""Less room than this on a disk that has refused a write: that is why."""

SLACK = 16
"""Retention waits until it is over by a sixteenth, so that it does not dirty pages at both ends with each commit."""


@dataclass(frozen=True)
class Retention:
    """How much of the log is kept; 0 = no limit of that kind."""

    max_bytes: int = 0
    max_age_s: float = 0
    max_records: int = 0


class Store:
    """`commit` is for one thread, `read_log` for any.

    `claim` is called before the store is opened, to keep others from doing so; it raises InUse or OSError.
    """

    def __init__(self, directory: Path, retention: Retention, claim: Callable[[], None] | None = None) -> None:
        self.directory = directory
        self.retention = retention
        self.audit_limits = audit.Limits(0, 0)
        self.run = 0
        """The number of this start, noted when the store is opened, before anything else is stored.

        Blocks that a power cut kept from counting are still in the file; that they are from an earlier start tells them
        from those that took their numbers. So no start may have the number of another one. 0: nothing will be stored.
        """
        self.needed_from = 0
        """Somebody needs the records from this number on: they do not go because of their age. 0 = nobody does."""
        self.missed = 0
        """Records that were needed, and were dropped all the same: for the log's size or number of records."""
        self._missed_now = 0
        self._saved_now = 0
        self.joined = 0
        """Blocks that were made of smaller ones."""
        self._small = Small()
        self._summaries = summaries.SummaryWriter()
        self._claim = claim
        self._given_up = ""
        self._env: lmdb.Environment | None = None
        self._file = NO_FILE  # which one is open
        self._vanished = False  # and was removed: what is at its place from then on is ours, or is left alone
        self._growing = threading.Lock()  # the map may only grow while nobody reads
        self._mapped: MappedPages | None = None
        self._oldest: Header | None = None
        self._log_end = 0  # bytes of all blocks up to the newest
        self._more_to_drop = False

    def open(self) -> None:
        """Open or create. Raises Damaged, TooNew, Unavailable."""
        try:
            if self._given_up:
                raise Unavailable(self._given_up)
            if self._claim is not None:
                self._claim()
            self.directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            path = self.directory / DATA_FILE
            found = self._at_its_place()
            if self._vanished and found not in (NO_FILE, self._file):
                self._leave_alone()
            self.reserve_lock()
            self._mapped = MappedPages(path)
            size = path.stat().st_size if path.exists() else 0
            try:
                env = lmdb.open(
                    str(self.directory),
                    map_size=max(SMALLEST_MAP, size * 2),
                    max_dbs=0,
                    readahead=False,
                    max_readers=32,
                    mode=FILE_MODE,
                )
            finally:
                if found == NO_FILE:
                    self._file = self._at_its_place()  # also where that was not finished: the disk was full
        except DAMAGE as error:
            raise Damaged(reason(error)) from None
        except InUse as error:
            raise Unavailable(str(error)) from None
        except (lmdb.Error, OSError) as error:
            raise Unavailable(f"{self.directory}: {self._words_for(error)}") from None
        try:
            with env.begin(write=True) as txn:
                prepare(txn)
                if self.run > noted_run(txn):
                    txn.put(RUN_KEY, self.run.to_bytes(8, "big"))
                self._oldest = first_header(txn)
                self._log_end = log_end(txn).before
            env.reader_check()
        except Damaged:
            env.close()
            raise
        except DAMAGE as error:
            env.close()
            raise Damaged(reason(error)) from None
        except lmdb.Error as error:
            env.close()
            raise Unavailable(reason(error)) from None
        self._file = self._at_its_place()
        self._vanished = False
        self._env = env

    def reserve_lock(self) -> None:
        """Room for LMDB's table of readers, which it writes to through a map: on a full disk that ends the process.
        Raises OSError."""
        fd = os.open(self.directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            os.posix_fallocate(fd, 0, LOCK_BYTES)
        finally:
            os.close(fd)

    def _at_its_place(self) -> tuple[int, int]:
        """Which file has the store's name, or NO_FILE. Raises OSError."""
        try:
            found = os.stat(self.directory / DATA_FILE)
        except (FileNotFoundError, NotADirectoryError):
            return NO_FILE
        return found.st_dev, found.st_ino

    def _look_at_place(self) -> None:
        """What is written to a file that has no name any more is gone with the process. Raises Unavailable."""
        found = self._at_its_place()
        if found == self._file != NO_FILE:
            return
        self.close()
        if found != NO_FILE:
            self._leave_alone()
        self._file = NO_FILE
        self._vanished = True
        raise Unavailable(f"{self.directory / DATA_FILE} was removed")

    def _leave_alone(self) -> NoReturn:
        """Another file is there, perhaps a backup that somebody has put back. Raises Unavailable."""
        self.give_up(
            f"{self.directory / DATA_FILE} is another file than the one that was opened: it is left alone until the "
            "next start, which reads it"
        )
        raise Unavailable(self._given_up)

    def give_up(self, why: str) -> None:
        """Never open the store again: what is there is not to be touched."""
        self._given_up = why

    def close(self) -> None:
        """Let go of the files; `commit` opens them again."""
        self._small.clear()
        with self._growing:
            if self._env is not None:
                self._env.close()
                self._env = None

    @property
    def oldest_number(self) -> int:
        """The number of the oldest record that retention has left, 0 without a log."""
        oldest = self._oldest
        return oldest.number if oldest is not None else 0

    @property
    def log_bytes(self) -> int:
        """What the blocks of the log take, about."""
        oldest = self._oldest
        return max(0, self._log_end - oldest.before) if oldest is not None else 0

    @property
    def is_open(self) -> bool:
        return self._env is not None

    def commit(
        self,
        states: Sequence[memoryview],
        logs: Sequence[memoryview],
        base: int,
        wall_us: int,
        cursors: Mapping[str, int] = MappingProxyType({}),
        notes: Mapping[str, bytes | None] = MappingProxyType({}),
        entries: Sequence[bytes] = (),
    ) -> int:
        """Store blocks (their checksums are put in here), durably when this returns.

        `base` other than 0: state blocks below it are not needed any more. `cursors`: places in the log by name, a
        negative one for those to forget. `notes`: documents by name, None for those that are no more. `entries`:
        of the audit stream. Returns by how many bytes the log has become shorter because small blocks were joined.
        Raises Damaged, Unavailable.
        """
        for block in (*states, *logs):
            seal(block)
        self._transaction(lambda txn: self._write(txn, states, logs, base, wall_us, cursors, notes, entries))
        self.missed += self._missed_now
        with self._growing:
            self._trim()
        return self._saved_now

    def _trim(self) -> None:
        """Keep few pages of the file in memory. `_growing` is held: the map stays where it is."""
        if self._env is not None and self._mapped is not None:
            self._mapped.look()

    def _transaction(self, work: Callable[[lmdb.Transaction], object]) -> None:
        for _ in range(16):
            try:
                if self._env is None:
                    self.open()
                else:
                    self._look_at_place()
                assert self._env is not None
                with self._env.begin(write=True) as txn:
                    work(txn)
                return
            except lmdb.MapFullError:
                self._small.clear()
                self._grow()
            except DAMAGE as error:
                self.close()
                raise Damaged(reason(error)) from None
            except (lmdb.Error, OSError) as error:
                # After an error in the middle of a commit the environment is not to be used any more.
                self.close()
                raise Unavailable(self._words_for(error)) from None
        raise Unavailable("the map of the store cannot grow further")

    def _words_for(self, error: Exception) -> str:
        """LMDB takes a write that stopped short for an error of input and output."""
        try:
            found = os.statvfs(self.directory)
        except OSError:
            return reason(error)
        full = found.f_bavail * found.f_frsize < FULL_BYTES
        return f"the disk is full ({reason(error)})" if full else reason(error)

    def _write(
        self,
        txn: lmdb.Transaction,
        states: Sequence[memoryview],
        logs: Sequence[memoryview],
        base: int,
        wall_us: int,
        cursors: Mapping[str, int],
        notes: Mapping[str, bytes | None],
        entries: Sequence[bytes],
    ) -> None:
        self._missed_now = self._saved_now = 0
        for name, number in cursors.items():
            if number < 0:
                txn.delete(cursor_key(name))
            else:
                txn.put(cursor_key(name), number.to_bytes(8, "big"))
        for name, data in notes.items():
            if data is None:
                txn.delete(note_key(name))
            else:
                txn.put(note_key(name), sealed(data))
        if entries:
            audit.append(txn, entries, wall_us, clock_synchronised(), self.audit_limits)
        for block in states:
            txn.put(state_key(read_header(block).number), block)
        newest = None
        for block in logs:
            newest = read_header(block)
            txn.put(log_key(newest.number), block)
            full = self._small.add(newest)
            if len(full) > 1:
                self._join(txn, full)
            elif full and (only := txn.get(log_key(full[0].number))) is not None:
                self._summaries.put(txn, only)
            if newest.size > SMALL_BYTES:
                self._summaries.put(txn, block)
        if base:
            drop_states(txn, base, read_header(states[-1]).number if states else None)
        if newest is not None:
            if self._oldest is None:
                self._oldest = read_header(logs[0])
            self._log_end = newest.before + newest.size
            self._retain(txn, newest, wall_us)

    def _join(self, txn: lmdb.Transaction, headers: Sequence[Header]) -> None:
        """Put one block in the place of small ones. Blocks that are not there any more, or are damaged, stay so."""
        found = [txn.get(log_key(header.number)) for header in headers]
        try:
            joined = join([memoryview(block) for block in found if block is not None])
        except BadBlock:
            return
        first = read_header(joined)
        self._saved_now += sum(map(len, filter(None, found))) - len(joined)
        for header in headers:
            if header.number > first.number:
                txn.delete(log_key(header.number))
        txn.put(log_key(first.number), joined)
        self._summaries.put(txn, joined)
        if self._oldest is not None and first.number <= self._oldest.number <= first.last:
            self._oldest = first
        self.joined += 1

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
                try:
                    self._oldest = read_header(cursor.value())
                except BadBlock:
                    found = cursor.delete()  # nobody will ever read it
                    continue
                if not self._exceeds(self._oldest, newest, wall_us, 0):
                    self._more_to_drop = False
                    summaries.drop_below(txn, self._oldest.number, DROPPED_AT_ONCE)
                    return
                if self.needed_from and self._oldest.last >= self.needed_from:
                    self._missed_now += self._oldest.last - max(self._oldest.number, self.needed_from) + 1
                found = cursor.delete()
            self._oldest = first_header(txn) or newest
            summaries.drop_below(txn, self._oldest.number, DROPPED_AT_ONCE)
            self._more_to_drop = self._exceeds(self._oldest, newest, wall_us, 0)

    def _exceeds(self, oldest: Header, newest: Header, wall_us: int, slack: int) -> bool:
        """Whether there would be enough without the oldest block: what is kept is never less than the limits allow."""
        limits = self.retention
        size = newest.before + newest.size - oldest.before - oldest.size
        if limits.max_bytes and size >= limits.max_bytes + (limits.max_bytes // slack if slack else 0):
            return True
        count = newest.last - oldest.last
        if limits.max_records and count >= limits.max_records + (limits.max_records // slack if slack else 0):
            return True
        if self.needed_from and oldest.last >= self.needed_from:
            return False
        # A time from a clock that was not set says nothing about age.
        believable = oldest.synchronised and newest.synchronised
        age_s = (wall_us - oldest.max_us) / 1e6
        return bool(limits.max_age_s and believable and age_s > limits.max_age_s * (1 + (1 / slack if slack else 0)))

    def notes(self) -> dict[str, bytes | None]:
        """Every document by name, None for a damaged one. Raises Damaged, Unavailable."""
        try:
            if self._env is None:
                raise Unavailable("the store is not open")
            with self._env.begin() as txn:
                return dict(noted_documents(txn))
        except DAMAGE as error:
            raise Damaged(reason(error)) from None
        except lmdb.Error as error:
            raise Unavailable(reason(error)) from None

    def _grow(self) -> None:
        assert self._env is not None
        with self._growing:
            try:
                self._env.set_mapsize(self._env.info()["map_size"] * 2)
            except lmdb.Error as error:
                raise Unavailable(reason(error)) from None

    def read_log(
        self, first: int, last: int, from_us: int, to_us: int, mask: int, max_bytes: int, max_blocks: int = 4096,
        question: Question | None = None,
    ) -> Piece:  # fmt: skip
        """Log blocks with records from `first` to `last` that may hold some of the times and signals asked for.

        At least `max_bytes` of them if there are as many. Those that by their summary have nothing for `question` are
        passed over without being read. Raises Damaged, Unavailable.
        """
        try:
            with self._growing:
                if self._env is None:
                    raise Unavailable("the store is not open")
                with self._env.begin(buffers=True) as txn:
                    piece = read_piece(txn, first, last, from_us, to_us, mask, max_bytes, max_blocks, question)
                self._trim()
                return piece
        except DAMAGE as error:
            raise Damaged(reason(error)) from None
        except lmdb.Error as error:
            raise Unavailable(reason(error)) from None

    def newest_entries(self, most: int) -> list[audit.Kept]:
        """Of the audit trail, the newest first. Raises Damaged, Unavailable."""
        try:
            with self._growing:
                if self._env is None:
                    raise Unavailable("the store is not open")
                with self._env.begin(buffers=True) as txn:
                    return list(audit.newest(txn, most))
        except DAMAGE as error:
            raise Damaged(reason(error)) from None
        except lmdb.Error as error:
            raise Unavailable(reason(error)) from None


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


def drop_states(txn: lmdb.Transaction, base: int, newest: int | None) -> None:
    """Remove the state blocks below `base`, and any above `newest`: left from a time that nobody remembers."""
    with txn.cursor() as cursor:
        found = newest is not None and cursor.set_range(state_key(newest + 1))
        while found and bytes(cursor.key()[:1]) == STATE_PREFIX:
            found = cursor.delete()
        found = cursor.set_range(STATE_PREFIX)
        while found and bytes(cursor.key()[:1]) == STATE_PREFIX and bytes(cursor.key()) < state_key(base):
            found = cursor.delete()
