"""Readers that follow the log by number and go on after a restart: where each one is, and the records after that.

A place is the number of the last record that a reader is done with. Places are kept in memory, go into the store with
the next commit, and hold back the retention of what is still needed. Knows no disk: blocks are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from clasp_edge.journal.format import BadBlock, Own, message_of, read_header
from clasp_edge.journal.log_scan import logged_in

FORGET = -1
"""In `Cursors.take`: the place is to be removed from the store."""

LONGEST_NAME = 256
"""Bytes; LMDB's keys have at most 511."""


class Logged(NamedTuple):
    """One record of the log. `run` counts the router's starts, `frame` is the whole CLASP frame that went out;
    `synchronised`: the wall clock could be believed; `way`, `way_number` and `own`: as in `format.Record`."""

    number: int
    run: int
    wall_us: int
    author: bytes
    address: bytes
    signal: int
    frame: bytes
    way: bytes = b""
    way_number: int = 0
    synchronised: bool = True
    own: Own | None = None


class Cursors:
    """The places by name."""

    def __init__(self, stored: Mapping[str, int] | None = None) -> None:
        self._places = dict(stored or {})
        self._changed: set[str] = set()

    def __getitem__(self, name: str) -> int:
        """0 for a reader who has never been here."""
        return self._places.get(name, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._places))

    def move(self, name: str, number: int) -> bool:
        """Note a place; whether that is news. Raises ValueError for a number that no record can have."""
        if not 0 <= number < 1 << 64:
            raise ValueError(f"{number} is not the number of a record")
        if not 0 < len(name.encode()) <= LONGEST_NAME:
            raise ValueError(f"a cursor's name has 1 to {LONGEST_NAME} bytes")
        if self._places.get(name) == number:
            return False
        self._places[name] = number
        self._changed.add(name)
        return True

    def forget(self, name: str) -> bool:
        """The reader comes no more, and holds nothing back; whether there was one."""
        if self._places.pop(name, None) is None:
            return False
        self._changed.add(name)
        return True

    @property
    def changed(self) -> bool:
        """Whether the store lacks something."""
        return bool(self._changed)

    @property
    def needed_from(self) -> int:
        """The first record that somebody still needs; 0 when nobody follows the log."""
        return min(self._places.values()) + 1 if self._places else 0

    def take(self) -> dict[str, int]:
        """What the next commit has to store: places, FORGET for those that are no more."""
        taken = {name: self._places.get(name, FORGET) for name in self._changed}
        self._changed.clear()
        return taken

    def give_back(self, taken: Mapping[str, int]) -> None:
        """A commit with these has failed."""
        self._changed.update(taken)

    def all_again(self) -> None:
        """The store is a new one."""
        self._changed.update(self._places)


def after(
    blocks: Iterable[bytes], number: int, limit_records: int, limit_bytes: int, faults: dict[int, str]
) -> list[Logged]:
    """The records numbered above `number`, at most so many and of so many bytes (one is always given).

    A record that cannot be used is passed over, and what comes behind it in its block where its size cannot be
    believed. `faults` gets why, by its number.
    """
    return _after(blocks, number, limit_records, limit_bytes, faults, None, None)[0]


def wanted_after(
    blocks: Iterable[bytes], number: int, limit_records: int, limit_bytes: int, faults: dict[int, str],
    known: dict[bytes, Any], wanted: Callable[[bytes], Any],
) -> tuple[list[Logged], bool]:  # fmt: skip
    """As `after`, without what lies at an address that is false in `known`, or, where that does not have it, by
    `wanted(address)`; and whether that was all."""
    return _after(blocks, number, limit_records, limit_bytes, faults, known, wanted)


def _after(
    blocks: Iterable[bytes], number: int, limit_records: int, limit_bytes: int, faults: dict[int, str],
    known: dict[bytes, Any] | None, wanted: Callable[[bytes], Any] | None,
) -> tuple[list[Logged], bool]:  # fmt: skip
    found: list[Logged] = []
    size = 0
    for block in blocks:
        try:
            read_header(block)
        except BadBlock as error:
            faults[number + 1] = str(error)
            continue
        size, enough = logged_in(
            block, number, found, size, limit_records, limit_bytes, faults, Logged, message_of, known, wanted
        )
        if enough:
            return found, False
    return found, True
