"""Telling devices the state as it stands: who is to be told what, all devices in turns, a few params at a time.

One queue for all devices: a whole state at once would overrun the receive buffer of most of them, and many devices that
ask at once would hold up the router.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from clasp_edge.dataplane import Plane
from clasp_edge.dataplane.browse import addresses_matching, written_since
from clasp_edge.devices.osc.slices import STATE, Slices
from clasp_edge.router.access import Access
from clasp_edge.router.snapshot import SCAN_AT_ONCE
from clasp_edge.wire.pattern import Pattern

log = logging.getLogger("clasp_edge.osc")

AT_ONCE = 4
PAUSE_S = 0.005
"""4 params every 5 ms, 800 a second: a microcontroller has room for half a dozen datagrams and needs a millisecond for
each. An X32 with its 5,000 params has heard everything after 6 s."""

LEAST_PAUSE_S = 0.002

DEVICES_AT_ONCE = 8
"""So many devices get their turn together: 6,400 params a second take a tenth of a slow core."""

CHANGED_AT_ONCE = 64
"""Of params that were written lately: their addresses."""

FOUND_AT_ONCE = 64
PARTIAL_AT_ONCE = 256
"""Of params whose addresses are compared with a pattern that has wildcards within its segments."""


class Recipient(Protocol):
    """A device as the queue sees it."""

    def tell_some(self, count: int) -> bool:
        """Tell it at most so many params; False when that was all."""


class Resyncs:
    """The devices that are being told the state, in `slices`. Each waits in line once."""

    def __init__(self, loop: AbstractEventLoop, slices: Slices) -> None:
        self._loop = loop
        self._slices = slices
        self._line: OrderedDict[Recipient, None] = OrderedDict()
        self._timer: TimerHandle | None = None
        self._due_s = 0.0
        self._left = 0
        """Devices whose turn it still is in this step."""

    def start(self, recipient: Recipient) -> None:
        """Put a device in line; its turn comes with the next round of the loop at the earliest."""
        self._line[recipient] = None
        if self._timer is None and not self._left:
            self._timer = self._loop.call_later(0, self._step)

    def has(self, recipient: Recipient) -> bool:
        """Whether it is in line."""
        return recipient in self._line

    def close(self) -> None:
        """Tell nobody any more."""
        self._line.clear()
        self._left = 0
        self._slices.leave(self, STATE)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _step(self) -> None:
        self._timer = None
        self._left = min(DEVICES_AT_ONCE, len(self._line))
        self._slices.want(self, STATE)

    def resume(self) -> bool:
        """One device's turn; whether the step is not yet over."""
        self._left -= 1
        if self._line:
            recipient, _ = self._line.popitem(last=False)
            try:
                if recipient.tell_some(AT_ONCE):
                    self._line[recipient] = None
            except Exception:
                log.exception("a device could not be told the state")
        if self._left > 0 and self._line:
            return True
        self._left = 0
        if self._line:
            # Where the loop was late the next step comes sooner, so that a busy router tells as much a second.
            now_s = self._loop.time()
            self._due_s = min(max(self._due_s + PAUSE_S, now_s + LEAST_PAUSE_S), now_s + PAUSE_S)
            self._timer = self._loop.call_at(self._due_s, self._step)
        return False


def addresses_of(plane: Plane, patterns: list[Pattern], scopes: Access | None) -> Iterator[bytes | None]:
    """The addresses of all params that match, each once; None where much was looked at and others should get a turn."""
    for index, pattern in enumerate(patterns):
        cursor = b""
        looks = PARTIAL_AT_ONCE if pattern.partial else SCAN_AT_ONCE
        while True:
            found, cursor = addresses_matching(plane, pattern, cursor, FOUND_AT_ONCE, looks)
            for address in found:
                if not any(earlier.matches(address) for earlier in patterns[:index]) and (
                    scopes is None or scopes.allows("read", address)
                ):
                    yield address
            if not cursor:
                break
            yield None


def when_written(plane: Plane, address: bytes) -> int:
    """When a param got its value (Unix microseconds), 0 where there is none."""
    found, _ = written_since(plane, 0, address, 1, 1)
    return next((when_us for when_us, there in found if there == address), 0)


def changed_addresses(plane: Plane, patterns: list[Pattern], since_us: int) -> Iterator[bytes | None]:
    """The same of those only that were written since then (Unix microseconds)."""
    cursor = b""
    while True:
        found, cursor = written_since(plane, since_us, cursor, CHANGED_AT_ONCE, SCAN_AT_ONCE)
        for _, address in found:
            if any(pattern.matches(address) for pattern in patterns):
                yield address
        if not cursor:
            break
        yield None
