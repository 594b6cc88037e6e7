"""The data partition: grown to the end of the disk, left alone when there is nothing to grow or no room for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from clasp_board.disks import DATA_NUMBER, SECTOR, data_extent, file_system_size, grow_partition
from clasp_board.places import Places
from clasp_board.problems import read_problems

from image.disk import Partition, layout
from image.paths import DATA_UUID, MIB


def make_card(path: Path, size: int, partitions: list[Partition]) -> Path:
    with path.open("wb") as file:
        file.truncate(max(size, (partitions[-1].first + partitions[-1].count) * SECTOR))
    script = "label: dos\nunit: sectors\n" + "".join(
        f"start={p.first}, size={p.count}, type={p.kind}\n" for p in partitions
    )
    subprocess.run(["sfdisk", "--quiet", path], input=script, text=True, check=True, timeout=60)
    with path.open("r+b") as file:
        file.truncate(size)
    return path


def table(card: Path) -> bytes:
    with card.open("rb") as file:
        return file.read(SECTOR)


def test_the_data_partition_reaches_to_the_end_of_the_card(board: Places, tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", 4096 * MIB, layout())
    before = table(card)
    assert grow_partition(board, card, DATA_NUMBER)
    grown = table(card)
    first, count = data_extent(grown)
    assert first == layout()[-1].first
    assert (first + count) * SECTOR == 4096 * MIB
    entry = slice(446 + 16 * (DATA_NUMBER - 1), 446 + 16 * DATA_NUMBER)
    assert grown[: entry.start] == before[: entry.start]
    assert grown[entry.stop :] == before[entry.stop :]
    assert grow_partition(board, card, DATA_NUMBER)
    assert table(card) == grown
    assert read_problems(board) == []


def test_a_card_that_is_too_small_is_reported_and_not_touched(board: Places, tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", 1000 * MIB, layout())
    before = table(card)
    assert not grow_partition(board, card, DATA_NUMBER)
    assert table(card) == before
    (problem,) = read_problems(board)
    assert "smaller than the image" in problem
    assert "at least 2 GB" in problem


def test_a_card_without_a_data_partition_is_reported(board: Places, tmp_path: Path) -> None:
    card = make_card(tmp_path / "card", 2000 * MIB, layout()[:3])
    assert not grow_partition(board, card, DATA_NUMBER)
    assert "no data partition" in read_problems(board)[0]


@pytest.mark.parametrize("mib", [8, 48])
def test_the_size_of_a_file_system_is_read_from_itself(tmp_path: Path, mib: int) -> None:
    device = tmp_path / "data"
    device.touch()
    os.truncate(device, mib * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-U", DATA_UUID, device], check=True, timeout=60)
    assert file_system_size(device) == mib * MIB
