"""The kernels on the boot partition: each of the two systems has its own below a/ and b/, and config.txt, or on boards
with UEFI loader.conf, names whose the firmware starts.

Knows the files and how to change them so that a power cut leaves one kernel whole: that of the system that runs.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clasp_board.places import Places, read_fields

CONFIG = "config.txt"
LOADER_CONFIG = "loader/loader.conf"
"""What config.txt is to boards with UEFI. Cards of earlier images have none."""

IDENTITY = "boot.txt"
"""Beside a kernel: what tells it and its first stage from others. Without it the files are not whole."""

PREFIX = re.compile(rb"^(\s*os_prefix\s*=\s*)([ab])(?=/)", re.MULTILINE)
DEFAULT = re.compile(rb"^(\s*default\s+)([ab])(?=\.conf)", re.MULTILINE)
NAME = re.compile(r"(pi5/)?[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
CHUNK_BYTES = 1 << 20
LARGEST_CONFIG_BYTES = 64 * 1024


def identity_text(identity: str, release: str) -> bytes:
    """The file that makes a kernel's files valid."""
    return f"id={identity}\nrelease={release}\n".encode()


def has_kernels(places: Places) -> bool:
    """Whether each system has kernels of its own on this card; the first images had one for both."""
    return any((places.firmware / slot).is_dir() for slot in "ab")


def are_whole(places: Places, slot: str) -> bool:
    """Whether this system's kernel for this board can be started: an update to it was not cut short."""
    return bool(read_fields(places.firmware / slot / running_directory(places) / IDENTITY).get("id"))


def started_by_firmware(places: Places) -> str:
    """Whose kernel the firmware starts, a or b; nothing where config.txt does not say. Raises OSError."""
    path = places.firmware / CONFIG
    if not path.exists() or path.stat().st_size > LARGEST_CONFIG_BYTES:
        return ""
    found = PREFIX.search(path.read_bytes())
    return found[2].decode() if found else ""


def let_firmware_start(places: Places, slot: str) -> bool:
    """Have the firmware start the kernel of `slot`; whether config.txt says so now. The card must be writable.

    One letter is written over in place: whoever has added to the file keeps it, and a power cut leaves the one or the
    other. Of the two lines each board reads its own. The loader of boards with UEFI comes first, so that config.txt
    never says what only it has been told. Raises OSError.
    """
    _write_letter(places.firmware / LOADER_CONFIG, DEFAULT, slot)
    return _write_letter(places.firmware / CONFIG, PREFIX, slot)


def _write_letter(path: Path, pattern: re.Pattern[bytes], slot: str) -> bool:
    if not path.exists() or path.stat().st_size > LARGEST_CONFIG_BYTES:
        return False
    content = path.read_bytes()
    handle = os.open(path, os.O_RDWR)
    found = False
    try:
        for line in pattern.finditer(content):
            os.pwrite(handle, slot.encode(), line.start(2))
            found = True
        os.fsync(handle)
    finally:
        os.close(handle)
    return found


@contextmanager
def renewed(places: Places, slot: str) -> Iterator[Path]:
    """The directory of a system that does not run; in the block its kernels are invalid. Raises OSError."""
    directory = places.firmware / slot
    directory.mkdir(exist_ok=True)
    for about in directory.rglob(IDENTITY):
        with about.open("r+b") as file:
            file.truncate(0)
            os.fsync(file.fileno())
    yield directory


def write_kernel_file(path: Path, chunks: Iterator[bytes], digest: str) -> bool:
    """Write a file over what is there, and whether the card has kept it: `digest` is its SHA-256. Raises OSError.

    In place, since the clusters that a power cut leaves without a file would be missing in the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(handle, rest) :]
        os.ftruncate(handle, os.lseek(handle, 0, os.SEEK_CUR))
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)  # so that the card is read and not our memory
        os.lseek(handle, 0, os.SEEK_SET)
        with os.fdopen(os.dup(handle), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    finally:
        os.close(handle)


def forget_others(directory: Path, names: set[str]) -> None:
    """Take away what an earlier system had and this one has not. Raises OSError."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(directory).as_posix() not in names:
            path.unlink()


def room_for(places: Places, slot: str) -> int:
    """Bytes that the kernels of `slot` may take. Raises OSError."""
    state = os.statvfs(places.firmware)
    present = sum(path.stat().st_size for path in (places.firmware / slot).rglob("*") if path.is_file())
    return state.f_bavail * state.f_frsize + present


def running_directory(places: Places) -> str:
    """Below a/ or b/: where this board's kernel lies; "" or a name with a slash behind it."""
    return read_fields(places.boot).get("directory", "")


def read_piecewise(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
