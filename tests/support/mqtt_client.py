"""A blocking MQTT client for tests on a plain socket: any bytes out, strictly read packets in, in order.

Acknowledges nothing by itself and never reconnects. Every wait is bounded.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from support import mqtt_packets as mqtt
from support.mqtt_packets import V5, Ack, Connack, Disconnect, Packet, Pingresp, Properties, Publish, Suback, Unsuback

DEFAULT_TIMEOUT_S = 20.0
"""Bound of a wait for what must come: generous, since it costs time only where a test fails."""

P = TypeVar("P")

_names = itertools.count(1)


def fresh(prefix: str = "t") -> str:
    """A topic or client identifier that no other test has used, also not in an earlier run against the same broker."""
    return f"{prefix}{time.time_ns():x}n{next(_names)}"


class Closed(Exception):
    """The server closed the connection."""


class MqttClient:
    """One connection; construct it with a `Broker`. ``version`` says how what comes is to be read."""

    connack: Connack
    """The answer to `connect`."""

    def __init__(self, address: tuple[str, int], version: int = V5) -> None:
        self.version = version
        self.socket = socket.create_connection(address, DEFAULT_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._passed_over: deque[Packet] = deque()
        self._ids = itertools.count(1)

    # ---- bytes ----

    def send(self, *packets: bytes) -> None:
        """Send bytes as they are, joined. Raises `Closed`."""
        self.socket.settimeout(DEFAULT_TIMEOUT_S)
        try:
            self.socket.sendall(b"".join(packets))
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def recv(self, timeout: float = DEFAULT_TIMEOUT_S) -> Packet:
        """The next packet. Raises TimeoutError, `Closed`, `mqtt_packets.Malformed`."""
        if self._passed_over:
            return self._passed_over.popleft()
        kind, flags, body = self.recv_raw(timeout)
        return mqtt.read(kind, flags, body, self.version)

    def recv_raw(self, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[int, int, bytes]:
        """Type, flags and body of the next packet. Raises TimeoutError, `Closed`."""
        deadline_s = time.monotonic() + timeout
        while (found := mqtt.split(self._received)) is None:
            self.socket.settimeout(max(0.001, deadline_s - time.monotonic()))
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                raise Closed from None
            if not data:
                raise Closed
            self._received += data
        kind, flags, body, length = found
        del self._received[:length]
        return kind, flags, body

    def recv_raw_or_closed(self, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[int | None, int, bytes]:
        """As `recv_raw`; type None where the server has closed."""
        try:
            return self.recv_raw(timeout)
        except Closed:
            return None, 0, b""

    # ---- packets ----

    def expect(self, kind: type[P], timeout: float = DEFAULT_TIMEOUT_S) -> P:
        """The next packet, which must be of this type."""
        found = self.recv(timeout)
        assert isinstance(found, kind), f"expected {kind.__name__}, got {found!r}"
        return found

    def expect_ack(self, kind: int, packet_id: int) -> Ack:
        """The next packet, which must be this acknowledgement."""
        found = self.expect(Ack)
        assert (found.kind, found.packet_id) == (kind, packet_id), found
        return found

    def connect(self, client_id: str | None = None, *, expect: int | None = 0, **options: Any) -> Self:
        """Send CONNECT and take the CONNACK, which must have this code (None: any)."""
        self.send(mqtt.connect(fresh("c") if client_id is None else client_id, self.version, **options))
        self.connack = self.expect(Connack)
        assert expect is None or self.connack.code == expect, self.connack
        return self

    def subscribe(self, *filters: str, options: int = 0, props: Properties | None = None) -> Suback:
        """Subscribe, and take the SUBACK; ``options`` is the byte of every filter (mostly the QoS)."""
        packet_id = next(self._ids)
        self.send(mqtt.subscribe(self.version, packet_id, [(name, options) for name in filters], props))
        found = self.expect(Suback)
        assert found.packet_id == packet_id
        assert len(found.codes) == len(filters)
        return found

    def subscribe_with_retained(
        self, *filters: str, options: int = 0, at_least: int = 0
    ) -> tuple[Suback, list[Publish]]:
        """Subscribe; the SUBACK and the retained messages, which may come on either side of it. Where the journal is
        strict they may come behind the fence, when they are stored: `at_least` says how many are waited for."""
        packet_id = next(self._ids)
        self.send(mqtt.subscribe(self.version, packet_id, [(name, options) for name in filters]))
        got = self.sync()
        # The router's slice for scans may be over, on a busy machine: then the first of them come with the next round.
        got += self.sync()
        if not any(isinstance(found, Suback) for found in got):
            # Many filters are subscribed to in parts, and the PINGREQ behind them is answered meanwhile.
            while not isinstance(got[-1] if got else None, Suback):
                got.append(self.recv())
            got += self.sync()
        while sum(isinstance(found, Publish) for found in got) < at_least:
            got.append(self.recv())
        (suback,) = [found for found in got if isinstance(found, Suback)]
        return suback, [found for found in got if isinstance(found, Publish)]

    def unsubscribe(self, *filters: str) -> Unsuback:
        """Unsubscribe, and take the UNSUBACK."""
        packet_id = next(self._ids)
        self.send(mqtt.unsubscribe(self.version, packet_id, filters))
        found = self.expect(Unsuback)
        assert found.packet_id == packet_id
        return found

    def publish(self, topic: str | bytes, payload: bytes = b"", **options: Any) -> int:
        """Publish and see it through at any QoS: when this returns, the server has dealt with it. Returns the id."""
        packet_id = options.setdefault("packet_id", next(self._ids))
        qos = options.get("qos", 0)
        self.send(mqtt.publish(self.version, topic, payload, **options))
        if qos == 0:
            assert self.sync() == []
        elif qos == 1:
            self.expect_ack(mqtt.PUBACK, packet_id)
        else:
            self.expect_ack(mqtt.PUBREC, packet_id)
            self.send(mqtt.ack(mqtt.PUBREL, packet_id))
            self.expect_ack(mqtt.PUBCOMP, packet_id)
        return int(packet_id)

    def receive(self, payload: bytes | None = None) -> Publish:
        """The next packet, which must be a PUBLISH (with this payload); acknowledged as its QoS asks for."""
        found = self.expect(Publish)
        assert payload is None or found.payload == payload, found
        self.acknowledge(found)
        return found

    def acknowledge(self, found: Publish) -> None:
        """See the QoS handshake of a received message through; what comes in between is kept for `recv`."""
        if found.packet_id is None:
            return
        if found.qos == 1:
            self.send(mqtt.ack(mqtt.PUBACK, found.packet_id))
            return
        self.send(mqtt.ack(mqtt.PUBREC, found.packet_id))
        while (got := mqtt.read(*self.recv_raw(), self.version)) != Ack(mqtt.PUBREL, found.packet_id):
            self._passed_over.append(got)
        self.send(mqtt.ack(mqtt.PUBCOMP, found.packet_id))

    def sync(self) -> list[Packet]:
        """Everything that came before the answer to a PINGREQ: what was sent before has been dealt with."""
        self.send(mqtt.pingreq())
        found: list[Packet] = []
        deadline_s = time.monotonic() + DEFAULT_TIMEOUT_S
        while True:
            got = self.recv(max(0.001, deadline_s - time.monotonic()))
            if isinstance(got, Pingresp):
                return found
            found.append(got)

    def publishes(self) -> list[Publish]:
        """As `sync`; nothing but PUBLISH may have come."""
        found = self.sync()
        assert all(isinstance(got, Publish) for got in found), found
        return [got for got in found if isinstance(got, Publish)]

    def expect_closed(self, *reasons: int, timeout: float = DEFAULT_TIMEOUT_S) -> Disconnect | None:
        """The server must close now, in 5.0 perhaps after a DISCONNECT, whose code must be one of ``reasons``.

        Without ``reasons`` any error code will do. Returns the DISCONNECT, where there was one.
        """
        said: Disconnect | None = None
        deadline_s = time.monotonic() + timeout
        while True:
            try:
                got = self.recv(max(0.001, deadline_s - time.monotonic()))
            except Closed:
                return said
            assert isinstance(got, Disconnect), f"still served: {got!r}"
            assert said is None, "two DISCONNECTs"
            assert got.reason in reasons if reasons else got.reason >= 0x80, got
            said = got

    def expect_refused(self, *codes: int) -> Connack | None:
        """The connection must end, at most with a CONNACK with one of these codes before it."""
        try:
            found = self.expect(Connack)
        except Closed:
            return None
        assert found.code in codes, found
        assert not found.session_present  # 3.2.2-6
        self.expect_closed()  # 3.2.2-7
        return found

    # ---- end ----

    def disconnect(self, reason: int = 0, props: Properties | None = None) -> None:
        """Say DISCONNECT; return when the server has closed."""
        self.send(mqtt.disconnect(self.version, reason, props))
        self.drain()
        self.socket.close()

    def drain(self) -> None:
        """Pass over everything until the server closes."""
        deadline_s = time.monotonic() + DEFAULT_TIMEOUT_S
        while True:
            try:
                self.recv_raw(max(0.001, deadline_s - time.monotonic()))
            except Closed:
                return

    def vanish(self) -> None:
        """Close without a DISCONNECT."""
        self.socket.close()

    def reset(self) -> None:
        """Close by a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


@dataclass
class Broker:
    """A server under test and the connections that a test has made to it, closed together."""

    address: tuple[str, int]
    clients: list[MqttClient] = field(default_factory=list)

    def open(self, version: int = V5) -> MqttClient:
        """A bare connection: nothing has been sent."""
        client = MqttClient(self.address, version)
        self.clients.append(client)
        return client

    def client(self, version: int = V5, client_id: str | None = None, **options: Any) -> MqttClient:
        """A connected client; ``options`` as of `mqtt_packets.connect`."""
        return self.open(version).connect(client_id, **options)

    def leave(self) -> None:
        """Close whoever is still connected."""
        for client in self.clients:
            client.socket.close()
        self.clients.clear()


def topics(packets: Iterable[Publish]) -> list[str]:
    """Their topics, sorted."""
    return sorted(found.topic for found in packets)
