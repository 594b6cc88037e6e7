"""How much of the processor handshakes may take: each costs a thousand times what a message does.

In each second handshakes get `BUDGET_S` of time, and a host no more of it than it leaves to the others: one alone gets
half, a second one half of the rest. Whoever comes too early is not answered, and tries again by itself (RFC 9002, 6.2).
Those that come at once wait for their turns, one after the other, with everything else between them.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Generic, TypeVar

T = TypeVar("T")

PERIOD_S = 1.0
BUDGET_S = 0.5
MAX_HOSTS = 1024
"""Hosts counted in a period. Each has proved its address, so forged ones are not among them."""


class HandshakeBudget:
    """The time handshakes have taken, by host."""

    def __init__(self) -> None:
        self._began_s = 0.0
        self._spent: dict[str, float] = {}
        self._total = 0.0

    def admits(self, host: str, now_s: float) -> bool:
        """Whether a handshake with this host may begin now (monotonic)."""
        if now_s - self._began_s >= PERIOD_S:
            self._began_s = now_s
            self._spent.clear()
            self._total = 0.0
        if host not in self._spent and len(self._spent) >= MAX_HOSTS:
            return False
        return self._spent.get(host, 0.0) < BUDGET_S - self._total

    def spend(self, host: str, seconds: float) -> None:
        """A handshake with the host took so much time."""
        self._spent[host] = self._spent.get(host, 0.0) + seconds
        self._total += seconds


MAX_WAITING = 256
MAX_WAITING_OF_HOST = 64
"""Beginnings of connections, a datagram of up to 1,500 bytes each, from addresses that were proved."""

TURN_S = 0.002
"""After so long of beginning connections everything else gets its turn; the last one may take a few milliseconds."""


class Waiting(Generic[T]):
    """Beginnings of connections in the order in which they came, each of a host; so many of each, and of all."""

    def __init__(self) -> None:
        self._queue: deque[tuple[str, T]] = deque()
        self._of_host: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, host: str, beginning: T) -> bool:
        """False: there are too many."""
        if len(self._queue) >= MAX_WAITING or self._of_host[host] >= MAX_WAITING_OF_HOST:
            return False
        self._queue.append((host, beginning))
        self._of_host[host] += 1
        return True

    def get(self) -> T:
        """The next one; there must be one."""
        host, beginning = self._queue.popleft()
        self._of_host[host] -= 1
        if not self._of_host[host]:
            del self._of_host[host]
        return beginning

    def clear(self) -> None:
        self._queue.clear()
        self._of_host.clear()
