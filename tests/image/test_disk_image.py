"""The disk as it is flashed: whole, the same each time, and whole as well where only the mapped blocks are written."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from image import disk
from image.bmap import BLOCK, ranges_to_write, write_bmap
from image.paths import BOOT_MIB, DATA_MIB, MIB, SECTOR, SLOT_MIB

EPOCH = 1_700_000_000
ROOT = b"hsqs" + os.urandom(300_000)


def build(directory: Path) -> Path:
    """A disk with everything on it but a real system."""
    directory.mkdir()
    root = directory / "root.squashfs"
    root.write_bytes(ROOT)
    files = [*disk.settings_files(), ("vmlinuz", b"kernel" * 100_000), ("slot.txt", bytes(512))]
    disk.make_boot(directory / "boot.fat", files, EPOCH, directory)
    disk.make_data(directory / "data.ext4", EPOCH, directory)
    disk.assemble(directory / "image", directory / "boot.fat", root, directory / "data.ext4")
    return directory / "image"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("disk") / "one")


def part(image: Path, number: int, target: Path) -> Path:
    partition = disk.layout()[number - 1]
    with image.open("rb") as source, target.open("wb") as copy:
        source.seek(partition.first * SECTOR)
        copy.write(source.read(partition.count * SECTOR))
    return target


def check_file_systems(image: Path, directory: Path) -> None:
    boot, data = part(image, 1, directory / "p1"), part(image, 4, directory / "p4")
    subprocess.run(["fsck.vfat", "-n", boot], check=True, stdout=subprocess.DEVNULL, timeout=120)
    subprocess.run(["e2fsck", "-f", "-n", data], check=True, capture_output=True, timeout=120)
    kernel = subprocess.run(["mtype", "-i", boot, "::vmlinuz"], check=True, capture_output=True, timeout=60).stdout
    assert kernel == b"kernel" * 100_000


def test_the_partitions_are_what_every_board_can_boot_from(image: Path) -> None:
    shown = subprocess.run(["sfdisk", "-d", image], text=True, capture_output=True, check=True, timeout=60).stdout
    assert "label: dos" in shown
    assert re.findall(r"type=(\w+)", shown) == ["c", "83", "83", "83"]
    assert [p.count * SECTOR // MIB for p in disk.layout()] == [BOOT_MIB, SLOT_MIB, SLOT_MIB, DATA_MIB]
    assert image.stat().st_size < 1_900_000_000, "fits on a card that is sold as 2 GB"


def test_the_file_systems_are_sound(image: Path, tmp_path: Path) -> None:
    check_file_systems(image, tmp_path)


def test_the_data_partition_is_made_for_the_card_that_it_grows_to(image: Path, tmp_path: Path) -> None:
    """Little to be cleared when it has grown, and room for the descriptions of all its groups on a card of 1 TB."""
    data = part(image, 4, tmp_path / "p4")
    command = ["dumpe2fs", "-h", data]
    shown = subprocess.run(command, text=True, capture_output=True, check=True, timeout=60).stdout
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in shown.splitlines())}
    block, group = int(found["Block size"]), int(found["Blocks per group"])
    inodes = int(found["Inodes per group"]) * int(found["Inode size"])
    assert inodes / (block * group) < 0.005
    assert "64bit" in found["Filesystem features"]
    described = (int(found["Reserved GDT blocks"]) + 1) * (block // 64) * block * group
    assert described >= 1 << 40


def test_the_same_inputs_give_the_same_bytes(image: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "two")
    subprocess.run(["cmp", image, again], check=True, timeout=120)


def test_writing_only_the_mapped_blocks_over_an_old_card_is_enough(image: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    mapped = ranges_to_write(image, len(ROOT))
    with image.open("rb") as source, card.open("wb") as target:
        target.truncate(image.stat().st_size)
        for partition in disk.layout():  # what lay there before, where it matters
            target.seek(partition.first * SECTOR)
            target.write(b"\xa5" * min(partition.count * SECTOR, 64 * MIB))
        for first, last in mapped:
            source.seek(first * BLOCK)
            target.seek(first * BLOCK)
            target.write(source.read((last - first + 1) * BLOCK))
    check_file_systems(card, tmp_path)
    assert part(card, 2, tmp_path / "p2").read_bytes()[: len(ROOT)] == ROOT
    assert sum(last - first + 1 for first, last in mapped) * BLOCK < 200 * MIB


def test_the_map_names_its_blocks_with_checksums(image: Path, tmp_path: Path) -> None:
    write_bmap(image, "image", tmp_path / "map", len(ROOT))
    text = (tmp_path / "map").read_text()
    ranges = re.findall(r'<Range chksum="([0-9a-f]{64})"> (\d+)-(\d+) </Range>', text)
    assert [(int(first), int(last)) for _, first, last in ranges] == ranges_to_write(image, len(ROOT))
    assert f"<ImageSize> {image.stat().st_size} </ImageSize>" in text
    assert "0" * 64 not in text
