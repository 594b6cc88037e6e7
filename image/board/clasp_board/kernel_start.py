"""Starts another kernel of the card in the place of the one that runs (kexec), for the first stage of the boot.

It runs out of a system that is known to work, so that a new kernel that fails has changed nothing: the firmware starts
the old one again. Knows arm64's boot protocol (Documentation/arch/arm64/booting.rst), the flattened device tree, the
kernel's lists of memory; not why a kernel is chosen.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clasp_board.kernels import NAME

KEXEC_LOAD, REBOOT = 104, 142
"""Numbers of system calls, which are the same wherever Linux runs on arm64."""

ARCHITECTURE = 183 << 16
REBOOT_MAGIC = (0xFEE1DEAD, 672274793)
REBOOT_KEXEC = 0x45584543

PAGE = 4096
ALIGNMENT = 2 << 20
"""Of the kernel; and the device tree must not cross such a border."""

LARGEST_BYTES = 256 << 20
BUSY = 3
"""Exit status where the processors could not be given back: those of a Pi 3 or 4 wait in the firmware's own loop."""

ONE_PROCESSOR = b" nr_cpus=1"
FDT_MAGIC, FDT_BEGIN, FDT_END, FDT_PROPERTY, FDT_NOP = 0xD00DFEED, 1, 2, 3, 4


class NotStartable(Exception):
    """What is wrong, in a sentence."""


@dataclass(frozen=True)
class Segment:
    """What shall lie where when the new kernel begins."""

    address: int
    content: bytes
    room: int
    """Bytes it may take there, at least the content's."""


def main(slot: str, directory: str, root: Path = Path("/")) -> int:
    """Start the kernel; returns only when that could not be done."""
    try:
        segments, entry = prepare(slot, directory, root)
        _load(segments, entry)
    except (OSError, NotStartable) as error:
        print(error)
        return BUSY if isinstance(error, OSError) and error.errno == errno.EBUSY else 1
    os.sync()
    ctypes.CDLL(None, use_errno=True).syscall(
        ctypes.c_long(REBOOT), *(ctypes.c_long(word) for word in (*REBOOT_MAGIC, REBOOT_KEXEC)), None
    )
    print(f"the kernel was not started: {os.strerror(ctypes.get_errno())}")
    return 1


