"""The walk over the state after which a broker that may have lost something has again what it had from us, and we have
no more what was cleared there.

Repeats each retained param that a map carries out and that the broker has not named, unless its value
came from the bridge itself: that was cleared there. In steps, so that a large state does not hold up the clients.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Handle
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from clasp_edge.devices.mqtt_bridge.mapping import Mapping
from clasp_edge.wire import Snapshot, decode_payload
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt_bridge.bridge import Bridge

STEP_BYTES = 16_384
STEP_SCAN = 2000
"""Of a snapshot: a few milliseconds of work."""

MOST_QUEUED = 4096
REST_S = 0.02
"""With so much to be sent the walk rests, and looks again whether some of it has gone out."""


class Resync:
    """`start` once; `finished` is called at the end unless it is cancelled. `named`: what the broker does have.
    `clear`: what came from it and is not there was cleared, but for the `spared`, which it has told since the start."""

    def __init__(
        self,
        bridge: Bridge,
        loop: AbstractEventLoop,
        named: Container[bytes],
        finished: Callable[[], None],
        *,
        clear: bool,
        spared: Container[bytes],
    ) -> None:
        self._clear = clear
        self._spared = spared
        self._bridge = bridge
        self._loop = loop
        self._named = named
        self._finished = finished
        self._writer = f"bridge:{bridge.name}"
        self._patterns: list[tuple[Pattern, Mapping]] = []
        self._cursor = b""
        self._next: Handle | None = None

    def start(self, mappings: Sequence[Mapping]) -> None:
        """Begin."""
        self._patterns = [(Pattern(m.config.address.encode()), m) for m in mappings]
        self._next = self._loop.call_soon(self._step)

    def cancel(self) -> None:
        """Stop where it is."""
        if self._next is not None:
            self._next.cancel()

    def _step(self) -> None:
        if not self._patterns:
            self._finished()
            return
        if self._bridge.counts()[0] >= MOST_QUEUED:
            self._next = self._loop.call_later(REST_S, self._step)
            return
        pattern, mapping = self._patterns[0]
        payload, self._cursor = self._bridge.plane.snapshot(pattern, None, self._cursor, STEP_BYTES, STEP_SCAN)
        if payload is not None:
            message = decode_payload(payload)
            assert isinstance(message, Snapshot)
            for param in message.params:
                address = param.address.encode()
                if address in self._named or self._bridge.retained(address) is None:
                    continue
                if param.writer != self._writer:
                    if mapping.gives_out:
                        self._bridge.repeat(address)
                elif self._clear and mapping.takes_in and address not in self._spared:
                    self._bridge.forget(address)
        if not self._cursor:
            self._patterns.pop(0)
        self._next = self._loop.call_soon(self._step)
