"""The same image on QEMU's Raspberry Pi 3: its device tree, its card controller, the boot partition's own command line.

It has no network there, so the console is watched instead.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from hw_tests.conftest import RESULTS
from hw_tests.figures import Figures
from hw_tests.qemu import QemuBoard, needed_tools

TIMEOUT_S = 1200
NEW_WORDS = {
    "console=ttyS1,115200 console=tty1": "console=ttyS1,115200",  # all of it to the port that is read here
    "quiet loglevel=4": "loglevel=4 systemd.watchdog_sec=off TERM=dumb SYSTEMD_COLORS=0 "
    "systemd.journald.forward_to_console=1 systemd.journald.max_level_console=info",
}
"""The emulated watchdog resets at once, so it stays off; and the console says more than it would."""


def test_the_image_starts_on_a_raspberry_pi_3(
    image: Path, key: Path, figures: Figures, pytestconfig: pytest.Config
) -> None:
    if pytestconfig.getoption("--board") != "qemu" or needed_tools():
        pytest.skip("for QEMU")
    card = QemuBoard(image, RESULTS / "raspi3", key)  # only its card is used; 2 GiB, since it must be a power of two
    line = (card.get("a/cmdline.txt") or "").strip()
    for old, new in NEW_WORDS.items():
        assert old in line
        line = line.replace(old, new)
    for name in ("vmlinuz", "initrd.img", "bcm2837-rpi-3-b.dtb"):
        target = card.directory / name
        target.unlink(missing_ok=True)
        offset = card.partition(1)[0]
        subprocess.run(["mcopy", "-i", f"{card.card}@@{offset}", f"::a/{name}", target], check=True)
    log = card.directory / "console.log"
    command = ["qemu-system-aarch64", "-M", "raspi3b", "-nographic", "-monitor", "none", "-serial", "null",
               "-serial", "stdio", "-kernel", card.directory / "vmlinuz", "-initrd", card.directory / "initrd.img",
               "-dtb", card.directory / "bcm2837-rpi-3-b.dtb", "-append", line,
               "-drive", f"if=sd,file={card.card},format=raw"]  # fmt: skip
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        while "Started clasp-edge.service" not in log.read_text(errors="replace"):
            said = log.read_text(errors="replace")[-1500:]
            assert process.poll() is None, said
            assert time.monotonic() - begun < TIMEOUT_S, said
            time.sleep(2)
        figures.note("QEMU raspi3b: power on to router ready", time.monotonic() - begun, "s")
    finally:
        process.kill()
        process.wait(30)
        card.remove()
