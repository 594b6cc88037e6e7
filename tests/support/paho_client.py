"""paho-mqtt, used through its public methods only: a network thread of its own, and lists of what it has been told.

Every wait is bounded.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from support.mqtt_packets import V5, V311
from support.received import Received

VERSIONS = {V311: MQTTProtocolVersion.MQTTv311, V5: MQTTProtocolVersion.MQTTv5}
CALL_TIMEOUT_S = 30.0


class Message(NamedTuple):
    """What a subscription has delivered."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class PahoClient:
    """One client, connected on entry. ``expiry_s`` 0: a clean session; else it outlives its connections."""

    def __init__(
        self,
        address: tuple[str, int],
        version: int = V5,
        client_id: str = "",
        *,
        expiry_s: int = 0,
        websocket: bool = False,
        username: str | None = None,
        password: str | None = None,
        will: Message | None = None,
    ) -> None:
        self.received: Received[Message] = Received()
        self.connected: Received[tuple[int, bool]] = Received()
        """Reason code and session present, of each connection."""

        self.disconnected: Received[int] = Received()
        """Reason code of the end of each."""

        self.published: Received[int] = Received()
        """Identifiers of messages that were seen through."""

        self.raw: list[paho.MQTTMessage] = []
        self._acknowledged: Received[tuple[int, list[int]]] = Received()
        self._address, self._version, self._expiry_s = address, version, expiry_s
        clean = {} if version == V5 else {"clean_session": expiry_s == 0}
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=VERSIONS[version],
            transport="websockets" if websocket else "tcp",
            **clean,
        )
        self.client.max_inflight_messages_set(100)
        self.client.reconnect_delay_set(1, 1)
        if username is not None:
            self.client.username_pw_set(username, password)
        if will is not None:
            self.client.will_set(will.topic, will.payload, will.qos, will.retain)
        self.client.on_message = self._on_message
        self.client.on_publish = lambda _c, _u, mid, _code, _p: self.published.add(mid)
        self.client.on_connect = lambda _c, _u, flags, code, _p: self.connected.add((code.value, flags.session_present))
        self.client.on_disconnect = lambda _c, _u, _f, code, _p: self.disconnected.add(code.value)
        self.client.on_subscribe = lambda _c, _u, mid, codes, _p: self._acknowledged.add(
            (mid, [code.value for code in codes])
        )
        self.client.on_unsubscribe = lambda _c, _u, mid, _codes, _p: self._acknowledged.add((mid, []))

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        self.raw.append(message)
        self.received.add(Message(message.topic, message.payload, message.qos, message.retain))

    def start(self) -> Self:
        """Connect, successfully or not, and start the network thread."""
        options: dict[str, Any] = {"keepalive": 30}
        if self._version == V5:
            options["clean_start"] = self._expiry_s == 0
            options["properties"] = Properties(PacketTypes.CONNECT)
            options["properties"].SessionExpiryInterval = self._expiry_s
        self.client.connect(*self._address, **options)
        self.client.loop_start()
        return self

    def __enter__(self) -> Self:
        self.start()
        code, _ = self.connected.wait()[0]
        assert code == 0, code
        return self

    def subscribe(self, topic: str, qos: int = 0, options: SubscribeOptions | None = None) -> list[int]:
        """Subscribe and return the granted codes."""
        if options is not None:
            return self._wait_for(self.client.subscribe(topic, options=options)[1])
        return self._wait_for(self.client.subscribe(topic, qos)[1])

    def unsubscribe(self, topic: str) -> None:
        self._wait_for(self.client.unsubscribe(topic)[1])

    def _wait_for(self, mid: int | None) -> list[int]:
        return self._acknowledged.wait_for(lambda ack: ack[0] == mid)[1]

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        qos: int = 1,
        retain: bool = False,
        props: Properties | None = None,
    ) -> None:
        """Publish; at QoS 1 and 2 this returns when the broker has acknowledged it."""
        sent = self.client.publish(topic, payload, qos, retain, props)
        sent.wait_for_publish(CALL_TIMEOUT_S)
        assert sent.is_published()

    def vanish(self) -> None:
        """Close the socket without a DISCONNECT, and stay away."""
        self.client.loop_stop()
        socket = self.client.socket()
        assert socket is not None
        socket.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.disconnect()
        self.client.loop_stop()
