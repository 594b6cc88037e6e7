"""The pages of the store's file that are in the process's memory: once touched they stay there, in the end the whole
file. Where they have become many, all are let go of; what is needed again is still in the kernel's cache.

Knows LMDB's file by its name only. The map must not be taken away or replaced while this is at work.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from clasp_edge.dataplane.system import release_pages

MOST_BYTES = 16 << 20
"""Of mapped files beside what there was when the pages were let go of last: what a replay of the log reads in 50 ms."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class MappedPages:
    """Of one file, which is mapped for reading and shared (never written by way of the map)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._base = 0
        with contextlib.suppress(OSError):
            self._base = _file_bytes()
        self.released = 0
        """How often they were let go of."""

    def look(self) -> None:
        """Let go of them, if they are many. Some microseconds, if they are not. Where that cannot be found out, as
        while no more files can be opened, they stay."""
        with contextlib.suppress(OSError):
            if _file_bytes() > self._base + MOST_BYTES:
                self._release()

    def _release(self) -> None:
        """A page that somebody reads meanwhile is there again for it (madvise(2): mappings of files are filled from the
        file)."""
        inode, name = self._path.stat().st_ino, os.fsencode(self._path.name)
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                fields = line.split(maxsplit=5)
                # Address, permissions, offset, device, inode, path. The device is not what stat says on all file
                # systems; a shared mapping of that inode and name, which nobody may write by, is this one.
                if (
                    len(fields) == 6
                    and fields[1] == b"r--s"
                    and int(fields[4]) == inode
                    and fields[5].rstrip().endswith(name)
                ):
                    start, _, end = fields[0].partition(b"-")
                    release_pages(int(start, 16), int(end, 16) - int(start, 16))
                    self.released += 1
        self._base = _file_bytes()


def _file_bytes() -> int:
    """What the process has of mapped files, libraries included (proc(5), statm: shared)."""
    with open("/proc/self/statm", "rb") as found:
        return int(found.read().split()[2]) * _PAGE
