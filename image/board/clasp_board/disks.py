"""Checks and mounts the boot and the data partition, and lets the data partition reach to the end of the card.

Done here and not by /etc/fstab, because it must work as well on a card that is damaged, too small or slow to appear:
what cannot be had is reported, and the box starts without it. A power cut leaves every change done or not done.
"""

from __future__ import annotations

import os
from pathlib import Path

from clasp_board.places import Places, read_fields
from clasp_board.problems import add_problem
from clasp_board.settings import ERASE_REQUEST
from clasp_board.system import device_size, run, writable

SECTOR = 512
BOOT_NUMBER, DATA_NUMBER = 1, 4
ENTRY_OFFSET = 446 + 16 * (DATA_NUMBER - 1)

WORTH_GROWING_SECTORS = 8 * 2048
"""Less than 8 MiB more is not worth touching the partition table for."""

MBR_LIMIT_SECTORS = 0xFFFF_FFFF

DATA_UUID = "c1a5ed6e-0000-4000-8000-000000000004"
DATA_SHAPE = ("-L", "data", "-m", "1", "-b", "4096", "-i", "131072", "-J", "size=16")
"""As the image has it (image/disk.py)."""

BOOT_OPTIONS = "ro,noatime,nosuid,nodev,noexec,umask=0077"
READING_OPTIONS = "ro,noload,nosuid,nodev,noexec"
"""Where nothing can be written, what the file system's log still holds cannot be put in its place either."""

DATA_OPTIONS = "noatime,nosuid,nodev,noexec,commit=5,errors=remount-ro"
"""`commit`: what ext4 itself writes waits for 5 s at most; the daemon's journal is stored when it says so."""

E2FSCK_REPAIRED = 2
"""The highest exit status of e2fsck that leaves a sound file system."""

CHECK_TIMEOUT_S = 15 * 60


def mount_disks(places: Places) -> bool:
    """Mount what can be mounted; whether what is written to the data partition will survive."""
    boot = read_fields(places.boot)
    disk, partition = boot.get("disk"), boot.get("partition")
    if not disk or not partition:
        return False
    mount_boot(places, Path(f"{partition}{BOOT_NUMBER}"))
    data = Path(f"{partition}{DATA_NUMBER}")
    try:
        if not grow_partition(places, Path(disk), DATA_NUMBER) or not data.exists():
            return False
    except OSError as error:
        add_problem(places, f"The data partition could not be grown to the size of the card: {error}.")
    if (places.firmware / ERASE_REQUEST).exists():
        erase(places, data)
    return mount_data(places, data)


def mount_boot(places: Places, device: Path) -> None:
    """Mount the boot partition for reading."""
    run("fsck.vfat", "-a", device)
    places.firmware.mkdir(parents=True, exist_ok=True)
    if run("mount", "-t", "vfat", "-o", BOOT_OPTIONS, device, places.firmware).returncode:
        add_problem(places, "The boot partition of the card cannot be read, so settings on it are not looked at.")


def mount_data(places: Places, device: Path) -> bool:
    """Check, mount and grow the data partition; whether it can be written. What cannot be repaired is left as it is."""
    if run("e2fsck", "-p", device, timeout_s=CHECK_TIMEOUT_S).returncode > E2FSCK_REPAIRED:
        done = run("e2fsck", "-f", "-y", device, timeout_s=CHECK_TIMEOUT_S)
        if done.returncode <= E2FSCK_REPAIRED:
            add_problem(
                places, "The data partition was damaged and has been repaired; the newest of it may be missing."
            )
    places.data.mkdir(parents=True, exist_ok=True)
    if run("mount", "-t", "ext4", "-o", DATA_OPTIONS, device, places.data).returncode:
        run("mount", "-t", "ext4", "-o", READING_OPTIONS, device, places.data)
    try:
        flags = os.statvfs(places.data).f_flag if os.path.ismount(places.data) else None
    except OSError:
        flags = None
    if flags is not None and flags & os.ST_RDONLY:
        add_problem(
            places,
            "The card can only be read: the box works with what is on it, and forgets what is new when it is switched "
            "off. The card is worn out, or locked by the switch at its side. Please replace it soon.",
        )
        return False
    if flags is None:
        add_problem(
            places,
            "The data partition cannot be used: the box works, but knows nothing of before and forgets everything when "
            "it is switched off. To start anew with an empty one, put an empty file named erase-data.txt beside this "
            "one and switch the box on. If that does not help, the card is worn out.",
        )
        return False
    if device_size(device) - file_system_size(device) >= WORTH_GROWING_SECTORS * SECTOR:
        done = run("resize2fs", device, timeout_s=CHECK_TIMEOUT_S)
        if done.returncode:
            add_problem(places, f"The data partition could not be grown: {done.stdout.strip()}.")
    return True


def data_extent(table: bytes) -> tuple[int, int]:
    """First sector and number of sectors of the data partition, from a partition table's 512 bytes."""
    entry = table[ENTRY_OFFSET : ENTRY_OFFSET + 16]
    return int.from_bytes(entry[8:12], "little"), int.from_bytes(entry[12:16], "little")


def file_system_size(device: Path) -> int:
    """Bytes that the ext4 file system on the device takes, from its superblock."""
    with device.open("rb") as file:
        file.seek(1024)
        block = file.read(1024)
    count = int.from_bytes(block[0x04:0x08], "little") | int.from_bytes(block[0x150:0x154], "little") << 32
    return count * (1024 << int.from_bytes(block[0x18:0x1C], "little"))


def grow_partition(places: Places, disk: Path, number: int) -> bool:
    """Let the last partition reach to the end of the disk; whether the disk has one. Raises OSError."""
    with disk.open("rb") as handle:
        first, count = data_extent(handle.read(SECTOR))
    total = device_size(disk) // SECTOR
    if not first:
        add_problem(places, "The card has no data partition: please write the image to it anew.")
        return False
    if first + count > total:
        add_problem(
            places,
            f"This card is smaller than the image ({total * SECTOR // 1_000_000} MB), so the box has nowhere to keep "
            "anything: it forgets everything when it is switched off. Please use a card of at least 2 GB.",
        )
        return False
    wanted = min(total - first, MBR_LIMIT_SECTORS)
    if wanted - count < WORTH_GROWING_SECTORS:
        return True
    # One sector is written. The kernel is told by partx, since the disk is in use.
    options = ("--quiet", "--no-reread", "--no-tell-kernel", "-N", str(number))
    done = run("sfdisk", *options, disk, given=f"{first},{wanted}\n")
    if done.returncode:
        raise OSError(done.stdout.strip())
    os.sync()
    run("partx", "--update", "--nr", str(number), disk)
    return True


def erase(places: Places, device: Path) -> None:
    """Make the data partition anew; then take the request away, so that a power cut in between repeats it.

    A request that cannot be taken away is not followed: it would be at every start from now on.
    """
    request = places.firmware / ERASE_REQUEST
    try:
        with writable(places.firmware):
            with request.open("r+b") as file:
                file.write(b" ")  # the least that taking it away needs as well
                os.fsync(file.fileno())
            if run("mkfs.ext4", "-q", "-F", "-U", DATA_UUID, *DATA_SHAPE, device, timeout_s=CHECK_TIMEOUT_S).returncode:
                add_problem(
                    places, "The data partition could not be made anew: the card is damaged. Please replace it."
                )
                return
            request.unlink()
    except OSError as error:
        add_problem(places, f"{ERASE_REQUEST}: nothing was erased, since the card can only be read: {error}.")
