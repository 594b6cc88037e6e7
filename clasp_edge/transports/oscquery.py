"""OSCQuery on a port of its own: HTTP for the tree, WebSocket for LISTEN and OSC packets (the proposal of 2018-08-31).

    GET /fader/1            a node and all below it, as JSON
    GET /fader/1?VALUE      one attribute of it: 204 it has none, 400 no such attribute, 404 no node
    GET /?HOST_INFO         where OSC and WebSocket are, and what is offered

A tree is made and sent in pieces, as fast as it is read. A web page from elsewhere gets nothing, as on the WebSocket
port (`transports.origins`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from clasp_edge.config.listen import Listen
from clasp_edge.devices.osc.query.client import QueryClient
from clasp_edge.devices.osc.query.tree import QueryTree
from clasp_edge.devices.osc.query.watch import PathWatch
from clasp_edge.devices.osc.server import OscServer
from clasp_edge.router.router import Router
from clasp_edge.router.stored import when_stored
from clasp_edge.transports.bind import bind, name_of, peer_of
from clasp_edge.transports.http import HttpGate, Request, Waiting, response
from clasp_edge.transports.origins import Origins
from clasp_edge.transports.picows_core import (
    WSAutoPingStrategy,
    WSListener,
    WSMsgType,
    WSProtocol,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from clasp_edge.transports.ws_rules import (
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TOO_BIG,
    close_answer,
    close_payload,
    control_frame,
)

log = logging.getLogger("clasp_edge.osc")

JSON = "application/json"
MAX_MESSAGE_BYTES = 65_536
READ_BUFFER_BYTES = 2048

BACKLOG_BYTES = 65_536
"""What may wait in a connection for its reader: then values wait, the newest of each address."""

MAX_TEXT_BACKLOG_BYTES = 131_072
"""With so much unread, even what is told only once is too much: the connection ends."""

PIECE_BYTES = 8_192
WHOLE_BYTES = 65_536
"""A tree up to this length is sent with its length in front, a longer one in chunks."""

PARTS_AT_ONCE = 100
"""Some thirty nodes: a millisecond."""

BINARY, TEXT = 0x82, 0x81


class QueryPages:
    """A `transports.http.Pages`."""

    def __init__(
        self,
        tree: QueryTree,
        is_allowed: Callable[[str], bool],
        origins: Callable[[], Origins],
        info: Callable[[], dict[str, Any]],
    ) -> None:
        self._tree = tree
        self._is_allowed = is_allowed
        self._origins = origins
        self._info = info

    def refusal(self, request: Request) -> bytes:
        """Nothing is sent to here."""
        return response("405 Method Not Allowed", b"OSCQuery only answers\n", fields={"Allow": "GET, HEAD"})

    def answer(self, request: Request) -> bytes | Iterator[bytes]:
        """The whole answer, or its pieces."""
        host = request.host.strip("[]").removeprefix("::ffff:")
        refusal = self._origins().host_refusal(request.headers)
        if refusal is None and not self._is_allowed(host):
            refusal = "osc.allow has no network that you are in"
        if refusal is not None:
            return response("403 Forbidden", refusal.encode() + b"\n", head_only=request.head_only)
        path = unquote_to_bytes(request.path).rstrip(b"/")
        name = request.query.partition("&")[0].partition("=")[0]
        if name == "HOST_INFO":
            return _json(self._info(), request)
        if path and not path.startswith(b"/"):
            return response("404 Not Found", b"a path begins with /\n", head_only=request.head_only)
        return self._of_node(self._tree.seen_from(host), path, name, request)

    def _of_node(self, tree: QueryTree, path: bytes, name: str, request: Request) -> Iterator[bytes]:
        """The answer in pieces; an empty one where others are to get their turn first."""
        there = False
        for there in tree.exists(path):
            if not there:
                yield b""
        if not there:
            yield response("404 Not Found", b"no such node\n", head_only=request.head_only)
        elif name in ("", "CONTENTS"):
            yield from _pieces(tree.node(path), request)
        else:
            yield _attribute(tree, path, name, request)


def _attribute(tree: QueryTree, path: bytes, name: str, request: Request) -> bytes:
    try:
        value = tree.attribute(path, name)
    except KeyError:
        return response("400 Bad Request", b"no such attribute\n", head_only=request.head_only)
    if value is None:
        return response("204 No Content", b"", head_only=True)
    return _json({name: value}, request)


def _pieces(parts: Iterator[str], request: Request) -> Iterator[bytes]:
    if request.head_only:
        yield response("200 OK", b"", head_only=True, content_type=JSON)
        return
    begun = bytearray()
    for number, part in enumerate(parts, 1):
        begun += part.encode()
        if len(begun) > WHOLE_BYTES:
            yield from _chunks(begun, parts)
            return
        if number % PARTS_AT_ONCE == 0 or not part:
            yield b""
    yield response("200 OK", bytes(begun), content_type=JSON)


def _chunks(begun: bytearray, parts: Iterator[str]) -> Iterator[bytes]:
    yield (
        f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    ).encode()
    piece = begun
    for part in parts:
        if not part:
            yield b""
        if len(piece) >= PIECE_BYTES:
            yield b"%x\r\n%b\r\n" % (len(piece), bytes(piece))
            piece = bytearray()
        piece += part.encode()
    yield b"%x\r\n%b\r\n0\r\n\r\n" % (len(piece), bytes(piece))


def _json(value: Any, request: Request) -> bytes:
    return response("200 OK", msgspec.json.encode(value), head_only=request.head_only, content_type=JSON)


class OscQueryServer:
    """The listener. `start` once, `stop` once. `tree`, `info()`: what is shown; `is_allowed(host)`: to whom."""

    def __init__(
        self, router: Router, listen: Listen, osc: OscServer, tree: QueryTree, info: Callable[[int], dict[str, Any]]
    ) -> None:
        self.router = router
        self.osc = osc
        self.tree = tree
        self.clients: set[QueryClient] = set()
        self.port = 0
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._watch = PathWatch(router.loop, router.plane, tree.base, self._tell)
        self._waiting = Waiting(
            router.loop, router.half_open, lambda: router.config.limits.handshake_timeout_s, router.clock
        )
        self._pages = QueryPages(tree, osc.is_allowed, self._origins, lambda: info(self.port))

    async def start(self) -> str:
        """Bind and listen; returns `host:port`. Raises `bind.BindError`."""
        sock = bind(self._listen, socket.SOCK_STREAM)
        self._server = await self.router.loop.create_server(self._accepted, sock=sock)
        self.port = int(sock.getsockname()[1])
        return name_of(sock)

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.is_serving()

    def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        self._waiting.close_all()
        self._watch.stop()
        for client in list(self.clients):
            client.abort()

    def joined(self, client: QueryClient) -> None:
        self.clients.add(client)
        self._watch.start()

    def left(self, client: QueryClient) -> None:
        self.clients.discard(client)
        if not self.clients:
            self._watch.stop()

    def _tell(self, command: str, paths: list[bytes]) -> None:
        for client in list(self.clients):
            client.tell(command, paths)

    def _origins(self) -> Origins:
        return Origins(self.router.config.websocket.origins)

    def _accepted(self) -> asyncio.Protocol:
        return HttpGate(
            self._upgrade, self._refusal, self._waiting, self._pages, self._stranger,
            lambda then: when_stored(self.router.plane, then),
        )  # fmt: skip

    def _stranger(self, headers: Mapping[str, str]) -> str | None:
        return self._origins().refusal(headers) or self._origins().host_refusal(headers)

    def _refusal(self, transport: asyncio.Transport) -> str | None:
        return None if self.router.open_to(peer_of(transport)) else "too many sessions"

    def _upgrade(self, transport: asyncio.Transport, data: bytes, headers: Mapping[str, str]) -> None:
        connection = _Connection(self)

        def listener(request: Any) -> Any:
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(None), connection)

        protocol = WSProtocol(
            None, None, False, listener, _Silent(), True, None, False, 20, 20, WSAutoPingStrategy.PING_WHEN_IDLE,
            False, MAX_MESSAGE_BYTES, None, READ_BUFFER_BYTES,
        )  # fmt: skip
        transport.pause_reading()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        rest = memoryview(data)
        while rest and not transport.is_closing():
            room = protocol.get_buffer(-1)
            piece, rest = rest[: len(room)], rest[len(room) :]
            room[: len(piece)] = piece
            protocol.buffer_updated(len(piece))
        with contextlib.suppress(RuntimeError):  # closed by the handshake
            if not transport.is_closing():
                transport.resume_reading()


class _Silent:
    """Stands in for picows' per-connection loggers."""

    def isEnabledFor(self, level: int) -> bool:  # the name logging.Logger has
        return False

    def log(self, *args: object, **kwargs: object) -> None: ...

    debug = info = warning = error = exception = log


