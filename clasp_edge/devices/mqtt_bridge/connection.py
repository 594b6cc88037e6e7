"""One connection to a broker, from first byte to last: what is read goes to the flow, what the flow has goes out.

Knows neither addresses nor what else there is to connect to.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, BaseTransport, BufferedProtocol, Future, Transport
from collections.abc import Callable
from typing import cast

from clasp_edge.devices.mqtt.codec import Connack, Disconnect, MqttError, PacketType, Pingreq, decode, encode
from clasp_edge.devices.mqtt.codec.primitives import Reader
from clasp_edge.devices.mqtt.codec.reason import malformed, protocol_error
from clasp_edge.devices.mqtt.codec.types import V5, V311
from clasp_edge.devices.mqtt_bridge.flow import Flow

log = logging.getLogger("clasp_edge.bridge")

READ_BYTES = 65_536
MOST_UNSENT_BYTES = 262_144
"""With more than this waiting for the socket nothing more is published: it stays in the bridge's queue."""

MOST_PER_TURN = 256
"""Packets of one read: a few milliseconds of work, so that a flood from a broker does not hold up the clients."""

LARGEST_GREETING_BYTES = 65_536
"""A CONNACK is the properties that it has."""

CONNECTION_LOST = "connection lost"


class Connection(BufferedProtocol):
    """`greeting` gets the CONNACK, `ended` why the connection is over; then `serve`, once. `taken` is called before
    (True) and after (False) each time that the flow takes what has come."""

    def __init__(self, loop: AbstractEventLoop, mqtt5: bool) -> None:
        self.mqtt5 = mqtt5
        self.greeting: Future[Connack] = loop.create_future()
        self.ended: Future[str] = loop.create_future()
        self.paused = False
        """Whether so much waits for the socket that no more is to be published."""
        self.heard_s = self.sent_s = loop.time()
        self._loop = loop
        self.transport: Transport | None = None
        self._flow: Flow | None = None
        self._taken: Callable[[bool], None] = lambda begins: None
        self._buffer = bytearray(READ_BYTES)
        self._filled = 0
        self._again = False  # what is there is taken in another turn
        self._held = False

    @property
    def version(self) -> int:
        """Of MQTT, as packets have it."""
        return V5 if self.mqtt5 else V311

    # ---- what the link does ----

    def serve(self, flow: Flow, taken: Callable[[bool], None]) -> None:
        """The broker has taken us: all else that comes is the flow's."""
        self._flow = flow
        self._taken = taken
        if self._filled:
            self._loop.call_soon(self._take)

    def write(self, data: bytes) -> None:
        """Send some packets."""
        if data and self.transport is not None and not self.ended.done():
            self.sent_s = self._loop.time()
            self.transport.write(data)

    def flush(self) -> None:
        """Send what the flow has."""
        if self._flow is not None:
            self.write(self._flow.take_output())

    def ping(self) -> None:
        """Ask whether the broker is there."""
        self.write(encode(Pingreq(), self.version))

    def close(self) -> None:
        """Say goodbye; what waits is still sent as far as it goes."""
        self.write(encode(Disconnect(), self.version))
        self._end("stopped")
        if self.transport is not None:
            self.transport.close()

    def give_up(self, reason: str) -> None:
        """End it at once."""
        self._end(reason)
        if self.transport is not None:
            self.transport.abort()

    def _end(self, reason: str) -> None:
        self._flow = None
        if not self.ended.done():
            self.ended.set_result(reason)
        if not self.greeting.done():
            self.greeting.cancel()

    # ---- what the loop does ----

    def connection_made(self, transport: BaseTransport) -> None:
        self.transport = cast("Transport", transport)
        self.transport.set_write_buffer_limits(high=MOST_UNSENT_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(CONNECTION_LOST if exc is None else f"{CONNECTION_LOST}: {exc}")

    def pause_writing(self) -> None:
        self.paused = True  # who does not read answers is not read either
        self._steer()

    def resume_writing(self) -> None:
        self.paused = False
        self._taken(True)
        self._taken(False)
        if not self._again:
            self._take()
        self._steer()

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self.heard_s = self._loop.time()
        self._filled += nbytes
        if not self._again:
            self._take()

    def eof_received(self) -> bool:
        return False

    # ---- what has come ----

    def _take(self) -> None:
        self._again = False
        if self.ended.done() or self.paused:
            return
        try:
            if self._flow is not None:
                self._feed(self._flow)
            elif not self.greeting.done():
                self._greet()
            else:
                self._again = self._filled == len(self._buffer)  # until somebody serves
                self._steer()
        except MqttError as error:
            is_said = error.text.startswith("the broker ")
            self.give_up(error.text if is_said else f"the broker has broken a rule: {error}")
        except Exception as error:
            # Whatever a broker sends costs this connection and not the bridge.
            log.exception("a bridge's connection has failed")
            self.give_up(f"internal error: {error!r}")

    def _feed(self, flow: Flow) -> None:
        self._taken(True)
        try:
            used, needed = flow.feed(self._buffer, self._filled, MOST_PER_TURN)
        finally:
            self._taken(False)
        self._keep(used, needed)
        if flow.more and not self.ended.done():
            self._again = True
            self._loop.call_soon(self._take)
        self._steer()

    def _steer(self) -> None:
        """Read, or do not read for now."""
        if self.transport is not None and self._held != (self.paused or self._again):
            self._held = not self._held
            if self._held:
                self.transport.pause_reading()
            elif not self.ended.done():
                self.transport.resume_reading()

    def _keep(self, used: int, needed: int) -> None:
        """What the flow has not used is the beginning of a packet, of which the size is known or not."""
        rest = self._buffer[used : self._filled]
        size = max(READ_BYTES, needed)
        if size != len(self._buffer) and size >= len(rest) and not (size == READ_BYTES and len(rest) == size):
            # A new object, because the loop may still hold the old one. A large packet has one of its own.
            self._buffer = bytearray(size)
        self._filled = len(rest)
        self._buffer[: self._filled] = rest

    def _greet(self) -> None:
        data = bytes(self._buffer[: min(self._filled, 5)])
        if not data:
            return
        if data[0] >> 4 != PacketType.CONNACK:
            raise protocol_error("the broker has sent something else in place of a CONNACK")
        reader = Reader(data, 1)
        if not any(byte < 0x80 for byte in data[1:]) and len(data) < 5:
            return
        size = reader.varint("remaining length")
        if size > LARGEST_GREETING_BYTES - 5:
            raise malformed("its CONNACK is larger than any")
        end = reader.pos + size
        if self._filled < end:
            return
        body = bytes(self._buffer[reader.pos : end])
        # A broker that does not know MQTT 5 refuses in its own version.
        version = V311 if size == 2 and body[1] else self.version
        packet = decode(data[0], body, version)
        assert isinstance(packet, Connack)
        self._keep(end, 0)
        self.greeting.set_result(packet)
