"""Work that waits for its time: a bounded queue, woken by a timer of the kernel.

The event loop's own timers count whole milliseconds; a timerfd on the wall clock fires within microseconds on an idle
machine, and follows the clock when it is set (router.md 6: execution on server time). Knows nothing of what waits.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from clasp_edge.dataplane.system import set_wall_timer, wall_timer

if TYPE_CHECKING:
    from clasp_edge.router.router import Router

log = logging.getLogger("clasp_edge.router")


class WallTimer:
    """A timerfd on the wall clock (timerfd_create(2); Python wraps it only from 3.13 on). `fd` is readable when due."""

    def __init__(self) -> None:
        self.fd = wall_timer()

    def set(self, at_us: int) -> None:
        """Fire at `at_us` (Unix microseconds; 0 disarms), or when the clock is set."""
        set_wall_timer(self.fd, at_us)

    def clear(self) -> None:
        """Take note of an expiry, or of a clock that was set (ECANCELED)."""
        try:
            os.read(self.fd, 8)
        except OSError as error:
            log.debug("the schedule's timer: %s", error)

    def close(self) -> None:
        os.close(self.fd)


class NotScheduled(Exception):
    """The work cannot wait here. The text is for whoever sent it."""


class TooFarAhead(NotScheduled):
    """Its time lies beyond the horizon."""


class ScheduleFull(NotScheduled):
    """As many as are allowed are already waiting."""


class Schedule:
    """Waiting calls, soonest first, in the order of arrival where times are equal. Bounds: `limits` of the config, or
    `most` calls."""

    def __init__(self, router: Router, most: int | None = None) -> None:
        self._router = router
        self._most = most
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._count = 0
        self._timer: WallTimer | None = None
        self._working = False  # what is due is carried out in parts

    def __len__(self) -> int:
        return len(self._queue)

    def waiting(self) -> Iterator[tuple[int, Callable[[], object]]]:
        """What waits, and for when, in no order."""
        for due_us, _, action in list(self._queue):
            yield due_us, action

    def add(self, due_us: int, action: Callable[[], object]) -> None:
        """Call `action` at `due_us` (Unix microseconds), inside a pass of the data plane. Raises NotScheduled."""
        limits = self._router.config.limits
        ahead_s = (due_us - self._router.clock.wall_us()) / 1e6
        if ahead_s > limits.schedule_horizon_s:
            raise TooFarAhead(f"{ahead_s:.0f} s ahead, at most {limits.schedule_horizon_s:.0f} s are allowed")
        most = limits.max_scheduled_bundles if self._most is None else self._most
        if len(self._queue) >= most:
            raise ScheduleFull(f"{most} bundles are already waiting for their time")
        self._count += 1
        heapq.heappush(self._queue, (due_us, self._count, action))
        self._arm()

    def close(self) -> None:
        """Forget everything that waits; the router stops."""
        self._queue.clear()
        if self._timer is not None:
            self._router.loop.remove_reader(self._timer.fd)
            self._timer.close()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = WallTimer()
            self._router.loop.add_reader(self._timer.fd, self._due)
        self._timer.set(self._queue[0][0] if self._queue and not self._working else 0)

    def _due(self) -> None:
        assert self._timer is not None
        self._timer.clear()
        core = self._router.core
        core.begin_pass()
        steps = self._carry_out()
        for _ in steps:
            if core.slice_over:
                # Each of them is a whole; between two of them others get their turn.
                self._working = True
                core.start_work(steps)
                break
        core.end_pass()
        self._arm()

    def _carry_out(self) -> Iterator[None]:
        """What is due, in its order."""
        while self._queue and self._queue[0][0] <= self._router.clock.wall_us():
            action = heapq.heappop(self._queue)[2]
            try:
                action()
            except Exception:
                # The others still have their time, and the pass its end.
                log.exception("scheduled work failed")
            yield
        if self._working:
            self._working = False
            if self._timer is not None:
                self._arm()