class _Connection(WSListener):
    """One WebSocket. A `query.client.Way`."""

    def __init__(self, server: OscQueryServer) -> None:
        self._server = server
        self._transport: Any = None
        self._client: QueryClient | None = None
        self._within = 0
        self._pieces = bytearray()
        self._blocked_since_s = 0.0

    def on_ws_connected(self, transport: Any) -> None:
        self._transport = transport
        peer = transport.underlying_transport.get_extra_info("peername")
        host, port = str(peer[0]).removeprefix("::ffff:"), int(peer[1])
        client = QueryClient(self._server.osc, self, host, port, self._server.tree.base)
        if not client.admitted:
            transport.disconnect(False)
            return
        self._client = client
        self._server.joined(client)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        kind = frame.msg_type
        client = self._client
        if client is None:
            return
        if kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._message(client, kind, frame)
        elif kind == WSMsgType.PING:
            # Who does not read the answers gets no more of them.
            if transport.underlying_transport.get_write_buffer_size() == 0:
                self._write(control_frame(WSMsgType.PONG.value, frame.get_payload_as_bytes()))
        elif kind == WSMsgType.CLOSE:
            self._end(close_answer(frame.get_payload_as_bytes()))

    def _message(self, client: QueryClient, kind: Any, frame: Any) -> None:
        if frame.rsv1 or frame.rsv2 or frame.rsv3 or (self._within != 0) != (kind == WSMsgType.CONTINUATION):
            self._end(close_payload(CLOSE_PROTOCOL_ERROR, "fragments of a message do not add up"))
            return
        if kind != WSMsgType.CONTINUATION:
            self._within = kind.value
        data = frame.get_payload_as_bytes()
        if len(self._pieces) + len(data) > MAX_MESSAGE_BYTES:
            self._end(close_payload(CLOSE_TOO_BIG, f"a message has at most {MAX_MESSAGE_BYTES} bytes"))
            return
        self._pieces += data
        if not frame.fin:
            return
        whole, self._pieces = bytes(self._pieces), bytearray()
        is_text, self._within = self._within == WSMsgType.TEXT.value, 0
        if is_text:
            client.text(whole)
        else:
            client.packet(whole)

    def on_ws_disconnected(self, transport: Any) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._server.left(client)
            client.lost()

    def pause_writing(self) -> None:
        """`send` looks at the buffer itself."""

    def resume_writing(self) -> None:
        """`send` looks at the buffer itself."""

    def _end(self, payload: bytes) -> None:
        self._write(control_frame(WSMsgType.CLOSE.value, payload))
        self._server.router.loop.call_soon(self._transport.disconnect)

    def _write(self, data: bytes) -> None:
        transport = self._transport.underlying_transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_TEXT_BACKLOG_BYTES:
            self.abort()
        else:
            transport.write(data)

    # ---- Way ----

    def send(self, packet: bytes) -> bool:
        transport = self._transport.underlying_transport
        if transport.is_closing():
            return True
        if transport.get_write_buffer_size() > BACKLOG_BYTES:
            now_s = self._server.router.clock.monotonic_s()
            self._blocked_since_s = self._blocked_since_s or now_s
            if now_s - self._blocked_since_s > self._server.router.config.limits.slow_client_timeout_s:
                self.abort()
            return False
        self._blocked_since_s = 0.0
        transport.write(_frame(BINARY, packet))
        return True

    def send_text(self, text: bytes) -> None:
        self._write(_frame(TEXT, text))

    def abort(self) -> None:
        self._transport.disconnect(False)


def _frame(kind: int, payload: bytes) -> bytes:
    """An unmasked frame (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((kind, size)) + payload
    if size < 1 << 16:
        return bytes((kind, 126)) + size.to_bytes(2, "big") + payload
    return bytes((kind, 127)) + size.to_bytes(8, "big") + payload
