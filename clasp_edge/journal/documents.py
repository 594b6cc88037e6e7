"""Small documents that other parts want stored under names of their own, and have back after the next start.

Knows no disk: what has changed is asked for when a commit is due, and handed over with it. What documents say is their
owner's business; a damaged one is not handed out.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping

log = logging.getLogger("clasp_edge.journal")

LONGEST_NAME = 384
"""Bytes; LMDB's keys have at most 511."""

_CRC_BYTES = 4

Source = Callable[[bool], Mapping[str, bytes | None]]
"""Called when a commit is due: the documents that have changed since the last call, None for one that is no more; with
True, every one there is."""


class Documents:
    """What the next commit has to store."""

    def __init__(self) -> None:
        self.wanted = False
        """The source has something new."""
        self._sources: list[Source] = []
        self._due: dict[str, bytes | None] = {}
        self._everything = False

    def ask(self, source: Source) -> None:
        """From now on this one is asked too."""
        self._sources.append(source)

    def gather(self) -> bool:
        """Ask what has changed; whether there is anything to store."""
        self.wanted = False
        everything = self._everything and bool(self._sources)
        self._everything = self._everything and not everything
        for source in self._sources:
            try:
                for name, data in source(everything).items():
                    if not 0 < len(name.encode()) <= LONGEST_NAME:
                        raise ValueError(f"a document's name has 1 to {LONGEST_NAME} bytes")
                    self._due[name] = data
            except Exception:  # the params are stored whatever is wrong with somebody's documents
                log.exception("documents could not be stored")
        return bool(self._due)

    def take(self) -> dict[str, bytes | None]:
        """What is to be stored now."""
        taken, self._due = self._due, {}
        return taken

    def give_back(self, taken: Mapping[str, bytes | None]) -> None:
        """A commit with these has failed; what came since is newer."""
        self._due = {**taken, **self._due}

    def all_again(self) -> None:
        """The store is a new one."""
        self._everything = True


def sealed(data: bytes) -> bytes:
    """A document as it is stored: LMDB does not notice when a disk gives back other bytes."""
    return zlib.crc32(data).to_bytes(_CRC_BYTES, "big") + data


def unsealed(stored: bytes) -> bytes | None:
    """The document, None if it is damaged."""
    data = stored[_CRC_BYTES:]
    whole = len(stored) >= _CRC_BYTES and zlib.crc32(data).to_bytes(_CRC_BYTES, "big") == stored[:_CRC_BYTES]
    return data if whole else None
