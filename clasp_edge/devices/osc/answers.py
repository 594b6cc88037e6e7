"""Answers to questions of devices: each is sent when what it shows is stored, where the journal is strict.

Whoever asks may be anybody, and a disk that does not answer may take long: what waits is bounded in bytes, and an
answer for which there is no room is lost, as a datagram may be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clasp_edge.devices.osc.counters import Counters
from clasp_edge.router.stored import all_is_stored, when_stored

if TYPE_CHECKING:
    from clasp_edge.dataplane import Plane
    from clasp_edge.devices.osc.links import Link

MAX_WAITING_BYTES = 1024 * 1024
"""Of all devices together."""

ANSWER_BYTES = 500
"""What one takes beside its bytes."""


class Answers:
    """Of one server. `waiting_bytes` is what those take that wait."""

    def __init__(self, plane: Plane, counters: Counters) -> None:
        self.waiting_bytes = 0
        self._plane = plane
        self._counters = counters

    def send(self, answer: bytes, link: Callable[[], Link]) -> None:
        """Send it by the link that there is when it may go."""
        if all_is_stored(self._plane):
            link().send(answer)
            return
        size = ANSWER_BYTES + len(answer)
        if self.waiting_bytes + size > MAX_WAITING_BYTES:
            self._counters.lost += 1
            return
        self.waiting_bytes += size
        when_stored(self._plane, lambda: self._is_stored(answer, link, size))

    def _is_stored(self, answer: bytes, link: Callable[[], Link], size: int) -> None:
        self.waiting_bytes -= size
        link().send(answer)
