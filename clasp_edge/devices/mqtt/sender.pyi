"""Types of sender.pyx as Python sees them."""

from typing import Any

from clasp_edge.dataplane.core import Core
from clasp_edge.devices.mqtt.context import MqttContext
from clasp_edge.devices.mqtt.queue import MqttQueue
from clasp_edge.wire.pattern import Pattern

class MqttSender(MqttQueue):
    def __new__(cls, core: Core, context: MqttContext, *args: Any, **kwargs: Any) -> MqttSender: ...
    def attach(self, fd: int, version: int, websocket: bool, alias_maximum: int) -> None: ...
    def start_sending(self) -> None: ...
    def detach(self) -> None: ...
    def silence(self) -> None: ...
    def offer(
        self,
        topic: bytes,
        payload: bytes,
        qos: int,
        retain: bool,
        extra: bytes | None = None,
        properties: bytes = b"",
        expiry_s: int = ...,
    ) -> bool: ...
    def send_retained(self, filter: str, pattern: Pattern, options: int, identifiers: bytes | None = None) -> None: ...
    def drop_retained(self, filter: str, pattern: Pattern) -> None: ...
    def refill_shared(
        self,
        group: object,
        topic: bytes,
        payload: bytes,
        properties: bytes,
        expiry_s: int,
        qos: int,
        retain: bool,
        extra: bytes | None,
    ) -> bool: ...
