"""Which OSC paths there are, looked at once a second while somebody wants to be told: PATH_ADDED and PATH_REMOVED.

A look costs nothing while the number of params stays as it is, and is made in slices. Of more than MAX_PATHS nothing is
remembered: then clients are told that the root has changed, and read it again.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Iterator

from clasp_edge.dataplane.browse import addresses_with
from clasp_edge.dataplane.plane import Plane

PERIOD_S = 1.0
LOOK_ANYWAY = 10
"""Periods after which is looked although the number has not changed: one may have come and another gone."""

MAX_PATHS = 10_000
"""Remembered: 1 to 2 MB. It is the router's own memory, once for all clients."""

MAX_TOLD = 500
"""Paths that are named in one period; where more have come or gone, the root has changed."""

LOOKS = 2048
"""Addresses in one slice: a fraction of a millisecond."""


class PathWatch:
    """`tell(command, paths)` is called with "PATH_ADDED", "PATH_REMOVED" or "PATH_CHANGED". `start` and `stop` may be
    called again and again."""

    def __init__(
        self, loop: AbstractEventLoop, plane: Plane, base: bytes, tell: Callable[[str, list[bytes]], None]
    ) -> None:
        self._loop = loop
        self._plane = plane
        self._base = base
        self._tell = tell
        self._timer: TimerHandle | None = None
        self._known: set[bytes] | None = None
        self._numbers: tuple[int, ...] = ()
        self._idle = 0

    def start(self) -> None:
        """Begin to watch; what is there now is known."""
        if self._timer is None:
            self._known = None
            self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._known = None

    def _look(self) -> None:
        plane = self._plane
        numbers = plane.params, plane.evicted, plane.expired
        self._idle += 1
        if numbers == self._numbers and self._known is not None and self._idle < LOOK_ANYWAY:
            self._timer = self._loop.call_later(PERIOD_S, self._look)
            return
        self._numbers, self._idle = numbers, 0
        self._go_on(self._slices(set()))

    def _go_on(self, slices: Iterator[None]) -> None:
        if next(slices, self) is self:
            self._timer = self._loop.call_later(PERIOD_S, self._look)
        else:
            self._timer = self._loop.call_later(0, self._go_on, slices)

    def _slices(self, seen: set[bytes]) -> Iterator[None]:
        start = self._base + b"/"
        cursor = start
        while cursor.startswith(start):
            found, cursor = addresses_with(self._plane, b"", cursor, LOOKS, LOOKS)
            seen.update(each for each in found if each.startswith(start))
            if not found or not found[-1].startswith(start) or len(seen) > MAX_PATHS:
                break
            yield
        self._compare(seen)

    def _compare(self, seen: set[bytes]) -> None:
        many = len(seen) > MAX_PATHS
        known, self._known = self._known, set() if many else seen
        if known is None or seen == known:
            return
        if many:
            self._tell("PATH_CHANGED", [b"/"])
            return
        added, removed = sorted(seen - known), sorted(known - seen)
        if len(added) + len(removed) > MAX_TOLD:
            self._tell("PATH_CHANGED", [b"/"])
            return
        cut = len(self._base)
        if removed:
            self._tell("PATH_REMOVED", [each[cut:] for each in removed])
        if added:
            self._tell("PATH_ADDED", [each[cut:] for each in added])