def prepare(slot: str, directory: str, root: Path) -> tuple[list[Segment], int]:
    """What must lie where, and where to begin. Raises OSError, NotStartable."""
    if slot not in ("a", "b") or not NAME.fullmatch(directory + "vmlinuz"):
        raise NotStartable("there is no such kernel")
    place = root / "boot/firmware" / slot / directory
    kernel, stage = _read(place / "vmlinuz"), _read(place / "initrd.img")
    offset, room = image_size(kernel)
    stage = stage.ljust(-(-len(stage) // 4) * 4, b"\0") + chosen_archive(slot)
    tree = bytearray(_read(root / "sys/firmware/fdt"))
    free = free_memory((root / "proc/iomem").read_text())
    whole = _up(offset + room, ALIGNMENT) + ALIGNMENT + _up(len(stage), PAGE) + PAGE
    if len(tree) > ALIGNMENT:
        raise NotStartable("the board's device tree is too large")
    for first, behind in free:
        base = _up(first, ALIGNMENT)
        if base + whole <= behind:
            break
    else:
        raise NotStartable("memory has no room for it")
    tree_at = base + _up(offset + room, ALIGNMENT)
    stage_at = tree_at + ALIGNMENT
    begin_at = stage_at + _up(len(stage), PAGE)
    set_stage(tree, stage_at, stage_at + len(stage))
    segments = [
        Segment(base + offset, kernel, _up(room, PAGE)),
        Segment(tree_at, bytes(tree), _up(len(tree), PAGE)),
        Segment(stage_at, stage, _up(len(stage), PAGE)),
        Segment(begin_at, first_instructions(base + offset, tree_at), PAGE),
    ]
    return segments, begin_at


def image_size(kernel: bytes) -> tuple[int, int]:
    """Offset from a multiple of 2 MiB and bytes in memory, from the head of a kernel's image. Raises NotStartable."""
    if len(kernel) < 64 or kernel[56:60] != b"ARM\x64":
        raise NotStartable("its file is not a kernel")
    offset, room = struct.unpack_from("<QQ", kernel, 8)
    if room < len(kernel) or room > LARGEST_BYTES or offset >= ALIGNMENT or offset % PAGE:
        raise NotStartable("its file is not a kernel")
    return offset, room


def free_memory(listed: str) -> list[tuple[int, int]]:
    """Stretches of memory that nobody has reserved, first and behind the last byte, from the text of /proc/iomem."""
    free: list[tuple[int, int]] = []
    for line in listed.splitlines():
        found = re.fullmatch(r"( *)([0-9a-f]+)-([0-9a-f]+) : (.*)", line)
        if not found:
            continue
        first, behind = int(found[2], 16), int(found[3], 16) + 1
        if not found[1]:
            if found[4] == "System RAM":
                free.append((first, behind))
        elif found[4] == "reserved":
            free = [piece for whole in free for piece in _without(whole, (first, behind))]
    return free


def _without(whole: tuple[int, int], part: tuple[int, int]) -> list[tuple[int, int]]:
    pieces = [(whole[0], min(whole[1], part[0])), (max(whole[0], part[1]), whole[1])]
    if part[1] <= whole[0] or part[0] >= whole[1]:
        return [whole]
    return [piece for piece in pieces if piece[0] < piece[1]]


def set_stage(tree: bytearray, first: int, behind: int) -> None:
    """Tell the device tree where the first stage lies; all processors are for the next kernel. Raises NotStartable."""
    places = dict(_chosen_properties(tree))
    for name, address in ((b"linux,initrd-start", first), (b"linux,initrd-end", behind)):
        if name not in places:
            raise NotStartable("the firmware did not say where the first stage lies")
        at, length = places[name]
        if length not in (4, 8) or address >= 1 << 8 * length:
            raise NotStartable("the firmware did not say where the first stage lies")
        tree[at : at + length] = address.to_bytes(length, "big")
    if b"bootargs" in places:
        at, length = places[b"bootargs"]
        line = bytes(tree[at : at + length])
        tree[at : at + length] = line.replace(ONE_PROCESSOR, b" " * len(ONE_PROCESSOR))


def _chosen_properties(tree: bytearray) -> list[tuple[bytes, tuple[int, int]]]:
    """The properties of /chosen: name, and where its value lies: offset and length. Raises NotStartable."""
    found: list[tuple[bytes, tuple[int, int]]] = []
    try:
        magic, _, at, names = struct.unpack_from(">4I", tree)
        if magic != FDT_MAGIC:
            raise NotStartable("the board has no device tree")
        path: list[bytes] = []
        while True:
            (token,) = struct.unpack_from(">I", tree, at)
            at += 4
            if token == FDT_BEGIN:
                name = bytes(tree[at : tree.index(0, at)])
                path.append(name)
                at += _up(len(name) + 1, 4)
            elif token == FDT_END:
                path.pop()
                if not path:
                    return found
            elif token == FDT_PROPERTY:
                length, name_at = struct.unpack_from(">2I", tree, at)
                if path == [b"", b"chosen"]:
                    name = bytes(tree[names + name_at : tree.index(0, names + name_at)])
                    found.append((name, (at + 8, length)))
                at += 8 + _up(length, 4)
            elif token != FDT_NOP:
                raise NotStartable("the board's device tree cannot be read")
    except (struct.error, ValueError, IndexError):
        raise NotStartable("the board's device tree cannot be read") from None


def chosen_archive(slot: str) -> bytes:
    """A cpio archive with the one file /chosen, which the kernel unpacks over the first stage's own."""

    def entry(name: bytes, mode: int, content: bytes) -> bytes:
        numbers = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name + b"\0"
        return head.ljust(_up(len(head), 4), b"\0") + content.ljust(_up(len(content), 4), b"\0")

    return entry(b"chosen", 0o100644, b"boot=%s\n" % slot.encode()) + entry(b"TRAILER!!!", 0, b"")


def first_instructions(kernel_at: int, tree_at: int) -> bytes:
    """What runs first: x0 is the device tree, x1 to x3 are 0, and on to the kernel."""
    words = (0x580000C4, 0x580000E0, 0xAA1F03E1, 0xAA1F03E2, 0xAA1F03E3, 0xD61F0080)
    return struct.pack("<6I2Q", *words, kernel_at, tree_at)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _read(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_BYTES:
        raise NotStartable(f"{path.name} is too large")
    return path.read_bytes()


class _Segment(ctypes.Structure):
    _fields_ = (
        ("content", ctypes.c_char_p),
        ("length", ctypes.c_size_t),
        ("address", ctypes.c_size_t),
        ("room", ctypes.c_size_t),
    )


def _load(segments: Sequence[Segment], entry: int) -> None:
    """Hand the segments to the kernel. Raises OSError."""
    listed = (_Segment * len(segments))(
        *(_Segment(one.content, len(one.content), one.address, one.room) for one in segments)
    )
    library = ctypes.CDLL(None, use_errno=True)
    words = (KEXEC_LOAD, entry, len(segments))
    if library.syscall(*(ctypes.c_long(word) for word in words), ctypes.byref(listed), ctypes.c_long(ARCHITECTURE)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
