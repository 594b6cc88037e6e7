"""Which services of this router are announced in the local network: from what its listeners are bound to.

A listener of loopback is nobody's but this machine's, and is not announced. Knows no sockets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple

TYPES = {"osc": "_osc._udp", "mqtt": "_mqtt._tcp", "oscquery": "_oscjson._tcp"}
"""By the scheme of a bound address. CLASP and HTTP are one listener and have more to say."""


class Service(NamedTuple):
    """`type` without domain; `host` is the one address it is bound to, "0.0.0.0" for all of IPv4, "" for all."""

    type: str
    port: int
    text: Mapping[str, str]
    host: str = ""


def services(addresses: Sequence[str], said: Mapping[str, str]) -> list[Service]:
    """What is announced of the bound `addresses` (`scheme://host:port`); `said` is what the router says of itself
    (`router.described`), with its ports."""
    found: list[Service] = []
    bound: dict[str, tuple[str, int]] = {}
    for address in addresses:
        scheme, _, at = address.partition("://")
        host, _, port = at.rpartition(":")
        host = host.strip("[]")
        if not ip_address(host.partition("%")[0]).is_loopback:
            bound.setdefault(scheme, ("" if host == "::" else host, int(port)))
    clasp = bound.get("ws") or bound.get("wss")
    if clasp is not None:
        found.append(Service("_clasp._tcp", clasp[1], said, clasp[0]))
    if (page := bound.get("ws")) is not None:
        found.append(Service("_http._tcp", page[1], {"path": "/"}, page[0]))
    found += [
        Service(kind, bound[scheme][1], {}, bound[scheme][0]) for scheme, kind in TYPES.items() if scheme in bound
    ]
    return found


def ports(addresses: Sequence[str]) -> dict[str, int]:
    """The bound port of each scheme."""
    found: dict[str, int] = {}
    for address in addresses:
        scheme, _, at = address.partition("://")
        found.setdefault(scheme, int(at.rpartition(":")[2]))
    return found
