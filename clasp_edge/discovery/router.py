"""A router that can be found: what it says of itself, in TXT records and in answers on port 7331.

    version=2 name=hub features=pesgt ws=7330 path=/clasp tls=7331 id=edge-4f... fingerprint=sha256:...

The first four are the reference's (discovery.md 6.1); a router that says none of the others is one of it. Knows no
sockets. What comes in is text of strangers, and cut to the length that is sent out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from clasp_edge.config.endpoint import Endpoint

SERVICE = "_clasp._tcp.local"
DEFAULT_PORT = 7330
"""Where a router is that does not say it: the reference answers a broadcast without."""

PATH = "/clasp"
LETTERS = {"param": "p", "event": "e", "stream": "s", "gesture": "g", "timeline": "t"}
MAX_VALUE_CHARACTERS = 200
"""A string of a TXT record has at most 255 bytes with its key."""

MAX_PORT = 65535


class FoundRouter(NamedTuple):
    """`host` is an address; ports are 0 where there is none. `how` is "mdns" or "broadcast"."""

    name: str
    host: str
    ws_port: int
    tls_port: int = 0
    path: str = PATH
    id: str = ""
    fingerprint: str = ""
    features: str = ""
    how: str = ""

    @property
    def url(self) -> str:
        """Where to connect: encrypted where it can be."""
        return str(self.endpoint(tls=bool(self.tls_port)))

    def endpoint(self, *, tls: bool) -> Endpoint:
        """The same as a parsed address."""
        return Endpoint("wss" if tls else "ws", self.host, self.tls_port if tls else self.ws_port, self.path)


def described(
    name: str, *, ws_port: int, tls_port: int = 0, router_id: str = "", fingerprint: str = ""
) -> dict[str, str]:
    """What a router says of itself, in the order in which it is sent."""
    said = {"version": "2", "name": cut(name), "features": "".join(LETTERS.values())}
    if ws_port:
        said["ws"] = str(ws_port)
    said["path"] = PATH
    if tls_port:
        said["tls"] = str(tls_port)
    if router_id:
        said["id"] = router_id
    if fingerprint:
        said["fingerprint"] = fingerprint
    return said


def cut(text: str) -> str:
    """The text as far as it fits."""
    return text.encode()[:MAX_VALUE_CHARACTERS].decode("utf-8", "ignore")


def understood(said: Mapping[str, str], name: str, host: str, how: str) -> FoundRouter | None:
    """The router that says this of itself; None where no port is one. `name` is used where it says none."""
    ws_port, tls_port = _port(said.get("ws", "")), _port(said.get("tls", ""))
    if not ws_port and not tls_port:
        ws_port = DEFAULT_PORT
    path = said.get("path", PATH)
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        path = PATH
    return FoundRouter(
        name=clean(said.get("name") or name),
        host=host,
        ws_port=ws_port,
        tls_port=tls_port,
        path=path[:MAX_VALUE_CHARACTERS],
        id=clean(said.get("id", "")),
        fingerprint=clean(said.get("fingerprint", "")).lower(),
        features=clean(said.get("features", "")),
        how=how,
    )


def _port(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT else 0


def clean(text: str) -> str:
    """Without what is not printable."""
    return "".join(character for character in cut(text) if character.isprintable())
