"""Types of mqtt_kept.pyx as Python sees them."""

from typing import Any

from clasp_edge.dataplane.mqtt_hub import MqttHub
from clasp_edge.dataplane.mqtt_sender import MqttSender
from clasp_edge.dataplane.outlet import Core

class MqttKept(MqttSender):
    read_to: int

    def __new__(cls, core: Core, hub: MqttHub, *args: Any, **kwargs: Any) -> MqttKept: ...
    def flight(self) -> tuple[int, int, int, bool, list[tuple[int, int, int, bool]]]: ...
    def restore(self, first: int, entries: list[tuple[int, int, int, bool]], skipped: int) -> None: ...
    def complete(
        self, number: int, topic: bytes, payload: bytes, properties: bytes, expiry_s: int, extra: bytes | None
    ) -> None: ...
    def refill(
        self,
        topic: bytes,
        payload: bytes,
        properties: bytes,
        expiry_s: int,
        qos: int,
        retain: bool,
        extra: bytes | None,
        logged: int,
    ) -> bool: ...
    def go_live(self, behind: bool) -> None: ...
