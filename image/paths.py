"""Where things lie, and the figures that image and updates share. Knows nothing of how they are made."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent

WORK = Path(os.environ.get("IMAGE_WORK", PROJECT / "build" / "image"))
"""Everything that is built or fetched; outside of version control."""

DEBS = WORK / "debs"
LOCK = HERE / "packages.lock"
PACKAGES = HERE / "packages.txt"
DIST = PROJECT / "dist"

ARCHITECTURE = "arm64"
SUITE = "trixie"
BOARD = "clasp-edge-arm64"
"""What an update is for; the updater refuses any other."""

SECTOR = 512
MIB = 1 << 20

FIRST_SECTOR = 2048
"""The first partition begins at 1 MiB, as partitions do on cards."""

BOOT_MIB = 256
SLOT_MIB = 512
"""Room for a root of 80 MiB to grow six times."""

DATA_MIB = 64
"""The data partition as flashed; it grows to the end of the card when the box first starts."""

DISK_ID = 0xC1A5_9ED6
BOOT_ID = 0xC1A5_0001
DATA_UUID = "c1a5ed6e-0000-4000-8000-000000000004"


def source_date_epoch() -> int:
    """The time that everything in the image bears: $SOURCE_DATE_EPOCH, else that of the commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    import subprocess

    shown = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return int(shown) if shown else 1_700_000_000
