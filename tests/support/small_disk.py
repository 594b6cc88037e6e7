"""A file system of a few megabytes for a test to fill. Needs root; `why_not` says what is missing."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.needs import program

KINDS = ("tmpfs", "ext4")
"""One that is full when a page is written, one that may say so only when it is synced."""


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, timeout=30)


def why_not(kind: str) -> str | None:
    """Why there can be no such file system, or None."""
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    try:
        with small_disk(kind, 1):
            pass
    except subprocess.CalledProcessError as error:
        return f"nothing can be mounted here: {error.stderr.strip()}"
    return None


@contextmanager
def small_disk(kind: str, mib: int) -> Iterator[Path]:
    """Where it is mounted."""
    with tempfile.TemporaryDirectory(prefix="small-disk-") as name:
        place = Path(name) / "disk"
        place.mkdir()
        if kind == "tmpfs":
            _run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", place)
        else:
            image = Path(name) / "image"
            with image.open("wb") as file:
                file.truncate(mib << 20)
            _run(program("mkfs.ext4", "disk"), "-q", "-m", "0", "-O", "^has_journal", image)
            _run("mount", "-o", "loop", image, place)
        try:
            yield place
        finally:
            _run("umount", "-l", place)


def remount(place: Path, how: str) -> None:
    """`how`: "ro" or "rw"."""
    _run("mount", "-o", f"remount,{how}", place)


def fill(place: Path, leave_bytes: int) -> Path:
    """Take all room but so much; removing the returned file gives it back."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        file.truncate(max(0, file.tell() - leave_bytes))
        os.fsync(file.fileno())
    return filler
