"""What a link and its bridge say to each other. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from msgspec import Struct

from clasp_edge.devices.mqtt_bridge.queue import Message, Record
from clasp_edge.devices.values import encoded_value_of
from clasp_edge.wire import encode_value

NO_EXPIRY = 0xFFFFFFFF
"""In place of the seconds that a message has to live."""

CLEARING: Message = (b"", b"", NO_EXPIRY, 1, True)
"""What makes a broker forget a topic."""


@dataclass(slots=True, frozen=True)
class Trying:
    """A broker is being tried."""

    broker: str


@dataclass(slots=True, frozen=True)
class Up:
    """Connected.

    `fresh`: nothing is under way any more. `resumed`: the broker remembers us and our subscriptions, and what was
    under way is under way again.

    `window`, `max_packet` (bytes), `max_qos` and `retains` are what the broker takes; `one_by_one`: a single message
    at a time (receive maximum 1). `daemon`: the id of the clasp-edge whose MQTT server it is, if it is one.
    """

    broker: str
    mqtt5: bool
    fresh: bool
    resumed: bool
    window: int
    max_packet: int
    max_qos: int
    retains: bool
    one_by_one: bool
    daemon: str = ""


@dataclass(slots=True, frozen=True)
class Down:
    """Not connected any more, or this try failed."""

    reason: str


@dataclass(slots=True, frozen=True)
class Trouble:
    """Something that did not go as configured while the link goes on."""

    reason: str


class Arrived(Struct, frozen=True):
    """A message; `properties` are encoded, those that are passed on. `via` names the daemons it has
    passed, `signal` what it was there ("" where nobody said).

    `version` as in `versions` (0 where nobody said); `again`: it only repeats what a broker seemed to lack.
    """

    topic: str
    payload: bytes
    retained: bool
    signal: str
    via: tuple[str, ...]
    binary: bool
    version: int
    again: bool
    qos: int = 0
    properties: bytes = b""
    expiry_s: int = NO_EXPIRY

    def encoded(self) -> tuple[int, bytes]:
        """Type and data of its value. Raises WireError."""
        return encode_value(self.payload) if self.binary else encoded_value_of(self.payload)


class Outgoing(Struct, frozen=True):
    """A record as it goes out; `properties` are encoded. `is_sealed`: the payload says all there is to say."""

    record: Record
    payload: bytes
    qos: int
    retain: bool
    signal: str
    via: tuple[str, ...]
    binary: bool
    version: int
    again: bool
    properties: bytes = b""
    expiry_s: int = NO_EXPIRY
    is_sealed: bool = False


class Filter(Struct, frozen=True):
    """What to subscribe to. `replay`: the retained messages come with every connection, not only with the first."""

    topic: str
    qos: int
    replay: bool


Event: TypeAlias = Trying | Up | Down | Trouble
