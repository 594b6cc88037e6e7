"""What the service manager is told while the router runs: ready, reloading, stopping, its status, and that it is well.

Well means that the event loop comes round in time and that a message is really routed. Says nothing otherwise, and the
manager does what it has been told to do about silence (`WatchdogSec=`). Imported only under a service manager.
"""

from __future__ import annotations

import logging
import os
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

from clasp_edge.clock import Clock
from clasp_edge.daemon.sd_notify import Notifier

log = logging.getLogger("clasp_edge.service")

STATUS_INTERVAL_S = 5.0
"""How old the status may be. Short enough for a person who looks, long enough to cost nothing."""

BEATS_PER_PERIOD = 4
"""Signs of life in one watchdog period: three may be missed before the manager acts."""

LAG_LIMIT_S = 1.0
"""A loop that comes round later than this is not well: no device and no person would call it running."""


def watchdog_period_s() -> float | None:
    """The period in which a sign of life is due (sd_watchdog_enabled(3)), or None. Takes the variables away."""
    period_us, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    if not period_us.isdecimal() or int(period_us) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(period_us) / 1e6


class Supervision:
    """`status` gives one line for people; `routes` tries whether a message gets through."""

    def __init__(
        self,
        notifier: Notifier,
        loop: AbstractEventLoop,
        clock: Clock,
        status: Callable[[], str],
        routes: Callable[[], bool],
        period_s: float | None,
    ) -> None:
        self._notifier = notifier
        self._loop = loop
        self._clock = clock
        self._status = status
        self._routes = routes
        self._watched = period_s is not None
        self._interval_s = (
            STATUS_INTERVAL_S if period_s is None else min(STATUS_INTERVAL_S, period_s / BEATS_PER_PERIOD)
        )
        self._said = ""
        self._due_s = 0.0
        self._timer: TimerHandle | None = None

    def ready(self) -> None:
        """Every listener is bound and what was stored is there again."""
        self._said = self._status()
        self._notifier.send("READY=1", f"STATUS={self._said}")
        self._next_beat()

    def reloading(self) -> None:
        """The configuration is being read again; `reloaded` follows."""
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={self._clock.monotonic_s() * 1e6:.0f}")

    def reloaded(self) -> None:
        self._notifier.send("READY=1")

    def stopping(self) -> None:
        """The end has begun: no more signs of life, the manager has another limit for this."""
        if self._timer is not None:
            self._timer.cancel()
        self._notifier.send("STOPPING=1", "STATUS=Stopping")

    def _next_beat(self) -> None:
        self._due_s = self._clock.monotonic_s() + self._interval_s
        self._timer = self._loop.call_later(self._interval_s, self._beat)

    def _beat(self) -> None:
        lag_s = self._clock.monotonic_s() - self._due_s
        self._next_beat()
        if self._watched and self._well(lag_s):
            self._notifier.send("WATCHDOG=1", patiently=False)
        status = self._status()
        if status != self._said and self._notifier.send(f"STATUS={status}", patiently=False):
            self._said = status

    def _well(self, lag_s: float) -> bool:
        if lag_s > LAG_LIMIT_S:
            log.warning("the event loop is %.1f s late, watchdog not notified", lag_s)
            return False
        try:
            if self._routes():
                return True
        except Exception:
            log.exception("the watchdog's message was not accepted")
        log.error("self-test failed, watchdog not notified")
        return False
