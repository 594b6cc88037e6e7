"""WebSocket listener and connections, on picows (router.md 1.1, wire.md 6.1).

picows reads: it parses and unmasks frames and hands over pointers. Everything that is written, pongs and closes
included, goes through the session's outbox, so that nothing can land in the middle of a half-sent message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clasp_edge.config.listen import Listen
from clasp_edge.dataplane import Framing
from clasp_edge.dataplane.account import Charge
from clasp_edge.router.link import CloseCode
from clasp_edge.router.router import Router
from clasp_edge.router.session import Session
from clasp_edge.transports.bind import bind, name_of, peer_of
from clasp_edge.transports.http import HttpGate, Pages, Waiting
from clasp_edge.transports.large_frames import LargeFrames, feed
from clasp_edge.transports.origins import FORWARDED, Origins
from clasp_edge.transports.picows_core import (
    ClientListener,
    WSAutoPingStrategy,
    WSMsgType,
    WSProtocol,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from clasp_edge.transports.ws_rules import TEXT_REFUSED, close_answer, close_payload, control_frame

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.server import MqttServer

log = logging.getLogger("clasp_edge.transports")

SUBPROTOCOL = "clasp"
MQTT_SUBPROTOCOLS = ("mqtt", "mqttv3.1")
"""As MQTT 3.1.1 and 5.0 have it, and as clients from the time before them."""
MAX_MESSAGE_BYTES = 65547
"""One CLASP frame per message; the largest has 65,535 bytes of payload and 12 of header."""

PARSER_SPARE_BYTES = 256
"""Of the read buffer, which picows leaves free at the end."""

READ_BUFFER_BYTES = 2048
"""Initial read buffer per connection; it doubles when a read fills it."""

CLOSE_TIMEOUT_S = 1.0
"""How long a peer may take to answer our close."""


ENOUGH_BYTES = 49_000
"""Free in the read buffer: no more than three quarters of it are filled by one read. The buffer's sizes are 1792 bytes
times a power of two; one of 114,688 has so much left behind the largest frame, and is never outgrown."""


class _ParserLog:
    """Stands in for picows' per-connection loggers, which cost more memory than the connection.

    It is also how one learns that the parser has given up: it says so here before it sends its close frame.
    """

    __slots__ = ("_failed",)

    def __init__(self, failed: Callable[[], None]) -> None:
        self._failed = failed

    def isEnabledFor(self, level: int) -> bool:  # the name logging.Logger has
        return False

    def log(self, *args: object, **kwargs: object) -> None: ...

    debug = info = log

    def warning(self, message: str, *args: object, **kwargs: object) -> None:
        log.debug(message, *args)

    def error(self, message: str, *args: object, **kwargs: object) -> None:
        log.debug(message, *args)
        self._failed()

    def exception(self, message: str, *args: object, **kwargs: object) -> None:
        # Not the client's fault but ours, whatever it has sent.
        log.error(message, *args, exc_info=True)
        self._failed()


class Parser(WSProtocol):  # type: ignore[misc]  # not in picows' stubs
    """picows' parser, which doubles its read buffer whenever a read fills it, without end and for good. Here a read
    never fills one that has room for the largest frame, and what it has grown by is told to `grown`, to be charged."""

    __slots__ = ("_held", "grown")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._held = READ_BUFFER_BYTES - PARSER_SPARE_BYTES
        self.grown: Callable[[int], None] = _not_charged

    def get_buffer(self, size_hint: int) -> memoryview:
        """As picows: what its buffer has free, or so much less that it does not grow (above nine tenths)."""
        room: memoryview = super().get_buffer(size_hint)
        size = len(room)
        while size > self._held:
            self.grown(self._held)
            self._held *= 2
        # Never the last byte: after a doubling there is then more free than there was in all, which shows it.
        return room[: size - 1] if size < ENOUGH_BYTES else room[: size - size // 4 - 512]


def _not_charged(size: int) -> None:
    """Nobody is known yet whom it could be charged to."""


class Connection:
    """One client, from the upgrade on. Implements `router.link.Link`."""

    __slots__ = ("_goodbye", "_server", "_session", "_transport", "proxied", "reading", "remote")

    def __init__(self, server: WebSocketServer) -> None:
        self._server = server
        self._transport: Any = None
        self._session: Session | None = None
        self._goodbye: bytes | None = None
        self.reading = True
        self.proxied = False
        self.remote = "?"

    # ---- called by the listener ----

    def opened(self, transport: Any) -> Session:
        """The upgrade is done: make the session."""
        self._transport = transport
        tcp = transport.underlying_transport
        self.remote = peer_of(tcp)
        fd = tcp.get_extra_info("socket").fileno()
        self._session = self._server.router.connect(self, fd, Framing.WS)
        self._session.proxied = self.proxied
        return self._session

    def control_frame(self, opcode: int, payload: bytes) -> None:
        """Ping, pong or close from the client."""
        assert self._session is not None
        self._session.touch()
        if opcode == WSMsgType.PING.value:
            # Who pings and never reads must not fill our memory with pongs; RFC 6455, 5.5.3 asks for the newest only.
            if not self._session.pressed:
                self._session.send_raw(control_frame(WSMsgType.PONG.value, payload))
        elif opcode == WSMsgType.CLOSE.value:
            if self._session.input_waits and not self._session.closing:
                # A client may write and close in one breath: what came before counts, and waits for its turn.
                self._goodbye = payload
            else:
                self._answer_close(payload)

    def _answer_close(self, payload: bytes) -> None:
        assert self._session is not None
        if not self._session.closing:
            self._session.stop_listening()
            self._say_close(close_answer(payload))
        # After the pass, so that the outbox is written first.
        self._server.loop.call_soon(self._transport.disconnect)

    def parser_failed(self) -> None:
        """The parser is about to send a close frame. Nothing may follow that (RFC 6455, 5.5.1), and nothing counts that
        still comes (7.1.7): it would go on reading, and say so again."""
        if self._session is not None:
            self._session.stop_listening()
            self._session.fall_silent()
            self.pause_reading()

    def no_memory(self) -> None:
        """The client's account has no room for a message in several frames."""
        assert self._session is not None
        self._session.close(CloseCode.TRY_AGAIN_LATER, self._server.router.memory_full())

    def buffer_grown(self, size: int) -> None:
        """The parser's read buffer has so many bytes more, and keeps them."""
        session = self._session
        if session is None:
            return  # the request: bounded by another limit
        if not session.holding.charge(size, Charge.INPUT):
            session.holding.force(size, Charge.INPUT)
            if not session.closing:
                self.no_memory()

    def too_big(self) -> None:
        """In fragments; the parser says the same of one frame."""
        assert self._session is not None
        self._session.close(CloseCode.MESSAGE_TOO_BIG, f"a message has at most {MAX_MESSAGE_BYTES} bytes")

    def broken(self, text: str) -> None:
        """What the client sent is no WebSocket."""
        assert self._session is not None
        self._session.close(CloseCode.PROTOCOL_ERROR, text)

    def text_message(self) -> None:
        """Somebody sends JSON, and should learn why nothing happens."""
        assert self._session is not None
        self._session.close(CloseCode.UNSUPPORTED_DATA, TEXT_REFUSED)

    def closed(self) -> None:
        """The TCP connection is gone."""
        if self._session is not None:
            self._session.disconnected()

    # ---- Link ----

    def pause_reading(self) -> None:
        if self.reading:
            self.reading = False
            self._transport.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        if self._goodbye is not None:
            payload, self._goodbye = self._goodbye, None
            self._answer_close(payload)
        elif not self.reading and not self._transport.underlying_transport.is_closing():
            self.reading = True
            self._transport.underlying_transport.resume_reading()

    def ping(self) -> None:
        assert self._session is not None
        self._session.send_raw(control_frame(WSMsgType.PING.value, b""))

    def close(self, code: CloseCode, reason: str) -> None:
        assert self._session is not None
        if self._session.blocked:
            # A close frame would wait behind what the client does not read.
            self._server.loop.call_soon(self.abort)
            return
        self._say_close(close_payload(code, reason))
        self._server.loop.call_later(CLOSE_TIMEOUT_S, self._end)

    def _say_close(self, payload: bytes) -> None:
        assert self._session is not None
        self._session.send_raw(control_frame(WSMsgType.CLOSE.value, payload))
        self._session.fall_silent()

    def abort(self) -> None:
        self._transport.disconnect(False)

    def _end(self) -> None:
        if not self._transport.underlying_transport.is_closing():
            self._transport.disconnect()


