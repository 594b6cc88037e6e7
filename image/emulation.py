"""Lets this kernel run programs of the board's architecture (binfmt_misc), which must be set up after each boot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

BINFMT = Path("/proc/sys/fs/binfmt_misc")
RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")


def set_up_emulation() -> None:
    """Register the emulator with the kernel. Raises SystemExit with a sentence when that cannot be done."""
    if os.uname().machine == "aarch64" or (BINFMT / "qemu-aarch64").exists():
        return
    if os.geteuid() != 0:
        raise SystemExit("programs for arm64 cannot be run here yet; please run this as root (sudo make image)")
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True)
    if not (BINFMT / "qemu-aarch64").exists():
        if not RULE.exists():
            raise SystemExit("qemu-user-static is not installed: apt-get install qemu-user-static")
        (BINFMT / "register").write_text(RULE.read_text().strip())
