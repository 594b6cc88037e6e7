"""What the engine remembers: of each rule while it is loaded, and of the addresses it has seen. All of it bounded."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from hashlib import blake2b
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from clasp_edge.rules.host import Timer
from clasp_edge.rules.model import Event, Rule
from clasp_edge.rules.trace import KEPT, Trace
from clasp_edge.rules.transforms import Memory
from clasp_edge.rules.values import MISSING, equal
from clasp_edge.wire import WireError, encode_value

TABLE_ENTRY_BYTES = 600
"""With the table's place, a timer, its function and the event that it is for."""

MAX_KEYS = 10_000
"""Addresses for which one rule keeps timers and sides; the one not used for longest is forgotten."""

LARGEST_SEEN_BYTES = 256
"""Of a value that is remembered as it is; of a larger one, its digest."""

if TYPE_CHECKING:
    from clasp_edge.rules.loops import Streak

K = TypeVar("K")
V = TypeVar("V")


class Budget:
    """What tables by address take together, in bytes. Addresses are for strangers to choose, and to make long."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._largest: Bounded[Any, Any] | None = None

    def take(self, size: int, table: Bounded[Any, Any]) -> None:
        """An entry of a table. Where there is no room, the largest table forgets what it has not used for longest."""
        self.taken += size
        if self._largest is None or table.bytes > self._largest.bytes:
            self._largest = table
        while self.taken > self.most and self._largest:
            self._largest.drop_oldest()
            if self._largest.bytes < table.bytes:
                self._largest = table


class Bounded(OrderedDict[K, V], Generic[K, V]):
    """A dict that forgets what was not written for longest, beyond `most` entries, or what its budget has room for."""

    def __init__(self, most: int = MAX_KEYS, budget: Budget | None = None) -> None:
        super().__init__()
        self._most = most
        self._budget = budget
        self.bytes = 0

    def __setitem__(self, key: K, value: V) -> None:
        new = self._budget is not None and key not in self
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self.drop_oldest()
        if new and self._budget is not None:
            size = _entry_bytes(key)
            self.bytes += size
            self._budget.take(size, self)

    def __delitem__(self, key: K) -> None:
        super().__delitem__(key)
        self._give_back(key)

    def pop(self, key: K, default: Any = None) -> Any:
        """Take an entry out; the default where there is none."""
        if key not in self:
            return default
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        if self._budget is not None:
            self._budget.taken -= self.bytes
        self.bytes = 0
        super().clear()

    def drop_oldest(self) -> None:
        """Forget what was not written for longest; a timer ends."""
        key = next(iter(self))
        dropped: Any = self[key]
        del self[key]
        if isinstance(dropped, tuple):
            dropped = dropped[0]  # the timer, and what it is for
        if hasattr(dropped, "cancel"):
            dropped.cancel()

    def _give_back(self, key: K) -> None:
        if self._budget is not None:
            size = _entry_bytes(key)
            self.bytes -= size
            self._budget.taken -= size


def _entry_bytes(key: Any) -> int:
    """Of an entry, with a timer and what it will do."""
    text = key if isinstance(key, str) else key[1]
    return TABLE_ENTRY_BYTES + getsizeof(text)


class RuleState:
    """One loaded rule: its counts, its sides of thresholds, its timers. Most rules need few of the tables: each is made
    when it is first asked for."""

    def __init__(self, rule: Rule, kept: int = KEPT, budget: Budget | None = None) -> None:
        """`kept`: as many evaluations are remembered; `budget` is for the tables of all rules."""
        self.rule = rule
        self._budget = budget
        self.enabled = rule.enabled
        self.trace = Trace(kept)
        self.spent = 0.0
        self.spent_at_s = 0.0
        self.stamp: int | None = None
        """Tells the rule from one of that id that says something else (pending)."""

    @cached_property
    def inside(self) -> Bounded[tuple[int, str], int]:
        """By threshold and address: 1 where the value is above it, -1 below, 0 for neither."""
        return Bounded(MAX_KEYS, self._budget)

    @cached_property
    def memories(self) -> Bounded[tuple[int, str], Memory]:
        """By action and address: what its transforms remember."""
        return Bounded(MAX_KEYS, self._budget)

    @cached_property
    def streaks(self) -> Bounded[str, Streak]:
        """Firings in a row that came from other routers."""
        return Bounded(MAX_KEYS, self._budget)

    # Timing, by address where the rule's trigger stands for many of them, else by "".

    @cached_property
    def settling(self) -> Bounded[str, tuple[Timer, str]]:
        """Values that are to stay as they are for a while (`settle_ms`), with their addresses."""
        return Bounded(MAX_KEYS, self._budget)

    @cached_property
    def throttled_until_s(self) -> Bounded[str, float]:
        """When the period of `throttle_ms` is over."""
        return Bounded(MAX_KEYS, self._budget)

    @cached_property
    def trailing(self) -> Bounded[str, Timer]:
        """Last values of a period of `throttle_ms`."""
        return Bounded(MAX_KEYS, self._budget)

    @cached_property
    def holding(self) -> Bounded[str, tuple[Timer, Event]]:
        """What has begun to hold (`for_s`)."""
        return Bounded(MAX_KEYS, self._budget)

    @cached_property
    def held_until_s(self) -> Bounded[str, float]:
        """When what holds has held for long enough."""
        return Bounded(MAX_KEYS, self._budget)

    @cached_property
    def fired_at_s(self) -> Bounded[str, float]:
        """The last firing (`cooldown_s`)."""
        return Bounded(MAX_KEYS, self._budget)

    @cached_property
    def silences(self) -> Bounded[tuple[int, str], Timer]:
        """By trigger and address: signs of life that are awaited."""
        return Bounded(MAX_KEYS, self._budget)

    @cached_property
    def ticks(self) -> dict[int, Timer]:
        """By trigger: the next tick of an interval."""
        return {}

    def made(self, table: str) -> dict[Any, Any]:
        """The table of that name, for who only looks at what is in it: one that was not asked for yet stays unmade."""
        found: dict[Any, Any] = self.__dict__.get(table, {})
        return found

    def forget(self) -> None:
        """Give back what is kept of addresses: the rule is gone."""
        for table in self.__dict__.values():
            if isinstance(table, Bounded):
                table.clear()

    def key(self, event: Event) -> str:
        """What timing is kept by."""
        return event.address if event.captures else ""


class WaitingValues:
    """Counts the bytes of events that wait. What an event takes it gives back when nobody has it any more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def admit(self, event: Event) -> bool:
        """Take what the event needs, once. False: there is no room."""
        if event.weight is not None:
            return True
        size = _size(event.value) + _size(event.previous)
        if size <= LARGEST_SEEN_BYTES:
            return True
        if self.taken + size > self._most:
            return False
        event.weight = _Weight(self, size)
        return True


