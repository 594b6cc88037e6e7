"""Which web pages may talk to the router: a browser lets every page that somebody has open send requests to any address
in the network, and says only where the page is from.

The router's own page may, and those whose origin is listed in `websocket.origins`. A program that is no browser sends
no Origin and is not concerned. The router's own page is one whose origin is the host that was asked, where that is a
name of this machine: a page of a foreign name that resolves to our address (DNS rebinding) has its name in Host too.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

FORWARDED = ("forwarded", "x-forwarded-for", "via")
"""Header fields that say that the request came by a proxy, whose address says nothing about who asks."""

ANY = "*"
"""In the list: every page may."""


def own_names() -> frozenset[str]:
    """What this machine is called, in lower case."""
    name = socket.gethostname().lower().rstrip(".")
    return frozenset({"localhost", name, name.partition(".")[0]})


def host_of(field: str) -> str:
    """The host in a Host header, without port and brackets, in lower case."""
    field = field.strip().lower()
    if field.startswith("["):
        return field[1:].partition("]")[0]
    return field.partition(":")[0].rstrip(".")


class Origins:
    """`listed` are the origins that may beside our own."""

    def __init__(self, listed: Sequence[str] = ()) -> None:
        self._listed = frozenset(origin.lower() for origin in listed)
        self._hosts = frozenset(host_of(origin.partition("://")[2]) for origin in self._listed if "://" in origin)

    def trusts_host(self, field: str) -> bool:
        """Whether a Host header names this machine: an address, a name of ours or in .local, or one that is listed."""
        host = host_of(field)
        if ANY in self._listed or host in self._hosts or host in own_names():
            return True
        if host.endswith((".local", ".localhost")):
            return (
                True  # nobody but the local network (RFC 6762), or this machine (RFC 6761), can answer for such a name
            )
        try:
            ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return True

    def refusal(self, headers: Mapping[str, str]) -> str | None:
        """Why a page may not open a WebSocket, or None. `headers` as of `http.headers_of`."""
        origin = headers.get("origin")
        if origin is None or ANY in self._listed or origin.lower() in self._listed:
            return None
        host = headers.get("host", "")
        if _same(origin, host) and self.trusts_host(host):
            return None
        return f"a page of {origin[:128]!r} may not connect to this router: not in websocket.origins"

    def host_refusal(self, headers: Mapping[str, str]) -> str | None:
        """Why a request under this name is not answered, or None."""
        host = headers.get("host", "")
        if not host or self.trusts_host(host):
            return None
        return f"{host[:128]!r} is no name of this machine: use its address, or list http://NAME in websocket.origins"


def _same(origin: str, host: str) -> bool:
    """Whether the page comes from where the request goes to."""
    scheme, _, at = origin.lower().partition("://")
    host = host.strip().lower()
    port = {"http": ":80", "https": ":443"}.get(scheme)
    return port is not None and at.removesuffix(port) == host.removesuffix(port)
