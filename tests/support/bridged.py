"""Daemons with bridges, and what tests ask of them; a plain MQTT client that looks on.

Knows the configuration of a bridge and the params in which one says how it is doing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from support.client import WsClient
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put, subscribe

from clasp_edge import wire
from clasp_edge.devices.mqtt_bridge.status import COUNTS_INTERVAL_S

Map = dict[str, Any]

KEEP_ALIVE_S = 1
"""The shortest there is, so that a dead broker is noticed within two seconds."""


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value) if isinstance(value, (int, float)) else f'"{value}"'


def bridge_config(brokers: Sequence[str], maps: Sequence[Map], name: str = "site", **keys: object) -> str:
    """The tables of one bridge."""
    keys = {"brokers": list(brokers), "keep_alive_s": KEEP_ALIVE_S, **keys}
    lines = [f"[bridge.{name}]", *(f"{key} = {_toml(value)}" for key, value in keys.items())]
    for entry in maps:
        lines += [f"[[bridge.{name}.map]]", *(f"{key} = {_toml(value)}" for key, value in entry.items())]
    return "\n".join(lines) + "\n"


class Bridged:
    """A daemon with bridges and one client of it. A context manager; entered when every bridge is up (`wait`)."""

    def __init__(self, config: str, *, wait: bool = True, **options: Any) -> None:
        self.daemon = Daemon(config=config, **options)
        self._names = [line[len("[bridge.") : -1] for line in config.splitlines() if line.startswith("[bridge.")]
        self._wait = wait
        self.crowd = Crowd(self.daemon)

    def __enter__(self) -> Self:
        self.daemon.__enter__()
        self.client: WsClient = self.crowd.ws("asker")
        if self._wait:
            for name in self._names:
                self.wait_state("up", name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crowd.leave()
        self.daemon.__exit__(kind, error, trace)

    # ---- state ----

    def value(self, address: str) -> wire.Value:
        """The value of a param; None as well if it is not there."""
        param = get(self.client, address)
        return None if param is None else param.value

    def put(self, address: str, value: wire.Value) -> None:
        """Write and wait for the ACK."""
        put(self.client, address, value)

    def wait_value(self, address: str, value: wire.Value) -> None:
        """Until the param has this value."""
        eventually(lambda: self.value(address) == value, 20.0)

    def status(self, key: str, name: str = "site") -> Any:
        """What the bridge says about itself."""
        return self.value(f"/clasp-edge/bridges/{name}/{key}")

    def wait_state(self, state: str, name: str = "site") -> None:
        """Until the bridge is in this state."""
        eventually(lambda: self.status("state", name) == state, 40.0)

    def wait_sent(self, name: str = "site") -> None:
        """Until nothing waits for the broker of what was written before."""
        time.sleep(COUNTS_INTERVAL_S * 1.2)  # the count may be that old
        eventually(lambda: self.status("queued", name) == 0, 20.0)

    def listener(self, pattern: str) -> WsClient:
        """A further client, subscribed."""
        client = self.crowd.ws("listener")
        subscribe(client, pattern)
        return client


class Onlooker:
    """An MQTT 5 client that notes what it gets. A context manager."""

    def __init__(self, port: int, *filters: str, host: str = "127.0.0.1") -> None:
        self.messages: list[MQTTMessage] = []
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_message = lambda _client, _data, message: self.messages.append(message)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._filters = filters
        self._at = (host, port)

    def __enter__(self) -> Self:
        self._client.connect(*self._at)
        self._client.loop_start()
        if self._filters:
            self._client.subscribe([(one, SubscribeOptions(qos=2, retainAsPublished=True)) for one in self._filters])
            assert self._subscribed.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, properties: Properties | None = None
    ) -> None:
        """Publish and wait until the broker has it."""
        self._client.publish(topic, payload, qos, retain, properties).wait_for_publish(10)

    def payloads(self, topic: str) -> list[bytes]:
        """What has come for a topic."""
        return [bytes(message.payload) for message in self.messages if message.topic == topic]
