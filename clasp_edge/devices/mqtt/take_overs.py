"""Clients that end each other by taking one identifier from each other, for ever: what two devices with one name do.

Each of them only sees that its connection breaks. Knows no session; whoever asks writes the line.
"""

from __future__ import annotations

from clasp_edge.clock import Clock
from clasp_edge.router.principal import host_of

PERIOD_S = 60.0
MANY = 5
"""Within that time: a device that comes back over a connection that is only half gone does so once or twice."""

MAX_CLIENTS = 256
MAX_HOSTS = 4
"""Remembered at once; the identifier that was taken over least recently makes room."""


class _Seen:
    __slots__ = ("count", "hosts", "since_s", "told_s")

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        self.told_s = -PERIOD_S
        self.count = 0
        self.hosts: dict[str, None] = {}


class TakeOvers:
    """How often which identifiers were taken over lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clients: dict[str, _Seen] = {}

    def happened(self, client_id: str, before: str, now: str) -> str | None:
        """A client at `now` (host:port) has taken over from one at `before`. What is to be said of it, at most once a
        minute, or None."""
        now_s = self._clock.monotonic_s()
        seen = self._clients.pop(client_id, None) or _Seen(now_s)
        self._clients[client_id] = seen
        if len(self._clients) > MAX_CLIENTS:
            del self._clients[next(iter(self._clients))]
        if now_s - seen.since_s >= PERIOD_S:
            seen.since_s, seen.count, seen.hosts = now_s, 0, {}
        seen.count += 1
        for remote in (before, now):
            if len(seen.hosts) < MAX_HOSTS:
                seen.hosts[host_of(remote)] = None
        if seen.count < MANY or now_s - seen.told_s < PERIOD_S:
            return None
        seen.told_s = now_s
        hosts = " and ".join(seen.hosts)
        return (
            f"taken over {seen.count} times in {now_s - seen.since_s:.0f} s, by clients at {hosts}: "
            "two with one client identifier end each other; each needs its own"
        )
