"""MQTT.js (`mqtt` from npm) under Node, driven as the other JavaScript programs are."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from support.javascript import Program
from support.received import Received


class Message(NamedTuple):
    """What a subscription has delivered."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class JavaScriptMqtt(Program):
    """One client; ``url`` is mqtt://... or ws://..., ``options`` as `mqtt.connect` takes them."""

    name = "mqtt.mjs"

    def __init__(self, url: str, **options: object) -> None:
        self.received: Received[Message] = Received()
        self.properties: Received[dict[str, Any] | None] = Received()
        super().__init__(url, json.dumps(options))

    def heard(self, event: dict[str, Any]) -> None:
        if event["event"] == "message":
            self.properties.add(event["properties"])
            self.received.add(Message(event["topic"], event["payload"], event["qos"], event["retain"]))
        else:
            super().heard(event)

    def connect(self) -> bool:
        """Connect; returns whether a session was there. Raises `CallFailed`."""
        return bool(self.call("connect"))

    def subscribe(self, topic: str, qos: int = 0) -> list[int]:
        granted: list[int] = self.call("subscribe", topic, {"qos": qos})
        return granted

    def publish(self, topic: str, payload: bytes, **options: object) -> None:
        """Returns when it is acknowledged."""
        self.call("publish", topic, payload, options)
