"""A link over WebSocket, on picows: the upgrade, TLS below it, pings, and both ends' goodbyes (RFC 6455).

picows reads, and writes the request for the upgrade; every other byte is written here, a batch of frames at a time.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from clasp_edge.config.endpoint import Endpoint
from clasp_edge.federation.upstream.connection import Owner, State
from clasp_edge.federation.upstream.resolve import ConnectError
from clasp_edge.federation.upstream.socket_connection import SocketConnection
from clasp_edge.federation.upstream.tls import TlsContexts, TlsError, check_pin, check_time, said
from clasp_edge.picows_core import WSAutoPingStrategy, WSMsgType, WSProtocol, beneath

if TYPE_CHECKING:
    from clasp_edge.federation.upstream import framing
else:
    # Compiled against the parser: looks for the package while it is being imported.
    framing = beneath("clasp_edge.federation.upstream.framing")

SUBPROTOCOL = "clasp"

MAX_MESSAGE_BYTES = 262_144
"""A CLASP frame has at most 65,547 bytes, but there may be several in a message."""

READ_BUFFER_BYTES = 16_384
"""To begin with; doubles when a read fills it."""

MAX_REASON_BYTES = 123
"""Of a close frame (RFC 6455, 5.5.1)."""

MAX_SHOWN = 200
"""Characters of what the other end says that go into a sentence."""

NORMAL_CLOSE = 1000

_PING_PAYLOAD = struct.Struct(">Q")


class WsConnection(SocketConnection):
    """See `Connection`. `contexts` makes the TLS context of a `wss` endpoint."""

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        endpoint: Endpoint,
        rank: int,
        dead_after_s: float,
        contexts: TlsContexts,
    ) -> None:
        super().__init__(owner, loop, endpoint, rank, dead_after_s)
        self._contexts = contexts
        self._pings = 0
        self._pinged_at_s = 0.0

    async def _take(self, sock: socket.socket) -> None:
        protocol = self._protocol()
        try:
            if self.endpoint.tls:
                self.progress.doing = "agreeing on TLS"
                name = self._contexts.options.server_name or self.endpoint.host.partition("%")[0]
                transport, _ = await self._loop.create_connection(
                    lambda: protocol, sock=sock, ssl=self._contexts.context(), server_hostname=name
                )
                try:
                    if self._contexts.options.pin:
                        check_pin(transport, self._contexts.options.pin)
                    else:
                        check_time(transport, self._contexts.clock)
                except TlsError:
                    transport.abort()
                    raise
            else:
                await self._loop.create_connection(lambda: protocol, sock=sock)
            self.progress.doing = "waiting for the answer to the WebSocket upgrade"
            await protocol.wait_until_handshake_complete()
            if protocol.listener is None and self.endpoint.tls and not self._contexts.options.cert:
                self.progress.doing += "; if it wants a client certificate: there is no tls_cert"
        except TlsError as error:
            raise ConnectError(str(error)) from None
        except OSError as error:
            raise ConnectError(f"TLS: {said(error)}" if self.endpoint.tls else said(error)) from None
        except TypeError:
            if not self.endpoint.tls:
                raise
            # The loop was imported without TLS (daemon.no_tls).
            raise ConnectError("this process was started without any wss:// uplink; restart it to use TLS") from None
        except Exception as error:
            raise ConnectError(_upgrade_failure(error)) from None

    def _protocol(self) -> Any:
        link = self

        class Protocol(WSProtocol):  # type: ignore[misc]  # not in picows' stubs
            """picows' protocol, which keeps how a connection ended to itself."""

            def connection_made(self, transport: Any) -> None:
                link._connected(transport)
                super().connection_made(transport)

            def buffer_updated(self, nbytes: int) -> None:
                link.read(nbytes)
                super().buffer_updated(nbytes)

            def connection_lost(self, exc: BaseException | None) -> None:
                super().connection_lost(exc)
                link.lost(exc)

        return Protocol(
            self.endpoint.authority, self.endpoint.path, True, self._listener, _Verdict(self), True, None, False,
            20, 20, WSAutoPingStrategy.PING_WHEN_IDLE, False, MAX_MESSAGE_BYTES,
            {"Sec-WebSocket-Protocol": SUBPROTOCOL}, READ_BUFFER_BYTES,
        )  # fmt: skip

    def _listener(self, request: Any, response: Any) -> Any:
        chosen = response.headers.get("Sec-WebSocket-Protocol", SUBPROTOCOL)
        if chosen != SUBPROTOCOL:
            raise ConnectError(f'it speaks "{_shown(chosen)}", not "{SUBPROTOCOL}"')
        return framing.UplinkListener(self, MAX_MESSAGE_BYTES)

    # ---- called by the listener ----

    def upgraded(self, transport: Any) -> None:
        """The other end has agreed to speak WebSocket."""
        self._opened()

    def control(self, opcode: int, payload: bytes) -> None:
        """Ping, pong or close."""
        if opcode == WSMsgType.PING.value:
            # Who pings and never reads must not fill our memory with pongs; RFC 6455, 5.5.3 asks for the newest only.
            if self.writable and self._state is State.OPEN:
                self._write(_control_frame(WSMsgType.PONG.value, payload))
        elif opcode == WSMsgType.PONG.value:
            if payload == _PING_PAYLOAD.pack(self._pings):
                self.rtt_s = self._loop.time() - self._pinged_at_s
        elif self._state is State.CLOSING:
            self._transport.close()
        else:
            code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
            text = _shown(payload[2:].decode(errors="replace"))
            self._reason = self._reason or f"closed by the other end: {code} {text}".rstrip()
            self.close(self._reason)
            self._transport.close()

    # ---- Connection ----

    def _packed(self, frames: list[bytes]) -> bytes:
        return framing.ws_messages(frames)

    def _probe(self) -> None:
        self._pings += 1
        self._pinged_at_s = self._loop.time()
        self._write(_control_frame(WSMsgType.PING.value, _PING_PAYLOAD.pack(self._pings)))

    def _say_goodbye(self, reason: str) -> None:
        text = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
        # The answer closes the connection, or the timer does.
        self._write(_control_frame(WSMsgType.CLOSE.value, struct.pack(">H", NORMAL_CLOSE) + text))


class _Verdict:
    """picows' logger: its complaints about what came are the reason why the link ends."""

    def __init__(self, link: WsConnection) -> None:
        self._link = link

    def isEnabledFor(self, level: int) -> bool:  # the name logging.Logger has
        return False

    def log(self, *args: object, **kwargs: object) -> None: ...

    debug = info = log

    def warning(self, message: str, *args: object, **kwargs: object) -> None:
        # A protocol error comes as ((code, text),).
        inner = args[0] if args else ()
        text = inner[1] if isinstance(inner, tuple) and len(inner) > 1 else message % args
        self._link.garbage(_shown(str(text)))

    error = exception = warning


def _control_frame(opcode: int, payload: bytes) -> bytes:
    """A masked WebSocket control frame (RFC 6455, 5.3 and 5.5)."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked


def _upgrade_failure(error: Exception) -> str:
    """What a refused upgrade says."""
    if isinstance(error, ConnectError):
        return str(error)
    response = getattr(error, "response", None)
    status = getattr(response, "status", None)
    if response is None or status is None or status == 101:
        return f"no WebSocket: {_shown(str(error.args[0] if error.args else error))}"
    sentence = f"answered {int(status)} {status.phrase} to the WebSocket upgrade"
    if location := response.headers.get("Location"):
        sentence += f" and points to {_shown(location)}: if that is right, it belongs into the configuration"
    return sentence


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_SHOWN])
