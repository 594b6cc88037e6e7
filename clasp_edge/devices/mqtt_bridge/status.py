"""How a bridge is doing, as params under `/clasp-edge/bridges/NAME/`.

They are state, broker, since, queued, dropped and last_error. Changes of state are written at once, counts at most
twice a second, and complaints are logged at most once a minute.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle
from typing import Protocol

from clasp_edge.clock import Clock
from clasp_edge.wire import Value, encode_value

log = logging.getLogger("clasp_edge.bridge")

PREFIX = "/clasp-edge/bridges/"

COUNTS_INTERVAL_S = 0.5
"""Counts are for people and dashboards."""

LOG_INTERVAL_S = 60.0

HAS_TTL = 0x10
TTL_NEVER = 0
"""SET's flag and word for a param that stays (wire.md 2.3): how things stand is true until it changes."""


class Reporter(Protocol):
    """What a status is about: a party of the router that can be asked for its counts."""

    def set(
        self, address: bytes, value_type: int, value: bytes, flags: int = 0, expected: int = 0, ttl: int = 0
    ) -> tuple[int, int]: ...

    def counts(self) -> tuple[int, int]:
        """Queued and dropped."""
        ...


class Status:
    """The params of one bridge. `since` is Unix time in seconds: when the state became what it is."""

    def __init__(self, reporter: Reporter, name: str, loop: AbstractEventLoop, clock: Clock) -> None:
        self._reporter = reporter
        self._name = name
        self._loop = loop
        self._clock = clock
        self._written: dict[str, Value] = {}
        self._timer: TimerHandle | None = None
        self._logged_s = -LOG_INTERVAL_S
        self._unlogged = 0

    @property
    def told(self) -> dict[str, Value]:
        """The params as they were last written, by the last part of their addresses."""
        return dict(self._written)

    def state(self, state: str, error: str) -> None:
        """`connecting`, `up`, `down` or `stopped`; `error` is why, if there is a reason."""
        if self._written.get("state") != state:
            self._write("since", round(self._clock.wall_s(), 3))
        self._write("state", state)
        if error or "last_error" not in self._written:
            self._write("last_error", error)
        self._write_counts()

    def broker(self, url: str) -> None:
        """The broker in use, or being tried."""
        self._write("broker", url)

    def trouble(self, reason: str) -> None:
        """Something was refused or went wrong while the link goes on."""
        self._write("last_error", reason)
        self.complain(reason)

    def complain(self, reason: str) -> None:
        """In the log alone."""
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_s < LOG_INTERVAL_S:
            self._unlogged += 1
            return
        more = f" (and {self._unlogged} other complaints since the last one)" if self._unlogged else ""
        log.warning("bridge %s: %s%s", self._name, reason, more)
        self._logged_s = now_s
        self._unlogged = 0

    def touch(self) -> None:
        """Counts may have changed."""
        if self._timer is None:
            self._timer = self._loop.call_later(COUNTS_INTERVAL_S, self._on_timer)

    def close(self) -> None:
        """No more timers."""
        if self._timer is not None:
            self._timer.cancel()

    def _on_timer(self) -> None:
        self._timer = None
        self._write_counts()

    def _write_counts(self) -> None:
        queued, dropped = self._reporter.counts()
        self._write("queued", queued)
        self._write("dropped", dropped)

    def _write(self, key: str, value: Value) -> None:
        if key in self._written and self._written[key] == value:
            return
        self._written[key] = value
        code, data = encode_value(value)
        self._reporter.set(f"{PREFIX}{self._name}/{key}".encode(), code, data, HAS_TTL, 0, TTL_NEVER)
