"""Rules without a router: the same engine on a clock of its own, for `clasp-edge rules test` and for tests.

Input lines, one thing each:

    set /lights/1 0.5          a param is set (values are JSON)
    event /go                  an event, with or without a value; also: stream, gesture
    wait 2.5                   so many seconds pass
    at 18:30                   it becomes that time of day (the next one)
    join desk / leave desk     a client comes or goes
    # ...                      a remark
"""

from __future__ import annotations

import heapq
import itertools
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from clasp_edge.dataplane import Adapter, Core, Plane
from clasp_edge.rules.engine import Engine
from clasp_edge.rules.model import Rule
from clasp_edge.rules.values import MISSING, text
from clasp_edge.wire import WireError, encode_value
from clasp_edge.wire.address import validate_address
from clasp_edge.wire.pattern import Pattern

DAY_S = 86_400
MAX_STEPS = 1_000_000
"""Timers and writes that one input line may lead to."""

MONDAY_S = 1_767_571_200.0
"""Monday, 5 January 2026, 00:00 UTC: where the clock of a dry run begins."""


class BadLine(ValueError):
    """An input line that means nothing; says what it should be."""


@dataclass(order=True)
class _Timer:
    due_s: float
    order: int
    then: Callable[[], None] = field(compare=False)
    over: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.over = True


