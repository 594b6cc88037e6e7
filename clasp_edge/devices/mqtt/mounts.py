"""`[[mqtt.mount]]`: topics that are addresses outside the namespace, and what MQTT clients may do there.

The first mount that fits decides; what none fits is below the namespace. Knows no session and no packet.
"""

from __future__ import annotations

from collections.abc import Sequence

from clasp_edge.config.model import MqttMount
from clasp_edge.devices.mqtt.address import to_address, to_topic
from clasp_edge.devices.translations import remember
from clasp_edge.devices.wildcards import captures, filled

REFUSED = b""
"""In place of an address or a topic: there is one, but MQTT clients may not write, or read, there."""


class Mount:
    """One mount, with its translation both ways."""

    def __init__(self, config: MqttMount) -> None:
        self.reads = config.rights != "write"
        self.writes = config.rights != "read"
        self._topic = config.topic.split("/")
        self._address = config.address.split("/")[1:]

    def address_of(self, topic: str) -> bytes | None:
        """The address of a topic, None where this mount does not fit."""
        if topic.startswith("$"):
            return None
        taken = captures(topic.split("/"), self._topic, "+", "#")
        if taken is None:
            return None
        escaped = [[to_address(level.encode()).decode() for level in levels] for levels in taken]
        return ("/" + "/".join(filled(self._address, escaped, "*", "**"))).encode()

    def topic_of(self, address: str) -> bytes | None:
        """The topic of an address, None where this mount does not fit."""
        taken = captures(address.split("/")[1:], self._address, "*", "**")
        if taken is None:
            return None
        plain = [[to_topic(segment.encode()).decode() for segment in segments] for segments in taken]
        return "/".join(filled(self._topic, plain, "+", "#")).encode()

    def pattern_of(self, text: str) -> bytes | None:
        """The addresses here that a valid topic filter takes, as a pattern; None where there are none."""
        levels = text.split("/")
        taken: list[list[str]] = []
        for at, wanted in enumerate(self._topic):
            if at < len(levels) and levels[at] == "#":
                # The rest of the mount, whatever stands there.
                taken += [["*" if level == "+" else "**"] for level in self._topic[at:] if level in ("+", "#")]
                break
            if wanted == "#":
                taken.append([_segment(level) for level in levels[at:]])
                break
            if at >= len(levels) or (wanted != "+" and levels[at] not in ("+", wanted)):
                return None
            if wanted == "+":
                taken.append([_segment(levels[at])])
        else:
            # Behind the mount's last level only "#" still takes it, as `a/#` takes `a`.
            if len(levels) > len(self._topic) and levels[len(self._topic) :] != ["#"]:
                return None
        return ("/" + "/".join(filled(self._address, taken, "*", "**"))).encode()


class Mounts:
    """All mounts, in the order of the configuration. Translations are remembered."""

    def __init__(self, configs: Sequence[MqttMount]) -> None:
        self._mounts = [Mount(config) for config in configs]
        self._addresses: dict[bytes, bytes | None] = {}
        self._topics: dict[bytes, bytes | None] = {}

    def address_of(self, topic: bytes) -> bytes | None:
        """The address of a topic that may be written to, REFUSED for one that may not; None below the namespace."""
        try:
            return self._addresses[topic]
        except KeyError:
            return remember(self._addresses, topic, self._find_address(topic.decode()))

    def shown_at(self, topic: str) -> bytes | None:
        """The address of a topic, whether or not it may be written to; None below the namespace."""
        return next((address for mount in self._mounts if (address := mount.address_of(topic)) is not None), None)

    def _find_address(self, topic: str) -> bytes | None:
        for mount in self._mounts:
            if (address := mount.address_of(topic)) is not None:
                return address if mount.writes else REFUSED
        return None

    def topic_of(self, address: bytes) -> bytes | None:
        """The topic of an address that may be read, REFUSED for one that may not; None below the namespace."""
        try:
            return self._topics[address]
        except KeyError:
            return remember(self._topics, address, self._find_topic(address.decode("utf-8", "replace")))

    def _find_topic(self, address: str) -> bytes | None:
        for mount in self._mounts:
            topic = mount.topic_of(address)
            # Two mounts may have one address; the topic must lead back to it.
            if (
                topic is not None
                and next((found for one in self._mounts if (found := one.address_of(topic.decode())) is not None), None)
                == address.encode()
            ):
                return topic if mount.reads else REFUSED
        return None

    def patterns_of(self, text: str) -> list[bytes]:
        """The addresses of mounts that a valid topic filter takes, as patterns."""
        found = [mount.pattern_of(text) for mount in self._mounts if mount.reads]
        return list(dict.fromkeys(pattern for pattern in found if pattern is not None))


def _segment(level: str) -> str:
    return {"+": "*", "#": "**"}.get(level) or to_address(level.encode()).decode()
