"""Types of journaled.pyx as Python sees them."""

from typing import Any

from clasp_edge.dataplane.core import Core
from clasp_edge.devices.mqtt.context import MqttContext
from clasp_edge.devices.mqtt.sender import MqttSender

class MqttJournaled(MqttSender):
    read_to: int

    def __new__(cls, core: Core, context: MqttContext, *args: Any, **kwargs: Any) -> MqttJournaled: ...
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
