"""What one system has on the boot partition: for each kernel its image, first stage, device trees and command line.

The same files are laid below a/ on a new card and into an update, which goes below a/ or b/.
"""

from __future__ import annotations

from pathlib import Path

from clasp_board.kernels import IDENTITY, identity_text

from image import initramfs
from image.kernel import Kernel
from image.lock import Locked
from image.paths import HERE

COMMAND_LINES = {"": "cmdline.txt", "pi5/": "cmdline-pi5.txt"}
"""By the kernel's directory: which file of boot/ it gets."""


def boot_slot(packages: list[Locked], kernels: list[Kernel], work: Path) -> list[tuple[str, Path]]:
    """The files, by their names below a/ or b/, the one that makes a kernel's files valid after all others of it."""
    files: list[tuple[str, Path]] = []
    for one in kernels:
        place = work / (one.directory or "usual")
        place.mkdir(parents=True, exist_ok=True)
        stage, identity = initramfs.pack(packages, one, place)
        line = place / "cmdline.txt"
        line.write_bytes((HERE / "boot" / COMMAND_LINES[one.directory]).read_bytes())
        about = place / IDENTITY
        about.write_bytes(identity_text(identity, one.release))
        own = [("vmlinuz", one.image), ("initrd.img", stage), ("cmdline.txt", line)]
        own += [(tree.name, tree) for tree in one.device_trees]
        files += [(one.directory + name, path) for name, path in [*own, (IDENTITY, about)]]
    return files
