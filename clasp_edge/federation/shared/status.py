"""How uplinks and peers are doing, as params: `/clasp-edge/uplinks/NAME/...`, `/clasp-edge/peers/ID/...`.

Written when they change, at most once a second where they count something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from clasp_edge.clock import Clock
from clasp_edge.dataplane import Adapter, Plane
from clasp_edge.wire import Value, encode_value

UPLINKS = "/clasp-edge/uplinks/"
PEERS = "/clasp-edge/peers/"

HAS_TTL = 0x10
TTL_NEVER = 0
"""SET's flag and word for a param that stays (wire.md 2.3): how things stand is true until it changes."""

TTL_OVER = 0x8000_0000
"""For one that is over as soon as it has been told."""

SHOWN = (
    "state", "hub", "peer", "since", "queue", "queue_age_s", "echo_rtt_ms", "drops", "refused", "differs", "pending",
    "last_error",
)  # fmt: skip
"""What is told of an uplink; counters of bytes would change all the time, and are for metrics."""


class Reporter(Protocol):
    """What a status is about."""

    def statistics(self) -> Mapping[str, Value]: ...


class Params:
    """Params of ours, told only when they change."""

    def __init__(self, plane: Plane, writer: str) -> None:
        self._adapter = Adapter(plane)
        self._adapter.reserved = True
        self._plane = plane
        self._writer = writer.encode()
        self._written: dict[str, Value] = {}

    def open(self) -> None:
        self._plane.register(self._adapter, self._writer)

    def close(self) -> None:
        self._plane.unregister(self._adapter)

    def write(self, address: str, value: Value) -> None:
        """Tell the value, if it is another one than before."""
        if address in self._written and self._written[address] == value:
            return
        self._written[address] = value
        code, data = encode_value(value)
        self._adapter.set(address.encode(), code, data, HAS_TTL, 0, TTL_NEVER)

    def forget(self, address: str) -> None:
        """The param is no more."""
        if self._written.pop(address, None) is not None:
            self._adapter.set(address.encode(), *encode_value(None), HAS_TTL, 0, TTL_OVER)


class UplinkStatus:
    """The params of one uplink."""

    def __init__(self, plane: Plane, name: str, reporter: Reporter, clock: Clock) -> None:
        self._params = Params(plane, f"uplink-status:{name}"[:36])
        self._prefix = f"{UPLINKS}{name}/"
        self._reporter = reporter

    def open(self) -> None:
        self._params.open()

    def close(self) -> None:
        self._params.close()

    def forget(self) -> None:
        """There is no such uplink any more."""
        for key in SHOWN:
            self._params.forget(self._prefix + key)

    def write(self) -> None:
        """Tell what has changed."""
        told = self._reporter.statistics()
        for key in SHOWN:
            self._params.write(self._prefix + key, told[key])
