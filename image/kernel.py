"""Takes the kernel and firmware packages apart: which modules the boards get, which firmware, which boot files.

There are two kernels, since Debian 13's own does not know the Raspberry Pi 5. Knows Debian's layout of these packages:
installing them properly would run their scripts under emulation, which takes longer than all the rest.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from image.fetch import cached
from image.lock import Locked
from image.paths import HERE

BOOT_FIRMWARE = ("bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat")
"""What the boards' ROM loads before the kernel; the variants for cameras and debugging stay out."""


@dataclass(frozen=True)
class Source:
    """Where a kernel comes from, and which boards start it."""

    directory: str
    """Below the boot partition, as `os_prefix` in boot/config.txt names it."""
    packages: tuple[str, ...]
    """How the names of its packages begin."""
    device_trees: tuple[str, ...]


SOURCES = (
    Source("", ("linux-image-",), ("bcm2710-rpi-*.dtb", "bcm2711-rpi-*.dtb", "bcm2837-rpi-*.dtb")),
    Source("pi5/", ("linux-binary-", "linux-modules-", "linux-base-"), ("bcm2712*-rpi-*.dtb",)),
)


@dataclass(frozen=True)
class Kernel:
    """A kernel, taken apart."""

    release: str
    """As `uname -r` will say."""
    directory: str
    """Where it lies on the boot partition: "" or a name with a slash behind it."""
    image: Path
    modules: Path
    """The pruned tree: lib/modules/RELEASE lies below it."""
    all_modules: Path
    """What Debian has, likewise."""
    device_trees: list[Path]


def take_apart(packages: list[Locked], work: Path) -> list[Kernel]:
    """Unpack the kernels, keep the modules of modules-kept.txt and what they need, and index them.

    What lies in `work` from the last time is used again if it came from the same packages and list.
    """
    return [_take_one_apart(source, packages, work / (source.directory or "usual")) for source in SOURCES]


def _take_one_apart(source: Source, packages: list[Locked], work: Path) -> Kernel:
    files = [cached(packages, name) for name in source.packages]
    made_of = "\n".join([*(file.name for file in files), (HERE / "modules-kept.txt").read_text()])
    complete = work / ".complete"
    unpacked = work / "kernel"
    if not complete.exists() or complete.read_text() != made_of:
        shutil.rmtree(work, ignore_errors=True)
        for file in files:
            _unpack(file, unpacked)
        _prune(unpacked, work / "modules")
        complete.write_text(made_of)
    tree = next((unpacked / "usr/lib/modules").iterdir())
    release = tree.name
    # A package that is one for all has these in other places than the newer ones that share the work.
    image = next(path for path in (tree / "vmlinuz", unpacked / f"boot/vmlinuz-{release}") if path.exists())
    boards = next(path for path in (tree / "dtb", unpacked / f"usr/lib/linux-image-{release}") if path.exists())
    device_trees = sorted(path for names in source.device_trees for path in (boards / "broadcom").glob(names))
    return Kernel(release, source.directory, image, work / "modules", unpacked / "usr", device_trees)


def _prune(unpacked: Path, kept: Path) -> None:
    tree = next((unpacked / "usr/lib/modules").iterdir())
    release = tree.name
    _depmod(unpacked / "usr", release)
    target = kept / "lib/modules" / release
    for module in sorted(_wanted(tree)):
        (target / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / module, target / module)
    for index in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy2(tree / index, target / index)
    _depmod(kept, release)


def needed_by(kept: Path, release: str, names: list[str]) -> list[Path]:
    """The files of the named modules, each after those that it needs; names that are built in are left out."""
    tree = kept / "lib/modules" / release
    dependencies = _dependencies(tree)
    by_name = {_name(module): module for module in dependencies}
    ordered: list[str] = []
    for name in names:
        module = by_name.get(name.replace("-", "_"))
        for file in [*reversed(dependencies[module]), module] if module else []:
            if file not in ordered:
                ordered.append(file)
    return [tree / file for file in ordered]


def lay_out_firmware(packages: list[Locked], root: Path, work: Path) -> list[Path]:
    """Put the wireless firmware of Raspberry Pi boards into the root; the files for the boot partition."""
    radio, boot = work / "radio", work / "raspi"
    _unpack(cached(packages, "firmware-brcm80211"), radio)
    _unpack(cached(packages, "raspi-firmware"), boot)
    target = root / "usr/lib/firmware"
    for source in (radio / "usr/lib/firmware", boot / "usr/lib/firmware"):
        for file in sorted(source.rglob("*")):
            if file.is_dir() or not _for_raspberry(file.relative_to(source).as_posix()):
                continue
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            shutil.copy2(file, place, follow_symlinks=False)
    return [boot / "usr/lib/raspi-firmware" / name for name in BOOT_FIRMWARE]


def efi_loader(packages: list[Locked], work: Path) -> Path:
    """The program that a board with UEFI starts: systemd-boot, as Debian builds it."""
    place = work / "efi"
    _unpack(cached(packages, "systemd-boot-efi"), place)
    return place / "usr/lib/systemd/boot/efi/systemd-bootaa64.efi"


def _for_raspberry(path: str) -> bool:
    chips = ("43430", "43436", "43455", "43456")
    if path.startswith("brcm/"):
        name = path.removeprefix("brcm/")
        plain = name.count(".") == 1 or name.endswith((".clm_blob", ".txcap_blob"))
        return any(chip in name for chip in chips) and (plain or "aspberry" in name)
    return path.startswith("cypress/") and any(chip in path for chip in ("43430", "43455", "43439"))


def _wanted(tree: Path) -> set[str]:
    lines = (HERE / "modules-kept.txt").read_text().splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    dependencies = _dependencies(tree)
    chosen = set()
    for module in dependencies:
        inner = module.removeprefix("kernel/")
        for entry in wanted:
            if inner.startswith(entry) if entry.endswith("/") else inner.split(".ko")[0] + ".ko" == entry:
                chosen.update([module, *dependencies[module]])
                break
    return chosen


def _dependencies(tree: Path) -> dict[str, list[str]]:
    pairs = (line.split(":") for line in (tree / "modules.dep").read_text().splitlines())
    return {module: needs.split() for module, needs in pairs}


def _name(module: str) -> str:
    return module.rsplit("/", 1)[-1].split(".ko", maxsplit=1)[0].replace("-", "_")


def _unpack(package: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "-x", package, target], check=True)


def _depmod(base: Path, release: str) -> None:
    subprocess.run(["depmod", "-b", base, release], check=True)
