"""The state of the two systems, as initramfs/slots.sh reads it at the next start: one file of 512 bytes.

Knows the file's form and how to write it so that a power cut leaves the old or the new state.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from clasp_board.places import read_fields

SIZE = 512
"""A sector: a card writes it whole or not at all."""

HEAD = (
    "# Which of the two systems this box starts. The box writes this file itself. If it is lost, system a is started.\n"
)


@dataclass(frozen=True)
class SlotState:
    """See initramfs/slots.sh for what the fields mean."""

    slot: str = "a"
    try_: str = ""
    trying: str = ""
    failed: str = ""
    id: str = ""

    def tried_next(self, slot: str) -> SlotState:
        """The state in which the next start tries `slot` once."""
        return replace(self, try_=slot, trying="", failed="")

    def confirmed(self, slot: str) -> SlotState:
        """The state in which `slot` is started from now on."""
        return replace(self, slot=slot, try_="", trying="", failed="")

    def text(self) -> bytes:
        """The whole file."""
        fields = f"slot={self.slot}\ntry={self.try_}\ntrying={self.trying}\nfailed={self.failed}\nid={self.id}\n"
        return (HEAD + fields).encode().ljust(SIZE, b"\0")


def other(slot: str) -> str:
    """The system that is not `slot`."""
    return "b" if slot == "a" else "a"


def read_state(path: Path) -> SlotState:
    """The state in the file; what is missing or nonsense is as on a new card."""
    fields = read_fields(path)

    def letter(key: str, otherwise: str = "") -> str:
        value = fields.get(key, "").strip("\0")
        return value if value in ("a", "b") else otherwise

    identity = "".join(c for c in fields.get("id", "") if c in "0123456789abcdef")
    return SlotState(letter("slot", "a"), letter("try"), letter("trying"), letter("failed"), identity)


def write_state(path: Path, state: SlotState) -> None:
    """Write over the file in place. Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.pwrite(handle, state.text(), 0)
        os.fsync(handle)
    finally:
        os.close(handle)
