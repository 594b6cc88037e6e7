"""Where a listener binds: the text `host:port`, `[::1]:port`, `:port` or `off`, and its parsed form.

Knows nothing of sockets: whether a name resolves or a port is free is found out when the listener is bound.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address

import msgspec

OFF = "off"
MAX_PORT = 65535


class Listen(msgspec.Struct, frozen=True):
    """A bind address.

    `host` is an IPv4 address, an IPv6 address without brackets, a host name, or "" for every interface of both
    families. `port` is 0 to 65535; 0 asks the system for a free port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> Listen | None:
    """The bind address in `text`, or None for "off". Raises ValueError with a sentence for the reader."""
    if text == OFF:
        return None
    host, colon, port_text = text.rpartition(":")
    if not colon:
        hint = f'; ":{text}" is this port on every interface' if text.isascii() and text.isdigit() else ""
        raise ValueError(f'must be "host:port", "[IPv6]:port", ":port" or "off", not "{text}"{hint}')
    # str.isdigit() also accepts digits of other scripts, which int() would take.
    if not (port_text.isascii() and port_text.isdigit()) or int(port_text) > MAX_PORT:
        raise ValueError(f'the port must be a whole number from 0 to {MAX_PORT}, not "{port_text}"')
    return Listen(host=_checked_host(host), port=int(port_text))


def _checked_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            IPv6Address(host[1:-1])
        except AddressValueError:
            raise ValueError(f'"{host}" is not an IPv6 address') from None
        return host[1:-1]
    if "://" in host:
        raise ValueError(f'is no URL, but where to listen: "host:port" without "{host.partition("://")[0]}://"')
    if ":" in host:
        raise ValueError(f'an IPv6 address goes in brackets: "[{host}]:port"')
    if host and all(character in "0123456789." for character in host):
        try:
            IPv4Address(host)
        except AddressValueError:
            raise ValueError(f'"{host}" is not an IPv4 address') from None
    elif not all(character.isalnum() or character in "-._" for character in host):
        raise ValueError(f'"{host}" is not a host name')
    return host
