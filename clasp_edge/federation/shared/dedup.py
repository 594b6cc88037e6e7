"""Where a write comes from: the router it was first made at, and its number there, so that no detour brings it twice.

Numbers are counted by the router of origin, in an epoch: a life of its process has one for writes that are logged,
which have their number in the log, and one for the others. The journal keeps the way that a logged write has come, so
that it is known by that name when it is read again. A number alone proves nothing, since anybody may announce any: a
write was here if one of its number *and* its content was accepted (`dataplane.write_run`).
"""

from __future__ import annotations

import struct
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from clasp_edge.dataplane.write_run import WriteRun

if TYPE_CHECKING:
    from clasp_edge.journal.cursors import Logged

MAX_HOPS = 16
"""Routers a write may have passed: more than any sensible chain, fewer than a loop nobody recognised makes."""

MAX_ORIGINS = 1024
"""Epochs of routers whose numbers are remembered; the one that was silent for longest is forgotten."""

MAX_ORIGIN_BYTES = 256
"""Of a router's id in a message: what a configuration allows, in any script."""

NUMBERS_PER_PAGE = 64
MAX_PAGES_PER_EPOCH = 4096
MAX_PAGES = 12_288
"""Writes are remembered by the page, 0.4 KB each with what Python needs for it: 5 MB at most. An epoch has room for
262,144 writes in a row; no link has more messages under way than an eighth of that."""

MAX_EPOCHS_TOLD = 32
"""Of one router, to itself: more than it goes through between two visits that matter."""

LONGEST_ID = 95
"""Bytes of a router's id that the log has room for, twice."""

_WAY = struct.Struct("<QBB")


class Route(NamedTuple):
    """By which way a write has come. `hops` counts the routers it has passed; `via` is the last of them, empty where it
    was made. `answer`: 1 where it was a device's answer to what it was told, 2 where it ends a loop of such answers
    (`dataplane.Sink.loop_mark`); the journal does not keep that."""

    origin: str
    epoch: int
    hops: int
    via: str = ""
    answer: int = 0


def goes_back(route: Route, neighbour: str) -> bool:
    """Whether a write has come from this neighbour, by whichever link, or has gone far enough."""
    return neighbour in (route.via, route.origin) or route.hops >= MAX_HOPS


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
    """What the numbered writes of each epoch said that have been here. Bounded; what it has forgotten counts as new."""

    def __init__(self) -> None:
        self._epochs: OrderedDict[tuple[str, int], _Numbers] = OrderedDict()
        self._open: dict[tuple[str, int], list[Arrival]] = {}
        self._pages = 0

    def known(self, origin: str, epoch: int, first: int, count: int) -> bytes | None:
        """What is known of `count` numbers from `first` on, 4 bytes each (`WriteRun.begin`); None if nothing is."""
        numbers = self._epochs.get((origin, epoch))
        return numbers.known(first, count) if numbers is not None else None

    def note(self, origin: str, epoch: int, first: int, contents: bytes) -> None:
        """These writes have come, from number `first` on: the content of each in 4 bytes."""
        if not contents:
            return
        key = (origin, epoch)
        numbers = self._epochs.get(key)
        if numbers is None:
            numbers = self._epochs[key] = _Numbers()
            if len(self._epochs) > MAX_ORIGINS:
                self._pages -= len(self._epochs.popitem(last=False)[1])
        else:
            self._epochs.move_to_end(key)
        before = len(numbers)
        numbers.note(first, contents)
        self._pages += len(numbers) - before
        while self._pages > MAX_PAGES:
            oldest = next(iter(self._epochs))
            self._epochs[oldest].forget_one()
            self._pages -= 1
            if not len(self._epochs[oldest]):
                del self._epochs[oldest]

    def heard_of(self, origin: str) -> dict[int, int]:
        """The highest number that has come of each of a router's epochs, those heard of last."""
        found = {}
        for key in [key for key in self._open if key[0] == origin]:
            self.settle(key)
        for key in [key for key in self._epochs if key[0] == origin][-MAX_EPOCHS_TOLD:]:
            if highest := self._epochs[key].highest():
                found[key[1]] = highest
        return found

    def opened(self, arrival: Arrival, key: tuple[str, int], first: int, count: int) -> bool:
        """A run begins. Whether another connection is in the middle of one with some of the same numbers."""
        others = self._open.setdefault(key, [])
        contested = False
        for other in others:
            other.settle()
            contested |= other.contend(first, count)
        others.append(arrival)
        return contested

    def closed(self, arrival: Arrival, key: tuple[str, int]) -> None:
        """The run is over."""
        others = self._open[key]
        others.remove(arrival)
        if not others:
            del self._open[key]

    def settle(self, key: tuple[str, int]) -> None:
        """Note what has come of all runs that are under way."""
        for arrival in self._open.get(key, ()):
            arrival.settle()


