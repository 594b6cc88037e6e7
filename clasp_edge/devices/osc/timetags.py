"""Bundles that are ahead of their time: they wait, as they came, until their time tag is due on the server's clock.

OSC 1.0: a time tag in the past, or the tag "immediately", is now. What may wait is bounded in bytes, of one source
and of
all, apart from what CLASP clients have waiting. `SenderClock` learns how far a sender's clock is off, where that is
asked for. A tag that no set clock would give (before 1990, or beyond the horizon) is now.
"""

from __future__ import annotations

import logging

from clasp_edge.devices.osc.receiver import OscReceiver
from clasp_edge.devices.osc.source import Source
from clasp_edge.router.router import Router
from clasp_edge.router.schedule import Schedule, ScheduleFull

log = logging.getLogger("clasp_edge.osc")

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Of all waiting bundles together: each can be as large as a datagram."""

MAX_SOURCE_BYTES = 1024 * 1024
COST_BYTES = 400
"""What a waiting bundle takes beside its bytes."""

LEARN_S = 10.0
"""An offset holds for so long after it was seen last."""

LONG_WAIT_S = 10.0
"""A bundle that waits longer is named once: the sender's clock may be wrong."""

JUMP_US = 5_000_000
"""An offset that changes by more is that of a clock that was set."""


class SenderClock:
    """How far a sender's time tags are from when its packets arrive. The least of what was seen lately counts: then a
    packet that took longer than others is still done in its turn, at the distance its tag has from the others'."""

    def __init__(self) -> None:
        self._offset_us = 0
        self._seen_us = 0

    def due_us(self, tag_us: int, now_us: int) -> int:
        """When, on this router's clock, a bundle that arrives now is to be done."""
        offset_us = tag_us - now_us
        stale = not self._seen_us or now_us - self._seen_us > LEARN_S * 1e6
        if stale or offset_us < self._offset_us or abs(offset_us - self._offset_us) > JUMP_US:
            self._offset_us = offset_us
            self._seen_us = now_us
        return tag_us - self._offset_us


class WaitingBundles:
    """A schedule of its own, within the configured `limits.schedule_horizon_s`."""

    def __init__(self, router: Router, intake: OscReceiver) -> None:
        self._router = router
        self._intake = intake
        self._schedule = Schedule(router, most=MAX_WAITING_BYTES // COST_BYTES)
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._schedule)

    def add(self, source: Source, due_us: int, packet: bytes) -> None:
        """Let a bundle wait. Raises `NotScheduled`."""
        size = len(packet) + COST_BYTES
        if source.waiting_bytes + size > MAX_SOURCE_BYTES:
            raise ScheduleFull(f"{MAX_SOURCE_BYTES} bytes of this source are already waiting for their time")
        if self._bytes + size > MAX_WAITING_BYTES:
            raise ScheduleFull(f"{MAX_WAITING_BYTES} bytes are already waiting for their time")
        self._schedule.add(due_us, lambda: self._execute(source, due_us, packet))
        source.waiting_bytes += size
        self._bytes += size
        wait_s = (due_us - self._router.clock.wall_us()) / 1e6
        if wait_s > LONG_WAIT_S and not source.clock_told:
            # It may be meant so; if not, nobody would know why nothing happens.
            source.clock_told = True
            log.info(
                'OSC %s: its bundles wait for their time, %.0f s; timetags = "relative" helps if its clock is wrong',
                source.name, wait_s,
            )  # fmt: skip

    def close(self) -> None:
        self._schedule.close()

    def _execute(self, source: Source, due_us: int, packet: bytes) -> None:
        size = len(packet) + COST_BYTES
        source.waiting_bytes -= size
        self._bytes -= size
        # The timer may fire a moment before the clock that is read here says so.
        self._intake.execute(source, packet, max(due_us, self._router.clock.wall_us()))
