"""One program of the board at a time where several write: the card's partition, the list of problems.

A lock belongs to a process and is given back by the kernel when it ends. Within a process it may be taken in itself.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 120.0
"""Then it goes on without: a program that hangs on a broken card must not keep the box from telling so."""

LOOK_AGAIN_S = 0.05

_held: set[Path] = set()


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Within the block no other program has this lock; whether this is the outermost block of this program."""
    if path in _held:
        yield False
        return
    handle = _taken(path)
    _held.add(path)
    try:
        yield True
    finally:
        _held.discard(path)
        if handle is not None:
            os.close(handle)


def _taken(path: Path) -> int | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except OSError:
            if time.monotonic() > end:
                os.close(handle)
                return None
        time.sleep(LOOK_AGAIN_S)
