"""The few things that the board's programs ask of the operating system, each in one place.

Knows mount, systemctl and block devices; decides nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clasp_board.locks import locked

COMMAND_TIMEOUT_S = 120

UNIT = "clasp-edge.service"

CARD_LOCK = Path("/run/clasp-edge-board/card.lock")
"""Else one program would make the card read-only under the hands of another."""


def run(
    *command: str | Path, given: str = "", timeout_s: float = COMMAND_TIMEOUT_S, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command on the input `given` in the directory `cwd`; output and status are in the result. One that cannot
    be run has failed."""
    try:
        return subprocess.run(
            [str(word) for word in command],
            text=True,
            errors="replace",
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            cwd=cwd,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess([], 127, str(error))


def daemon_is_active() -> bool:
    """Whether the router is up to systemd, which it is only with all listeners bound and the journal restored."""
    return run("systemctl", "is-active", "--quiet", UNIT).returncode == 0


@contextmanager
def writable(mount_point: Path) -> Iterator[None]:
    """The mounted file system can be written within the block, and is on the card when the block ends.

    Raises OSError where it cannot be made writable. A directory that is no mount point is taken as it is.
    """
    if not os.path.ismount(mount_point):
        try:
            yield
        finally:
            os.sync()
        return
    with locked(CARD_LOCK) as outermost:
        if outermost:
            done = run("mount", "-o", "remount,rw", mount_point)
            if done.returncode:
                raise OSError(f"{mount_point} cannot be written: {done.stdout.strip()}")
        try:
            yield
        finally:
            os.sync()
            if outermost:
                run("mount", "-o", "remount,ro", mount_point)


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace a file so that a power cut or a full card leaves the old or the new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(handle, mode)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]  # a full card takes a part, and refuses only the next
        os.fsync(handle)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    partial.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def device_size(device: Path) -> int:
    """Bytes of a block device or a file. Raises OSError."""
    handle = os.open(device, os.O_RDONLY)
    try:
        return os.lseek(handle, 0, os.SEEK_END)
    finally:
        os.close(handle)
