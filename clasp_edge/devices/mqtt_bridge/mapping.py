"""Topic ↔ address, as a bridge's `[[bridge.NAME.map]]` tables say: prefixes are exchanged, wildcards carry over.

`+` stands for `*` and `#` for `**`. Knows neither values nor connections. The first map that fits decides.
"""

from __future__ import annotations

from clasp_edge.config.model import BridgeMap
from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.devices.translations import remember
from clasp_edge.devices.wildcards import captures, filled
from clasp_edge.wire.address import AddressError, validate_address

MAX_TOPIC_BYTES = 65535
"""MQTT 5.0, 1.5.4: the length of a string has two bytes."""


class MappingError(ValueError):
    """A topic or address that has no counterpart; the text says why."""


class Mapping:
    """One map, with its translation both ways. `number` is its place in the configuration."""

    def __init__(self, number: int, config: BridgeMap) -> None:
        self.number = number
        self.config = config
        self.takes_in = config.direction != "out"
        self.gives_out = config.direction != "in"
        self.is_sealed = config.payload == "clasp"
        self._topic = config.topic.split("/")
        self._address = config.address.split("/")[1:]

    def address_of(self, topic: str) -> str | None:
        """The address for a topic, or None where this map does not fit."""
        # MQTT 4.7.2: a wildcard in front does not stand for a topic that begins with "$".
        if topic.startswith("$") and self._topic[0] in ("+", "#"):
            return None
        taken = captures(topic.split("/"), self._topic, "+", "#")
        return None if taken is None else "/" + "/".join(filled(self._address, taken, "*", "**"))

    def topic_of(self, address: str) -> str | None:
        """The topic for an address, or None where this map does not fit."""
        taken = captures(address.split("/")[1:], self._address, "*", "**")
        return None if taken is None else "/".join(filled(self._topic, taken, "+", "#"))


class MappingTable:
    """All maps of one bridge, in the order of the configuration."""

    def __init__(self, maps: tuple[BridgeMap, ...]) -> None:
        self.mappings = [Mapping(number, config) for number, config in enumerate(maps)]
        self._inward: dict[str, tuple[Mapping, bytes]] = {}
        self._outward: dict[bytes, tuple[Mapping, str] | None] = {}

    def inward(self, topic: str) -> tuple[Mapping, bytes]:
        """The map and the address for a topic. Raises `MappingError`."""
        found = self._inward.get(topic)
        if found is None:
            found = remember(self._inward, topic, self._find_address(topic))
        return found

    def outward(self, address: bytes) -> tuple[Mapping, str] | None:
        """The map and the topic for an address; None for what is not carried out."""
        try:
            return self._outward[address]
        except KeyError:
            return remember(self._outward, address, self._find_topic(address))

    def _find_address(self, topic: str) -> tuple[Mapping, bytes]:
        for mapping in self.mappings:
            if mapping.takes_in and (text := mapping.address_of(topic)) is not None:
                address = text.encode()
                if address.startswith(RESERVED):
                    raise MappingError(f"{text} belongs to the daemon")
                try:
                    validate_address(address)
                except AddressError as error:
                    raise MappingError(f"no address can be made of it: {error}") from None
                return mapping, address
        raise MappingError("no map fits")

    def _find_topic(self, address: bytes) -> tuple[Mapping, str] | None:
        if address.startswith(RESERVED):
            return None
        for mapping in self.mappings:
            if mapping.gives_out and (topic := mapping.topic_of(address.decode())) is not None:
                # MQTT 4.7.1, 4.7.3: what a broker would end the connection for.
                bad = not topic or any(sign in topic for sign in "+#\0") or topic.startswith("$")
                return None if bad or len(topic.encode()) > MAX_TOPIC_BYTES else (mapping, topic)
        return None
