"""From a link's thread to the event loop, many events at a time.

The loop is woken once for whatever gathers until it looks, not once per event; and it takes a bounded number per turn,
so that a flood from a broker does not hold up the clients.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

from clasp_edge.devices.mqtt_bridge.events import Arrived, Event, Receiver

MAX_PER_TURN = 256
"""A few milliseconds of work."""

MAX_WAITING_BYTES = 4 << 20
MAX_WAITING = 4096
"""With more than this waiting the thread stops reading: the broker has to wait, not our memory to grow."""

EVENT_BYTES = 512
"""Of one that waits, beside what it says."""

CHARACTER_BYTES = 4
VIA_BYTES = 320
"""At most, of a topic's characters, and of the name of a daemon that a message has passed."""


class Handover:
    """`put` in the thread, `receiver` on the loop. `on_room` is called on the loop when a full queue has emptied."""

    def __init__(self, loop: AbstractEventLoop, receiver: Receiver, on_room: Callable[[], None]) -> None:
        self._loop = loop
        self._receiver = receiver
        self._on_room = on_room
        self._events: deque[Event] = deque()
        self._put_bytes = 0  # the thread alone counts these, the loop the others
        self._taken_bytes = 0
        self._scheduled = False
        self._was_full = False
        self._closed = False

    def put(self, event: Event) -> None:
        """Called in the thread."""
        self._events.append(event)
        self._put_bytes += _size(event)
        if not self._scheduled and not self._closed:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._take)
            except RuntimeError:
                self._closed = True  # the loop has ended before the thread

    @property
    def full(self) -> bool:
        """Whether the thread should stop reading; `on_room` follows. Called in the thread."""
        if not self._over:
            return False
        self._was_full = True
        # The loop may have emptied it between the two lines above, without knowing that somebody waits.
        return self._over

    @property
    def _waiting_bytes(self) -> int:
        return self._put_bytes - self._taken_bytes

    @property
    def _over(self) -> bool:
        return len(self._events) >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES

    def close(self) -> None:
        """Nothing is delivered any more. Called on the loop."""
        self._closed = True
        self._events.clear()

    def _take(self) -> None:
        # Before looking: an event that comes later schedules another look.
        self._scheduled = False
        batch: list[Event] = []
        while self._events and len(batch) < MAX_PER_TURN:
            event = self._events.popleft()
            self._taken_bytes += _size(event)
            batch.append(event)
        if self._events and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._take)
        if self._was_full and len(self._events) < MAX_WAITING // 2 and self._waiting_bytes < MAX_WAITING_BYTES // 2:
            self._was_full = False
            self._on_room()
        if batch and not self._closed:
            self._receiver(batch)


def _size(event: Event) -> int:
    if not isinstance(event, Arrived):
        return 0
    names = VIA_BYTES * len(event.via) + CHARACTER_BYTES * len(event.topic)
    return EVENT_BYTES + names + len(event.payload) + len(event.properties)
