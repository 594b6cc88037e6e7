"""A client's opening handshake by RFC 6455, 4.2.1: what is wrong with it, and the request that the parser behind gets.

The parser knows one option in a header and the first of several headers with a name; clients may send lists. Knows no
sockets.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

VERSION = "13"
KEY_BYTES = 16


class BadHandshake(Exception):
    """The upgrade is refused with this HTTP status; `fields` go into the answer, the text is for the client."""

    def __init__(self, status: str, text: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.fields = fields or {}


def options(headers: Mapping[str, str], name: str) -> list[str]:
    """The entries of a header that is a list; `headers` as of `http.headers_of`."""
    return [entry for part in headers.get(name, "").split(",") if (entry := part.strip())]


def asks_for_websocket(headers: Mapping[str, str]) -> bool:
    """Whether the request wants to become a WebSocket, be it well-formed or not."""
    return "websocket" in [option.lower() for option in options(headers, "upgrade")]


def checked(head: bytes, headers: Mapping[str, str]) -> bytes:
    """The head of an upgrade request, with one option in each header. Raises BadHandshake."""
    line = head.partition(b"\r\n")[0]
    method, _, rest = line.partition(b" ")
    target, _, version = rest.partition(b" ")
    if method != b"GET" or not target or version != b"HTTP/1.1":
        raise BadHandshake("400 Bad Request", "a WebSocket begins with GET PATH HTTP/1.1")
    host = headers.get("host", "")
    if not host or "," in host:
        raise BadHandshake("400 Bad Request", "a WebSocket request has one Host header")
    if "upgrade" not in [option.lower() for option in options(headers, "connection")]:
        raise BadHandshake("400 Bad Request", "a WebSocket request has the header Connection: Upgrade")
    key = headers.get("sec-websocket-key", "")
    if not _is_key(key):
        raise BadHandshake("400 Bad Request", f"Sec-WebSocket-Key is {KEY_BYTES} bytes in base64")
    if headers.get("sec-websocket-version", "") != VERSION:
        text = f"this server speaks version {VERSION} of WebSocket"
        raise BadHandshake("426 Upgrade Required", text, {"Upgrade": "websocket", "Sec-WebSocket-Version": VERSION})
    lines = [
        line,
        f"Host: {host}".encode("latin-1"),
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}".encode("latin-1"),
        f"Sec-WebSocket-Version: {VERSION}".encode(),
    ]
    offered = options(headers, "sec-websocket-protocol")
    if offered:
        lines.append(f"Sec-WebSocket-Protocol: {', '.join(offered)}".encode("latin-1"))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False
