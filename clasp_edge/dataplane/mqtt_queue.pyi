"""Types of mqtt_queue.pyx as Python sees them."""

from typing import Any

from clasp_edge.dataplane.mqtt_hub import MqttHub
from clasp_edge.dataplane.outlet import Core, Outlet

class MqttQueue(Outlet):
    version: int
    websocket: bool
    keeps: bool
    following: bool
    seen_to: int
    peer_max_packet: int
    window: int

    @property
    def hub(self) -> MqttHub: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    def __new__(cls, core: Core, hub: MqttHub, *args: Any, **kwargs: Any) -> MqttQueue: ...
    def send_packet(self, packet: bytes) -> None: ...
    def send_stored(self, packet: bytes) -> None: ...
    def send_raw(self, data: bytes) -> None: ...
