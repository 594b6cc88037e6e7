"""Where an MQTT broker is: the text `mqtt://host:1883` or `mqtts://host:8883`, and its parsed form.

Opens nothing; whether there is a broker is found out when a bridge connects.
"""

from __future__ import annotations

import msgspec

from clasp_edge.config.listen import parse_listen

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
"""IANA's ports for MQTT without and with TLS."""


class Broker(msgspec.Struct, frozen=True):
    """One broker. `host` is a name, an IPv4 address or an IPv6 address without brackets."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def parse_broker(text: str) -> Broker:
    """The broker that `text` names. Raises ValueError with a sentence for the reader; it never quotes credentials."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in DEFAULT_PORTS:
        raise ValueError('a broker is "mqtt://host:port" or "mqtts://host:port"')
    if "@" in rest:
        raise ValueError("user name and password of a broker have keys of their own")
    if "/" in rest.removesuffix("/"):
        raise ValueError(f'a broker has no path: "{text}"')
    rest = rest.removesuffix("/")
    with_port = rest if ":" in rest.rpartition("]")[2] else f"{rest}:{DEFAULT_PORTS[scheme]}"
    try:
        at = parse_listen(with_port)
    except ValueError as error:
        raise ValueError(f"{error} (in {text})") from None
    if at is None or not at.host:
        raise ValueError(f'a broker needs a host: "{text}"')
    if at.port == 0:
        raise ValueError(f'a broker has a port from 1 to 65535: "{text}"')
    return Broker(at.host, at.port, scheme == "mqtts")
