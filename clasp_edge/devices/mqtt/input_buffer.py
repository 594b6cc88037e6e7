"""What a connection has received and not used yet: the beginning of a packet, or what a client sent faster than it may.

A small rest lives as bytes in the connection, and all connections share one buffer to read into. A larger one gets a
buffer of its own, which grows with what has come and is never copied for each read; all of these together are bounded.
"""

from __future__ import annotations

READ_BYTES = 65_536
"""What a new buffer has room for, behind what is there already."""

LEAST_ROOM = 16_384
"""For one read: with less the buffer grows."""


class InputBuffer:
    """Received bytes from `begin` to `end` of `data`."""

    __slots__ = ("begin", "data", "end", "scanned")

    def __init__(self, rest: bytes | bytearray) -> None:
        self.data = bytearray(len(rest) + READ_BYTES)
        self.data[: len(rest)] = rest
        self.begin = 0
        self.end = len(rest)
        self.scanned = 0
        """Up to here PINGREQs have been answered ahead; the beginning of a packet."""

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def held(self) -> int:
        """Bytes of memory."""
        return len(self.data)

    def append(self, data: bytes) -> None:
        """More that has come."""
        while data:
            with self.room() as room:
                size = min(len(room), len(data))
                room[:size] = data[:size]
            self.end += size
            data = data[size:]

    def room(self) -> memoryview:
        """Where the next read goes. Grows by half of what there is, so that each byte is copied a few times at most."""
        if len(self.data) - self.end < LEAST_ROOM:
            used = len(self)
            # A new one: whoever looks at the old one may go on doing so.
            larger = bytearray(used + max(used // 2, READ_BYTES))
            with memoryview(self.data) as old:
                larger[:used] = old[self.begin : self.end]
            self.scanned = max(self.scanned - self.begin, 0)
            self.data, self.begin, self.end = larger, 0, used
        return memoryview(self.data)[self.end :]

    def rest(self) -> memoryview:
        """What is there."""
        return memoryview(self.data)[self.begin : self.end]

    def used(self, size: int) -> None:
        """So many bytes from the begin are done with."""
        self.begin += size
        self.scanned = max(self.scanned, self.begin)
