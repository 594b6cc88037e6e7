"""The places in the log of routers that dial in, and for how long they are kept for those that are away.

A place lies in the journal (`LinkQueue`), so it survives a restart; since when its router is away does not, and counts
from there anew. Knows nothing of what is in the log.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from clasp_edge.federation.shared.dedup import LONGEST_ID
from clasp_edge.journal.cursor_names import PEER, UPLINK
from clasp_edge.journal.followed_log import Log

if TYPE_CHECKING:
    from clasp_edge.router.router import Router

log = logging.getLogger("clasp_edge.federation")

MAX_PLACES = 1000
"""As many routers as are remembered (`peers`)."""

LOOK_S = 10.0
"""Between looks at who is away for too long, and between the moves of places where nothing was to be told."""

LOOKS_BACK = 360
"""An hour of them: for a router that comes from another hub, so far back may lie what it has not heard."""

MARGIN_S = 1.0
"""How long word of when a router had heard all may have been on its way."""

EARLIER_RECORDS = 10_000
"""For one that has heard nothing since before our start: so many records from before it."""


class Follower(Protocol):
    """What moves a place while its router is here (`downlink.Downlink`)."""

    def rest(self) -> None: ...


class PeerCursors:
    """Of one router that has a journal."""

    def __init__(self, router: Router, journal: Log, at_the_other: Callable[[], int | None] = lambda: None) -> None:
        self.journal = journal
        self._at_the_other = at_the_other
        """How far the other router of a pair has the log; None without one."""
        self._router = router
        self._here: dict[str, Follower] = {}
        now_s = router.clock.monotonic_s()
        self._away = {name: now_s for name in journal.cursors() if name.startswith(PEER)}
        for name in self._away:
            journal.log_whole_messages(name, True)
        self._instances: dict[str, int] = {}
        self._ends: deque[tuple[float, int]] = deque(maxlen=LOOKS_BACK)  # when the log ended where
        self._look()

    @property
    def offered(self) -> bool:
        """Whether routers are told that they can follow."""
        return self._router.config.federation.keep_s > 0

    def begins_at(self, apart_s: float | None) -> int:
        """Where in the log a router begins for which nothing is kept: at its end, or, if it comes from another hub,
        before what it may not have heard there. What it has heard all the same it recognises."""
        last = self.journal.last_sequence
        if apart_s is None:
            return last
        since_s = self._router.clock.monotonic_s() - apart_s - MARGIN_S
        position = max(0, self._ends[0][1] - EARLIER_RECORDS) if self._ends else max(0, last - EARLIER_RECORDS)
        for at_s, end in self._ends:
            if at_s > since_s:
                break
            position = end
        # Nor has the other hub what waits here for routers that are away, or for a router above.
        earliest = self._ends[0][1] if self._ends else last
        waits = [
            place for name, place in self.journal.cursors().items() if name in self._away or name.startswith(UPLINK)
        ]
        lacks = self._at_the_other()
        if lacks is not None:
            position = min(position, lacks)
        return min([position, *(max(place, earliest) for place in waits)])

    def go_on(self, place: str, begins_at: int) -> None:
        """The router at this place has heard all up to there elsewhere."""
        if place in self.journal.cursors() and self.journal.cursor(place) < begins_at:
            self.journal.set_cursor(place, begins_at)

    def is_new_life(self, place: str, instance: int) -> bool:
        """Whether the router at this place may have been started anew since it was here last. Notes that it is here."""
        known, self._instances[place] = self._instances.get(place), instance
        return known != instance

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
        # A router that had heard all of the other router of a pair had heard what was there by then, and no more.
        last, there = self.journal.last_sequence, self._at_the_other()
        self._ends.append((self._router.clock.monotonic_s(), last if there is None else min(last, there)))
        for follower in self._here.values():
            follower.rest()
        longest_s = self._router.config.federation.keep_s
        now_s = self._router.clock.monotonic_s()
        for name in [name for name, since_s in self._away.items() if now_s - since_s >= longest_s]:
            self._forget(name)

    def _forget(self, name: str) -> None:
        del self._away[name]
        self._instances.pop(name, None)
        log.info(
            "peer %s: away longer than federation.keep_s, queue discarded", name.partition(":")[2].partition(":")[2]
        )
        self.journal.forget_cursor(name)
        self.journal.log_whole_messages(name, False)
