"""The files a configuration is made of: the main file, then `conf.d/*.toml` beside it, put together key by key.

Knows TOML and where each key came from; what keys there are is not its business. Reads files and nothing else.
"""

from __future__ import annotations

import os
import re
import threading
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from clasp_edge.config.lines import line_in, lines_of
from clasp_edge.text_file import as_text, no_text

DROP_INS = "conf.d"
SUFFIX = ".toml"

_LISTED = re.compile(r"([A-Za-z0-9_.-]+)\[(\d{1,6})\]")


class Unreadable(Exception):
    """A file that cannot be used. `path` is the file, the text says why."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(reason)


class Origin(str):
    """The name of a file, and the line in it, where that is known."""

    line: int | None

    def __new__(cls, file: Path | str, line: int | None = None) -> Origin:
        made = super().__new__(cls, file)
        made.line = line
        return made


class Sources:
    """What the files say together (`raw`), and which of them said it (`origin_of`).

    A later file wins, key by key; tables are joined; a list of tables (`[[security.token]]`) is added to those of the
    files before, any other list replaces them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.raw: dict[str, object] = {}
        self._origins: dict[str, Path] = {}
        # For problems, of which there may be thousands: filled in with the first.
        self._lines: dict[Path, dict[str, int]] = {}
        self._firsts: dict[tuple[str, Path], int] = {}
        self.problems: list[Unreadable] = []
        try:
            files = [path, *drop_ins(path)]
        except Unreadable as problem:
            files = [path]
            self.problems.append(problem)
        for file in files:
            try:
                table = read(file)
            except Unreadable as problem:
                self.problems.append(problem)
            else:
                self._join(self.raw, table, file, "")

    def origin_of(self, key: str) -> Path:
        """The file that said last what is at this key (`limits.max_sessions`, `security.token[1].scopes`), or else
        around it; the main file for what nobody has said."""
        while key:
            if key in self._origins:
                return self._origins[key]
            # `a.b[1]` stands in `a.b`, and that in `a`.
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self.path

    def place_of(self, key: str) -> Origin:
        """As `origin_of`, with the line."""
        file = self.origin_of(key)
        if (listed := _LISTED.match(key)) is not None:
            # The list is made of those of several files; in each it begins at its own 0.
            name, index = listed[1], int(listed[2])
            key = f"{name}[{index - self._first_of(name, file, index)}]{key[listed.end() :]}"
        if file not in self._lines:
            try:
                self._lines[file] = lines_of(as_text(file.read_bytes()))
            except (OSError, UnicodeDecodeError):
                self._lines[file] = {}
        return Origin(file, line_in(self._lines[file], key))

    def _first_of(self, name: str, file: Path, index: int) -> int:
        """The number of a file's first table in the list of that name; `index` is one of them."""
        first = self._firsts.get((name, file))
        if first is None:
            first = next((at for at in range(index) if self.origin_of(f"{name}[{at}]") == file), index)
            self._firsts[name, file] = first
        return min(first, index)

    def _join(self, into: dict[str, object], table: Mapping[str, object], file: Path, prefix: str) -> None:
        for name, value in table.items():
            key = f"{prefix}{name}"
            there = into.get(name)
            if isinstance(value, dict):
                if not isinstance(there, dict):
                    self._replaced(key, file)
                    there = into[name] = {}
                self._join(there, value, file, f"{key}.")
            elif _tables(value) and _tables(there):
                assert isinstance(there, list)
                assert isinstance(value, list)
                into[name] = there = list(there)
                for index in range(len(there), len(there) + len(value)):
                    self._origins[f"{key}[{index}]"] = file
                there += value
            else:
                self._replaced(key, file)
                into[name] = value

    def _replaced(self, key: str, file: Path) -> None:
        """The value at this key comes from `file`, and nothing of what was below it is left."""
        if key in self._origins:  # a key that is new has nothing below it, and there may be thousands
            for known in [known for known in self._origins if known.startswith((f"{key}.", f"{key}["))]:
                del self._origins[known]
        self._origins[key] = file


def _tables(value: object) -> bool:
    """A list of tables, with at least one."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def drop_ins(path: Path) -> list[Path]:
    """The files that belong to the main file at `path`, in the order in which they are read. Names that begin with a
    dot are those of editors. None for a directory that is not there. Raises Unreadable."""
    directory = path.parent / DROP_INS
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Unreadable(directory, f"cannot be read: {error.strerror or error}") from None
    return [directory / name for name in names if name.endswith(SUFFIX) and not name.startswith(".")]


def read(path: Path) -> dict[str, object]:
    """The tables of one file. Raises Unreadable."""
    try:
        return _tables_of(path.read_bytes())
    except OSError as error:
        raise Unreadable(path, f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise Unreadable(path, no_text(error)) from None
    except ValueError as error:
        raise Unreadable(path, f"is not TOML: {error}") from None
    except RecursionError:
        raise Unreadable(path, "is not TOML: lists and tables are nested too deeply") from None


def forget_files() -> None:
    """Give back what was read."""
    _tables_of.cache_clear()


LARGE_BYTES = 128 * 1024
"""Of a file: what thousands of rules take. The rest is read faster than a library is loaded."""


@lru_cache(maxsize=2)
def _tables_of(content: bytes) -> dict[str, object]:
    """What a file of this content says, to be looked at and not changed: with settings of the page the files are read
    twice. Raises ValueError."""
    text = as_text(content)
    # It would not let go of the interpreter until it is through: a reload, in a thread of its own, takes the slow one.
    quick_first = len(content) > LARGE_BYTES and threading.current_thread() is threading.main_thread()
    if quick_first and (found := _by_rtoml(text)) is not None:
        return found
    try:
        return tomllib.loads(text)
    except ValueError:
        # What one of them takes is right whatever the size of the file and the thread: rtoml knows TOML 1.1, in which
        # inline tables may go over several lines. The problem that is told is tomllib's, with its line.
        if quick_first or (found := _by_rtoml(text)) is None:
            raise
        return found


def _by_rtoml(text: str) -> dict[str, object] | None:
    """The tables; None where rtoml refuses the text or is not there."""
    try:
        import rtoml

        return rtoml.loads(text)
    except (ImportError, ValueError):
        return None
