"""Puts the disk together: partition table, boot partition, the first system, the data partition. No mounts, no loops.

Everything that tools would choose at random (identifiers, times, hash seeds) is given to them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from image.paths import (
    BOOT_ID,
    BOOT_MIB,
    DATA_MIB,
    DATA_UUID,
    DISK_ID,
    FIRST_SECTOR,
    HERE,
    MIB,
    SECTOR,
    SLOT_MIB,
)

FAT_TYPE = "0c"
"""The ROM of the Pi 3 and Zero 2 finds its files only on a partition of type 0b or 0c."""

LINUX_TYPE = "83"

DATA_BLOCK = 4096
LARGEST_CARD_BYTES = 1 << 40
BYTES_PER_INODE = 128 * 1024
"""What is kept is a few dozen files, one of them large."""


@dataclass(frozen=True)
class Partition:
    """A stretch of the disk, in sectors."""

    first: int
    count: int
    kind: str


def layout() -> list[Partition]:
    """The four partitions: boot, system a, system b, data."""
    partitions, first = [], FIRST_SECTOR
    for mib, kind in ((BOOT_MIB, FAT_TYPE), (SLOT_MIB, LINUX_TYPE), (SLOT_MIB, LINUX_TYPE), (DATA_MIB, LINUX_TYPE)):
        count = mib * MIB // SECTOR
        partitions.append(Partition(first, count, kind))
        first += count
    return partitions


def make_boot(target: Path, files: list[tuple[str, Path | bytes]], epoch: int, work: Path) -> None:
    """The boot partition as a FAT32 file system with these files, by name or path."""
    staged = work / "boot"
    shutil.rmtree(staged, ignore_errors=True)
    for name, content in files:
        place = staged / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            shutil.copyfile(content, place)
        os.utime(place, (epoch, epoch))
    for directory in (path for path in staged.rglob("*") if path.is_dir()):
        os.utime(directory, (epoch, epoch))
    target.unlink(missing_ok=True)
    _make_sparse(target, BOOT_MIB * MIB)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    subprocess.run(
        ["mkfs.vfat", "-F", "32", "--invariant", "-i", f"{BOOT_ID:08x}", "-n", "CLASP-EDGE", target],
        env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    entries = sorted(staged.iterdir())
    subprocess.run(["mcopy", "-s", "-m", "-i", target, *entries, "::/"], env=environment, check=True)


def make_data(target: Path, epoch: int, work: Path) -> None:
    """The data partition, empty, and in a shape that is right for when it has grown to a whole card.

    What mke2fs would choose for so small a one gives a sixteenth to inodes, which the kernel, once it has grown, clears
    in the background: 2 GB to be written on a card of 32 GB. And it could grow to 32 GB in the ordinary way.
    """
    empty = work / "data"
    shutil.rmtree(empty, ignore_errors=True)
    empty.mkdir(mode=0o755)
    os.utime(empty, (epoch, epoch))
    target.unlink(missing_ok=True)
    _make_sparse(target, DATA_MIB * MIB)
    environment = {**os.environ, "E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch)}
    options = f"hash_seed={DATA_UUID},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    options += f",resize={LARGEST_CARD_BYTES // DATA_BLOCK}"
    command = ["mke2fs", "-q", "-t", "ext4", "-F", "-L", "data", "-U", DATA_UUID, "-m", "1"]
    command += ["-b", str(DATA_BLOCK), "-i", str(BYTES_PER_INODE), "-J", "size=16"]
    command += ["-E", options, "-d", str(empty), str(target)]
    subprocess.run(command, env=environment, check=True)


def assemble(target: Path, boot: Path, root: Path, data: Path) -> None:
    """Write the disk. Raises SystemExit when the root does not fit its place."""
    room = SLOT_MIB * MIB
    if root.stat().st_size > room:
        raise SystemExit(f"the root is {root.stat().st_size} bytes, more than the {room} of its partition")
    partitions = layout()
    target.unlink(missing_ok=True)
    _make_sparse(target, (partitions[-1].first + partitions[-1].count) * SECTOR)
    table = f"label: dos\nlabel-id: 0x{DISK_ID:08x}\nunit: sectors\n"
    table += "".join(f"start={p.first}, size={p.count}, type={p.kind}\n" for p in partitions)
    subprocess.run(["sfdisk", "--quiet", target], input=table, text=True, check=True)
    for content, partition in ((boot, partitions[0]), (root, partitions[1]), (data, partitions[3])):
        subprocess.run(
            ["dd", f"if={content}", f"of={target}", "bs=1M", f"seek={partition.first * SECTOR // MIB}",
             "conv=notrunc,sparse", "status=none"],
            check=True,
        )  # fmt: skip


def settings_files() -> list[tuple[str, Path | bytes]]:
    """The commented files for the person who flashes the card, with the line ends that every editor understands."""
    files: list[tuple[str, Path | bytes]] = []
    for path in sorted((HERE / "boot").iterdir()):
        if path.name == "cmdline-pi5.txt":
            continue  # goes beside that board's kernel
        raw = path.read_bytes()
        plain = path.name in ("config.txt", "cmdline.txt")
        files.append((path.name, raw if plain else raw.replace(b"\n", b"\r\n")))
    return files


def _make_sparse(target: Path, size: int) -> None:
    with target.open("wb") as file:
        file.truncate(size)
