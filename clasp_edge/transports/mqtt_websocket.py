"""MQTT over WebSocket: a stream of packets in binary messages, which need not begin and end with them (5.0, 6)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from clasp_edge.dataplane.account import Charge, Holding
from clasp_edge.devices.mqtt.connection import Connection
from clasp_edge.router.principal import host_of
from clasp_edge.transports.bind import peer_of
from clasp_edge.transports.picows_core import WSListener, WSMsgType
from clasp_edge.transports.ws_rules import (
    CLOSE_PROTOCOL_ERROR,
    CLOSE_UNSUPPORTED,
    close_answer,
    close_payload,
    control_frame,
)

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.server import MqttServer

CLOSE_NORMAL = b"\x03\xe8"
"""Body of a close frame: code 1000."""

CLOSE_TIMEOUT_S = 1.0


class WebSocketConnection(Connection):
    """An MQTT client behind a WebSocket."""

    websocket = True

    def __init__(self, server: MqttServer) -> None:
        super().__init__(server)
        self._transport: Any = None
        self._reading = True
        self._parser_holding: Holding | None = None

    def opened(self, transport: Any) -> None:
        """The upgrade is done; CONNECT has to follow."""
        self._transport = transport
        self.remote = peer_of(transport.underlying_transport)
        self.server.waiting.add(self)

    def buffer_grown(self, size: int) -> None:
        """The parser's read buffer has so many bytes more, and keeps them."""
        if self._parser_holding is None:
            self._parser_holding = Holding(self.server.router.account_of(host_of(self.remote)))
        if not self._parser_holding.charge(size, Charge.INPUT):
            self._parser_holding.force(size, Charge.INPUT)
            self.server.loop.call_soon(self.abort)

    def lost(self) -> None:
        self._parser_holding = None  # the parser and its buffer have gone
        super().lost()

    def message(self, payload: bytes) -> None:
        """The payload of a binary message, or of a part of one."""
        if self.input is not None:
            self.input.append(payload)
            self.received_own(0)
        else:
            data = self.rest + payload if self.rest else payload
            self.received(data, len(data))

    def control(self, opcode: int, payload: bytes) -> None:
        """Ping, pong or close."""
        if opcode == WSMsgType.PING.value:
            self._send(control_frame(WSMsgType.PONG.value, payload))
        elif opcode == WSMsgType.CLOSE.value:
            if self.input_waits:
                self.after_input(partial(self._answer_close, payload))
            else:
                self._answer_close(payload)

    def _answer_close(self, payload: bytes) -> None:
        if not self.closing:
            self.closing = True
            self._send(control_frame(WSMsgType.CLOSE.value, close_answer(payload)))
        self.server.loop.call_soon(self.abort)

    def fail(self, code: int, reason: str) -> None:
        """What the client sent is no WebSocket, or nothing that MQTT sends over one."""
        if not self.closing:
            self.closing = True
            self._send(control_frame(WSMsgType.CLOSE.value, close_payload(code, reason)))
            self.server.loop.call_soon(self.abort)

    def _send(self, data: bytes) -> None:
        if self.session is None:
            self._transport.underlying_transport.write(data)
        elif not self.session.pressed:
            self.session.send_raw(data)

    def fileno(self) -> int:
        number: int = self._transport.underlying_transport.get_extra_info("socket").fileno()
        return number

    def send_early(self, data: bytes) -> None:
        self._transport.underlying_transport.write(bytes((0x82, len(data))) + data)

    def pause_reading(self) -> None:
        if self._reading and not self.gone:
            self._reading = False
            self._transport.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self.ends_after_input and not self._transport.underlying_transport.is_closing():
            self._reading = True
            self._transport.underlying_transport.resume_reading()

    def finish_output(self) -> None:
        self.resume_reading()
        self._send(control_frame(WSMsgType.CLOSE.value, CLOSE_NORMAL))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(False)


def listener_for(connection: WebSocketConnection) -> Any:
    """The WebSocket listener that feeds `connection`."""
    return _Listener(connection)


class _Listener(WSListener):
    """Hands over what arrives. MQTT 5.0, 6 [MQTT-6.0.0-1]: text is a reason to close; RFC 6455, 5.2 and 5.4: so are
    reserved bits, and fragments that do not add up."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self._within = False  # a message that comes in several frames

    def on_ws_connected(self, transport: Any) -> None:
        self._connection.opened(transport)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        kind = frame.msg_type
        if self._connection.closing or (self._connection.ends_after_input and not self._connection.yields):
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._connection.fail(CLOSE_PROTOCOL_ERROR, "reserved bits are set and no extension was negotiated")
        elif kind == WSMsgType.TEXT:
            self._connection.fail(CLOSE_UNSUPPORTED, "MQTT is binary; a text message is not understood")
        elif kind in (WSMsgType.BINARY, WSMsgType.CONTINUATION):
            if self._within != (kind == WSMsgType.CONTINUATION):
                self._connection.fail(CLOSE_PROTOCOL_ERROR, "fragments of a message do not add up")
                return
            self._within = not frame.fin
            self._connection.message(frame.get_payload_as_bytes())
        else:
            self._connection.control(frame.msg_type.value, frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: Any) -> None:
        self._connection.lost()

    def pause_writing(self) -> None:
        """The session writes to the socket itself."""

    def resume_writing(self) -> None:
        """The same."""
