"""One daemon per data directory: a file that is locked as long as the process lives, with its process id inside."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

LOCK_NAME = "clasp-edge.lock"


class InUse(Exception):
    """Another process has the directory; the text names it."""


class DirectoryLock:
    """Held from construction to `release`, or to the end of the process however it ends. Raises InUse, OSError."""

    def __init__(self, directory: Path) -> None:
        path = self._path = directory / LOCK_NAME
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        # Whoever may read the file may lock it, and no router could start.
        with contextlib.suppress(OSError):
            os.fchmod(self._fd, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            text = f"the data directory {directory} is in use by another clasp-edge (process {owner or 'unknown'})"
            raise InUse(text) from None
        except OSError:
            os.close(self._fd)
            raise
        # The lock holds without it, on a full disk too.
        with contextlib.suppress(OSError):
            name = f"{os.getpid()}\n".encode()
            os.pwrite(self._fd, name, 0)
            os.ftruncate(self._fd, len(name))

    def keeps_others_out(self) -> bool:
        """Whether its file is the one that others would lock: it may have been removed. Raises OSError."""
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def release(self) -> None:
        """Let another process have the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
