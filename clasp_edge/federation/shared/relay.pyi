"""Types of relay.pyx as Python sees them."""

from typing import Any

from clasp_edge.dataplane.adapter import Adapter
from clasp_edge.dataplane.outbox import Sink

class Relay(Adapter):
    twin: Sink | None
    flags: int

    def on_deliveries(  # type: ignore[override]
        self, deliveries: list[tuple[int, bytes, bytes, Any, int, int]]
    ) -> None: ...
    def image(self, address: bytes) -> bytes | None: ...
    def lifetime(self, address: bytes) -> int | None: ...
    def held(self, address: bytes) -> tuple[int, bytes, bytes, int] | None: ...
    def relayed(self, frame: bytes) -> bytes: ...
