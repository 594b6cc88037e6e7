"""How much of the state may be under way to another router, so that what happens meanwhile does not wait behind it.

The state goes in pieces, each followed by a PING; the PONG says that the piece was not only sent but taken in. What a
piece takes longer than the way itself is what an event sent behind it waits: in buffers of either end, in the network,
and for the other router's turn. So the window grows while that is less than `WAIT_S`; else it becomes what would have
come through in the time of the way and so much more. Whatever the transport: it knows none.
"""

from __future__ import annotations

from collections import deque

WAIT_S = 0.02
"""What live traffic may wait behind the state, about."""

PIECE_BYTES = 15_000

FIRST_BYTES = 60_000
LEAST_BYTES = 2 * PIECE_BYTES
MOST_BYTES = 1 << 20
"""Of the window. The least is two pieces, so that one is on its way while the other is taken in."""

FIRST_GROWTH = 0.5
"""Of what was answered, until an answer was late for the first time; then the window grows by a piece at a time."""

LATELY = 5
"""Answers of which the quickest counts: one that was late because its router was busy says nothing of the others."""

OLDEST_S = 10.0
"""A piece that has not been answered for so long does not hold the others up: not every router answers PING."""


class StatePace:
    """Of one state that is told. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._under_way: deque[tuple[float, int, int]] = deque()
        """When it was sent, its size, and what was under way with it."""
        self._size = 0
        self._window = float(FIRST_BYTES)
        self._way_s = float("inf")
        self._lately: deque[float] = deque(maxlen=LATELY)
        self._growth = FIRST_GROWTH

    @property
    def window(self) -> int:
        """Bytes that may be under way."""
        return int(self._window)

    def sent(self, size: int, now_s: float) -> None:
        """A piece went out, and a PING behind it."""
        self._size += size
        self._under_way.append((now_s, size, self._size))

    def answered(self, now_s: float) -> bool:
        """A PONG has come; False where no piece is under way."""
        if not self._under_way:
            return False
        sent_s, size, together = self._under_way.popleft()
        self._size -= size
        took_s = now_s - sent_s
        self._way_s = min(self._way_s, took_s)
        self._lately.append(took_s)
        if not self._growth:
            took_s = min(self._lately)
        part = min(1.0, size / self._window)
        if took_s - self._way_s < WAIT_S / 2:
            self._window += size * self._growth if self._growth else PIECE_BYTES * part
        else:
            self._growth = 0.0
            through = together / took_s * (self._way_s + WAIT_S / 2)
            self._window += (min(through, self._window) - self._window) * part
        self._window = min(float(MOST_BYTES), max(float(LEAST_BYTES), self._window))
        return True

    def has_room(self, now_s: float) -> bool:
        """Whether the next piece may go."""
        while self._under_way and now_s - self._under_way[0][0] > OLDEST_S:
            self._size -= self._under_way.popleft()[1]
        return self._size < self._window

    def wait_s(self, now_s: float) -> float:
        """After how long there is room even if nothing is answered."""
        return max(0.0, self._under_way[0][0] + OLDEST_S - now_s) + 0.001 if self._under_way else 0.0
