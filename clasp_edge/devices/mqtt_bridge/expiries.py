"""Retained messages that a broker without MQTT 5 keeps for ever: it is told when they have expired here."""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

MAX_EXPIRIES = 10_000
"""Messages of one bridge whose end is waited for."""

AFTER_S = 0.1


class Expiries:
    """`over(address)` is called when the message of an address has expired."""

    def __init__(self, loop: AbstractEventLoop, over: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._over = over
        self._timers: dict[bytes, TimerHandle] = {}

    def sent(self, address: bytes, expiry_s: int | None) -> None:
        """The last message of the address has so long to live (None: for ever, or it is gone)."""
        timer = self._timers.pop(address, None)
        if timer is not None:
            timer.cancel()
        if expiry_s is not None and len(self._timers) < MAX_EXPIRIES:
            self._timers[address] = self._loop.call_later(expiry_s + AFTER_S, self._expired, address)

    def close(self) -> None:
        """No more timers."""
        for timer in self._timers.values():
            timer.cancel()

    def _expired(self, address: bytes) -> None:
        self._timers.pop(address, None)
        self._over(address)
