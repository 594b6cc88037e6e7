"""The places in the log of routers that dial in, and for how long they are kept for those that are away.

A place lies in the journal (`LinkQueue`), so it survives a restart; since when its router is away does not, and counts
from there anew. Knows nothing of what is in the log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from clasp_edge.federation.shared.cursor_names import PEER
from clasp_edge.federation.shared.dedup import LONGEST_ID
from clasp_edge.federation.shared.queue import Log

if TYPE_CHECKING:
    from clasp_edge.router.router import Router

log = logging.getLogger("clasp_edge.federation")

MAX_PLACES = 1000
"""As many routers as are remembered (`peers`)."""

LOOK_S = 10.0
"""Between looks at who is away for too long, and between the moves of places where nothing was to be told."""


class Follower(Protocol):
    """What moves a place while its router is here (`downlink.Downlink`)."""

    def rest(self) -> None: ...


class PeerCursors:
    """Of one router that has a journal."""

    def __init__(self, router: Router, journal: Log) -> None:
        self.journal = journal
        self._router = router
        self._here: dict[str, Follower] = {}
        now_s = router.clock.monotonic_s()
        self._away = {name: now_s for name in journal.cursors() if name.startswith(PEER)}
        for name in self._away:
            journal.log_whole_messages(name, True)
        self._look()

    @property
    def offered(self) -> bool:
        """Whether routers are told that they can follow."""
        return self._router.config.federation.keep_s > 0

    def arrive(self, router_id: str, link: int, follower: Follower) -> str:
        """The place of a router's link; "" where none can be kept for it."""
        name = f"{PEER}{link:08x}:{router_id}"
        if not self.offered or len(router_id.encode()) > LONGEST_ID or not 0 <= link < 1 << 32:
            return ""
        self._away.pop(name, None)
        while len(self._here) + len(self._away) >= MAX_PLACES:
            if not self._away:
                return ""
            self._forget(next(iter(self._away)))
        self._here[name] = follower
        return name

    def leave(self, follower: Follower) -> None:
        """Its router is gone, or has come by another connection already."""
        for name in [name for name, here in self._here.items() if here is follower]:
            del self._here[name]
            self._away[name] = self._router.clock.monotonic_s()

    def _look(self) -> None:
        self._router.loop.call_later(LOOK_S, self._look)
        for follower in self._here.values():
            follower.rest()
        longest_s = self._router.config.federation.keep_s
        now_s = self._router.clock.monotonic_s()
        for name in [name for name, since_s in self._away.items() if now_s - since_s >= longest_s]:
            self._forget(name)

    def _forget(self, name: str) -> None:
        del self._away[name]
        log.info(
            "peer %s: away longer than federation.keep_s, queue discarded", name.partition(":")[2].partition(":")[2]
        )
        self.journal.forget_cursor(name)
        self.journal.log_whole_messages(name, False)
