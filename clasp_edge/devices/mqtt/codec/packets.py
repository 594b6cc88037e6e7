"""The fifteen packets as data, for both versions: a field that a version lacks has its default there.

Knows no encoding. Packet identifiers are 1 to 65,535.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct

from clasp_edge.devices.mqtt.codec.properties import Properties
from clasp_edge.devices.mqtt.codec.types import V311, PacketType

T = TypeVar("T")


class Will(Struct, frozen=True, kw_only=True):
    """What the server publishes when the client goes without saying so."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = {}


class Connect(Struct, frozen=True, kw_only=True):
    """The first packet. `keep_alive_s` 0 means none."""

    client_id: str
    version: int = V311
    bridge: bool = False  # of Mosquitto: bit 7 of the level
    flagless: bool = False  # of 3.1: its CONNACK has no flags, and it repeats more than PUBLISH with DUP
    clean_start: bool = True
    keep_alive_s: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = {}


class Connack(Struct, frozen=True, kw_only=True):
    """`reason` is a return code in 3.1.1, a reason code in 5.0."""

    session_present: bool = False
    reason: int = 0
    properties: Properties = {}


class Publish(Struct, frozen=True, kw_only=True):
    """A message. `packet_id` is 0 exactly for QoS 0."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: Properties = {}


class Ack(Struct, frozen=True, kw_only=True):
    """PUBACK, PUBREC, PUBREL or PUBCOMP, as `type` says."""

    type: PacketType
    packet_id: int
    reason: int = 0
    properties: Properties = {}


class SubscribeFilter(Struct, frozen=True, kw_only=True):
    """One topic filter with its options (5.0, 3.8.3.1)."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


class Filters(Generic[T]):
    """The topic filters of a long packet: those beyond the first are read when they are asked for, which can be done
    once, and raises MqttError for what is no filter."""

    def __init__(self, first: Sequence[T], rest: Iterator[T]) -> None:
        self._first = first
        self._rest = rest

    def __iter__(self) -> Iterator[T]:
        yield from self._first
        yield from self._rest


class Subscribe(Struct, frozen=True, kw_only=True):
    """SUBSCRIBE."""

    packet_id: int
    filters: Sequence[SubscribeFilter] | Filters[SubscribeFilter]
    properties: Properties = {}


class Suback(Struct, frozen=True, kw_only=True):
    """One reason for each filter, in their order."""

    packet_id: int
    reasons: Sequence[int]
    properties: Properties = {}


class Unsubscribe(Struct, frozen=True, kw_only=True):
    """UNSUBSCRIBE."""

    packet_id: int
    filters: Sequence[str] | Filters[str]
    properties: Properties = {}


class Unsuback(Struct, frozen=True, kw_only=True):
    """`reasons` are empty in 3.1.1."""

    packet_id: int
    reasons: Sequence[int] = ()
    properties: Properties = {}


class Pingreq(Struct, frozen=True):
    """PINGREQ."""


class Pingresp(Struct, frozen=True):
    """PINGRESP."""


class Disconnect(Struct, frozen=True, kw_only=True):
    """The last packet."""

    reason: int = 0
    properties: Properties = {}


class Auth(Struct, frozen=True, kw_only=True):
    """A step of enhanced authentication; 5.0 only."""

    reason: int = 0
    properties: Properties = {}


Packet: TypeAlias = (
    Connect
    | Connack
    | Publish
    | Ack
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)
