"""What is remembered by address of a broker or a hub, within bounds in bytes: it is they who choose the addresses.

Knows nothing of what is remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")

ENTRY_BYTES = 160
"""What an entry takes beside its address and what `weigh` says of its value."""

MOST_BYTES = 12 << 20
"""50,000 addresses of 90 bytes; of the longest ones a fifth of that."""


class AddressMemory(Generic[V]):
    """A mapping that forgets what was noted longest ago, beyond `most` entries or `most_bytes`."""

    def __init__(self, most: int, most_bytes: int = MOST_BYTES, weigh: Callable[[V], int] | None = None) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._weigh = weigh
        self._bytes = 0
        self._values: OrderedDict[bytes, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, address: bytes) -> bool:
        return address in self._values

    def get(self, address: bytes, default: V) -> V:
        """What was noted for it, else `default`."""
        return self._values.get(address, default)

    def note(self, address: bytes, value: V) -> None:
        """From now on this is what is known of it."""
        self.drop(address)
        self._values[address] = value
        self._bytes += self._size(address, value)
        while len(self._values) > self._most or self._bytes > self._most_bytes:
            self._bytes -= self._size(*self._values.popitem(last=False))

    def drop(self, address: bytes) -> None:
        """Nothing is known of it any more."""
        if address in self._values:
            self._bytes -= self._size(address, self._values.pop(address))

    def _size(self, address: bytes, value: V) -> int:
        return ENTRY_BYTES + len(address) + (self._weigh(value) if self._weigh is not None else 0)


MOST_SET_BYTES = 8 << 20
SET_ENTRY_BYTES = 64


class AddressSet:
    """Addresses, as many as there is room for. `is_cut`: there were more, and of those it does not know."""

    def __init__(self, most_bytes: int = MOST_SET_BYTES) -> None:
        self.is_cut = False
        self._most_bytes = most_bytes
        self._bytes = 0
        self._addresses: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._addresses)

    def __contains__(self, address: object) -> bool:
        return address in self._addresses

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._addresses)

    def add(self, address: bytes) -> None:
        if address in self._addresses:
            return
        size = SET_ENTRY_BYTES + len(address)
        if self._bytes + size > self._most_bytes:
            self.is_cut = True
        else:
            self._bytes += size
            self._addresses.add(address)

    def update(self, others: AddressSet) -> None:
        """All that `others` has."""
        self.is_cut = self.is_cut or others.is_cut
        for address in others:
            self.add(address)

    def clear(self) -> None:
        self.is_cut = False
        self._bytes = 0
        self._addresses.clear()
