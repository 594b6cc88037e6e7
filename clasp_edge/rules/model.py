"""What a rule is, once it has been read: triggers, conditions, timing, actions. Data only; `parse` makes it.

Nothing of it is changed afterwards. The classes are not frozen: that would take three times as long to make each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clasp_edge.rules.curves import Curve
from clasp_edge.rules.templates import Captures, Template
from clasp_edge.rules.transforms import Transform
from clasp_edge.wire.pattern import Pattern

TriggerKind = Literal[
    "change", "set", "threshold", "event", "stream", "gesture", "silence", "interval", "time", "session", "start"
]
RunMode = Literal["restart", "single", "queue", "parallel"]


@dataclass(slots=True, eq=False)
class Trigger:
    """What sets a rule off. Only the fields of its kind mean something."""

    kind: TriggerKind
    pattern: Pattern | None = None
    captures: Captures | None = None
    # change: only to, or only from, one of these values
    to: tuple[Any, ...] = ()
    from_: tuple[Any, ...] = ()
    # threshold: numbers, or addresses of params that hold them
    above: float | str | None = None
    below: float | str | None = None
    rearm_below: float | None = None
    rearm_above: float | None = None
    level: bool = False
    at_start: bool = False
    # silence, interval: seconds
    every_s: float = 0.0
    # time: seconds after local midnight; days 0 (Monday) to 6
    at_s: tuple[int, ...] = ()
    days: frozenset[int] = frozenset()
    catch_up_s: float = 0.0
    # session
    joins: bool = True
    name: str = "*"

    @property
    def by_address(self) -> bool:
        """Whether one trigger stands for many addresses, each with timing of its own."""
        return self.captures is not None and self.captures.count > 0


@dataclass(slots=True)
class Event:
    """One occurrence that may set rules off. Times in seconds, monotonic."""

    kind: str
    address: str
    value: Any
    previous: Any
    at_s: float
    depth: int = 0
    captures: tuple[str, ...] = ()
    by: str = ""
    """The rule that did it; empty for everybody else."""
    linked: bool = False
    """Whether it came from another router."""
    weight: Any = None
    """What it takes while it waits (`state.WaitingValues`)."""

    def names(self) -> Mapping[str, Any]:
        """What templates and expressions may name."""
        return {"address": self.address, "value": self.value, "previous": self.previous}


Condition = Callable[[Event, "Lookup"], "str | None"]
"""None where it holds, else why not."""


class Lookup(ABC):
    """What conditions and actions ask of the state. Implemented by the engine."""

    @abstractmethod
    def value(self, address: str) -> Any:
        """The value, or MISSING."""

    @abstractmethod
    def tally(self, pattern: Pattern, key: Hashable, test: Callable[[Any], bool]) -> tuple[int, int]:
        """How many of the params that match pass a test, and how many there are; bounded. Tests of one key are one."""

    @abstractmethod
    def age_s(self, address: str) -> float | None:
        """Seconds since the value changed; None where there is none or it is not known."""

    @abstractmethod
    def local_time(self) -> tuple[float, int] | None:
        """Seconds after local midnight and the day of the week (0 Monday); None while the clock is not set."""


@dataclass(slots=True, eq=False)
class Source:
    """Where an action takes its value from: a constant, the trigger, a param, an expression."""

    kind: Literal["constant", "trigger", "param", "expression", "template"]
    constant: Any = None
    address: Template | None = None
    expression: Any = None
    transform: Transform | None = None


@dataclass(slots=True, eq=False)
class Action:
    """One step of what a rule does. Only the fields of its kind mean something."""

    kind: str
    address: Template | None = None
    source: Source | None = None
    signal: str = "event"
    delay_s: float | str = 0.0
    target: str = ""
    by: float = 1.0
    low: float | None = None
    high: float | None = None
    wrap: bool = False
    start: Source | None = None
    over_s: float = 0.0
    rate_hz: float = 25.0
    curve: Curve | None = None
    text: Template | None = None
    members: tuple[Action, ...] = ()
    number: int = 0
    """Which action of its rule: the key of what it remembers."""


@dataclass(slots=True)
class Rule:
    """A whole rule. `raw` is what it was read from: two rules with the same are the same rule."""

    id: str
    raw: Any
    origin: str
    triggers: tuple[Trigger, ...]
    actions: tuple[Action, ...]
    conditions: tuple[Condition, ...] = ()
    watched: tuple[Pattern, ...] = ()
    """What the conditions look at, so that a hold ends when they fail."""
    tracked: tuple[Pattern, ...] = ()
    """The same of addresses that are known with the trigger only."""
    aged: tuple[Pattern, ...] = ()
    """The same, where the age of the value is asked: it is known of what was heard."""
    name: str = ""
    enabled: bool = True
    act: bool = True
    for_s: float = 0.0
    settle_s: float = 0.0
    throttle_s: float = 0.0
    cooldown_s: float = 0.0
    cooldown_all: bool = True
    run: RunMode = "restart"
    scopes: tuple[str, ...] = ()
    max_per_second: float = 1000.0
    handshake: bool = False
    """Whether a program at another router answers each firing: that is not taken for a loop (`loops`)."""

    def same_as(self, other: Rule) -> bool:
        """Whether it was read from the same: 1, 1.0 and true are equal in Python, and not the same to write."""
        if self.raw is other.raw:
            return True
        return bool(self.raw == other.raw) and repr(self.raw) == repr(other.raw)
