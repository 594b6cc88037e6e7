"""The params below a pattern that conditions ask about: what was told of each, and how many hold which comparison.

Counted as they are told, so that a condition on ten thousand params costs no more than one on a few. Knows no rules.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice
from typing import Any, NamedTuple

from clasp_edge.rules.state import LARGE, Bounded, small
from clasp_edge.rules.values import MISSING

MAX_MEMBERS = 10_000
"""Params that a condition on a pattern looks at."""

MAX_READ = 128
"""Params of a pattern that are read for an evaluation. Of more, what was told of each counts, and these many are looked
at whether they are still there: nobody tells of one that is gone."""

MAX_TALLIES = 16
"""Comparisons that are counted as values are told; more are counted when they are asked for."""

Test = Callable[[Any], bool]


class _Tally(NamedTuple):
    bit: int
    test: Test


class Members(Bounded[str, Any]):
    """Of one pattern, by address: the value, or LARGE."""

    def __init__(self) -> None:
        super().__init__(MAX_MEMBERS)
        self._tallies: dict[Hashable, _Tally] = {}
        self._marks: dict[str, int] = {}
        self._held: dict[int, int] = {}

    def tell(self, address: str, value: Any) -> None:
        """A param has this value."""
        if len(self) >= MAX_MEMBERS and address not in self:
            self.forget(next(iter(self)))
        self[address] = small(value)
        if self._tallies:
            self._mark(address, sum(tally.bit for tally in self._tallies.values() if tally.test(value)))

    def forget(self, address: str) -> None:
        """The param is gone."""
        if self.pop(address, None) is not None or address in self._marks:
            self._mark(address, 0)

    def look(self, read: Callable[[str], Any]) -> None:
        """Read some of the params; those that come next when it is asked for again."""
        for address in list(islice(self, MAX_READ)):
            if (value := read(address)) is MISSING:
                self.forget(address)
            else:
                self.tell(address, value)

    def held(self, key: Hashable, test: Test, read: Callable[[str], Any]) -> int:
        """How many pass the test; `key` stands for it."""
        tally = self._tallies.get(key)
        if tally is None:
            passing = [address for address, value in self.items() if test(read(address) if value is LARGE else value)]
            if len(self._tallies) < MAX_TALLIES:
                tally = self._tallies[key] = _Tally(1 << len(self._tallies), test)
                for address in passing:
                    self._mark(address, self._marks.get(address, 0) | tally.bit)
            return len(passing)
        return self._held.get(tally.bit, 0)

    def make_room(self) -> None:
        """Other rules ask from now on: where no more comparisons could be counted, those that ask are counted anew."""
        if len(self._tallies) >= MAX_TALLIES:
            self._tallies.clear()
            self._marks.clear()
            self._held.clear()

    def _mark(self, address: str, now: int) -> None:
        before = self._marks.get(address, 0)
        if now == before:
            return
        if now:
            self._marks[address] = now
        else:
            del self._marks[address]
        differs = before ^ now
        while differs:
            bit = differs & -differs
            differs ^= bit
            self._held[bit] = self._held.get(bit, 0) + (1 if now & bit else -1)
