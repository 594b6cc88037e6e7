"""Timers by name: at most one of each is under way, and all of them end together."""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable


class Timers:
    """Of one connection. After `stop` none can be started."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._running: dict[str, TimerHandle] = {}
        self._stopped = False

    def start(self, name: str, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back after that time; an earlier one of this name is not wanted any more."""
        self.cancel(name)
        if not self._stopped:
            self._running[name] = self._loop.call_later(delay_s, callback)

    def cancel(self, *names: str) -> None:
        """These are not wanted any more, where they are under way."""
        for name in names:
            timer = self._running.pop(name, None)
            if timer is not None:
                timer.cancel()

    def stop(self) -> None:
        """None is wanted any more."""
        self._stopped = True
        self.cancel(*self._running)
