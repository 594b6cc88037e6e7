"""What all devices are to be told, in slices: a message that goes to hundreds of them holds nobody else up for long.

Each device's deliveries stay in their order. What is little is done at once; the rest waits for the loop's next turn,
and above a bound it is done at once whatever that costs. Knows no OSC.
"""

from __future__ import annotations

import logging
import time
from asyncio import AbstractEventLoop, Handle
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

log = logging.getLogger("clasp_edge.osc")

SLICE_S = 0.003
"""Of CPU, before everybody else has a turn."""

HEAD_BYTES = 500
"""What a delivery that waits takes beside its frame."""

MAX_WAITING_BYTES = 8 * 1024 * 1024


class Receiver(Protocol):
    """A device as this sees it."""

    def take(self, deliveries: Sequence[Any]) -> None:
        """Handle what was delivered."""


class FanOut:
    """All devices of one server. `cpu_s` is CPU time of this thread: other programs make no slice short."""

    def __init__(self, loop: AbstractEventLoop, cpu_s: Callable[[], float] = time.thread_time) -> None:
        self._loop = loop
        self._cpu_s = cpu_s
        self._line: deque[tuple[Receiver, Sequence[Any], int]] = deque()
        self._bytes = 0
        self._turn: Handle | None = None
        self._slice_s = -1.0
        self._busy = False

    def __len__(self) -> int:
        return len(self._line)

    def add(self, receiver: Receiver, deliveries: Sequence[Any]) -> None:
        """`deliveries` have their frame as third element."""
        size = sum(HEAD_BYTES + len(delivery[2]) for delivery in deliveries)
        self._line.append((receiver, deliveries, size))
        self._bytes += size
        if self._turn is None:
            self._slice_s = self._cpu_s() + SLICE_S
            self._turn = self._loop.call_soon(self._go_on)
        self._work()

    def close(self) -> None:
        """Tell nobody any more."""
        self._line.clear()
        self._bytes = 0
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _go_on(self) -> None:
        """A turn of the loop's: a slice of its own."""
        self._turn = None
        if self._line:
            self._slice_s = self._cpu_s() + SLICE_S
            self._turn = self._loop.call_soon(self._go_on)
            self._work()

    def _work(self) -> None:
        if self._busy:
            return  # what a device is told now comes before what it is told because of that
        self._busy = True
        try:
            while self._line and (self._cpu_s() < self._slice_s or self._bytes > MAX_WAITING_BYTES):
                receiver, deliveries, size = self._line.popleft()
                self._bytes -= size
                try:
                    receiver.take(deliveries)
                except Exception:
                    log.exception("a device could not be told")
        finally:
            self._busy = False
