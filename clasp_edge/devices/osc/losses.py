"""Which devices were not told events that they should have been told: the log says it for all of them in one line.

Hundreds of devices may lose some in the same moment, and a line for each would hold everybody up.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle

log = logging.getLogger("clasp_edge.osc")

GATHERED_S = 1.0
"""After the first one: what is lost in the same burst is told with it."""

TOLD_S = 60.0
"""How often the log says what was lost."""

MAX_NAMED = 256
"""Devices that are remembered by name."""

NAMED = 4
"""Devices that a line names: those that lost most."""


class _Lost:
    __slots__ = ("count", "first")

    def __init__(self, first: bytes) -> None:
        self.count = 0
        self.first = first


class Losses:
    """Of one server. `close` tells what is still to be told."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._lost: dict[str, _Lost] = {}
        self._unnamed = 0
        self._told_s = -TOLD_S
        self._timer: TimerHandle | None = None

    def note(self, name: str, count: int, address: bytes) -> None:
        """A device was not told so many events, the first of them at `address`."""
        lost = self._lost.get(name)
        if lost is None:
            if len(self._lost) >= MAX_NAMED:
                self._unnamed += count
                return
            lost = self._lost[name] = _Lost(address)
        lost.count += count
        if self._timer is None:
            wait_s = max(GATHERED_S, self._told_s + TOLD_S - self._loop.time())
            self._timer = self._loop.call_later(wait_s, self._tell)

    def close(self) -> None:
        """Nothing more is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell()

    def _tell(self) -> None:
        self._timer = None
        self._told_s = self._loop.time()
        lost, self._lost = self._lost, {}
        unnamed, self._unnamed = self._unnamed, 0
        most = sorted(lost.items(), key=lambda item: -item[1].count)
        named = "; ".join(
            f"{name}: {one.count} events lost, the first at {one.first[:256].decode('utf-8', 'replace')}"
            for name, one in most[:NAMED]
        )
        others = sum(one.count for _, one in most[NAMED:]) + unnamed
        if others:
            named += f"; {others} of others"
        log.warning(
            "OSC %s: more came than their links, their rates or this machine let out (kib_per_second, total_rate; "
            "osc.subscriber_kib_per_second)",
            named,
        )
