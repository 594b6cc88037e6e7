"""What all devices of one server share in being told something."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable

from clasp_edge.devices.osc.fan_out import FanOut
from clasp_edge.devices.osc.losses import Losses
from clasp_edge.devices.osc.resync import Resyncs
from clasp_edge.devices.osc.slices import Slices


class Telling:
    """The time that there is for it, what has just been delivered, the state for who asks for it, and what was lost."""

    def __init__(self, loop: AbstractEventLoop, wall_us: Callable[[], int]) -> None:
        self.slices = Slices(loop)
        self.fan_out = FanOut(self.slices, wall_us)
        self.resyncs = Resyncs(loop, self.slices)
        self.losses = Losses(loop)

    def close(self) -> None:
        """Tell nobody any more. Before devices are let go of, so that nobody tells them for the last time."""
        self.resyncs.close()
        self.fan_out.close()
        self.slices.close()
