"""One paho client and its callbacks: a session with one broker in one version of MQTT, over all its connections.

Lives in a link's thread. With `client`, the only file that imports paho-mqtt (and with it OpenSSL).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from clasp_edge.clock import Clock
from clasp_edge.config.broker import Broker
from clasp_edge.config.model import Bridge as BridgeConfig
from clasp_edge.devices.mqtt_bridge.buffered_socket import BufferedSocket
from clasp_edge.devices.mqtt_bridge.client import BoundedClient
from clasp_edge.devices.mqtt_bridge.envelope import MAX_ORIGIN
from clasp_edge.devices.mqtt_bridge.events import NO_EXPIRY, Arrived, Done, Filter, Outgoing, Trouble, Up
from clasp_edge.devices.mqtt_bridge.handover import Handover
from clasp_edge.devices.mqtt_bridge.properties import AGAIN, BINARY, SIGNAL, VERSION, VIA, of_publish, passed_on
from clasp_edge.devices.mqtt_bridge.queue import Record
from clasp_edge.security.certificate_time import go_by, time_fault

CONNECT_TIMEOUT_S = 5.0
"""For TCP, TLS and the CONNACK, each. A broker that takes longer is as good as away; the next one may not be."""

KEEP_ALIVE_TIMEOUT = 0x8D
"""The reason code by which paho says that nothing has come for too long (MQTT 5.0, 2.4)."""

SESSION_EXPIRY_S = 86_400
"""How long a broker keeps our subscriptions and what arrives for them (MQTT 5; 3.1.1 knows no limit)."""

WINDOW = 256
"""Messages under way; a broker may ask for fewer (MQTT 5, receive maximum)."""

MAX_PACKET_BYTES = 1024 * 1024
"""What is taken of a broker where nobody says otherwise."""

NAMED_SIGNALS = frozenset(("param", "event", "stream"))
MOST_VIA = 17
"""Daemons that a message says it has passed: one more than it may have passed."""

READS_PER_TURN = 128
"""Of what has been read already; the clock, and what is to be sent, have their turn in between."""

UNSUPPORTED_VERSION = 0x84
FAILURE = 0x80
UNSPECIFIED = 0x80
"""Reason codes (MQTT 5.0, 2.4): the version is not supported; from here on something was refused; no reason given."""

CONNECTION_LOST = "connection lost"


class Session:
    """`open`, then turns of `read`, `write`, `look_at_clock` until `reason`, then `close`; and again."""

    def __init__(
        self, config: BridgeConfig, client_id: str, handover: Handover, broker: Broker, mqtt5: bool, clock: Clock,
        max_packet: int = MAX_PACKET_BYTES,
    ) -> None:  # fmt: skip
        self.broker = broker
        self.mqtt5 = mqtt5
        self.version_refused = False
        self.closed_silently = False
        self.silent = False
        """Whether the last connection was given up because nothing came."""
        self.up = False
        self._patience_s = CONNECT_TIMEOUT_S
        self._handover = handover
        self._config = config
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._greeted = False
        self._subscribed = False
        self._answered = False
        self._remembered = False
        self._connection = 0
        self._reason = ""
        self._up_since_s = 0.0
        self._deadline_s = 0.0
        self._records: dict[int, Record] = {}
        self._early: set[int] = set()
        self._refused: dict[int, str] = {}
        self._asked: dict[int, list[str]] = {}
        self._client = self._new_client(client_id, max_packet)

    def _new_client(self, client_id: str, max_packet: int) -> BoundedClient:
        config = self._config
        client = BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self.mqtt5 else False,
            protocol=MQTTv5 if self.mqtt5 else MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_packet = max_packet
        client.max_inflight_messages = 0  # the bridge's queue keeps to the window
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        if config.username:
            client.username_pw_set(config.username, config.password or None)
        return client

    # ---- the connection ----

    def open(self, connection: int, patience_s: float = CONNECT_TIMEOUT_S) -> str:
        """Connect, each step of it within `patience_s`; returns why it cannot be, or "". The CONNACK is to come."""
        self._client.begin()
        self._connection = connection
        self._reason = ""
        self.silent = False
        self._patience_s = patience_s
        if self._client.connect_timeout != patience_s:
            self._client._connect_timeout = patience_s  # its setter refuses after the first connection
        self._answered = False
        self._deadline_s = 0.0
        self.version_refused = False
        properties = None
        if self.mqtt5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.MaximumPacketSize = self._client.max_packet
        try:
            if self.broker.tls and not self._remembered:
                self._context = self._tls_context()
                self._client.tls_set_context(self._context)
                self._remembered = True
            if self._context is not None:
                go_by(self._context, self._clock)
            # MQTT 5 has a flag for each connect, 3.1.1 one for the client.
            clean_start: dict[str, Any] = {"clean_start": False, "properties": properties} if self.mqtt5 else {}
            code = self._client.connect(self.broker.host, self.broker.port, self._config.keep_alive_s, **clean_start)
        except (OSError, ValueError) as error:
            return str(error) or type(error).__name__
        self._deadline_s = time.monotonic() + self._patience_s
        sock = self._socket
        if (
            sock is not None
            and isinstance(sock.raw, ssl.SSLSocket)
            and (fault := time_fault(sock.raw.getpeercert(), self._clock))
        ):
            return f"TLS: {fault}"
        return "" if code == MQTTErrorCode.MQTT_ERR_SUCCESS else str(code)

    def _tls_context(self) -> ssl.SSLContext:
        config = self._config
        context = ssl.create_default_context(cafile=config.tls_ca or None)
        if config.tls_cert:
            context.load_cert_chain(config.tls_cert, config.tls_key or None)
        return context

    def close(self) -> float:
        """Disconnect if there is something to; returns the seconds for which the link was up."""
        lasted_s = time.monotonic() - self._up_since_s if self.up else 0.0
        self.up = False
        # A broker that does not know MQTT 5 may say so by closing.
        self.closed_silently = not self._answered and 0.0 < time.monotonic() < self._deadline_s
        if self._client.socket() is not None:
            self._client.disconnect()
            if (sock := self._socket) is not None:
                sock.close()  # the DISCONNECT could not be written
        self._records = {mid: record for mid, record in self._records.items() if record.qos}
        self._early.clear()
        return lasted_s

    def fileno(self) -> int:
        """The socket's descriptor, -1 if there is none."""
        sock = self._client.socket()
        return -1 if sock is None else sock.fileno()

    def reason(self) -> str:
        """Why the connection is over, or ""."""
        if self._reason or self._client.socket() is not None:
            return self._reason
        return CONNECTION_LOST

    def pending(self) -> bool:
        """Whether there are bytes to read that the descriptor no longer shows."""
        sock = self._socket
        return sock is not None and sock.pending() > 0

    def wants_write(self) -> bool:
        sock = self._socket
        return self._client.want_write() or (sock is not None and sock.unsent)

    def timeout_s(self, longest_s: float) -> float:
        """How long to wait for the descriptor before `look_at_clock`."""
        if not self.up:
            return max(0.0, self._deadline_s - time.monotonic())
        return min(longest_s, self._client.keep_alive_s / 2)

    def read(self) -> None:
        for _ in range(READS_PER_TURN):
            self._note(self._client.loop_read())
            sock = self._socket
            if sock is None or not sock.buffered or self._reason or self.is_full:
                return

    @property
    def is_full(self) -> bool:
        """Whether nothing is to be read: what was read waits to be dealt with, or to be acknowledged."""
        return self._handover.full or self._client.clogged

    def write(self) -> None:
        self._note(self._client.loop_write())

    def flush(self) -> None:
        """Send what has gathered in this turn."""
        sock = self._socket
        if sock is not None and sock.unsent:
            try:
                sock.flush()
            except OSError as error:
                self._reason = self._reason or str(error) or type(error).__name__

    @property
    def _socket(self) -> BufferedSocket | None:
        sock: Any = self._client.socket()
        return sock  # type: ignore[no-any-return]

    def look_at_clock(self) -> None:
        """Keep-alive, and the patience for a CONNACK."""
        if not self.up and not self._reason and time.monotonic() >= self._deadline_s:
            self._reason = f"no answer to CONNECT within {self._patience_s:g} s"
        self._note(self._client.loop_misc())

    def _note(self, code: MQTTErrorCode) -> None:
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS and not self._reason:
            self._reason = code.name

    # ---- what is asked of it ----

    def subscribe(self, filters: Sequence[Filter]) -> None:
        """Subscribe; with MQTT 5 not to what we publish ourselves, and retain flags as they were published."""
        for wanted in filters:
            if self.mqtt5:
                options = SubscribeOptions(
                    qos=wanted.qos,
                    noLocal=True,
                    retainAsPublished=True,
                    retainHandling=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
                    if wanted.replay or not self._subscribed
                    else SubscribeOptions.RETAIN_SEND_IF_NEW_SUB,
                )
                _, mid = self._client.subscribe(wanted.topic, options=options)
            else:
                _, mid = self._client.subscribe(wanted.topic, wanted.qos)
            if mid is not None:
                self._asked[mid] = [wanted.topic]
        self._subscribed = True

    def publish(self, message: Outgoing) -> None:
        """Publish; `Done` follows."""
        record = message.record
        try:
            properties: Any = of_publish(message) if self.mqtt5 and not message.is_sealed else None
            info = self._client.publish(message.record.topic, message.payload, message.qos, message.retain, properties)
        except (ValueError, OverflowError) as error:
            self._handover.put(Done(record, str(error)))
            return
        if info.mid in self._early:
            # Written while it was being handed over.
            self._early.discard(info.mid)
            self._handover.put(Done(record, ""))
        elif info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS or message.qos:
            self._records[info.mid] = record

    # ---- what paho calls ----

    def _on_connect(
        self, client: Client, userdata: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._answered = True
        if code.is_failure:
            self._reason = f"refused: {code}"
            self.version_refused = self.mqtt5 and code.value == UNSUPPORTED_VERSION
            return
        self._client.keep_alive_within(self._config.keep_alive_s)
        if not flags.session_present:
            self._client.forget_received()
        receives: int = getattr(properties, "ReceiveMaximum", 65535)
        if any(entry.payload == "clasp" for entry in self._config.map):
            receives = max(1, receives - 1)  # a clear is two messages (`Exchange.outgoing`)
        window = min(WINDOW, receives)
        self.up = True
        self._up_since_s = time.monotonic()
        self._handover.put(
            Up(
                connection=self._connection,
                broker=str(self.broker),
                mqtt5=self.mqtt5,
                fresh=not self._greeted,
                resumed=flags.session_present,
                window=window,
                max_packet=getattr(properties, "MaximumPacketSize", 2**28),
                max_qos=getattr(properties, "MaximumQoS", 2),
                retains=bool(getattr(properties, "RetainAvailable", 1)),
            )
        )
        self._greeted = True

    def _on_disconnect(
        self, client: Client, userdata: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if self._reason:
            return
        if self._client.fault:
            self._reason = self._client.fault
        elif flags.is_disconnect_packet_from_server:
            self._reason = f"disconnected by the broker: {code}"
        else:
            self._reason = CONNECTION_LOST if code.value == UNSPECIFIED else str(code)
            self.silent = code.value == KEEP_ALIVE_TIMEOUT

    def _on_message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._handover.put(Trouble("a topic that is not UTF-8"))
            return
        if self._client.is_cut:
            self._handover.put(Trouble(f"{topic[:200]}: larger than is taken (mqtt.max_packet_kib)"))
            return
        user: dict[str, str] = {}
        properties = message.properties
        if properties is not None:
            user = dict(getattr(properties, "UserProperty", ()))
        self._handover.put(
            Arrived(
                topic,
                bytes(message.payload),
                message.retain,
                signal if (signal := user.get(SIGNAL, "")) in NAMED_SIGNALS else "",
                tuple(name[:MAX_ORIGIN] for name in user.get(VIA, "").split(",")[:MOST_VIA] if name),
                getattr(properties, "ContentType", "") == BINARY,
                int(version) if (version := user.get(VERSION, "")).isdecimal() and len(version) < 20 else 0,
                AGAIN in user,
                message.qos,
                passed_on(properties),
                getattr(properties, "MessageExpiryInterval", NO_EXPIRY),
            )
        )

    def _on_publish(
        self, client: Client, userdata: object, mid: int, code: ReasonCode, properties: Properties | None
    ) -> None:
        record = self._records.pop(mid, None)
        if record is None:
            self._early.add(mid)
            return
        self._handover.put(Done(record, str(code) if code.value >= FAILURE else ""))

    def _on_subscribe(
        self, client: Client, userdata: object, mid: int, codes: list[ReasonCode], properties: Properties | None
    ) -> None:
        for topic, code in zip(self._asked.pop(mid, []), codes, strict=False):
            if code.value >= FAILURE:
                self._handover.put(Trouble(f"the broker refused the subscription to {topic}: {code}"))


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]
