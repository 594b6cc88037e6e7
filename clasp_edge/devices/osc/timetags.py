"""Bundles that are ahead of their time: they wait, as they came, until their time tag is due on the server's clock.

OSC 1.0: a time tag in the past, or the tag "immediately", is now. What may wait is bounded apart from what CLASP
clients have waiting, so that no device can take their places.
"""

from __future__ import annotations

from clasp_edge.devices.osc.receiver import OscReceiver, Source
from clasp_edge.router.router import Router
from clasp_edge.router.schedule import Schedule, ScheduleFull

MAX_PER_SOURCE = 256
MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Of all waiting bundles together: each can be as large as a datagram."""


class WaitingBundles:
    """A schedule of its own, within the configured `limits.schedule_horizon_s` and `limits.max_scheduled_bundles`."""

    def __init__(self, router: Router, intake: OscReceiver) -> None:
        self._router = router
        self._intake = intake
        self._schedule = Schedule(router)
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._schedule)

    def add(self, source: Source, due_us: int, packet: bytes) -> None:
        """Let a bundle wait. Raises `NotScheduled`."""
        if source.timed >= MAX_PER_SOURCE:
            raise ScheduleFull(f"{MAX_PER_SOURCE} bundles of this source are already waiting for their time")
        if self._bytes + len(packet) > MAX_WAITING_BYTES:
            raise ScheduleFull(f"{MAX_WAITING_BYTES} bytes are already waiting for their time")
        self._schedule.add(due_us, lambda: self._execute(source, due_us, packet))
        source.timed += 1
        self._bytes += len(packet)

    def close(self) -> None:
        self._schedule.close()

    def _execute(self, source: Source, due_us: int, packet: bytes) -> None:
        source.timed -= 1
        self._bytes -= len(packet)
        # The timer may fire a moment before the clock that is read here says so.
        self._intake.execute(source, packet, max(due_us, self._router.clock.wall_us()))