class _Weight:
    """The bytes of one event."""

    __slots__ = ("_of", "_size")

    def __init__(self, of: WaitingValues, size: int) -> None:
        self._of = of
        self._size = size
        of.taken += size

    def __del__(self) -> None:
        self._of.taken -= self._size


def _size(value: Any) -> int:
    if value is None or value is MISSING or isinstance(value, bool | int | float):
        return 0
    if isinstance(value, str | bytes):
        return len(value)
    try:
        # An object for each byte at worst: a list of small numbers.
        return 16 * len(encode_value(value)[1])
    except WireError:
        return LARGEST_SEEN_BYTES


class Seen:
    """The last value of each address, and since when it stands. Of a large value only its digest: what a table of
    100,000 addresses takes is not for a writer to say."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._values: OrderedDict[str, tuple[Any, float | None, int]] = OrderedDict()
        self._most = most
        self._most_bytes = most_bytes
        self.bytes = 0

    def begin(self, address: str, value: Any) -> None:
        """What was there at the start; its age is not known."""
        if address not in self._values:
            self._put(address, _kept(value), None)

    def take(self, address: str, value: Any, now_s: float) -> tuple[Any, bool]:
        """Remember a value. Returns the one before it, MISSING where there was none or it was large, and whether the
        new one is another."""
        before, since_s, _ = self._values.get(address, _NOTHING)
        kept = _kept(value)
        changed = before is MISSING or not equal(before, kept)
        if changed or since_s is None:
            self._put(address, kept, now_s)
        return MISSING if isinstance(before, _Digest) else before, changed

    def _put(self, address: str, kept: Any, since_s: float | None) -> None:
        _, _, before = self._values.pop(address, _NOTHING)
        taken = ENTRY_BYTES + len(address) + _size(kept)
        self.bytes += taken - before
        self._values[address] = kept, since_s, taken
        while len(self._values) > self._most or self.bytes > self._most_bytes:
            self.bytes -= self._values.popitem(last=False)[1][2]

    def since_s(self, address: str) -> float | None:
        """When the value changed last, monotonic."""
        return self._values.get(address, _NOTHING)[1]


_NOTHING: Final[tuple[Any, float | None, int]] = (MISSING, None, 0)

ENTRY_BYTES = 240
"""Of a dict's entry with a tuple of two and the heads of a text and a number."""


LARGE: Final = object()
"""Stands for a value that is too large to be remembered."""


def small(value: Any) -> Any:
    """The value, if it is small enough to be remembered for each of many addresses; else LARGE."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return value if isinstance(value, str | bytes) and len(value) <= LARGEST_SEEN_BYTES else LARGE


class _Digest(bytes):
    """Stands for a value that is too large to be remembered."""


def _kept(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | bytes):
        small = len(value) <= LARGEST_SEEN_BYTES
        return value if small else _Digest(blake2b(value if isinstance(value, bytes) else value.encode()).digest()[:16])
    try:
        _, data = encode_value(value)
    except WireError:
        return MISSING
    return value if len(data) <= LARGEST_SEEN_BYTES else _Digest(blake2b(data).digest()[:16])
