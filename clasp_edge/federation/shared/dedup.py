"""Where a write comes from: the router it was first made at, and its number there, so that no detour brings it twice.

Numbers are counted by the router of origin, in an epoch: a life of its process has one for writes that are logged,
which have their number in the log, and one for the others. The journal keeps the way that a logged write has come, so
that it is known by that name when it is read again. Knows nothing of messages.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from clasp_edge.journal.cursors import Logged

MAX_HOPS = 16
"""Routers a write may have passed: more than any sensible chain, fewer than a loop nobody recognised makes."""

MAX_ORIGINS = 1024
"""Epochs of routers whose numbers are remembered; the one that was silent for longest is forgotten."""

MAX_GAPS = 40_000
MAX_STRETCHES = 200_000
"""Stretches of numbers remembered, per epoch and together (16 bytes each): writes that go elsewhere leave gaps. No link
has more messages under way than an epoch may have stretches."""


LONGEST_ID = 95
"""Bytes of a router's id that the log has room for, twice."""

_WAY = struct.Struct("<QBB")


class Route(NamedTuple):
    """By which way a write has come. `hops` counts the routers it has passed; `via` is the last of them, empty where it
    was made."""

    origin: str
    epoch: int
    hops: int
    via: str = ""


@lru_cache(maxsize=MAX_ORIGINS)
def way_of(route: Route) -> bytes | None:
    """The route as the journal keeps it (`dataplane.Sink.way`); the same object for the same route. None: too long."""
    origin, via = route.origin.encode(), route.via.encode()
    if max(len(origin), len(via)) > LONGEST_ID:
        return None
    return _WAY.pack(route.epoch, min(route.hops, 0xFF), len(via)) + via + origin


@lru_cache(maxsize=MAX_ORIGINS)
def route_by(way: bytes) -> Route:
    """What `way_of` has packed. Raises ValueError."""
    try:
        epoch, hops, size = _WAY.unpack_from(way)
    except struct.error as error:
        raise ValueError(f"no way of a write: {error}") from None
    names = way[_WAY.size :]
    return Route(names[size:].decode(), epoch, hops, names[:size].decode())


def route_of_record(record: Logged, of_run: Callable[[int], Route]) -> tuple[Route, int]:
    """Whence a record of the log comes and its number there; `of_run`: the route of what was first written here."""
    return (route_by(record.way), record.way_number) if record.way else (of_run(record.run), record.number)


class Seen:
    """Which numbers of which epoch have been here. Bounded; what it has forgotten counts as new."""

    def __init__(self) -> None:
        self._epochs: OrderedDict[tuple[str, int], _Numbers] = OrderedDict()
        self._stretches = 0

    def take(self, origin: str, epoch: int, first: int, count: int) -> bytes | None:
        """Note `count` numbers from `first` on. None if all are new, else one byte for each: 1 = was here before."""
        key = (origin, epoch)
        numbers = self._epochs.get(key)
        if numbers is None:
            numbers = self._epochs[key] = _Numbers()
            if len(self._epochs) > MAX_ORIGINS:
                self._forget_one()
        else:
            self._epochs.move_to_end(key)
        before = len(numbers)
        mask = numbers.take(first, first + count)
        self._stretches += len(numbers) - before
        while self._stretches > MAX_STRETCHES and len(self._epochs) > 1:
            self._forget_one()
        return mask

    def give_back(self, origin: str, epoch: int, first: int, count: int) -> None:
        """These were noted and have not come after all."""
        numbers = self._epochs.get((origin, epoch))
        if numbers is not None and count:
            before = len(numbers)
            numbers.give_back(first, first + count)
            self._stretches += len(numbers) - before

    def _forget_one(self) -> None:
        self._stretches -= len(self._epochs.popitem(last=False)[1])


class Arrival:
    """The run of writes that a connection is in the middle of. It is noted when it is announced; what of it does not
    come before the connection ends would else be passed over when it is sent again. `is_own(origin, epoch)` tells what
    was first written here."""

    def __init__(self, seen: Seen, is_own: Callable[[str, int], bool]) -> None:
        self._seen = seen
        self._is_own = is_own
        self._route = Route("", 0, 0)
        self._first = self._count = 0
        self._mask: bytes | None = None

    def announce(self, route: Route, first: int, count: int) -> bytes | None:
        """A ROUTE: as `Seen.take`; none is new of what has come round."""
        self._route, self._first, self._count = route, first, count
        if self._is_own(route.origin, route.epoch):
            self._mask = b"\x01" * count
        else:
            self._mask = self._seen.take(route.origin, route.epoch, first, count) if first else None
        return self._mask

    def broken_off(self, number: int) -> None:
        """The connection has ended, and the next write would have been the one with this number."""
        end = self._first + self._count
        if not self._first <= number < end or not self._first:
            return
        origin, epoch, mask, first = self._route.origin, self._route.epoch, self._mask, self._first
        self._count = 0
        if mask is None:
            self._seen.give_back(origin, epoch, number, end - number)
            return
        for missing in range(number, end):
            if not mask[missing - first]:
                self._seen.give_back(origin, epoch, missing, 1)


class _Numbers:
    """A set of integers as sorted, disjoint, half-open stretches."""

    __slots__ = ("_begins", "_ends")

    def __init__(self) -> None:
        self._begins = array("Q")
        self._ends = array("Q")

    def __len__(self) -> int:
        return len(self._begins)

    def take(self, begin: int, end: int) -> bytes | None:
        begins, ends = self._begins, self._ends
        if ends and begin == ends[-1]:
            ends[-1] = end  # the usual case: the next ones
            return None
        if not ends or begin > ends[-1]:
            begins.append(begin)
            ends.append(end)
            self._trim()
            return None
        return self._insert(begin, end)

    def _insert(self, begin: int, end: int) -> bytes | None:
        begins, ends = self._begins, self._ends
        at = max(bisect_right(begins, begin) - 1, 0)
        while at < len(ends) and ends[at] < begin:
            at += 1
        # From `at` on, stretches touch or overlap the new one, until one begins behind it.
        upto = at
        mask = bytearray(end - begin)
        known = False
        low, high = begin, end
        while upto < len(begins) and begins[upto] <= end:
            first, last = max(begins[upto], begin), min(ends[upto], end)
            if first < last:
                known = True
                mask[first - begin : last - begin] = b"\x01" * (last - first)
            low, high = min(low, begins[upto]), max(high, ends[upto])
            upto += 1
        begins[at:upto] = array("Q", [low])
        ends[at:upto] = array("Q", [high])
        self._trim()
        return bytes(mask) if known else None

    def give_back(self, begin: int, end: int) -> None:
        begins, ends = self._begins, self._ends
        at = upto = bisect_right(ends, begin)
        while upto < len(begins) and begins[upto] < end:
            upto += 1
        if at == upto:
            return
        left = [(begins[at], begin)] if begins[at] < begin else []
        left += [(end, ends[upto - 1])] if ends[upto - 1] > end else []
        begins[at:upto] = array("Q", [stretch[0] for stretch in left])
        ends[at:upto] = array("Q", [stretch[1] for stretch in left])

    def _trim(self) -> None:
        if len(self._begins) > MAX_GAPS:
            # Not one by one: that would move all the others each time.
            del self._begins[: MAX_GAPS // 8], self._ends[: MAX_GAPS // 8]
