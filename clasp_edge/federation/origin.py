"""Where a write comes from: the router it was first made at, and its number there, so that no detour brings it twice.

Numbers are counted by the router of origin, in an epoch: a life of its process has one for writes that are logged,
which have their number in the log, and one for the others. The journal keeps the way that a logged write has come, so
that it is known by that name when it is read again. Knows nothing of messages.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import OrderedDict
from functools import lru_cache
from typing import NamedTuple

MAX_HOPS = 16
"""Routers a write may have passed: more than any sensible chain, fewer than a loop nobody recognised makes."""

MAX_ORIGINS = 1024
"""Epochs of routers whose numbers are remembered; the one that was silent for longest is forgotten."""

MAX_GAPS = 512
"""Stretches of numbers remembered per epoch: writes that go elsewhere leave gaps."""


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


class Seen:
    """Which numbers of which epoch have been here. Bounded; what it has forgotten counts as new."""

    def __init__(self) -> None:
        self._epochs: OrderedDict[tuple[str, int], _Numbers] = OrderedDict()

    def take(self, origin: str, epoch: int, first: int, count: int) -> bytes | None:
        """Note `count` numbers from `first` on. None if all are new, else one byte for each: 1 = was here before."""
        key = (origin, epoch)
        numbers = self._epochs.get(key)
        if numbers is None:
            numbers = self._epochs[key] = _Numbers()
            if len(self._epochs) > MAX_ORIGINS:
                self._epochs.popitem(last=False)
        else:
            self._epochs.move_to_end(key)
        return numbers.take(first, first + count)


class _Numbers:
    """A set of integers as sorted, disjoint, half-open stretches."""

    __slots__ = ("_begins", "_ends")

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []

    def take(self, begin: int, end: int) -> bytes | None:
        begins, ends = self._begins, self._ends
        if ends and begin == ends[-1]:
            ends[-1] = end  # the usual case: the next ones
            return None
        if not ends or begin > ends[-1]:
            begins.append(begin)
            ends.append(end)
            if len(begins) > MAX_GAPS:
                del begins[0], ends[0]
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
        begins[at:upto] = [low]
        ends[at:upto] = [high]
        if len(begins) > MAX_GAPS:
            del begins[0], ends[0]
        return bytes(mask) if known else None
