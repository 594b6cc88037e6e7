"""Places among the sessions, and among the connections that have not said who they are: shared by principal and host,
over all transports and protocols (router.md 1.2).

Nobody is refused or moved before all places are taken, so clients behind one proxy, or all on this machine, may have
every one. Then the principal that has most of them makes room for a newcomer that has fewer, by the session that has
been silent longest; within one token's the same is true of hosts. Knows no protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from clasp_edge.router.principal import principal_of

ADMIN_PLACES = 8
"""Beyond the limit, for those who may administrate all: whoever has to put an end to a flood gets in."""

MAKE_ROOM = "closed to admit a client from another host (limits.max_sessions)"
HALF_OPEN = "half-open limit reached (limits.max_half_open)"


class Holder(Protocol):
    """Who has a place."""

    @property
    def heard_us(self) -> int:
        """When it was last heard (monotonic)."""

    def give_up_place(self, reason: str) -> None:
        """Somebody else gets it: end, and tell the peer why."""


class Places:
    """The sessions that have a place. `len` is how many there are; `limit()` how many there may be, 0: any number."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._held: dict[Holder, tuple[str, str, str]] = {}
        self._by_principal: dict[str, dict[str, dict[Holder, None]]] = {}
        self._counts: Counter[str] = Counter()
        self.by_kind: Counter[str] = Counter()
        self.moved = 0
        """Sessions that had to make room."""

    def __len__(self) -> int:
        return len(self._held)

    def count(self, principal: str) -> int:
        """How many places the principal has."""
        return self._counts[principal]

    def holders(self, principal: str) -> list[Holder]:
        """Who has them."""
        return [holder for held in self._by_principal.get(principal, {}).values() for holder in held]

    def open_to(self, principal: str, host: str, *, admin: bool = False) -> bool:
        """Whether a newcomer would get a place."""
        limit = self._limit()
        if not limit or len(self._held) < limit or (admin and len(self._held) < limit + ADMIN_PLACES):
            return True
        return self._yielding(principal, host) is not None

    def take(self, holder: Holder, kind: str, principal: str, host: str, *, admin: bool = False) -> bool:
        """Give the holder a place, if need be that of another. False where there is none."""
        limit = self._limit()
        if limit and len(self._held) >= limit:
            other = self._yielding(principal, host)
            if other is not None:
                self.give_back(other)
                self.moved += 1
                other.give_up_place(MAKE_ROOM)
            elif not admin or len(self._held) >= limit + ADMIN_PLACES:
                return False
        self._held[holder] = principal, host, kind
        self._by_principal.setdefault(principal, {}).setdefault(host, {})[holder] = None
        self._counts[principal] += 1
        self.by_kind[kind] += 1
        return True

    def give_back(self, holder: Holder) -> None:
        """The session has ended; nothing happens if its place has gone to another already."""
        found = self._held.pop(holder, None)
        if found is None:
            return
        principal, host, kind = found
        hosts = self._by_principal[principal]
        del hosts[host][holder]
        if not hosts[host]:
            del hosts[host]
        self._counts[principal] -= 1
        if not hosts:
            del self._by_principal[principal], self._counts[principal]
        self.by_kind[kind] -= 1

    def _yielding(self, principal: str, host: str) -> Holder | None:
        """Who has to make room: of those who have most, if that is more than the newcomer would have."""
        if not self._counts:
            return None
        most = max(self._counts, key=self._counts.__getitem__)
        hosts = self._by_principal[most]
        busiest = max(hosts, key=lambda one: len(hosts[one]))
        if self._counts[most] <= self._counts[principal] + 1:
            # Among principals it would only turn things round: then among the hosts of the newcomer's own.
            hosts = self._by_principal.get(principal, {})
            busiest = max(hosts, key=lambda one: len(hosts[one]), default="")
            if not hosts or len(hosts[busiest]) <= len(hosts.get(host, ())) + 1:
                return None
        return min(hosts[busiest], key=lambda one: one.heard_us)


class HalfOpen:
    """Connections that have not said who they are, whatever they will speak, at most `limit()`: beyond that, the oldest
    of the host that has most has to go. A silent one costs nobody else anything; how long it may be silent is up to its
    transport."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._hosts: dict[object, str] = {}
        self._by_host: dict[str, dict[object, Callable[[str], None]]] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._hosts)

    def add(self, connection: object, host: str, give_up: Callable[[str], None]) -> None:
        """A new one. `give_up(reason)` ends it when others need its place."""
        host = principal_of(host)  # of IPv6 a network: who has one has all its addresses
        while len(self._hosts) >= max(1, self._limit()):
            most = max(self._by_host.values(), key=len)
            oldest, end = next(iter(most.items()))
            self.discard(oldest)
            self.evicted += 1
            end(HALF_OPEN)
        self._hosts[connection] = host
        self._by_host.setdefault(host, {})[connection] = give_up

    def discard(self, connection: object) -> None:
        """It has said who it is, or is gone."""
        host = self._hosts.pop(connection, None)
        if host is None:
            return
        theirs = self._by_host[host]
        del theirs[connection]
        if not theirs:
            del self._by_host[host]
