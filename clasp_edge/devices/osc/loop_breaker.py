"""What happens where a loop between devices is found (loops.py): the log names it, the newest hand-made value is set.

A hand may be at another router. Then what it has set last may still be on its way, and so may answers of devices there:
the value is set once the hand rests, by whichever router found the loop, and says that it ends one, so that devices at
other routers are not believed either when they answer it.
"""

from __future__ import annotations

import logging
from asyncio import TimerHandle

from clasp_edge.dataplane import Adapter
from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.echo import Known, comparable
from clasp_edge.devices.osc.loops import Loops
from clasp_edge.devices.osc.target import Target
from clasp_edge.router.router import Router

log = logging.getLogger("clasp_edge.osc")

END_OF_LOOP = 2
"""`Sink.loop_mark` of the values that end a loop."""

REST_S = 0.15
"""A hand that has set nothing for so long rests, and what it has set at another router is here."""


class LoopBreaker:
    """All devices of one server; `loops` is where they look for loops."""

    def __init__(self, router: Router, counters: Counters) -> None:
        self.loops = Loops(self._found, self._set_later)
        self._router = router
        self._counters = counters
        self._timers: dict[bytes, TimerHandle] = {}
        self._writer = Adapter(router.plane)
        self._writer.loop_mark = END_OF_LOOP
        router.plane.register(self._writer, b"osc")

    def crossed(self, target: Target, address: bytes) -> None:
        """A loop over two addresses was broken at a device, which is not sent this one for a while."""
        self._counters.loops += 1
        log.warning(
            "OSC loop: %s answers %s with the same values again and again; it is not sent this address for a while",
            target.name,
            address.decode("utf-8", "replace"),
        )

    def close(self) -> None:
        """Set nothing any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _found(self, address: bytes, party: object, hand: Known | None) -> None:
        self._counters.loops += 1
        shown = address.decode("utf-8", "replace")
        name = party.name if isinstance(party, Target) else "a device"
        if hand is None:
            log.warning("OSC loop: %s answers %s again and again; its answers are ignored for now", name, shown)
            return
        log.warning(
            "OSC loop: %s answers %s again and again; its answers are ignored now, the last value by hand is set again",
            name,
            shown,
        )
        if self.loops.hand_of(address)[2]:
            self._writer.set(address, *hand)
        self._set_later(address)

    def _set_later(self, address: bytes) -> None:
        if address not in self._timers:
            self._timers[address] = self._router.loop.call_later(REST_S, self._set_at_rest, address)

    def _set_at_rest(self, address: bytes) -> None:
        del self._timers[address]
        hand, moved_s, _ = self.loops.hand_of(address)
        described = self._router.plane.describe(address)
        if hand is None or described is None:
            return
        if self._router.loop.time() - moved_s < REST_S:
            self._set_later(address)
        elif comparable(hand) != comparable(described[1:3]):
            self._writer.set(address, *hand)
