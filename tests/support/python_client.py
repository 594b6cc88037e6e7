"""The published Python client, on an event loop and a thread of its own, so that tests need not be coroutines.

Uses its public methods only. Every wait is bounded.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from clasp import Clasp
from support.received import Received

T = TypeVar("T")

CALL_TIMEOUT_S = 30.0
"""Longer than the five seconds after which the client itself gives up waiting."""


class PythonClient:
    """`Clasp` of clasp-to. ``options`` as its constructor takes them. Connected by `connect`."""

    def __init__(self, url: str, **options: Any) -> None:
        self.errors: Received[Exception] = Received()
        """What ended the client's receive loop or a callback: must stay empty."""

        self.events: Received[str] = Received()
        """"connect" and "disconnect"."""

        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.client = Clasp(url, **options)
        self.client.on_error(self.errors.add)
        self.client.on_connect(lambda: self.events.add("connect"))
        self.client.on_disconnect(lambda reason: self.events.add("disconnect"))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the client's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT_S)

    def call(self, work: Callable[[], T]) -> T:
        """Call a plain function on the client's loop, which does nothing else meanwhile."""

        async def called() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(3 * CALL_TIMEOUT_S)

    def connect(self) -> Self:
        self.run(self.client.connect())
        return self

    def set(self, address: str, value: Any, **options: Any) -> None:
        self.run(self.client.set(address, value, **options))

    def get(self, address: str, timeout: float = 5.0) -> Any:
        return self.run(self.client.get(address, timeout))

    def emit(self, address: str, payload: Any = None) -> None:
        self.run(self.client.emit(address, payload))

    def stream(self, address: str, value: Any) -> None:
        self.run(self.client.stream(address, value))

    def gesture(self, address: str, number: int, phase: str, payload: Any = None) -> None:
        self.run(self.client.gesture(address, number, phase, payload))

    def timeline(self, address: str, keyframes: list[dict[str, Any]]) -> None:
        self.run(self.client.timeline(address, keyframes))

    def bundle(self, messages: list[dict[str, Any]], at: int | None = None) -> None:
        self.run(self.client.bundle(messages, at))

    def query(self, pattern: str) -> list[dict[str, Any]]:
        return self.run(self.client.query_signals(pattern))

    def time(self) -> int:
        return self.client.time()

    def subscribe(self, pattern: str, **options: Any) -> Received[tuple[str, Any]]:
        """Subscribe, and return the list that fills with (address, value) once the router knows of it."""
        received: Received[tuple[str, Any]] = Received()
        self._unsubscribe = self.call(
            lambda: self.client.subscribe(pattern, lambda value, address: received.add((address, value)), **options)
        )
        self.settle()
        return received

    def unsubscribe(self) -> None:
        """End the newest subscription."""
        self.call(self._unsubscribe)
        self.settle()

    def settle(self) -> None:
        """Return when the router has dealt with all that was sent: a round trip of a param nobody subscribes to."""
        address = f"/settled/py/{next(self._numbers)}"
        self.set(address, True)
        assert self.get(address) is True

    def close(self) -> None:
        """Close the client and end its thread."""
        try:
            self.run(self.client.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CALL_TIMEOUT_S)
            self._loop.close()
        assert self.errors.items == [], "the client's receive loop or a callback failed"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
