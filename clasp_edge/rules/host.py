"""What the engine needs of the world around it: state, a way to write, clocks and timers.

The router is one such world (`router_host`), `clasp-edge rules test` another (`dry_run`): the engine cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from clasp_edge.wire.pattern import Pattern


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None: ...


class Host(Protocol):
    """The world of an engine. All on one thread."""

    def read(self, address: str) -> Any:
        """The value of a param, or MISSING."""

    def scan(self, pattern: Pattern, most: int) -> Iterable[tuple[str, Any]]:
        """Up to `most` params that match, found as they are asked for."""

    def write(self, rule: str, scopes: Sequence[str], address: str, value: Any) -> str | None:
        """Set a param as the principal of that rule. Why not, or None."""

    def publish(self, rule: str, scopes: Sequence[str], address: str, signal: str, value: Any) -> str | None:
        """Publish a message as the principal of that rule. Why not, or None."""

    def monotonic_s(self) -> float:
        """Seconds that only go forward."""

    def wall_s(self) -> float:
        """Unix time."""

    def local_time(self, wall_s: float) -> tuple[float, int]:
        """Seconds after local midnight, and the day of the week (0 Monday)."""

    def up_before_s(self) -> float:
        """Unix time until which the last process is known to have run; 0: not known."""

    def clock_is_set(self) -> bool:
        """Whether wall time can be believed."""

    def call_later(self, delay_s: float, then: Callable[[], None]) -> Timer:
        """Have `then` called after a time."""

    def would(self, rule: str, sentence: str) -> None:
        """A rule that only watches has not done something."""

    def changed(self, rule: str) -> None:
        """Something that is told of a rule (counts, errors, whether it is enabled) has changed."""

    def under_way(self) -> None:
        """A delay, a fade or a hold has begun, or is over."""

    def say(self, level: int, text: str) -> None:
        """A line for the log (levels of `logging`)."""
