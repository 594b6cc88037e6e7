"""Makes the board's root out of Debian's: our package, our files, and what was left out under emulation.

The root lies in a directory here, and is packed as a squashfs at the end. Knows what belongs in it, not the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from image.debian_base import emulation_environment
from image.kernel import Kernel, lay_out_firmware
from image.lock import Locked
from image.paths import BOARD, HERE

BOARD_PROGRAMS = "usr/lib/clasp-edge-board"
COMPILED = ("/usr/lib/python3.13", "/usr/lib/python3/dist-packages", "/usr/lib/clasp-edge", f"/{BOARD_PROGRAMS}")
EMULATED_TIMEOUT_S = 15 * 60


@dataclass(frozen=True)
class Release:
    """What the system calls itself."""

    version: str
    built: int
    kernels: str
    test_key: bool
    """Whether updates are signed with a key that was made by itself."""

    def as_json(self) -> str:
        """The file that the updater reads."""
        return json.dumps({"board": BOARD, **self.__dict__}, indent=2, sort_keys=True) + "\n"


def lay_out_base(tar: Path, root: Path) -> None:
    """Unpack Debian's part, and compile its Python once."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", tar, "-C", root], check=True)
    for left_over in ("etc/apt", "var/lib/apt", "var/cache/apt"):
        shutil.rmtree(root / left_over, ignore_errors=True)
    _make_certificates(root)
    _compile(root, COMPILED[:2])


def install_package(root: Path, package: Path) -> None:
    """Install our package as dpkg does. Raises SystemExit with its words."""
    inside = root / "tmp" / "clasp-edge.deb"
    shutil.copyfile(package, inside)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        done = _emulated(root, "dpkg", "--install", "/tmp/clasp-edge.deb")
    finally:
        inside.unlink()
        policy.unlink()
    if done.returncode:
        raise SystemExit(f"{package.name} could not be installed into the root:\n{done.stdout[-2000:]}")


def add_ours(
    root: Path, packages: list[Locked], kernels: list[Kernel], release: Release, keys: list[Path | None], work: Path
) -> list[Path]:
    """Our files, the kernels' modules, firmware, the units; the firmware files for the boot partition."""
    overlay = HERE / "overlay"
    for source in sorted(overlay.rglob("*")):
        target = root / source.relative_to(overlay)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.copyfile(source, target)
            target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
    programs = root / BOARD_PROGRAMS
    shutil.copytree(HERE / "board", programs, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for path in [programs, *programs.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    (programs / "release.json").write_text(release.as_json())
    for key, name in zip(keys, ("update.pub", "recovery.pub"), strict=True):
        if key is not None:
            shutil.copyfile(key, programs / name)
    if release.test_key:
        with (root / "etc/issue").open("a") as issue:
            issue.write("TEST BUILD: its updates are signed with a key that was made by itself\n")
    for kernel in kernels:
        shutil.copytree(kernel.modules / "lib/modules", root / "usr/lib/modules", dirs_exist_ok=True)
    boot_files = lay_out_firmware(packages, root, work)
    _set_up_units(root)
    for directory in ("boot/firmware", "data", "var/lib/clasp-edge", "var/lib/systemd/timesync"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    # A board has no clock of its own; systemd starts at the time of this file.
    for file in ("etc/machine-id", "etc/hostname", "usr/lib/clock-epoch"):
        (root / file).write_text("")
    resolver = root / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    resolver.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    _compile(root, COMPILED[2:])
    for passing in ("tmp", "run", "var/tmp", "var/log"):
        for path in (root / passing).iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for old in (*(root / "etc").glob("*-"), *(root / "var/lib/dpkg").glob("*-old"), *(root / "var/log").glob("*")):
        old.unlink()
    return boot_files


def pack_root(root: Path, target: Path, epoch: int) -> None:
    """The root as a squashfs; the same files give the same bytes."""
    target.unlink(missing_ok=True)
    command: list[str | Path] = ["mksquashfs", root, target, "-comp", "zstd", "-Xcompression-level", "15", "-b", "256K"]
    command += ["-noappend", "-no-progress", "-quiet", "-mkfs-time", str(epoch), "-all-time", str(epoch)]
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def package_list(root: Path) -> list[dict[str, str]]:
    """What is installed, from dpkg's own records: name, version, architecture, source, homepage."""
    shown = subprocess.run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f",
         "${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n"],
        text=True, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    names = ("name", "version", "architecture", "source", "source_version")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in shown.stdout.splitlines()]


def _set_up_units(root: Path) -> None:
    units = root / "etc/systemd/system"
    for line in (HERE / "units.txt").read_text().splitlines():
        words = line.split()
        if not words or words[0] == "#":
            continue
        sign, unit = words[0], words[1]
        if sign == "x":
            (root / unit).unlink(missing_ok=True)
        elif sign == "-":
            for link in units.rglob(unit):
                link.unlink()
            (units / unit).symlink_to("/dev/null")
        else:
            subprocess.run(["systemctl", f"--root={root}", "--quiet", "enable", unit], check=True)


def _make_certificates(root: Path) -> None:
    """One file with all authorities, which is what Python and curl read."""
    source = root / "usr/share/ca-certificates/mozilla"
    bundle = "".join(file.read_text().rstrip() + "\n" for file in sorted(source.glob("*.crt")))
    target = root / "etc/ssl/certs/ca-certificates.crt"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(bundle)


def _compile(root: Path, directories: tuple[str, ...]) -> None:
    """Compile Python ahead of time; the root is read-only, so what is missing would be compiled at each start."""
    done = _emulated(
        root,
        "python3",
        "-I",
        "-m",
        "compileall",
        "-q",
        "-j",
        "2",
        "--invalidation-mode",
        "unchecked-hash",
        *directories,
    )
    if done.returncode:
        raise SystemExit(f"compiling Python failed:\n{done.stdout[-2000:]}")


def _emulated(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = emulation_environment() | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    return subprocess.run(
        ["chroot", str(root), *command],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=EMULATED_TIMEOUT_S,
        check=False,
    )
