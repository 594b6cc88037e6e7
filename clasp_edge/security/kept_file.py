"""A small TOML file of tables in the data directory that several processes change: read whole, written whole.

Readable by its owner only. Renamed into place: a power cut leaves the old file or the new one. Writers are kept apart
by a lock, so two administrators at once lose nothing. What the tables mean is the caller's business.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

LARGEST_BYTES = 8 * 1024 * 1024


class KeptFileError(ValueError):
    """The file, or what is asked of it, is wrong; the text says how."""


def state_of(path: Path) -> object:
    """What tells whether a file has changed; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def read_tables(path: Path, name: str) -> list[dict[str, Any]]:
    """The tables `[[name]]`; none where there is no file. Raises KeptFileError."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise KeptFileError(f"{path} is larger than {LARGEST_BYTES >> 20} MiB")
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise KeptFileError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise KeptFileError(f"{path} is damaged: {error}") from None
    rows = found.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise KeptFileError(f"{path} is damaged: {name} is no list of tables")
    return rows


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile. Raises KeptFileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise KeptFileError(f"{path} cannot be changed: {error.strerror}") from None
    try:
        if os.geteuid() == 0:
            # Made by an administrator, it is still the service that has to open it.
            owner = path.parent.stat()
            os.fchown(lock, owner.st_uid, owner.st_gid)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def write_text(path: Path, text: str) -> None:
    """Put this into the file's place, durably. Raises KeptFileError."""
    if len(text.encode()) > LARGEST_BYTES:
        raise KeptFileError(f"{path} is full: it would be larger than {LARGEST_BYTES >> 20} MiB; nothing was changed")
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        file = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with open(file, "w", encoding="utf-8") as out:
            if path.exists():
                status = path.stat()
                os.fchown(file, status.st_uid, status.st_gid)
            elif os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(file, owner.st_uid, owner.st_gid)
            out.write(text)
            out.flush()
            os.fsync(file)
        fresh.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise KeptFileError(f"{path} cannot be written: {error.strerror}") from None


def table(name: str, fields: dict[str, Any]) -> str:
    """One table as TOML: texts, whole numbers, lists of texts, and times as datetime. None is left out."""
    lines = [f"{key} = {_value(value)}" for key, value in fields.items() if value is not None]
    return f"\n[[{name}]]\n" + "\n".join(lines) + "\n"


def when(unix_s: int) -> datetime.datetime:
    """A time for `table`."""
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC)


def time_of(value: Any, where: str) -> int | None:
    """Unix seconds of a time in a table. Raises KeptFileError."""
    if value is None:
        return None
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return int(value.timestamp())
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise KeptFileError(f"{where} has a time that is none")


def _value(value: Any) -> str:
    match value:
        case datetime.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return f'"{_escaped(value)}"'
        case _ if isinstance(value, Sequence):
            return f"[{', '.join(_value(one) for one in value)}]"
    raise TypeError(type(value).__name__)


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
