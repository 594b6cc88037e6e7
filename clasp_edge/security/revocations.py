"""Capability tokens and keys that count no more: `revoked.toml` in the data directory.

A token goes by its nonce, and takes with it whatever was delegated from it; a key by its `did:key`, and takes with it
whatever it has signed. Written like the token file (security.kept_file).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from clasp_edge.security.kept_file import (
    KeptFileError,
    locked,
    read_tables,
    remembered,
    state_of,
    table,
    when,
    write_text,
)

NAME = "revoked.toml"
MAX_ENTRIES = 50_000

_ID = re.compile(r"[A-Za-z0-9:_.-]{1,128}")


class Revocations:
    """The file in a data directory. Every call reads it afresh."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME

    def state(self) -> object:
        """What tells whether the file has changed."""
        return state_of(self.path)

    def read(self) -> frozenset[str]:
        """Nonces and keys. Raises KeptFileError."""
        return frozenset(remembered(self.path, self._read))

    def _read(self) -> list[str]:
        rows = read_tables(self.path, "revoked")
        if not all(isinstance(row.get("id"), str) for row in rows):
            raise KeptFileError(f"{self.path} is damaged: an entry has no id")
        return [row["id"] for row in rows]

    def add(self, revoked: str) -> bool:
        """Let it count no more; False if it does not already. Raises KeptFileError."""
        if not _ID.fullmatch(revoked):
            raise KeptFileError(f'"{revoked[:64]}" is neither the nonce of a token nor a did:key')
        with locked(self.path):
            rows = read_tables(self.path, "revoked")
            if any(row.get("id") == revoked for row in rows):
                return False
            if len(rows) >= MAX_ENTRIES:
                raise KeptFileError(f"the list is full: {MAX_ENTRIES} entries; nothing was changed")
            rows.append({"id": revoked, "time": when(int(time.time()))})
            text = "# Capability tokens (by nonce) and keys that count no more: clasp-edge token cap revoke\n"
            write_text(self.path, text + "".join(table("revoked", row) for row in rows))
        return True