class Arrival:
    """The run of writes that a connection is in the middle of. Each counts as having been here once it has come and was
    accepted: what was only announced may yet come by another way. `own_up_to(origin, epoch)`: the last number of what
    was first written here and is here still; 0 of other routers."""

    def __init__(self, seen: Seen, own_up_to: Callable[[str, int], int]) -> None:
        self.run = WriteRun()
        self._seen = seen
        self._own_up_to = own_up_to
        self._key: tuple[str, int] | None = None
        self._first = self._count = self._settled = 0

    def announce(self, route: Route, first: int, count: int) -> None:
        """A ROUTE. What has come round to where it was made is not new, whatever it is, unless it was lost there."""
        self.end()
        own_up_to = self._own_up_to(route.origin, route.epoch)
        if not first:  # without numbers
            self.run.begin(None, count, count if own_up_to else 0)
            return
        own = min(max(0, own_up_to + 1 - first), count)
        if own == count:
            self.run.begin(None, count, own)
            return
        self._key, self._first, self._count, self._settled = (route.origin, route.epoch), first, count, 0
        contested = self._seen.opened(self, self._key, first, count)
        self.run.begin(self._seen.known(*self._key, first, count), count, own)
        if contested:
            self.run.contested = self._repeats

    def contend(self, first: int, count: int) -> bool:
        """Another connection brings a run. Whether some of its numbers are still to come by this one."""
        if first + count <= self._first + self.run.at or self._first + self._count <= first:
            return False
        self.run.contested = self._repeats
        return True

    def settle(self) -> None:
        """Note what has come since the last time."""
        if self._key is not None and self.run.at > self._settled:
            self._seen.note(*self._key, self._first + self._settled, self.run.came_from(self._settled))
            self._settled = self.run.at

    def end(self) -> None:
        """The run is over, whole or broken off."""
        if self._key is not None:
            self.settle()
            self._seen.closed(self, self._key)
            self._key = None
            self.run.begin(None, 0)

    def _repeats(self, at: int, content: int) -> bool:
        """Where two connections bring the same numbers at once, each write is looked up as it comes."""
        if self._key is None:
            return False
        self._seen.settle(self._key)
        known = self._seen.known(*self._key, self._first + at, 1)
        return known is not None and int.from_bytes(known, sys.byteorder) == content


class _Numbers:
    """What is known of one epoch: pages of 4 bytes for each number, 0 where nothing is."""

    __slots__ = ("_highest", "_pages")

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._highest = -1

    def __len__(self) -> int:
        return len(self._pages)

    def known(self, first: int, count: int) -> bytes | None:
        begin, end = first // NUMBERS_PER_PAGE, (first + count - 1) // NUMBERS_PER_PAGE
        if begin > self._highest:
            return None  # the usual case: the next ones
        if end - begin < len(self._pages):
            there = [page for page in range(begin, end + 1) if page in self._pages]
        else:
            there = [page for page in self._pages if begin <= page <= end]
        if not there:
            return None
        found = bytearray(4 * count)
        for page in there:
            base = page * NUMBERS_PER_PAGE
            low, high = max(first, base), min(first + count, base + NUMBERS_PER_PAGE)
            found[4 * (low - first) : 4 * (high - first)] = self._pages[page][4 * (low - base) : 4 * (high - base)]
        return bytes(found) if any(found) else None

    def highest(self) -> int:
        """The highest number of which something is known; 0 if none is."""
        for number in sorted(self._pages, reverse=True):
            said = self._pages[number].rstrip(b"\0")
            if said:
                return number * NUMBERS_PER_PAGE + (len(said) - 1) // 4
        return 0

    def note(self, first: int, contents: bytes) -> None:
        at, end = first, first + len(contents) // 4
        while at < end:
            number, offset = divmod(at, NUMBERS_PER_PAGE)
            size = min(NUMBERS_PER_PAGE - offset, end - at)
            page = self._pages.get(number)
            if page is None:
                page = self._pages[number] = bytearray(4 * NUMBERS_PER_PAGE)
                self._highest = max(self._highest, number)
                if len(self._pages) > MAX_PAGES_PER_EPOCH:
                    self.forget_one()
            piece = contents[4 * (at - first) : 4 * (at - first + size)]
            if page.count(0, 4 * offset, 4 * (offset + size)) == len(piece):
                page[4 * offset : 4 * (offset + size)] = piece
            else:
                _lay_over(page, 4 * offset, piece)
            at += size

    def forget_one(self) -> None:
        """The page that was begun first."""
        del self._pages[next(iter(self._pages))]


def _lay_over(page: bytearray, at: int, piece: bytes) -> None:
    """What was refused here says nothing about what was accepted under the number before."""
    for offset in range(0, len(piece), 4):
        content = piece[offset : offset + 4]
        if any(content):
            page[at + offset : at + offset + 4] = content