class DryRun:
    """A world of its own: params in a dict, time that passes when it is told to. `told` gets a line for each thing
    that the rules do."""

    def __init__(self, told: Callable[[str], None], *, starts_s: float = MONDAY_S) -> None:
        self.params: dict[str, Any] = {}
        self.published: list[tuple[str, str, Any]] = []
        self.clock_set = True
        self._told = told
        self._wall_offset_s = starts_s
        self._now_s = 0.0
        self._timers: list[_Timer] = []
        self._order = itertools.count()
        self._pending: deque[tuple[str, str, Any, int, str]] = deque()
        # The engine's index is a trie of the data plane, whose entries belong to a sink.
        self._plane = Plane(Core(1, 65536, 65536), 0)
        self.engine = Engine(self, Adapter(self._plane))

    def load(self, rules: Sequence[Rule], scenes: dict[str, dict[str, Any]] | None = None) -> None:
        """Take over rules; what they do at once is done."""
        self.engine.load(rules, scenes or {})
        self._settle()

    def start(self) -> None:
        """As when the router is up."""
        self.engine.started()
        self._settle()

    # ---- what happens ----

    def set(self, address: str, value: Any) -> None:
        """Somebody sets a param."""
        self.params[address] = value
        self._pending.append(("param", address, value, 0, ""))
        self._settle()

    def publish_from_outside(self, signal: str, address: str, value: Any = MISSING) -> None:
        """Somebody publishes."""
        self._pending.append((signal, address, value, 0, ""))
        self._settle()

    def pass_time(self, seconds: float) -> None:
        """Let time go by, with all that falls due in it, in order."""
        until_s = self._now_s + seconds
        for _ in range(MAX_STEPS):
            while self._timers and self._timers[0].over:
                heapq.heappop(self._timers)
            if not self._timers or self._timers[0].due_s > until_s:
                break
            timer = heapq.heappop(self._timers)
            self._now_s = max(self._now_s, timer.due_s)
            self.engine.depth = 0
            timer.then()
            self._settle()
        self._now_s = until_s

    def set_clock(self, wall_s: float) -> None:
        """The clock is set to another time."""
        self._wall_offset_s = wall_s - self._now_s

    def _settle(self) -> None:
        for _ in range(MAX_STEPS):
            if self.engine.busy:
                self.engine.go_on()
            elif not self._pending:
                break
            else:
                kind, address, value, depth, by = self._pending.popleft()
                if kind == "param":
                    self.engine.param(address, value, depth, by)
                else:
                    self.engine.message(kind, address, value, depth, by)
        self.engine.depth = 0

    def line(self, line: str) -> None:
        """One input line. Raises BadLine."""
        words = line.strip().split(None, 2)
        if not words or words[0].startswith("#"):
            return
        match words:
            case ["set", address, value]:
                self.set(_address(address), _value(value))
            case ["event" | "stream" | "gesture" as signal, address, *rest]:
                self.publish_from_outside(signal, _address(address), _value(rest[0]) if rest else MISSING)
            case ["wait", seconds, *_]:
                self.pass_time(_seconds(seconds))
            case ["at", time, *_]:
                self.pass_time(self._until(time))
            case ["join" | "leave" as which, *name]:
                self.engine.session(" ".join(name), joins=which == "join")
                self._settle()
            case _:
                raise BadLine(
                    'a line is "set ADDRESS JSON", "event ADDRESS [JSON]", "wait SECONDS", "at HH:MM", "join NAME"'
                )

    def _until(self, time: str) -> float:
        fields = time.split(":")
        if len(fields) not in (2, 3) or not all(one.isdecimal() for one in fields):
            raise BadLine(f'"{time}" is no time of day such as 18:30')
        hours, minutes, seconds = (*map(int, fields), 0)[:3]
        wanted = hours * 3600 + minutes * 60 + seconds
        return (wanted - self.wall_s()) % DAY_S or DAY_S

    # ---- Host ----

    def read(self, address: str) -> Any:
        return self.params.get(address, MISSING)

    def scan(self, pattern: Pattern, most: int) -> Iterable[tuple[str, Any]]:
        found = [(address, value) for address, value in self.params.items() if pattern.matches(address.encode())]
        return itertools.islice(found, most)

    def write(self, rule: str, scopes: Sequence[str], address: str, value: Any) -> str | None:
        try:
            validate_address(address.encode())
            encode_value(value)
        except (ValueError, WireError) as error:
            return str(error)
        self.params[address] = value
        self._tell(f"{rule}: set {address} {json.dumps(value, default=text)}")
        self._pending.append(("param", address, value, self.engine.depth + 1, rule))
        return None

    def publish(self, rule: str, scopes: Sequence[str], address: str, signal: str, value: Any) -> str | None:
        try:
            validate_address(address.encode())
        except ValueError as error:
            return str(error)
        self.published.append((signal, address, value))
        shown = "" if value is MISSING else f" {json.dumps(value, default=text)}"
        self._tell(f"{rule}: {signal} {address}{shown}")
        if signal != "param":
            self._pending.append((signal, address, value, self.engine.depth + 1, rule))
        return None

    def monotonic_s(self) -> float:
        return self._now_s

    def wall_s(self) -> float:
        return self._wall_offset_s + self._now_s

    def local_time(self, wall_s: float) -> tuple[float, int]:
        # Time of day as the dry run tells it: without a zone, so that a test says the same everywhere.
        return wall_s % DAY_S, int(wall_s // DAY_S + 3) % 7

    def up_before_s(self) -> float:
        return 0.0

    def clock_is_set(self) -> bool:
        return self.clock_set

    def call_later(self, delay_s: float, then: Callable[[], None]) -> _Timer:
        timer = _Timer(self._now_s + max(0.0, delay_s), next(self._order), then)
        heapq.heappush(self._timers, timer)
        return timer

    def under_way(self) -> None:
        """Nobody is told."""

    def would(self, rule: str, sentence: str) -> None:
        self._tell(f"{rule}: would {sentence}")

    def changed(self, rule: str) -> None:
        """Nobody is told."""

    def say(self, level: int, text: str) -> None:
        self._tell(f"{logging.getLevelName(level).lower()}: {text}")

    def _tell(self, what: str) -> None:
        self._told(f"{self._now_s:10.3f}  {what}")


def _address(given: str) -> str:
    try:
        validate_address(given.encode())
    except ValueError as error:
        raise BadLine(str(error)) from None
    return given


def _value(given: str) -> Any:
    try:
        return json.loads(given)
    except ValueError:
        return given


def _seconds(given: str) -> float:
    try:
        seconds = float(given.removesuffix("s"))
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 10 * DAY_S:
        raise BadLine(f'"{given}" is no number of seconds')
    return seconds
