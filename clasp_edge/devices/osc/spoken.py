"""How devices have said what the params hold now, where the value alone does not tell: a symbol, a colour, an array in
its brackets. Bounded in bytes; what is not known any more is told by its value.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_BYTES = 1024 * 1024
COST_BYTES = 300
"""Of one entry, beside its bytes."""


class Spoken:
    """By address; the one said longest ago makes room."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[int, bytes, bytes]] = OrderedDict()
        self._bytes = 0

    def note(self, address: bytes, value_type: int, value: bytes, tail: bytes) -> None:
        """A device said this value like that."""
        before = self._entries.pop(address, None)
        if before is not None:
            self._bytes -= _size(address, before)
        entry = self._entries[address] = (value_type, value, tail)
        self._bytes += _size(address, entry)
        while self._bytes > MAX_BYTES:
            self._bytes -= _size(*self._entries.popitem(last=False))

    def tail_of(self, address: bytes, value_type: int, value: bytes) -> bytes | None:
        """How it was said, if the value is still that."""
        entry = self._entries.get(address)
        return entry[2] if entry is not None and entry[:2] == (value_type, value) else None


def _size(address: bytes, entry: tuple[int, bytes, bytes]) -> int:
    return COST_BYTES + len(address) + len(entry[1]) + len(entry[2])