class _LocalSocket:
    """A local socket for who takes every socket for one of TCP: options of TCP are none here."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if level != socket.IPPROTO_TCP:
            self._sock.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int) -> int:
        return 0 if level == socket.IPPROTO_TCP else int(self._sock.getsockopt(level, option))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _LocalTransport:
    """A transport over a local socket, with such a socket."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._sock = _LocalSocket(transport.get_extra_info("socket"))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._sock if name == "socket" else self._transport.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def tcp_like(transport: asyncio.Transport) -> Any:
    """The transport, or, where it is a decrypted connection's (`tls_tunnel`), one that picows can use like TCP's."""
    return _LocalTransport(transport) if transport.get_extra_info("socket").family == socket.AF_UNIX else transport


def mqtt_upgrade(server: MqttServer, subprotocol: str, parser: Parser) -> Any:
    """The upgrade of a client that speaks MQTT."""
    from clasp_edge.transports.mqtt_websocket import WebSocketConnection, listener_for

    reply = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": subprotocol})
    connection = WebSocketConnection(server)
    parser.grown = connection.buffer_grown
    return WSUpgradeResponseWithListener(reply, listener_for(connection))


class WebSocketServer:
    """The listener. `start` binds (OSError with the address when it cannot), `stop` closes the listening sockets."""

    def __init__(self, router: Router, listen: Listen | None) -> None:
        self.router = router
        self.loop = router.loop
        self._listen = listen
        self.mqtt: MqttServer | None = None
        self.pages: Pages | None = None
        self._server: asyncio.Server | None = None
        self._waiting = Waiting(
            self.loop,
            router.half_open,
            lambda: self.router.config.limits.handshake_timeout_s,
            router.clock,
        )

    async def start(self) -> str:
        """Bind and listen; returns the address as `host:port`. Raises `bind.BindError`."""
        assert self._listen is not None
        sock = bind(self._listen, socket.SOCK_STREAM)
        self._server = await self.loop.create_server(self.accepted, sock=sock, backlog=1024)
        return name_of(sock)

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._server is not None and self._server.is_serving()

    def stop(self) -> None:
        """Accept no more connections; those that are open stay."""
        if self._server is not None:
            self._server.close()
        self._waiting.close_all()

    def accepted(self) -> asyncio.Protocol:
        """The protocol of a new connection, whose first bytes say what it becomes."""
        return HttpGate(self._upgrade, self._refusal, self._waiting, self.pages, self._stranger)

    def _stranger(self, headers: Mapping[str, str]) -> str | None:
        # Made for each browser that comes, which is seldom: the list may have been reloaded meanwhile.
        if "origin" not in headers:
            return None
        return Origins(self.router.config.websocket.origins).refusal(headers)

    def _refusal(self, transport: asyncio.Transport) -> str | None:
        return None if self.router.open_to(peer_of(transport)) else "too many sessions"

    def _upgrade(self, transport: asyncio.Transport, data: bytes, headers: Mapping[str, str]) -> None:
        connection = Connection(self)
        connection.proxied = any(field in headers for field in FORWARDED)
        speaks_mqtt = False

        def listener(request: Any) -> Any:
            nonlocal speaks_mqtt
            offered = request.headers.get("Sec-WebSocket-Protocol", "")
            names = [name.strip() for name in offered.split(",")]
            spoken = [name for name in MQTT_SUBPROTOCOLS if name in names]
            if self.mqtt is not None and spoken and SUBPROTOCOL not in names:
                speaks_mqtt = True
                return mqtt_upgrade(self.mqtt, spoken[0], protocol)
            chosen = SUBPROTOCOL in names
            fields = {"Sec-WebSocket-Protocol": SUBPROTOCOL} if chosen else None
            reply = WSUpgradeResponse.create_101_response(fields)
            return WSUpgradeResponseWithListener(reply, ClientListener(connection))

        parser_log = _ParserLog(connection.parser_failed)
        protocol = Parser(
            None, None, False, listener, parser_log, True, None, False, 20, 20, WSAutoPingStrategy.PING_WHEN_IDLE,
            False, MAX_MESSAGE_BYTES, None, READ_BUFFER_BYTES,
        )  # fmt: skip
        protocol.grown = connection.buffer_grown
        # The request was read by somebody else: the new protocol gets it as if it had just come in. Reading stops
        # meanwhile, because the loop reads differently for the two kinds of protocol.
        transport.pause_reading()
        transport.set_protocol(protocol)
        protocol.connection_made(tcp_like(transport))
        head, end, rest = data.partition(b"\r\n\r\n")
        feed(transport, protocol, head + end)
        if speaks_mqtt:
            frames = LargeFrames(transport, protocol)
            transport.set_protocol(frames)
            frames.data_received(rest)
        else:
            feed(transport, protocol, rest)
        with contextlib.suppress(RuntimeError):  # closed by the handshake
            if connection.reading and not transport.is_closing():
                transport.resume_reading()
