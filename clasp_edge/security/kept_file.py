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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from clasp_edge.text_file import read_text

T = TypeVar("T")

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
        found = tomllib.loads(read_text(path))
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


_known: dict[Path, tuple[object, tuple[Any, ...]]] = {}
"""What is in the files, as it was read or written last: reading ten thousand entries takes seconds on a board, and the
router asks for every change that an administrator makes."""

MOST_KNOWN = 8


def remembered(path: Path, read: Callable[[], Sequence[T]]) -> list[T]:
    """What `read` finds in the file; read again only if the file is not what it was."""
    state = state_of(path)
    known = _known.get(path)
    if known is None or known[0] != state or state is None:
        known = state, tuple(read())
        remember(path, known[1], state)
    return list(known[1])


def remember(path: Path, found: Sequence[Any], state: object) -> None:
    """The file has this content as long as it is in this state."""
    _known.pop(path, None)
    if state is not None:
        _known[path] = state, tuple(found)
        if len(_known) > MOST_KNOWN:
            del _known[next(iter(_known))]


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
            if os.geteuid() == 0:
                # Nobody else may give a file away, or has to: it is the service's own.
                owner = (path if path.exists() else path.parent).stat()
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


class KeptFile(ABC, Generic[T]):
    """A file of tables of one kind in a data directory. Every call reads it afresh; changes are on the disk when they
    return."""

    name: ClassVar[str]
    table: ClassVar[str]
    """What each is called."""
    heading: ClassVar[str]
    most: ClassVar[int]

    def __init__(self, directory: Path) -> None:
        self.path = directory / self.name

    @abstractmethod
    def entry_of(self, row: dict[str, Any], where: str) -> T:
        """What a table says; `where` it stands, for errors. Raises KeptFileError."""

    @abstractmethod
    def fields_of(self, entry: T) -> dict[str, Any]:
        """What a table has to say, as `table` takes it."""

    def state(self) -> object:
        """What tells whether the file has changed."""
        return state_of(self.path)

    def read(self) -> list[T]:
        """All entries; none where there is no file. Raises KeptFileError."""
        return remembered(self.path, self._read)

    @contextlib.contextmanager
    def changing(self) -> Iterator[list[T]]:
        """The entries, to be changed; written when the block is left without an exception."""
        with locked(self.path):
            entries = self.read()
            yield entries
            if len(entries) > self.most:
                raise KeptFileError(f"the file is full: {self.most} {self.table}s; nothing was changed")
            tables = (table(self.table, self.fields_of(entry)) for entry in entries)
            write_text(self.path, self.heading + "".join(tables))
            remember(self.path, entries, self.state())

    def _read(self) -> list[T]:
        rows = read_tables(self.path, self.table)
        return [self.entry_of(row, f"{self.path}: {self.table}[{index}]") for index, row in enumerate(rows)]


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
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
