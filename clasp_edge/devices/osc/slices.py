"""The CPU time that telling devices gets of each round of the event loop, for all of it together.

Whoever has something to do does it at once where there is time left, else a part of it when its turn comes. There are
several lines, so that what has many in it does not keep the others waiting. Knows no device.
"""

from __future__ import annotations

import logging
import time
from asyncio import AbstractEventLoop, Handle
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("clasp_edge.osc")

SLICE_S = 0.002
"""Of CPU, before everybody else has a turn."""

FRESH, DUE, STATE = range(3)
"""The lines: what has just been delivered, what had to wait for a rate or a link, the state for who asks for it."""


class Party(Protocol):
    """Something with work to do."""

    def resume(self) -> bool:
        """Do a part of it, well below a millisecond; whether there is more that could be done now."""


class Slices:
    """Of one server. `cpu_s` is CPU time of this thread: other programs make no slice short."""

    def __init__(self, loop: AbstractEventLoop, cpu_s: Callable[[], float] = time.thread_time) -> None:
        self._loop = loop
        self._cpu_s = cpu_s
        self._lines: tuple[OrderedDict[Party, None], ...] = tuple(OrderedDict() for _ in (FRESH, DUE, STATE))
        self._next = 0
        self._turn: Handle | None = None
        self._ends_s = -1.0
        self._spent = False
        """The slice is over: asking the clock again for each delivery would cost more than a delivery."""
        self._busy = False

    @property
    def is_idle(self) -> bool:
        """Whether what has come now can be done now: there is time, nothing waits and nothing is under way."""
        return not self._busy and self._has_time() and not any(self._lines)

    def want(self, party: Party, line: int, *, now: bool = True) -> None:
        """Have `party.resume()` called from now on, or from the loop's next round on, until it says that there is no
        more to do."""
        self._lines[line][party] = None
        if now:
            self._work()
        elif self._turn is None:
            self._turn = self._loop.call_soon(self._go_on)
            self._spent = True

    def leave(self, party: Party, line: int) -> None:
        """It has nothing more to do."""
        self._lines[line].pop(party, None)

    def at_once(self, act: Callable[[], None]) -> None:
        """Do something where `is_idle` said so. What comes of it waits for a turn."""
        self._busy = True
        try:
            act()
        except Exception:
            log.exception("a device could not be told")
        finally:
            self._busy = False

    def close(self) -> None:
        """Do nothing any more."""
        for line in self._lines:
            line.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _has_time(self) -> bool:
        if self._turn is None:
            self._ends_s = self._cpu_s() + SLICE_S
            self._spent = False
            self._turn = self._loop.call_soon(self._go_on)
        elif not self._spent:
            self._spent = self._cpu_s() >= self._ends_s
        return not self._spent

    def _go_on(self) -> None:
        """The loop has come round: a slice of its own."""
        self._turn = None
        self._work()

    def _work(self) -> None:
        if self._busy:
            return  # what is told now comes before what is told because of that
        while any(self._lines) and self._has_time():
            line = self._lines[self._next]
            self._next = (self._next + 1) % len(self._lines)
            if line:
                party, _ = line.popitem(last=False)
                self._busy = True
                try:
                    if party.resume():
                        line[party] = None
                except Exception:
                    log.exception("devices could not be told")
                finally:
                    self._busy = False
