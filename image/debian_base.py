"""Builds the root file system from the locked packages: Debian, installed under emulation, and nothing of ours.

The slowest step by far, and the one that changes least: its result is kept as a tar file that is named by everything
that went into it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from image.fetch import lay_out_archive
from image.lock import INSTALLED, Locked
from image.paths import ARCHITECTURE, HERE, SUITE, WORK

TIMEOUT_S = 30 * 60
"""Three times what a slow machine took."""

EMULATED_CPU = "cortex-a72"
"""The boards' processor. The emulator's default has pointer authentication, which makes Debian's binaries crawl."""

LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/bug/*",
    "/usr/share/bash-completion/*",
    "/usr/share/zsh/*",
    "/usr/lib/udev/hwdb.d/*",
    "/usr/lib/python3.13/test/*",
    "/usr/lib/python3.13/idlelib/*",
    "/usr/lib/python3.13/lib2to3/*",
    "/usr/lib/python3.13/tkinter/*",
    "/usr/lib/python3.13/turtledemo/*",
    "/usr/lib/python3.13/pydoc_data/*",
    "/usr/lib/python3.13/ensurepip/*",
)
KEPT = ("/usr/share/doc/*/copyright",)


def emulation_environment() -> dict[str, str]:
    """The environment in which programs of the board are run here."""
    return {**os.environ, "QEMU_CPU": EMULATED_CPU, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def build_root(packages: list[Locked], epoch: int) -> Path:
    """The tar file of the root, built if it does not exist for exactly these inputs."""
    tar = WORK / f"root-{_fingerprint(packages, epoch)}.tar"
    if tar.exists():
        return tar
    archive = WORK / "archive"
    lay_out_archive(packages, archive)
    partial = tar.with_suffix(".partial.tar")
    names = ",".join(sorted(package.name for package in packages if package.use == INSTALLED))
    options = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT] + [
        f"--dpkgopt=path-include={path}" for path in KEPT
    ]
    command = [
        "mmdebstrap",
        "--verbose",
        "--mode=root",
        "--variant=essential",
        f"--architectures={ARCHITECTURE}",
        f"--include={names}",
        "--dpkgopt=force-confold",
        *options,
        f'--setup-hook={HERE}/hooks/setup.sh "$1"',
        f'--customize-hook={HERE}/hooks/customize.sh "$1"',
        SUITE,
        str(partial),
        f"deb [trusted=yes] copy:{archive} ./",
    ]
    log = WORK / "root.log"
    with log.open("w") as output:
        done = subprocess.run(
            command,
            env={**emulation_environment(), "SOURCE_DATE_EPOCH": str(epoch)},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        tail = "\n".join(log.read_text().splitlines()[-15:])
        raise SystemExit(f"the root file system could not be built; the end of {log}:\n{tail}")
    partial.rename(tar)
    return tar


def _fingerprint(packages: list[Locked], epoch: int) -> str:
    digest = hashlib.sha256(f"{epoch}".encode())
    for package in packages:
        if package.use == INSTALLED:
            digest.update(f"{package.name} {package.version} {package.sha256}\n".encode())
    digest.update(repr((LEFT_OUT, KEPT, EMULATED_CPU)).encode())
    for path in sorted((HERE / "hooks").iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
