"""Who gets a place among the sessions when all are taken (router.md 1.2): one host cannot lock out all others.

Counts sessions by the host they come from. Nobody is refused or moved before the router is full, so clients behind one
proxy, or all on this machine, may have every place. Knows no protocol and closes nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clasp_edge.router.session import Session


def host_of(remote: str) -> str:
    """The host in `host:port`; "" for what has none, such as a socket of this machine's file system."""
    return remote.rpartition(":")[0]


class Places:
    """The sessions that hold a place. `len` is how many there are."""

    def __init__(self) -> None:
        self._by_host: dict[str, set[Session]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, session: Session) -> None:
        """The session has been admitted."""
        self._by_host.setdefault(host_of(session.link.remote), set()).add(session)
        self._count += 1

    def give_back(self, session: Session) -> None:
        """The session has ended; nothing happens if its place has gone to another already."""
        host = host_of(session.link.remote)
        mine = self._by_host.get(host, set())
        if session in mine:
            mine.remove(session)
            self._count -= 1
            if not mine:
                del self._by_host[host]

    def held_against(self, remote: str, taken: int) -> Session | None:
        """Who has to make room for a newcomer when all `taken` places are: of a host that holds more than half of them,
        and is not the newcomer's own, the session that has been silent longest. None where no host has so many."""
        most = max(self._by_host, key=lambda host: len(self._by_host[host]), default=None)
        if most is None or most == host_of(remote) or len(self._by_host[most]) * 2 <= taken:
            return None
        return min(self._by_host[most], key=lambda session: session.heard_us)
