"""Types of flow.pyx as Python sees them."""

from collections.abc import Callable

from clasp_edge.devices.mqtt_bridge.events import Arrived
from clasp_edge.devices.mqtt_bridge.queue import Record

MAX_PACKET_BYTES: int

class Flow:
    flying: dict[int, Record]
    waiting: int
    more: bool

    def __init__(
        self,
        arrived: Callable[[Arrived], None],
        done: Callable[[Record, int], None],
        other: Callable[[int, bytes], None],
        trouble: Callable[[str], None],
        max_packet: int = ...,
    ) -> None: ...
    def begin(self, mqtt5: bool, resumed: bool, window: int, present: bool = False) -> None: ...
    def lost(self) -> None: ...
    def take_output(self) -> bytes: ...
    def send(self, packet: bytes) -> None: ...
    def free_id(self) -> int: ...
    def publish(
        self, record: Record, topic: str, payload: bytes, qos: int, retain: bool, properties: bytes
    ) -> None: ...
    def feed(self, buffer: bytearray | memoryview | bytes, filled: int, most: int) -> tuple[int, int]: ...
