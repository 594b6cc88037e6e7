"""make image and make bundle: the steps in their order, with a line for each.

Knows the order and what each step needs; how a step is done is in the module that it is named after.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image import board_rootfs, disk, kernel, sbom
from image.bmap import write_bmap
from image.debian_base import build_root
from image.emulation import set_up_emulation
from image.fetch import fetch
from image.keys import TEST_MARK, is_test, public_key, recovery_key, sign
from image.lock import read_epoch, read_lock
from image.paths import ARCHITECTURE, BOARD, DIST, HERE, PROJECT, SUITE, WORK, source_date_epoch

sys.path.insert(0, str(HERE / "board"))
from clasp_board.bundle import KernelFile, Manifest, SignedKernels, kernel_list, write_bundle
from clasp_board.slots import SlotState

from image.boot_slot import boot_slot
from image.efi import efi_files

sys.path.insert(0, str(PROJECT))
from clasp_edge.version import __version__

PACK_TIMEOUT_S = 20 * 60

XZ_BLOCK = "24MiB"
"""Blocks are packed by several processors; their size is fixed, since it shows in the result."""


def names() -> tuple[Path, Path]:
    """The image (without .xz) and the update."""
    stem = f"clasp-edge-{__version__}-{ARCHITECTURE}{TEST_MARK if is_test() else ''}"
    return WORK / f"{stem}.img", DIST / f"{stem}.update"


def releases(kernels: list[kernel.Kernel]) -> str:
    """The kernels that a root has the modules of, as an update names them."""
    return " ".join(one.release for one in kernels)


def package() -> Path:
    """Our package for the board. Raises SystemExit."""
    pattern = f"clasp-edge_{__version__}*+deb13_{ARCHITECTURE}.deb"
    found = sorted(DIST.glob(pattern))
    if not found:
        raise SystemExit(f"there is no {pattern} in {DIST}: make deb ARCH={ARCHITECTURE} SUITE={SUITE}")
    return found[-1]


def build_system(epoch: int) -> tuple[Path, list[kernel.Kernel], Path, list[Path]]:
    """Everything up to the packed root: the squashfs, the kernels, the root's directory, the firmware's boot files."""
    WORK.mkdir(parents=True, exist_ok=True)
    packages = read_lock()
    with _step("packages"):
        fetched = fetch(packages)
        print(f"{len(packages)}, {fetched} fetched", end=" ")
    set_up_emulation()
    with _step("root file system"):
        tar = build_root(packages, read_epoch())
    base = WORK / tar.stem.replace("root-", "base-")
    if not (base / ".complete").exists():
        with _step("Python of the root"):
            board_rootfs.lay_out_base(tar, base)
            (base / ".complete").touch()
    with _step("kernels and firmware"):
        taken = kernel.take_apart(packages, WORK / "kernel")
    deb = package()
    root = WORK / "root"
    with _step(f"our package ({deb.name})"):
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", base, root], check=True)
        (root / ".complete").unlink()
        board_rootfs.install_package(root, deb)
        release = board_rootfs.Release(__version__, epoch, releases(taken), is_test())
        parts = WORK / "parts"
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        boot_files = board_rootfs.add_ours(root, packages, taken, release, [public_key(), recovery_key()], parts)
    squashed = WORK / "root.squashfs"
    with _step("packing the root"):
        board_rootfs.pack_root(root, squashed, epoch)
        print(f"{squashed.stat().st_size >> 20} MiB", end=" ")
    return squashed, taken, root, boot_files


def build_disk() -> tuple[Path, Path, Path, list[kernel.Kernel]]:
    """The image as it will lie on a card, not compressed; with the packed root, the root's directory, the kernels."""
    epoch = source_date_epoch()
    squashed, taken, root, firmware = build_system(epoch)
    image, _ = names()
    parts = WORK / "parts"
    with _step("the disk"):
        files = disk.settings_files()
        files += [(file.name, file) for file in firmware]
        files += [("a/" + name, path) for name, path in boot_slot(read_lock(), taken, parts / "kernels")]
        files += efi_files(read_lock(), parts)
        files += [("slot.txt", SlotState().text())]
        disk.make_boot(parts / "boot.fat", files, epoch, parts)
        disk.make_data(parts / "data.ext4", epoch, parts)
        disk.assemble(image, parts / "boot.fat", squashed, parts / "data.ext4")
    return image, squashed, root, taken


def build_image() -> None:
    """The flashable image with checksum, block map and list of parts, in dist/."""
    begun = time.monotonic()
    image, squashed, root, taken = build_disk()
    DIST.mkdir(exist_ok=True)
    target = DIST / (image.name + ".xz")
    with _step("block map and list of parts"):
        write_bmap(image, image.name, DIST / (image.name + ".bmap"), squashed.stat().st_size)
        sbom.write_sbom(root, releases(taken), DIST / (image.name + ".spdx.json"), source_date_epoch())
    with _step("compressing"):
        with target.open("wb") as output:
            command: list[str | Path] = ["xz", "-T2", "-4", f"--block-size={XZ_BLOCK}", "-c", image]
            subprocess.run(command, stdout=output, check=True, timeout=PACK_TIMEOUT_S)
        digest = _sha256(target)
        (DIST / (target.name + ".sha256")).write_text(f"{digest}  {target.name}\n")
    size = target.stat().st_size / 1e6
    print(f"dist/{target.name}: {size:.0f} MB, sha256 {digest[:16]}..., {time.monotonic() - begun:.0f} s in all")


def build_bundle() -> None:
    """The signed update with the same root, in dist/."""
    epoch = source_date_epoch()
    squashed, taken, _, _ = build_system(epoch)
    _, target = names()
    with _step("signing"):
        digest = _sha256(squashed)
        manifest = Manifest(BOARD, __version__, epoch, releases(taken), squashed.stat().st_size, digest).as_json()
        comment = f"{'TEST ' if is_test() else ''}clasp-edge {__version__} for {BOARD}"
        DIST.mkdir(exist_ok=True)
        files = boot_slot(read_lock(), taken, WORK / "parts/kernels")
        kernels = sign_kernels(digest, files, comment)
        write_bundle(target, manifest, sign(manifest, comment), squashed, epoch, kernels)
    print(f"dist/{target.name}: {target.stat().st_size / 1e6:.0f} MB")


def sign_kernels(root_sha256: str, files: list[tuple[str, Path]], comment: str) -> SignedKernels:
    """The kernels of the system with this root, as they go into its update."""
    listed = kernel_list(root_sha256, [KernelFile(name, path.stat().st_size, _sha256(path)) for name, path in files])
    return SignedKernels(listed, sign(listed, comment), files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _step(name: str) -> Iterator[None]:
    begun = time.monotonic()
    print(f"{name} ...", end=" ", flush=True)
    yield
    print(f"{time.monotonic() - begun:.0f} s", flush=True)
