"""Packs the first stage of the boot: a shell, a script, a few modules, as one compressed cpio archive.

Writes the archive (format "newc") itself, because its bytes must depend on nothing but its content.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from image.fetch import cached
from image.kernel import Kernel, needed_by
from image.lock import Locked
from image.paths import DISK_ID, HERE

APPLETS = ("sh", "cat", "chroot", "cut", "dd", "echo", "head", "insmod", "md5sum", "mkdir", "mount", "od", "printf",
           "reboot", "sed", "sleep", "switch_root", "sync", "tail", "tr", "umount", "usleep")  # fmt: skip
DIRECTORIES = ("bin", "dev", "modules", "proc", "run", "sys")


@dataclass
class Archive:
    """A cpio archive under construction."""

    content: bytearray = field(default_factory=bytearray)
    entries: int = 0

    def add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        """Add one entry; `mode` as in stat, `device` major and minor."""
        self.entries += 1
        path = name.encode() + b"\0"
        numbers = (self.entries, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        self.content += b"070701" + b"".join(b"%08X" % number for number in numbers) + path
        self._align()
        self.content += content
        self._align()

    def finish(self) -> bytes:
        """The whole archive."""
        self.add("TRAILER!!!", 0)
        return bytes(self.content)

    def _align(self) -> None:
        self.content += bytes(-len(self.content) % 4)


def module_names() -> list[str]:
    """The modules to load, as initramfs/modules.txt lists them."""
    lines = (HERE / "initramfs/modules.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def pack(packages: list[Locked], kernel: Kernel, work: Path) -> tuple[Path, str]:
    """Write initrd.img below `work`; and what tells it and its kernel from others, which it knows as well."""
    work.mkdir(exist_ok=True)
    busybox = work / "busybox"
    shutil.rmtree(busybox, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", cached(packages, "busybox-static"), busybox], check=True)
    archive = Archive()
    for directory in DIRECTORIES:
        archive.add(directory, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, (busybox / "usr/bin/busybox").read_bytes())
    for applet in APPLETS:
        archive.add(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    archive.add("init", stat.S_IFREG | 0o755, (HERE / "initramfs/init").read_bytes())
    archive.add("slots.sh", stat.S_IFREG | 0o644, (HERE / "initramfs/slots.sh").read_bytes())
    modules = needed_by(kernel.modules, kernel.release, module_names())
    for module in modules:
        # The shell's insmod takes modules as they are, not compressed.
        archive.add(f"modules/{module.stem}", stat.S_IFREG | 0o644, lzma.decompress(module.read_bytes()))
    archive.add("modules/order", stat.S_IFREG | 0o644, "".join(f"{module.stem}\n" for module in modules).encode())
    identity = _identity(kernel, archive)
    conf = f"disk_id={DISK_ID:08x}\nstage={identity}\ndirectory={kernel.directory}\n"
    archive.add("disk.conf", stat.S_IFREG | 0o644, conf.encode())
    target = work / "initrd.img"
    compressed = subprocess.run(["zstd", "-q", "-19", "-c"], input=archive.finish(), stdout=subprocess.PIPE, check=True)
    target.write_bytes(compressed.stdout)
    return target, identity


def _identity(kernel: Kernel, archive: Archive) -> str:
    digest = hashlib.sha256(bytes(archive.content))
    with kernel.image.open("rb") as image:
        digest.update(hashlib.file_digest(image, "sha256").digest())
    return digest.hexdigest()[:32]
