"""What can be known of boards that nobody had: each of their chips finds a driver, and the Raspberry Pi 5's kernel runs
this system. QEMU does not emulate that board, so its kernel starts on QEMU's own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hw_tests.conftest import RESULTS
from hw_tests.device_trees import left_out
from hw_tests.figures import Figures
from hw_tests.qemu import QemuBoard
from hw_tests.traffic import connect, read_params, set_params
from image.kernel import Kernel, take_apart
from image.lock import read_lock
from image.paths import WORK

NOT_NEEDED = {
    "brcm,bcm43438-bt",  # Bluetooth
    "brcm,bcm2835-vchiq",  # sound and cameras by the video processor, under two names
    "brcm,bcm2836-vchiq",
    "brcm,2711-v3d",  # graphics in three dimensions
    "brcm,2712-v3d",
    "brcm,bcm2712-pispbe",  # cameras
}


@pytest.fixture(scope="module")
def kernels(image: Path) -> list[Kernel]:
    assert image.exists()
    return take_apart(read_lock(), WORK / "kernel")


def test_every_chip_finds_its_driver(kernels: list[Kernel], figures: Figures) -> None:
    """Of those that Debian has a driver for: what the image leaves out must not be what a board is made of."""
    boards = 0
    for kernel in kernels:
        every = kernel.all_modules / "lib/modules" / kernel.release
        kept = kernel.modules / "lib/modules" / kernel.release
        for tree in kernel.device_trees:
            missing = left_out(tree, every, kept)
            assert missing.keys() <= NOT_NEEDED, f"{tree.name}: {missing}"
            boards += 1
    figures.note("boards whose chips all find their driver", boards)
    assert boards >= len(kernels)


def test_a_board_with_uefi_runs_the_system(image: Path, key: Path, figures: Figures) -> None:
    board = QemuBoard(image, RESULTS / "uefi", key)
    board.uefi = True
    board.put("ssh-keys.txt", key.with_suffix(".pub").read_text())
    try:
        figures.note("UEFI: power on to router answering", board.boot(), "s")
        assert board.run("test -d /sys/firmware/efi && echo yes") == "yes"
        board.wait_until("systemctl is-system-running", "running", 600)
        with connect(board) as client:
            set_params(client, {"/kept": 1})
        board.reboot()
        with connect(board) as client:
            assert read_params(client, "/kept") == {"/kept": 1}
    finally:
        board.remove()


def test_the_kernel_of_the_raspberry_pi_5_runs_the_system(
    image: Path, key: Path, kernels: list[Kernel], figures: Figures
) -> None:
    kernel = next(kernel for kernel in kernels if kernel.directory)
    board = QemuBoard(image, RESULTS / "pi5", key)
    board.section = kernel.directory.rstrip("/")
    board.put("ssh-keys.txt", key.with_suffix(".pub").read_text())
    try:
        figures.note(f"kernel {kernel.release}: power on to router answering", board.boot(), "s")
        assert board.run("uname -r") == kernel.release
        board.wait_until("systemctl is-system-running", "running", 600)
        with connect(board) as client:
            set_params(client, {"/kept": 1})
        board.reboot()
        with connect(board) as client:
            assert read_params(client, "/kept") == {"/kept": 1}
    finally:
        board.remove()
