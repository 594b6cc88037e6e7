"""Reads a store in a process of its own, because a broken file can kill whoever reads it.

LMDB trusts the pages it maps: a damaged one may lead it out of the map. So the first look at a store (all of its state,
the ends of its log, a trial transaction that touches the free list) happens in a forked child, which sends what it
finds through a pipe; only a store that the child has survived is opened by the daemon itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from clasp_edge.journal.errors import Damaged, TooNew, Unavailable, reason
from clasp_edge.journal.format import (
    LOG_PREFIX,
    SCHEMA,
    SCHEMA_KEY,
    STATE_PREFIX,
    BadBlock,
    check,
)
from clasp_edge.journal.queries import log_end, noted_cursors, noted_run, schema_of
from clasp_edge.journal.store import DATA_FILE, SMALLEST_MAP

TIMEOUT_S = 30.0
"""Without a byte from the child: a tree that has become a ring would be read for ever."""

PAGE_BYTES = 4096
"""Of most machines; a file says its own (a Pi 5 has 16 KiB)."""

_LARGEST_PAGE = 1 << 16
_META = struct.Struct("<IIQQ")
_META_MAGIC = 0xBEEFC0DE
_HEAD = struct.Struct("<cI")
_STATE, _TAIL, _END, _DAMAGED, _TOO_NEW, _UNAVAILABLE, _ALIVE = b"S", b"L", b"E", b"D", b"N", b"U", b"A"
_ALIVE_BLOCKS = 64


@dataclass
class Found:
    """What a store holds. Numbers are those for the next record or block."""

    log_number: int = 1
    log_before: int = 0
    state_number: int = 1
    state_base: int = 1
    state_before: int = 0
    state_bytes: int = 0
    run: int = 0
    blocks: int = 0
    records: int = 0
    damaged: list[int] = field(default_factory=list)
    """Numbers of log blocks whose checksums are wrong; looked for only by a thorough reading."""
    cursors: dict[str, int] = field(default_factory=dict)


def probe(
    directory: Path,
    on_state: Callable[[bytes], None] = lambda block: None,
    on_tail: Callable[[bytes], None] = lambda block: None,
    *,
    tail_bytes: int = 0,
    thorough_s: float = 0,
    readonly: bool = False,
    in_use: bool = False,
) -> Found:
    """Read the store in `directory`: every state block in order, then the last `tail_bytes` of the log.

    `thorough_s`: for so long at most, read the log as well; `in_use`: a running router may be writing, which `readonly`
    alone excludes. Raises Damaged, TooNew, Unavailable; what has been handed over by then was sound.
    """
    problem = file_fault(directory / DATA_FILE, repair=not readonly)
    if problem:
        raise Damaged(problem)
    near, far = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(near)
            _read_and_send(directory, far, tail_bytes, thorough_s, readonly, readonly and not in_use)
            status = 0
        finally:
            os._exit(status)
    os.close(far)
    try:
        found = _receive(near, on_state, on_tail)
    finally:
        os.close(near)
        if not _ended(child):
            os.kill(child, signal.SIGKILL)
        ending = _status(child)
    if isinstance(found, Found):
        return found
    kind, text = found
    if kind == _TOO_NEW:
        raise TooNew(text)
    if kind == _UNAVAILABLE:
        raise Unavailable(text)
    raise Damaged(text or f"reading it ended with {ending}")


_STATUSES: dict[int, int] = {}


def _ended(child: int) -> bool:
    """Whether the child ends by itself in a moment, which it does after its last word."""
    deadline_s = time.monotonic() + 2
    while time.monotonic() < deadline_s:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            _STATUSES[child] = status
            return True
        time.sleep(0.002)
    return False


def _status(child: int) -> str:
    status = _STATUSES.pop(child, None)
    if status is None:
        status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"status {os.waitstatus_to_exitcode(status)}"


def _receive(fd: int, on_state: Callable[[bytes], None], on_tail: Callable[[bytes], None]) -> Found | tuple[bytes, str]:
    buffer = bytearray()
    while True:
        while len(buffer) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(buffer)
            if len(buffer) < _HEAD.size + size:
                break
            body = bytes(buffer[_HEAD.size : _HEAD.size + size])
            del buffer[: _HEAD.size + size]
            if kind == _STATE:
                on_state(body)
            elif kind == _TAIL:
                on_tail(body)
            elif kind == _ALIVE:
                continue
            elif kind == _END:
                return Found(**json.loads(body))
            else:
                return kind, body.decode("utf-8", "replace")
        if not select.select([fd], [], [], TIMEOUT_S)[0]:
            return _DAMAGED, "reading it does not come to an end"
        data = os.read(fd, 1 << 20)
        if not data:
            return _DAMAGED, ""
        buffer += data


def _read_and_send(directory: Path, fd: int, tail_bytes: int, thorough_s: float, readonly: bool, alone: bool) -> None:
    def send(kind: bytes, body: bytes) -> None:
        view = memoryview(_HEAD.pack(kind, len(body)) + body)
        while view:
            view = view[os.write(fd, view) :]

    try:
        size = (directory / DATA_FILE).stat().st_size
        env = lmdb.open(
            str(directory), map_size=max(SMALLEST_MAP, size * 2), max_dbs=0, readonly=readonly, lock=not alone,
            create=False, readahead=False,
        )  # fmt: skip
        with env.begin(buffers=True) as txn:
            noted = txn.get(SCHEMA_KEY)
            if noted is None and txn.stat()["entries"]:
                raise Damaged("an LMDB file of some other program")
            if noted is not None and schema_of(bytes(noted)) > SCHEMA:
                raise TooNew(f"written by a later version (schema {schema_of(bytes(noted))})")
            found = _read(txn, send, tail_bytes, thorough_s)
        if not readonly:
            # A write looks at the free list, which no reader does; it is not committed.
            trial = env.begin(write=True)
            trial.put(b"\x00trial", bytes(3 * PAGE_BYTES))
            trial.abort()
        send(_END, json.dumps(asdict(found)).encode())
    except TooNew as error:
        send(_TOO_NEW, str(error).encode())
    except (Damaged, BadBlock) as error:
        send(_DAMAGED, str(error).encode())
    except (lmdb.ReadonlyError, lmdb.DiskError, lmdb.LockError, OSError) as error:
        send(_UNAVAILABLE, reason(error).encode())
    except lmdb.Error as error:
        send(_DAMAGED, reason(error).encode())


def _read(txn: Any, send: Callable[[bytes, bytes], None], tail_bytes: int, thorough_s: float) -> Found:
    found = Found(run=noted_run(txn), cursors=dict(noted_cursors(txn)))
    with txn.cursor() as cursor:
        there = cursor.set_range(STATE_PREFIX)
        while there and bytes(cursor.key()[:1]) == STATE_PREFIX:
            block = bytes(cursor.value())
            header = check(block)
            if not found.state_bytes:
                found.state_base = header.number
            send(_STATE, block)
            found.state_number = header.number + 1
            found.state_before = header.before + header.size
            found.state_bytes += header.size
            found.run = max(found.run, header.run)
            there = cursor.next()
        found.log_number, found.log_before, run = log_end(txn)
        found.run = max(found.run, run)
        if thorough_s:
            deadline_s = time.monotonic() + thorough_s
            there = cursor.set_range(LOG_PREFIX)
            while there and bytes(cursor.key()[:1]) == LOG_PREFIX and time.monotonic() < deadline_s:
                found.blocks += 1
                try:
                    found.records += check(cursor.value()).records
                except BadBlock:
                    found.damaged.append(int.from_bytes(bytes(cursor.key()[1:]), "big"))
                if found.blocks % _ALIVE_BLOCKS == 0:
                    send(_ALIVE, found.blocks.to_bytes(8, "big"))
                there = cursor.next()
        tail: list[bytes] = []
        there = cursor.prev() if cursor.set_range(STATE_PREFIX) else cursor.last()
        while there and tail_bytes > 0 and bytes(cursor.key()[:1]) == LOG_PREFIX:
            block = bytes(cursor.value())
            with contextlib.suppress(BadBlock):  # whoever reads the log will say so
                check(block)
                tail.append(block)
            tail_bytes -= len(block)
            there = cursor.prev()
        for block in reversed(tail):
            send(_TAIL, block)
    return found


def file_fault(path: Path, *, repair: bool) -> str | None:
    """Why the file cannot be an LMDB file, or None. `repair`: make a cut-off file as long as it says it is.

    Otherwise touching the missing part would kill the process. The part then reads as zeros, which is an error for
    whoever needs it, and no loss where a page that was given up again before it was ever written lies there.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_LARGEST_PAGE + 4096)
    except FileNotFoundError:
        return None
    except OSError:
        return None
    if size == 0:
        return None
    last = -1
    newest = -1
    page = PAGE_BYTES
    for number in (0, 1):
        at = number * page
        if len(head) < at + 152:
            return "the file is cut off"
        magic, version, _, _ = _META.unpack_from(head, at + 16)
        if magic != _META_MAGIC:
            return "not an LMDB file" if number == 0 else "the second meta page is broken"
        if version != 1:
            return f"an LMDB file of format {version}"
        if number == 0:
            (page,) = struct.unpack_from("<I", head, 16 + 24)
            if page not in (1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16):
                return "the first meta page is broken"
        last_page, txn_id = struct.unpack_from("<QQ", head, at + 16 + 24 + 2 * 48)
        if txn_id > newest:
            newest, last = txn_id, last_page
    if last > 1 << 40:
        return "the meta page is broken"
    needed = (last + 1) * page
    if size < needed:
        if size < needed // 2 and needed - size > 1 << 26:
            return f"the file is cut off: {size} of {needed} bytes"
        if repair:
            with path.open("r+b") as file:
                file.truncate(needed)
    return None
