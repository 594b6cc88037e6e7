"""How much of the processor handshakes may take: each costs a thousand times what a message does.

In each second handshakes get `BUDGET_S` of time, and a host no more of it than it leaves to the others: one alone gets
half, a second one half of the rest. Whoever comes too early is not answered, and tries again by itself (RFC 9002, 6.2).
"""

from __future__ import annotations

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
