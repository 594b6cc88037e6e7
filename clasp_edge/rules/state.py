"""What the engine remembers: of each rule while it is loaded, and of the addresses it has seen. All of it bounded."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Generic, TypeVar

from clasp_edge.rules.host import Timer
from clasp_edge.rules.model import Event, Rule
from clasp_edge.rules.trace import Trace
from clasp_edge.rules.transforms import Memory
from clasp_edge.rules.values import MISSING, equal

MAX_KEYS = 10_000
"""Addresses for which one rule keeps timers and sides; the one not used for longest is forgotten."""

LARGEST_SEEN_BYTES = 256
"""Of a text or bytes value that is remembered; longer ones count as changed each time."""

K = TypeVar("K")
V = TypeVar("V")


class Bounded(OrderedDict[K, V], Generic[K, V]):
    """A dict that forgets what was not written for longest, beyond `most` entries."""

    def __init__(self, most: int = MAX_KEYS) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            _, dropped = self.popitem(last=False)
            if hasattr(dropped, "cancel"):
                dropped.cancel()


class RuleState:
    """One loaded rule: its counts, its sides of thresholds, its timers."""

    def __init__(self, rule: Rule, place: int) -> None:
        self.rule = rule
        self.place = place
        self.enabled = rule.enabled
        self.trace = Trace()
        self.inside: Bounded[tuple[int, str], bool] = Bounded()
        self.memories: Bounded[tuple[int, str], Memory] = Bounded()
        self.spent = 0.0
        self.spent_at_s = 0.0
        self.moving_bounds = any(
            isinstance(bound, str) for trigger in rule.triggers for bound in (trigger.above, trigger.below)
        )
        # Timing, by address where the rule's trigger stands for many of them, else by "".
        self.settling: Bounded[str, Timer] = Bounded()
        self.throttled_until_s: Bounded[str, float] = Bounded()
        self.trailing: Bounded[str, Timer] = Bounded()
        self.holding: Bounded[str, tuple[Timer, Event]] = _Held()
        self.held_until_s: Bounded[str, float] = Bounded()
        self.fired_at_s: Bounded[str, float] = Bounded()
        self.silences: Bounded[tuple[int, str], Timer] = Bounded()
        self.ticks: dict[int, Timer] = {}

    def key(self, event: Event) -> str:
        """What timing is kept by."""
        return event.address if event.captures else ""


class _Held(Bounded[str, tuple[Timer, Event]]):
    """Holds: what is dropped is cancelled."""

    def __setitem__(self, key: str, value: tuple[Timer, Event]) -> None:
        if len(self) >= MAX_KEYS and key not in self:
            _, (timer, _) = self.popitem(last=False)
            timer.cancel()
        super().__setitem__(key, value)


class Seen:
    """The last value of each address, and since when it stands."""

    def __init__(self, most: int) -> None:
        self._values: Bounded[str, tuple[Any, float | None]] = Bounded(most)

    def begin(self, address: str, value: Any) -> None:
        """What was there at the start; its age is not known."""
        if address not in self._values:
            self._values[address] = (_kept(value), None)

    def take(self, address: str, value: Any, now_s: float) -> Any:
        """Remember a value; returns the one before it, or MISSING."""
        before, since_s = self._values.get(address, (MISSING, None))
        if before is not MISSING and since_s is not None and equal(before, value):
            return before
        self._values[address] = (_kept(value), now_s)
        return before

    def since_s(self, address: str) -> float | None:
        """When the value changed last, monotonic."""
        return self._values.get(address, (MISSING, None))[1]


def _kept(value: Any) -> Any:
    if isinstance(value, str | bytes) and len(value) > LARGEST_SEEN_BYTES:
        return MISSING
    return value if not isinstance(value, dict | list) or len(value) <= 64 else MISSING
