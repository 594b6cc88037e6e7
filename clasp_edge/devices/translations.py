"""Translations of addresses and topics that are kept, so that the next message of the same one need not wait for them.

Bounded in bytes: a stranger chooses the keys. Who writes to ever new addresses makes us translate, not remember.
"""

from __future__ import annotations

from typing import TypeVar

MAX_REMEMBERED = 4096

LONGEST_REMEMBERED = 256
"""Characters of a key; what a real device says is shorter, and what is longer is translated each time."""

K = TypeVar("K", str, bytes)
V = TypeVar("V")


def remember(memory: dict[K, V], key: K, found: V) -> V:
    """Keep `found` in `memory` if there is room for it; returns it."""
    if len(key) <= LONGEST_REMEMBERED:
        if len(memory) >= MAX_REMEMBERED:
            memory.clear()
        memory[key] = found
    return found
