"""What arrives on the WebSocket port first: reads the request head and decides what the connection becomes.

Plain HTTP is answered `200 ok`, as load balancers' health checks expect (router.md 1.1), unless it asks for one of the
pages that somebody else has. Knows no CLASP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol, cast

from clasp_edge.clock import Clock
from clasp_edge.router.notices import Notices
from clasp_edge.router.other_protocol import other_protocol
from clasp_edge.router.places import HalfOpen
from clasp_edge.transports.bind import peer_of
from clasp_edge.transports.ws_handshake import BadHandshake, asks_for_websocket, checked

log = logging.getLogger("clasp_edge.transports")

MAX_HEAD_BYTES = 8192
"""More than any browser sends; what is longer is not a WebSocket client."""

_METHODS_READ = (b"GET ", b"HEAD ")
_METHODS_ANSWERED = (b"POST ", b"OPTIONS ")

ASK = b"POST /ask "
UPLOAD = b"POST /update?"
"""The POSTs whose bodies are read."""

RIGHT_PORT = {"TLS": "websocket.tls_listen", "MQTT": "mqtt.listen"}

MAX_BODY_BYTES = 4096

MAX_PIECE_BYTES = 131_072
"""Of an update, from who may send one: that is asked before so much is read."""


Whole = bytes | asyncio.Future[bytes]
"""An answer that goes out in one piece, now or later."""


class Request(NamedTuple):
    """A GET or HEAD that is no upgrade. `path` is without the query; names of `headers` are in lower case; `host` is
    where it comes from, as an address."""

    path: str
    headers: dict[str, str]
    host: str
    head_only: bool
    query: str = ""
    body: bytes | None = None
    """Of a POST; None for what only asks."""


class Pages(Protocol):
    """Who answers requests for certain paths."""

    def answer(self, request: Request) -> Whole | Iterator[bytes] | None:
        """The whole answer (`response`), or its pieces, or None where the path is nobody's."""

    def refusal(self, request: Request) -> bytes | None:
        """Of an UPLOAD whose body has not been read: the answer to who may not send one."""


def response(
    status: str,
    body: bytes,
    *,
    head_only: bool = False,
    content_type: str = "text/plain",
    fields: Mapping[str, str] | None = None,
) -> bytes:
    """A whole HTTP answer that ends the connection."""
    head = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **(fields or {}),
        "Connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + (b"" if head_only else body)


def headers_of(head: bytes) -> dict[str, str]:
    """The header fields of a request head, names in lower case; repeated fields joined by commas (RFC 9110, 5.3)."""
    fields: dict[str, str] = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            key, text = name.decode("latin-1").strip().lower(), value.decode("latin-1").strip()
            fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


