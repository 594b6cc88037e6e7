"""Types of queue.pyx as Python sees them."""

from typing import Any

from clasp_edge.dataplane.core import Core
from clasp_edge.dataplane.outbox import Outbox
from clasp_edge.devices.mqtt.context import MqttContext

class MqttQueue(Outbox):
    version: int
    websocket: bool
    keeps: bool
    following: bool
    seen_to: int
    peer_max_packet: int
    window: int

    @property
    def context(self) -> MqttContext: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    def __new__(cls, core: Core, context: MqttContext, *args: Any, **kwargs: Any) -> MqttQueue: ...
    def send_packet(self, packet: bytes) -> None: ...
    def take_shared(self, group: object, unacknowledged: bool) -> list[tuple[bytes, bytes, bytes, int, int, bool]]: ...
    def send_stored(self, packet: bytes) -> None: ...
    def send_raw(self, data: bytes) -> None: ...
