"""What boards with UEFI need on the boot partition beside the Raspberry Pi's firmware: a loader and its menu.

The menu has the kernels of both systems. Which is started is one letter, as in config.txt, and the box changes both.
"""

from __future__ import annotations

from pathlib import Path

from clasp_board.kernels import LOADER_CONFIG

from image.kernel import efi_loader
from image.lock import Locked

LOADER = "EFI/BOOT/BOOTAA64.EFI"
"""Where UEFI looks on a disk that it knows nothing of (UEFI Specification 3.5.1.1)."""

COMMAND_LINE = "quiet loglevel=4 panic=10 fsck.repair=yes systemd.show_status=0"
"""No console is named: the firmware's tables say which there is."""


def efi_files(packages: list[Locked], work: Path) -> list[tuple[str, Path | bytes]]:
    """The files, by their names on the boot partition."""
    text = "# Whose kernel is started, of the two systems: a or b. The box changes this letter itself.\n"
    text += "default a.conf\ntimeout 0\neditor no\n"
    files: list[tuple[str, Path | bytes]] = [(LOADER, efi_loader(packages, work)), (LOADER_CONFIG, text.encode())]
    for slot in "ab":
        entry = f"title clasp-edge, system {slot}\nlinux /{slot}/vmlinuz\ninitrd /{slot}/initrd.img\n"
        files.append((f"loader/entries/{slot}.conf", f"{entry}options {COMMAND_LINE}\n".encode()))
    return files
