"""Types of context.pyx as Python sees them."""

from collections.abc import Callable
from typing import Any

from clasp_edge.dataplane.plane import Plane
from clasp_edge.wire.pattern import Pattern

class MqttContext:
    unretained_is_param: bool
    session_queue: int
    total_queue: int
    changed: list[Any] | None
    wake: Callable[[bool], None] | None
    urgent: bool
    mounts: Any

    @property
    def plane(self) -> Plane: ...
    def address_of(self, topic: bytes) -> bytes: ...
    @property
    def prefix(self) -> bytes: ...
    @property
    def max_packet(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def received(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def received_bytes(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    def set_events(self, patterns: list[Pattern]) -> None: ...
    def __init__(
        self,
        plane: Plane,
        namespace: bytes,
        to_topic: Callable[[bytes], bytes],
        to_address: Callable[[bytes], bytes],
        max_packet: int,
    ) -> None: ...
