"""Where a larger router is: `ws://host:port/path`, `wss://...`, `tcp://host:port` or `quic://host:port`, parsed.

Opens nothing; whether there is a router is found out when an uplink connects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, cast

import msgspec

from clasp_edge.config.listen import parse_listen

Scheme = Literal["ws", "wss", "tcp", "quic", "discover"]
SCHEMES = ("ws", "wss", "tcp", "quic")
WITHOUT_PATH = ("tcp", "quic")
DISCOVER = "discover"
LONGEST_NAME = 256

WSS_PORT = 443
"""What `wss://` without a port means to everybody. The others have no such port: CLASP's 7330 is not what RFC 6455
says, and RFC 6455's 80 is not what anybody means here, so the port has to be written."""

CLASP_PORT, QUIC_PORT = 7330, 7331
"""What a hub usually has; it is written all the same."""

# What a request line can carry as it is (RFC 3986, 3.3 and 3.4).
_PATH = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*", re.ASCII)


class Endpoint(msgspec.Struct, frozen=True):
    """One address of a router. `host` is a name, an IPv4 address or an IPv6 address without brackets; `path` begins
    with "/" and is empty for `tcp` and `quic`. With the scheme `discover` the router is found when it is needed: `host`
    is its name or id, "" for the only one there is."""

    scheme: Scheme
    host: str
    port: int
    path: str

    @property
    def tls(self) -> bool:
        """Whether a connection needs TLS."""
        return self.scheme in ("wss", "quic")

    @property
    def authority(self) -> str:
        """Host and port as a `Host` header and a URL have them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        if self.scheme == DISCOVER:
            return f"{DISCOVER}:{self.host}"
        return f"{self.scheme}://{self.authority}{'' if self.path == '/' else self.path}"


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint that `text` names. Raises ValueError with a sentence for the reader; it never quotes credentials."""
    if text.lower().startswith(f"{DISCOVER}:"):
        return Endpoint("discover", _name(text[len(DISCOVER) + 1 :]), 0, "")
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise ValueError(
            'a router is "ws://host:port", "wss://host", "tcp://host:port", "quic://host:port" or "discover:NAME"'
        )
    authority, slash, path = rest.partition("/")
    if "?" in authority or "#" in rest:
        raise ValueError('a query comes after a path ("/?..."), and a part after "#" has no meaning here')
    if "@" in authority:
        raise ValueError("a router's URL has no user name or password; the token has a key of its own")
    if scheme in WITHOUT_PATH and path:
        raise ValueError(f'a {scheme}:// address has no path: "{text}"')
    if _PATH.fullmatch(path) is None:
        raise ValueError(f'the path has a character that must be written as "%..": "{text}"')
    if ":" not in authority.rpartition("]")[2]:
        if scheme != "wss":
            usual = QUIC_PORT if scheme == "quic" else CLASP_PORT
            raise ValueError(f'the port is missing, such as in "{scheme}://{authority or "host"}:{usual}"')
        authority = f"{authority}:{WSS_PORT}"
    try:
        at = parse_listen(authority)
    except ValueError as error:
        raise ValueError(f"{error} (in {text})") from None
    if at is None or not at.host:
        raise ValueError(f'a router has a host: "{text}"')
    if at.port == 0:
        raise ValueError(f'a router has a port from 1 to 65535: "{text}"')
    return Endpoint(
        cast("Scheme", scheme), at.host, at.port, "" if scheme in WITHOUT_PATH else f"/{path}" if slash else "/"
    )


def _name(text: str) -> str:
    if len(text) > LONGEST_NAME or not text.isprintable() or text.startswith("//"):
        raise ValueError(f'a router to be found is "discover:" or "discover:NAME", not "discover:{text[:40]}"')
    return text


def needs_tls(urls: Iterable[str]) -> bool:
    """Whether any of these endpoints does. Raises ValueError as `parse_endpoint` does."""
    return any(parse_endpoint(url).tls for url in urls)
