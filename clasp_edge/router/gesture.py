"""Gestures as a throttle with leading and trailing edge, per session, address and gesture id (router.md 5.3).

The first move goes out at once, then at most one per interval with the newest data; end and cancel take the last move
with them. Whoever leaves in the middle of a stroke is given a Cancel, so that nobody waits for the end of it.
"""

from __future__ import annotations

import struct
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

START, MOVE, END, CANCEL = range(4)

MAX_STROKES = 64
"""Strokes a session can have under way: more fingers than anybody has. Beyond it the oldest is no longer thinned."""

MAX_WAITING_BYTES = 4096
"""Of one move, many times what positions and pressure take. What waits here lies outside the arena, so a larger move
goes on at once, and the arena bounds it."""

_PUBLISH = 0x20
_GESTURE_SIGNAL = 3 << 5
_HAS_TIMESTAMP = 0x10
_HAS_ID = 0x08
_NO_VALUE = 0


class _Stroke:
    """One gesture under way: the newest move that has not gone out, and the timer that will send it."""

    __slots__ = ("pending", "timer")

    def __init__(self) -> None:
        self.pending: bytes | None = None
        self.timer: TimerHandle | None = None


class GestureThrottle:
    """The strokes of one session. `relay(payload, address)` publishes; `interval_s()` is between moves, 0: all pass."""

    def __init__(
        self,
        relay: Callable[[bytes, bytes], None],
        loop: AbstractEventLoop,
        interval_s: Callable[[], float],
        now_us: Callable[[], int],
    ) -> None:
        self._relay = relay
        self._loop = loop
        self._interval_s = interval_s
        self._now_us = now_us
        self._strokes: dict[tuple[bytes, int], _Stroke] = {}

    def offer(self, payload: bytes, address: bytes, phase: int, gesture_id: int) -> None:
        """Take one gesture message."""
        key = (address, gesture_id)
        stroke = self._strokes.get(key)
        may_wait = phase == MOVE and len(payload) <= MAX_WAITING_BYTES
        if may_wait and stroke is not None and stroke.timer is not None:
            stroke.pending = payload
            return
        if phase in (END, CANCEL):
            if stroke is not None:
                self._flush(key, stroke)
                del self._strokes[key]
            self._relay(payload, address)
            return
        if stroke is None:
            stroke = self._begin(key)
        else:
            self._flush(key, stroke)
        self._relay(payload, address)
        if phase == MOVE:
            self._wait(key, stroke)

    def cancel_all(self) -> None:
        """The owner is gone: drop what waits and end every stroke with a Cancel."""
        strokes, self._strokes = self._strokes, {}
        for (address, gesture_id), stroke in strokes.items():
            if stroke.timer is not None:
                stroke.timer.cancel()
            self._relay(_cancel(address, gesture_id, self._now_us()), address)

    def _begin(self, key: tuple[bytes, int]) -> _Stroke:
        if len(self._strokes) >= MAX_STROKES:
            oldest = next(iter(self._strokes))
            self._flush(oldest, self._strokes.pop(oldest))
        stroke = self._strokes[key] = _Stroke()
        return stroke

    def _wait(self, key: tuple[bytes, int], stroke: _Stroke) -> None:
        interval_s = self._interval_s()
        if interval_s:
            stroke.timer = self._loop.call_later(interval_s, self._due, key, stroke)

    def _due(self, key: tuple[bytes, int], stroke: _Stroke) -> None:
        stroke.timer = None
        if stroke.pending is not None:
            pending, stroke.pending = stroke.pending, None
            self._relay(pending, key[0])
            self._wait(key, stroke)

    def _flush(self, key: tuple[bytes, int], stroke: _Stroke) -> None:
        if stroke.timer is not None:
            stroke.timer.cancel()
            stroke.timer = None
        if stroke.pending is not None:
            pending, stroke.pending = stroke.pending, None
            self._relay(pending, key[0])


def _cancel(address: bytes, gesture_id: int, now_us: int) -> bytes:
    """The payload of a PUBLISH gesture cancel without value (wire.md 2.3)."""
    flags = _GESTURE_SIGNAL | _HAS_TIMESTAMP | _HAS_ID | CANCEL
    return struct.pack(f">BBH{len(address)}sBQI", _PUBLISH, flags, len(address), address, _NO_VALUE, now_us, gesture_id)
