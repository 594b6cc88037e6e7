"""What the machine has to tell its users, made params: what is wrong with it, and how its parts are.

$CLASP_EDGE_NOTICES names a file with a sentence in each line, written by the board (docs/board.md); a file `state`
beside it has lines KEY=VALUE. Both are looked at again every few seconds. Without the variable there are no such
params.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from clasp_edge.config.model import Config
from clasp_edge.daemon.part import Part
from clasp_edge.dataplane import Plane
from clasp_edge.federation.shared.status import Params

VARIABLE = "CLASP_EDGE_NOTICES"
BOARD = "/clasp-edge/board/"
ADDRESS = BOARD + "problems"
STATE_FILE = "state"

LOOK_AGAIN_S = 3.0
"""A person who has just put the card back looks at the page, and sees what has changed while looking."""

MAX_BYTES = 16 * 1024
"""Far more than a board has ever had to say, and little enough for one message."""

MOST_KEYS = 64
KEY = re.compile(r"[a-z][a-z0-9_]{0,31}(/[a-z0-9_]{1,32}){0,2}")
NUMBER = re.compile(r"-?[0-9]{1,15}")


class Notices(Part):
    """The files as params: a list of sentences, empty when all is well, and one param for each KEY."""

    name = "board"

    def __init__(self, plane: Plane, file: Path) -> None:
        self._params = Params(plane, "board")
        self._params.open()
        self._files = (file, file.with_name(STATE_FILE))
        self._seen: tuple[object, ...] = ()
        self._keys: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        self.tell()
        self._look_later()

    def apply_config(self, config: Config) -> None:
        self.tell()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def tell(self) -> None:
        """Read the files again, and tell what has changed. One that cannot be read says nothing."""
        self._seen = tuple(map(_version, self._files))
        problems, state = map(_lines, self._files)
        self._params.write(ADDRESS, problems)
        found = dict(pair for line in state if (pair := _pair(line)) is not None)
        for key in self._keys - found.keys():
            self._params.forget(BOARD + key)
        self._keys = set(list(found)[:MOST_KEYS])
        for key in self._keys:
            value = found[key]
            self._params.write(BOARD + key, int(value) if NUMBER.fullmatch(value) else value)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._look)

    def _look(self) -> None:
        if tuple(map(_version, self._files)) != self._seen:
            self.tell()
        self._look_later()


def _version(file: Path) -> object:
    """What differs when the file has been written."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _lines(file: Path) -> list[str]:
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES).decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line]


def _pair(line: str) -> tuple[str, str] | None:
    key, equals, value = line.partition("=")
    return (key, value) if equals and KEY.fullmatch(key) and key != "problems" else None


def notices(plane: Plane) -> Notices | None:
    """What the environment asks for."""
    named = os.environ.get(VARIABLE)
    return Notices(plane, Path(named)) if named else None
