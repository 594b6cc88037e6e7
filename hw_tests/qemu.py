"""A board in QEMU: the built image on a card of its own, started as the firmware would, unplugged at will.

The kernel and the first stage are taken from the card's boot partition at each start, from where its config.txt says,
as the Raspberry Pi's firmware does; so what lies there is what runs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from hw_tests.boards import Board, Ports, free_port
from image.disk import layout
from image.paths import SECTOR

CARD_BYTES = 2 << 30
MEMORY_MIB = 1024
BOOT_OFFSET = layout()[0].first * SECTOR

KERNEL_LINE = (
    "console=ttyAMA0 loglevel=4 panic=10 fsck.repair=yes systemd.show_status=0 TERM=dumb SYSTEMD_COLORS=0 "
    "systemd.journald.forward_to_console=1 systemd.journald.max_level_console=notice"
)

UEFI = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
ONE_PROCESSOR = "nr_cpus=1"
SWITCHED_OFF = "reboot: Power down"
"""The kernel's last word where it does not start again."""


class QemuBoard(Board):
    """One emulated board. Make it, `put` files on its card, then `start`."""

    def __init__(self, image: Path, directory: Path, key: Path, card_bytes: int = CARD_BYTES) -> None:
        udp = socket.SOCK_DGRAM
        super().__init__("127.0.0.1", key, Ports(free_port(), free_port(), free_port(), free_port(udp)), emulated=True)
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.card = directory / "card.img"
        self.console = directory / "console.log"
        self.isolated = True
        """Whether the board reaches nothing outside: what it does must not depend on it."""
        self.section = "all"
        """Of config.txt, beside [all]: pi5 starts that board's kernel."""
        self.uefi = False
        """Whether the card is started by UEFI as a board that is no Raspberry Pi does it."""
        self.process: subprocess.Popen[bytes] | None = None
        self._powered = threading.Lock()
        """Held while QEMU is started or stopped: a restart from within has it started anew."""
        subprocess.run(["cp", "--sparse=always", image, self.card], check=True)
        os.truncate(self.card, card_bytes)

    # --- the card, while the board is off ---

    def put(self, name: str, content: str | bytes) -> None:
        """Write a file to the boot partition."""
        assert self.process is None
        source = self.directory / "put"
        source.write_bytes(content.encode() if isinstance(content, str) else content)
        subprocess.run(["mcopy", "-o", "-i", f"{self.card}@@{BOOT_OFFSET}", source, f"::{name}"], check=True)

    def get(self, name: str) -> str | None:
        """Read a file from the boot partition; None if there is none."""
        assert self.process is None
        done = subprocess.run(
            ["mtype", "-i", f"{self.card}@@{BOOT_OFFSET}", f"::{name}"], capture_output=True, check=False
        )
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None

    def partition(self, number: int) -> tuple[int, int]:
        """Offset and length of a partition, in bytes, as the table on the card has it."""
        with self.card.open("rb") as file:
            table = file.read(SECTOR)
        entry = table[446 + 16 * (number - 1) :][:16]
        first, count = int.from_bytes(entry[8:12], "little"), int.from_bytes(entry[12:16], "little")
        return first * SECTOR, count * SECTOR

    # --- power ---

    def start(self) -> None:
        """Switch on. Returns at once."""
        with self._powered:
            assert self.process is None
            self._start()

    def prefix(self) -> str:
        """Where the firmware finds the kernel: what config.txt says last for this board."""
        prefix, section = "", "all"
        for line in (self.get("config.txt") or "").splitlines():
            if found := re.fullmatch(r"\[(\w+)\]", line.strip()):
                section = found[1]
            elif section in ("all", self.section) and (found := re.fullmatch(r"os_prefix=(\S+)", line.strip())):
                prefix = found[1]
        return prefix

    def _kernel(self) -> list[str]:
        """What is started: UEFI, or the kernel that it would be for a Raspberry Pi's firmware."""
        if self.uefi:
            return ["-bios", UEFI]
        prefix = self.prefix()
        for name in ("vmlinuz", "initrd.img"):
            target = self.directory / name
            target.unlink(missing_ok=True)
            subprocess.run(["mcopy", "-i", f"{self.card}@@{BOOT_OFFSET}", f"::{prefix}{name}", target], check=True)
        line = KERNEL_LINE
        if ONE_PROCESSOR in (self.get(f"{prefix}cmdline.txt") or ""):
            line += f" {ONE_PROCESSOR}"
        kernel, stage = self.directory / "vmlinuz", self.directory / "initrd.img"
        return ["-kernel", str(kernel), "-initrd", str(stage), "-append", line]

    def _start(self) -> None:
        p = self.ports
        forwards = f"hostfwd=tcp:127.0.0.1:{p.ssh}-:22,hostfwd=tcp:127.0.0.1:{p.websocket}-:7330,"
        forwards += f"hostfwd=tcp:127.0.0.1:{p.mqtt}-:1883,hostfwd=udp:127.0.0.1:{p.osc}-:8000"
        command = [
            "qemu-system-aarch64", "-M", "virt,gic-version=2", "-cpu", "cortex-a72", "-accel", "tcg,thread=multi",
            "-smp", "2", "-m", str(MEMORY_MIB), "-nographic", "-monitor", "none", "-serial", "stdio",
            *self._kernel(), "-no-reboot",
            "-drive", f"if=none,id=card,file={self.card},format=raw,cache=writeback",
            "-device", "virtio-blk-pci,drive=card",
            "-netdev", f"user,id=net,restrict={'on' if self.isolated else 'off'},{forwards}",
            "-device", "virtio-net-pci,netdev=net,romfile=",
            "-device", "i6300esb", "-device", "virtio-rng-pci",
        ]  # fmt: skip
        with self.console.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.process = process
        threading.Thread(target=self._start_again, args=(process,), daemon=True).start()

    def _start_again(self, process: subprocess.Popen[bytes]) -> None:
        """Where the board was reset from within, the firmware starts it anew, with what it finds then."""
        process.wait()
        with self._powered:
            if self.process is process and not any(SWITCHED_OFF in line for line in self._last_lines(5)):
                self.process = None
                self._start()

    def boot(self) -> float:
        """Switch on and wait for the router; the seconds it took."""
        begun = time.monotonic()
        self.start()
        self.wait_ready()
        return time.monotonic() - begun

    def cut_power(self) -> None:
        """Pull the plug."""
        with self._powered:
            if self.process is not None:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait(30)
                self.process = None

    def shut_down(self) -> None:
        """Stop in an orderly way, so that everything is on the card."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run("systemctl poweroff", check=False)
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(180)
        self.cut_power()

    def remove(self) -> None:
        """Switch off and throw the card away; the console's log stays."""
        self.cut_power()
        self.card.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The end of the console's log."""
        return "\n  console: " + "\n  console: ".join(self._last_lines(15))

    def _last_lines(self, number: int) -> list[str]:
        return self.console.read_text(errors="replace").splitlines()[-number:] if self.console.exists() else []


def needed_tools() -> list[str]:
    """Programs that an emulated board needs and that are not here."""
    return [tool for tool in ("qemu-system-aarch64", "mcopy", "ssh", "ssh-keygen") if shutil.which(tool) is None]
