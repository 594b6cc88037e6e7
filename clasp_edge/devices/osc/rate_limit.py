"""How often one address may be sent: a minimum distance in time, and the last value always gets its turn.

One `Pacer` for each device. What waits for an address is replaced by what is newer; nothing is ever sent late that has
been replaced. Knows no OSC: keys and packets are just bytes.
"""

from __future__ import annotations

import heapq
from asyncio import AbstractEventLoop, TimerHandle
from collections import OrderedDict
from collections.abc import Callable

RETRY_S = 0.01
"""Pause before a link that took nothing is tried again."""

MAX_SLOTS = 4096
"""Addresses of one device whose turn is still to come; above it the one longest in line goes out early."""


class _Slot:
    __slots__ = ("due_s", "packet", "queued")

    def __init__(self) -> None:
        self.due_s = 0.0
        self.packet: bytes | None = None
        self.queued = False


class Pacer:
    """`send(key, packet)` sends at once and says whether the link took it. `rate` is per second and key, 0 for any."""

    def __init__(self, loop: AbstractEventLoop, rate: float, send: Callable[[bytes, bytes], bool]) -> None:
        self._loop = loop
        self._interval_s = 1 / rate if rate else 0.0
        self._send = send
        self._slots: OrderedDict[bytes, _Slot] = OrderedDict()
        self._line: list[tuple[float, bytes]] = []
        self._timer: TimerHandle | None = None
        self._timer_s = 0.0
        self._blocked_until_s = 0.0

    @property
    def blocked(self) -> bool:
        """Whether the link took nothing just now."""
        return self._blocked_until_s > self._loop.time()

    def offer(self, key: bytes, packet: bytes) -> None:
        """Send now if the key's time has come, else when it comes, unless something newer is offered until then."""
        now_s = self._loop.time()
        slot = self._slots.get(key)
        if slot is not None and (slot.packet is not None or slot.due_s > now_s):
            slot.packet = packet
            self._queue(key, slot)
        elif self._blocked_until_s > now_s:
            self._wait(key, packet, now_s)
        else:
            self._send_now(key, packet, now_s)

    def waits(self, key: bytes) -> bool:
        """Whether something is still to be sent for the key."""
        slot = self._slots.get(key)
        return slot is not None and slot.packet is not None

    def forget(self, key: bytes) -> None:
        """What waits for the key is no longer wanted."""
        slot = self._slots.get(key)
        if slot is not None:
            slot.packet = None

    def postpone(self, key: bytes, until_s: float) -> None:
        """Send nothing for the key before that time (of the loop)."""
        slot = self._slot(key, self._loop.time())
        slot.due_s = max(slot.due_s, until_s)

    def close(self) -> None:
        """Send nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()
        self._line.clear()

    def _send_now(self, key: bytes, packet: bytes, now_s: float) -> None:
        if not self._send(key, packet):
            self._blocked_until_s = now_s + RETRY_S
            self._wait(key, packet, now_s)
        elif self._interval_s:
            slot = self._slot(key, now_s)
            slot.due_s = max(slot.due_s, now_s + self._interval_s)

    def _wait(self, key: bytes, packet: bytes, now_s: float) -> None:
        slot = self._slot(key, now_s)
        slot.packet = packet
        slot.due_s = max(slot.due_s, self._blocked_until_s)
        self._queue(key, slot)

    def _slot(self, key: bytes, now_s: float) -> _Slot:
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
            return slot
        while self._slots:
            oldest = next(iter(self._slots.values()))
            if oldest.queued or oldest.due_s > now_s:
                break
            self._slots.popitem(last=False)
        if len(self._slots) >= MAX_SLOTS:
            crowded, evicted = self._slots.popitem(last=False)
            if evicted.packet is not None:
                self._send(crowded, evicted.packet)
        slot = self._slots[key] = _Slot()
        return slot

    def _queue(self, key: bytes, slot: _Slot) -> None:
        if slot.queued:
            return
        slot.queued = True
        heapq.heappush(self._line, (slot.due_s, key))
        self._arm()

    def _arm(self) -> None:
        if not self._line:
            return
        due_s = max(self._line[0][0], self._blocked_until_s)
        if self._timer is not None:
            if self._timer_s <= due_s:
                return
            self._timer.cancel()
        self._timer_s = due_s
        self._timer = self._loop.call_at(due_s, self._due)

    def _due(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        # The loop's timers are as coarse as a millisecond: what is due within it goes out too.
        # One attempt at a blocked link is enough: the others wait in line as they are.
        while self._line and self._line[0][0] <= now_s + 0.001 and self._blocked_until_s <= now_s + 0.001:
            _, key = heapq.heappop(self._line)
            slot = self._slots.get(key)
            if slot is None or not slot.queued:
                continue
            slot.queued = False
            packet = slot.packet
            if packet is None:
                continue
            if slot.due_s > now_s + 0.001:
                self._queue(key, slot)
                continue
            slot.packet = None
            self._send_now(key, packet, now_s)
        self._arm()
