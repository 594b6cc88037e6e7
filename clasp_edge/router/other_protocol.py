"""What somebody speaks who has come to the wrong port, told from the first bytes: who set that up looks into the log.

Knows no connection; which key has the right port is said by those who ask.
"""

from __future__ import annotations

import re

_HTTP = re.compile(rb"(GET|HEAD|POST|PUT|OPTIONS|CONNECT|DELETE|PATCH) ")
_MQTT = re.compile(rb"\x10.{1,4}\0(\x04MQTT|\x06MQIsdp)", re.DOTALL)
_SHOWN = 8

FIRST_BYTES = 16
"""All that has to be looked at."""


def other_protocol(begun: bytes, right_port: dict[str, str]) -> str:
    """What `begun` is the beginning of, as the end of a sentence. `right_port`: the keys for those of "TLS", "HTTP" and
    "MQTT" that belong elsewhere.

    >>> other_protocol(b"GET / HTTP/1.1", {"HTTP": "websocket.listen"})
    'this is HTTP, which websocket.listen is for'
    >>> other_protocol(bytes(3), {})
    'it begins with 00 00 00'
    """
    found = (
        "TLS" if begun[:2] == b"\x16\x03" else "HTTP" if _HTTP.match(begun) else "MQTT" if _MQTT.match(begun) else ""
    )
    if found in right_port:
        return f"this is {found}, which {right_port[found]} is for"
    return f"it begins with {begun[:_SHOWN].hex(' ')}"