class HttpGate(asyncio.Protocol):
    """First protocol of every connection. `upgrade(transport, data, headers)` takes over one that wants to be a
    WebSocket; `refuse(transport)` returns a reason when it cannot be taken now, `stranger(headers)` when it comes from
    a web page that may not. `pages` are shown to who asks for them, each piece when `stored` calls back: what it shows
    is safe then."""

    def __init__(
        self,
        upgrade: Callable[[asyncio.Transport, bytes, Mapping[str, str]], None],
        refuse: Callable[[asyncio.Transport], str | None],
        waiting: Waiting,
        pages: Pages | None = None,
        stranger: Callable[[Mapping[str, str]], str | None] | None = None,
        stored: Callable[[Callable[[], None]], None] = lambda then: then(),
    ) -> None:
        self._stranger = stranger
        self._upgrade = upgrade
        self._refuse = refuse
        self._waiting = waiting
        self._pages = pages
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._pieces: Iterator[bytes] | None = None
        self._paused = False
        self._may_send = False
        self._stored = stored
        self._holding = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._waiting.add(self, peer_of(transport).rpartition(":")[0])

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._pieces is not None:
            return  # one request for a connection
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if self._head.startswith((ASK, UPLOAD)) and self._pages is not None:
            self._take_body(end)
        elif self._head.startswith(_METHODS_ANSWERED):
            self._answer(response("200 OK", b"ok\n"))
        elif end < 0:
            if len(self._head) > MAX_HEAD_BYTES or not _may_become(self._head):
                self._no_request()
        elif not self._head.startswith(_METHODS_READ):
            self._no_request()
        elif end > MAX_HEAD_BYTES:
            self._answer(response("431 Request Header Fields Too Large", b"the request head is too long\n"))
        elif self._head.startswith(b"HEAD ") or not asks_for_websocket(headers := headers_of(self._head[:end])):
            self._answer(self._page(self._head[:end]))
        else:
            self._become_websocket(self._transport, self._head[:end], headers, self._head[end + 4 :])

    def _no_request(self) -> None:
        assert self._transport is not None
        text = "expected a WebSocket upgrade or an HTTP request"
        peer = peer_of(self._transport)
        more = self._waiting.notices.due(peer)
        if more is not None:
            log.warning("%s: refused: %s; %s%s", peer, text, other_protocol(self._head, RIGHT_PORT), more)
        self._answer(response("400 Bad Request", f"{text}\n".encode()))

    def _take_body(self, end: int) -> None:
        """Go on when the body is there, whose length has to be said before it."""
        if end < 0:
            if len(self._head) > MAX_HEAD_BYTES:
                self._answer(response("431 Request Header Fields Too Large", b"the request head is too long\n"))
            return
        most = MAX_BODY_BYTES
        if self._head.startswith(UPLOAD):
            assert self._pages is not None
            most = MAX_PIECE_BYTES
            if not self._may_send and (refusal := self._pages.refusal(self._request(self._head[:end]))) is not None:
                self._answer(refusal)
                return
            self._may_send = True
        length = headers_of(self._head[:end]).get("content-length", "")
        if not (length.isascii() and length.isdigit()) or len(length) > 6:
            self._answer(response("411 Length Required", b"say Content-Length\n"))
        elif int(length) > most:
            self._answer(response("413 Content Too Large", f"at most {most} bytes\n".encode()))
        elif len(self._head) >= end + 4 + int(length):
            self._answer(self._page(self._head[:end], self._head[end + 4 : end + 4 + int(length)]))

    def _become_websocket(
        self, transport: asyncio.Transport, head: bytes, headers: Mapping[str, str], rest: bytes
    ) -> None:
        try:
            request = checked(head, headers)
        except BadHandshake as error:
            self._answer(response(error.status, f"{error}\n".encode(), fields=error.fields))
            return
        if self._stranger is not None and (reason := self._stranger(headers)) is not None:
            log.warning("%s: refused: %s", peer_of(transport), reason)
            self._answer(response("403 Forbidden", f"{reason}\n".encode()))
            return
        if (reason := self._refuse(transport)) is not None:
            self._answer(response("503 Service Unavailable", f"{reason}\n".encode()))
            return
        self._waiting.discard(self)
        self._upgrade(transport, request + rest, headers)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pieces = None
        self._waiting.discard(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send_pieces()

    def _send_pieces(self) -> None:
        """The next piece of an answer, and then others get their turn. Its time begins anew with each that is taken."""
        transport = self._transport
        if self._pieces is None or self._paused or self._holding or transport is None or transport.is_closing():
            return
        piece = next(self._pieces, None)
        if piece is None:
            self._pieces = None
            transport.close()
        elif piece:
            self._holding = True
            self._stored(lambda: self._put(piece))
        else:
            asyncio.get_running_loop().call_soon(self._send_pieces)  # much was looked at and nothing made of it yet

    def _put(self, piece: bytes) -> None:
        self._holding = False
        transport = self._transport
        if self._pieces is None or transport is None or transport.is_closing():
            return
        transport.write(piece)
        self._waiting.renew(self)
        asyncio.get_running_loop().call_soon(self._send_pieces)

    def give_up(self) -> None:
        """No request in time, or others are waiting for the place."""
        if self._transport is not None:
            self._transport.abort()

    def _request(self, head: bytes, body: bytes | None = None) -> Request:
        assert self._transport is not None
        method, _, target = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path, _, query = target.partition(" ")[0].partition("?")
        host = peer_of(self._transport).rpartition(":")[0]
        return Request(path, headers_of(head), host, method == "HEAD", query, body)

    def _page(self, head: bytes, body: bytes | None = None) -> Whole | Iterator[bytes]:
        request = self._request(head, body)
        answer = self._pages.answer(request) if self._pages is not None else None
        return response("200 OK", b"ok\n", head_only=request.head_only) if answer is None else answer

    def _answer(self, data: Whole | Iterator[bytes]) -> None:
        assert self._transport is not None
        if isinstance(data, asyncio.Future):
            self._waiting.discard(self)  # it waits for us
            self._pieces = iter(())  # and is not asked again by what comes behind
            data.add_done_callback(lambda done: self._made(done.result()))
            return
        if not isinstance(data, bytes):
            self._pieces = data
            self._send_pieces()
            return
        self._pieces = iter(())  # whatever comes behind is not read
        self._stored(lambda: self._finish(data))

    def _made(self, data: bytes) -> None:
        """What it waited for is there; from now on we wait for it to read that."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._waiting.add(self, peer_of(transport).rpartition(":")[0])
            self._answer(data)

    def _finish(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(data)
            self._transport.close()
            if self._transport.get_write_buffer_size():
                return  # its time goes on running: who does not read the answer is not waited for
        self._waiting.discard(self)


def _may_become(head: bytes) -> bool:
    return any(head.startswith(method) or method.startswith(head) for method in _METHODS_READ)


class Waiting:
    """Connections that have not yet sent what they must, bounded in time here, and in number by `places`, where all of
    them are, whatever they speak. `notices` are of those who have come to the wrong port."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, places: HalfOpen, timeout_s: Callable[[], float], clock: Clock
    ) -> None:
        self._loop = loop
        self.notices = Notices(clock)
        self._places = places
        self._timeout_s = timeout_s
        self._timers: dict[HttpGate, asyncio.TimerHandle] = {}

    def add(self, gate: HttpGate, host: str) -> None:
        """Start the clock for a new connection from this host."""
        self._places.add(gate, host, lambda reason: self._give_up(gate))
        self._timers[gate] = self._loop.call_later(self._timeout_s(), self._late, gate)

    def renew(self, gate: HttpGate) -> None:
        """It gets on."""
        timer = self._timers.get(gate)
        if timer is not None:
            timer.cancel()
            self._timers[gate] = self._loop.call_later(self._timeout_s(), self._late, gate)

    def discard(self, gate: HttpGate) -> None:
        """The connection has said what it is, or is gone."""
        self._places.discard(gate)
        timer = self._timers.pop(gate, None)
        if timer is not None:
            timer.cancel()

    def _give_up(self, gate: HttpGate) -> None:
        self.discard(gate)
        gate.give_up()

    def close_all(self) -> None:
        for gate in list(self._timers):
            self._give_up(gate)

    def _late(self, gate: HttpGate) -> None:
        self._give_up(gate)
