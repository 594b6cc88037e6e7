"""The data partition: grown to the end of the disk, left alone when there is nothing to grow or no room for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from clasp_board.disks import DATA_NUMBER, SECTOR, data_extent, erase, file_system_size, grow_partition, mount_data
from clasp_board.places import Places
from clasp_board.problems import read_problems
from clasp_board.settings import ERASE_REQUEST
from clasp_board.start import start

from image.disk import Partition, layout
from image.paths import DATA_MIB, DATA_UUID, MIB


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


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A data partition, as large as it is in the image."""
    path = tmp_path / "card4"
    path.touch()
    os.truncate(path, DATA_MIB * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-U", DATA_UUID, path], check=True, timeout=60)
    return path


@pytest.fixture
def attach() -> Iterator[Callable[..., Path]]:
    """Makes files block devices, and takes back what is mounted from them."""
    if os.geteuid() != 0:
        pytest.skip("mounts a file system")
    attached: list[str] = []

    def attach(*options: str) -> Path:
        command = ["losetup", "--find", "--show", *options]
        done = subprocess.run(command, text=True, capture_output=True, timeout=20, check=False)
        if done.returncode:
            pytest.skip(f"no loop device: {done.stderr.strip()}")
        attached.append(done.stdout.strip())
        return Path(attached[-1])

    yield attach
    for loop in attached:
        subprocess.run(["umount", "--quiet", loop], capture_output=True, timeout=20, check=False)
        subprocess.run(["losetup", "--detach", loop], check=True, timeout=20)


def card_of(board: Places, loop: Path) -> None:
    """The whole card as the first stage would find it, if it were one; only its data partition is."""
    (board.root / "p4").symlink_to(loop)
    board.boot.write_text(f"booted=a\nslot=a\ndisk={board.root}/disk\npartition={board.root}/p\n")
    make_card(
        board.root / "disk", 2000 * MIB, [*layout()[:3], replace(layout()[3], count=2000 * 2048 - layout()[3].first)]
    )


@pytest.mark.parametrize("cut", [False, True], ids=["clean", "power cut"])
def test_a_card_that_can_only_be_read_starts_with_what_it_has(
    board: Places, device: Path, attach: Callable[..., Path], cut: bool
) -> None:
    loop = attach(str(device))
    assert mount_data(board, loop)
    (board.data / "clasp-edge").mkdir()
    (board.data / "clasp-edge/state").write_text("of the show")
    (board.data / "settings").mkdir()
    (board.data / "settings/hostname.txt").write_text("left")
    subprocess.run(["umount", board.data], check=True, timeout=20)
    if cut:
        subprocess.run(
            ["debugfs", "-w", "-R", "feature needs_recovery", device], capture_output=True, check=True, timeout=20
        )
    subprocess.run(["losetup", "--detach", loop], check=True, timeout=20)
    subprocess.run(["losetup", "--read-only", loop, device], check=True, timeout=20)
    card_of(board, loop)
    start(board)
    (problem,) = [line for line in read_problems(board) if "boot partition" not in line]
    assert "can only be read" in problem
    assert (board.root / "etc/hostname").read_text() == "left\n"
    state = board.root / "var/lib/clasp-edge/state"
    assert state.read_text() == "of the show"
    state.write_text("goes on in memory")


def test_what_cannot_be_mounted_at_all_is_left_as_it_is(
    board: Places, device: Path, attach: Callable[..., Path]
) -> None:
    device.write_bytes(os.urandom(1 * MIB) + bytes((DATA_MIB - 1) * MIB))
    before = device.read_bytes()
    assert not mount_data(board, attach(str(device)))
    assert "cannot be used" in read_problems(board)[0]
    assert device.read_bytes() == before


def test_data_is_erased_once(board: Places, device: Path) -> None:
    request = board.firmware / ERASE_REQUEST
    request.touch()
    before = device.read_bytes()
    erase(board, device)
    assert not request.exists()
    assert device.read_bytes() != before
    assert read_problems(board) == []


def test_nothing_is_erased_where_the_request_could_not_be_taken_away(
    board: Places, device: Path, attach: Callable[..., Path]
) -> None:
    """Else every start would erase everything anew."""
    card = board.root / "boot.img"
    card.touch()
    os.truncate(card, 4 * MIB)
    subprocess.run(["mke2fs", "-q", card], check=True, timeout=60)
    subprocess.run(
        ["debugfs", "-w", "-R", f"write {os.devnull} {ERASE_REQUEST}", card],
        capture_output=True,
        check=True,
        timeout=20,
    )
    loop = attach("--read-only", str(card))
    subprocess.run(["mount", "-o", "ro", loop, board.firmware], check=True, timeout=20)
    assert (board.firmware / ERASE_REQUEST).exists()
    before = device.read_bytes()
    erase(board, device)
    assert device.read_bytes() == before
    assert "nothing was erased" in read_problems(board)[0]


@pytest.mark.parametrize("mib", [8, 48])
def test_the_size_of_a_file_system_is_read_from_itself(tmp_path: Path, mib: int) -> None:
    device = tmp_path / "data"
    device.touch()
    os.truncate(device, mib * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-U", DATA_UUID, device], check=True, timeout=60)
    assert file_system_size(device) == mib * MIB
