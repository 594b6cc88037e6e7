"""Topics and addresses: one to one below the namespace (router.md 9.2), and topic filters as patterns.

Most topics are written the same in both worlds. Two things are not, because addresses do not have them: empty levels
and `*`. They are escaped, so that every topic has an address of its own: an empty level is `%`, `*` is `%2A`, and a `%`
that would read as one of these is `%25`.
"""

from __future__ import annotations

import re

from clasp_edge.devices.mqtt.codec import MqttError, Reason

_AMBIGUOUS = re.compile(rb"%(?=25|2A)")


def to_address(topic: bytes) -> bytes:
    """The address below the namespace of a topic without wildcards; also of a filter's level that is none."""
    return b"/".join([_escape(level) for level in topic.split(b"/")])


def _escape(level: bytes) -> bytes:
    if not level:
        return b"%"
    if level == b"%":
        return b"%25"
    return _AMBIGUOUS.sub(b"%25", level).replace(b"*", b"%2A")


def to_topic(address: bytes) -> bytes:
    """The topic of an address below the namespace."""
    return b"/".join([_unescape(segment) for segment in address.split(b"/")])


def _unescape(segment: bytes) -> bytes:
    if segment == b"%":
        return b""
    return re.sub(rb"%2A|%25", lambda found: b"*" if found[0] == b"%2A" else b"%", segment)


def check_filter(text: str) -> None:
    """Raise MqttError for what is no topic filter (5.0, 4.7.1)."""
    if not text:
        raise MqttError(Reason.TOPIC_FILTER_INVALID, "an empty topic filter")
    levels = text.split("/")
    for at, level in enumerate(levels):
        if ("#" in level and (level != "#" or at != len(levels) - 1)) or ("+" in level and level != "+"):
            raise MqttError(Reason.TOPIC_FILTER_INVALID, f"topic filter {text[:64]!r}")


def to_pattern(namespace: str, text: str) -> bytes:
    """The pattern of a valid topic filter. `#` is `**`, which also stands for no level at all, as `a/#` matches `a`."""
    words = {b"+": b"*", b"#": b"**"}
    segments = [words.get(level) or _escape(level) for level in text.encode().split(b"/")]
    return namespace.encode() + b"/" + b"/".join(segments)
