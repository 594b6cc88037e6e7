"""From the bytes of one packet to its data, strictly: whatever the specification calls malformed raises.

Splitting a stream into packets is not done here; the caller has the first byte and the body after the remaining length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Any, TypeVar

from clasp_edge.devices.mqtt.codec.packets import (
    Ack,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Filters,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    SubscribeFilter,
    Unsuback,
    Unsubscribe,
    Will,
)
from clasp_edge.devices.mqtt.codec.primitives import Reader
from clasp_edge.devices.mqtt.codec.properties import WILL, Property, read_properties
from clasp_edge.devices.mqtt.codec.reason import MqttError, Reason, malformed, protocol_error
from clasp_edge.devices.mqtt.codec.types import FIXED_FLAGS, V5, V31, V311, PacketType

T = TypeVar("T")

PROTOCOL_NAMES = {"MQTT": (V311, V5), "MQIsdp": (V31,)}
"""With their levels (3.1.1, 3.1.2.2; 5.0, 3.1.2.2; 3.1, 3.1)."""

BRIDGE = 0x80
"""Added to the level by a bridge of Mosquitto: it wants no echo, and the retain flag as it was published."""

MAX_FILTERS = 16_384
"""Of one SUBSCRIBE or UNSUBSCRIBE: more than one client may have subscriptions (`limits`)."""

READ_AT_ONCE = 512
"""Of them: two milliseconds. The others are read as they are gone through, which is done in parts."""

DUP = 0x08

REPEATED = frozenset({PacketType.PUBREL, PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE})
"""What has the DUP flag in 3.1 (2.1) when it is sent again; later versions reserve the bit."""


def decode(first: int, body: bytes, version: int, *, repeats: bool = False) -> Packet:
    """The packet with this first byte and body. `version` is 4 or 5; a CONNECT brings its own. `repeats`: the client
    is one of 3.1, which marks more than PUBLISH as sent before. Raises MqttError."""
    try:
        kind = PacketType(first >> 4)
    except ValueError:
        raise malformed("packet type 0") from None
    if repeats and kind in REPEATED:
        first &= ~DUP
    if kind is not PacketType.PUBLISH and first & 0x0F != FIXED_FLAGS.get(kind, 0):
        raise malformed(f"the flags of {kind.name} are {first & 0x0F}")
    reader = Reader(body)
    packet = _DECODERS[kind](reader, first, version)
    if reader.left():
        raise malformed(f"{reader.left()} bytes too many in {kind.name}")
    return packet


def _connect(reader: Reader, first: int, version: int) -> Packet:
    name = reader.text("protocol name")
    level = reader.number(1, "protocol level")
    bridge = bool(level & BRIDGE)
    if level & ~BRIDGE not in PROTOCOL_NAMES.get(name, ()):
        raise MqttError(Reason.UNSUPPORTED_PROTOCOL_VERSION, f"protocol {name[:16]!r} level {level}")
    flagless = level & ~BRIDGE == V31
    level = V5 if level & ~BRIDGE == V5 else V311  # but for its CONNACK, 3.1 is served as 3.1.1
    flags = reader.number(1, "connect flags")
    will_qos = flags >> 3 & 3
    if flags & 0x01:
        raise malformed("the reserved connect flag is set")
    if will_qos == 3 or (not flags & 0x04 and flags & 0x38):
        raise malformed("the will flags contradict each other")
    if level == V311 and flags & 0x40 and not flags & 0x80:
        raise malformed("a password without a user name")
    keep_alive_s = reader.number(2, "keep-alive")
    properties = read_properties(reader, PacketType.CONNECT) if level == V5 else {}
    if Property.AUTHENTICATION_DATA in properties and Property.AUTHENTICATION_METHOD not in properties:
        raise protocol_error("authentication data without a method")
    client_id = reader.text("client identifier")
    will = None
    if flags & 0x04:
        will_properties = read_properties(reader, WILL) if level == V5 else {}
        will = Will(
            topic=topic_name(reader.text("will topic")),
            payload=reader.binary("will payload"),
            qos=will_qos,
            retain=bool(flags & 0x20),
            properties=will_properties,
        )
    return Connect(
        client_id=client_id,
        version=level,
        bridge=bridge,
        flagless=flagless,
        clean_start=bool(flags & 0x02),
        keep_alive_s=keep_alive_s,
        will=will,
        username=reader.text("user name") if flags & 0x80 else None,
        password=reader.binary("password") if flags & 0x40 else None,
        properties=properties,
    )


def topic_name(topic: str) -> str:
    """The topic, if it can be published to (5.0, 4.7.1 and 4.7.3). Raises MqttError."""
    if not topic or "+" in topic or "#" in topic:
        raise MqttError(Reason.TOPIC_NAME_INVALID, f"topic {topic[:64]!r}")
    return topic


def _connack(reader: Reader, first: int, version: int) -> Packet:
    flags = reader.number(1, "acknowledge flags")
    if flags > 1:
        raise malformed("reserved acknowledge flags are set")
    reason = reader.number(1, "reason")
    properties = read_properties(reader, PacketType.CONNACK) if version == V5 else {}
    return Connack(session_present=bool(flags), reason=reason, properties=properties)


def _publish(reader: Reader, first: int, version: int) -> Packet:
    qos = first >> 1 & 3
    if qos == 3:
        raise malformed("QoS 3")
    if first & 0x08 and not qos:
        raise malformed("DUP with QoS 0")
    topic = reader.text("topic")
    packet_id = _packet_id(reader) if qos else 0
    properties: dict[int, Any] = read_properties(reader, PacketType.PUBLISH) if version == V5 else {}
    if topic or Property.TOPIC_ALIAS not in properties:
        topic_name(topic)
    return Publish(
        topic=topic,
        payload=reader.take(reader.left(), "payload"),
        qos=qos,
        retain=bool(first & 0x01),
        dup=bool(first & 0x08),
        packet_id=packet_id,
        properties=properties,
    )


def _packet_id(reader: Reader) -> int:
    packet_id = reader.number(2, "packet identifier")
    if not packet_id:
        raise protocol_error("packet identifier 0")
    return packet_id


def _reason_and_properties(reader: Reader, kind: PacketType, version: int) -> tuple[int, dict[int, Any]]:
    """The optional end of acknowledgements, DISCONNECT and AUTH: both may be left out (5.0, 3.4.2.1)."""
    if version != V5 or not reader.left():
        return 0, {}
    reason = reader.number(1, "reason")
    return reason, read_properties(reader, kind) if reader.left() else {}


def _ack(reader: Reader, first: int, version: int) -> Packet:
    kind = PacketType(first >> 4)
    packet_id = _packet_id(reader)
    reason, properties = _reason_and_properties(reader, kind, version)
    return Ack(type=kind, packet_id=packet_id, reason=reason, properties=properties)


def _filters(whole: Reader, read: Callable[[Reader], T]) -> Iterator[T]:
    reader = Reader(whole.data, whole.pos, whole.end)
    whole.pos = whole.end
    for number in count(1):
        if not reader.left():
            return
        if number > MAX_FILTERS:
            raise MqttError(Reason.QUOTA_EXCEEDED, f"more than {MAX_FILTERS} topic filters in one packet")
        yield read(reader)


def _some_at_once(filters: Iterator[T], kind: PacketType) -> Sequence[T] | Filters[T]:
    first = list(islice(filters, READ_AT_ONCE))
    if not first:
        raise protocol_error(f"{kind.name} without a topic filter")
    return first if len(first) < READ_AT_ONCE else Filters(first, filters)


def _subscribe(reader: Reader, first: int, version: int) -> Packet:
    packet_id = _packet_id(reader)
    properties = read_properties(reader, PacketType.SUBSCRIBE) if version == V5 else {}
    read = _filter_v5 if version == V5 else _filter_v3
    filters = _some_at_once(_filters(reader, read), PacketType.SUBSCRIBE)
    return Subscribe(packet_id=packet_id, filters=filters, properties=properties)


def _filter_v3(reader: Reader) -> SubscribeFilter:
    return _filter(reader, 0xFC)


def _filter_v5(reader: Reader) -> SubscribeFilter:
    return _filter(reader, 0xC0)


def _filter(reader: Reader, reserved: int) -> SubscribeFilter:
    text = reader.text("topic filter")
    options = reader.number(1, "subscription options")
    retain_handling = options >> 4 & 3
    if options & 3 == 3 or options & reserved:
        raise malformed(f"subscription options 0x{options:02X}")
    if retain_handling == 3:
        raise protocol_error("retain handling 3")
    return SubscribeFilter(
        filter=text,
        qos=options & 3,
        no_local=bool(options & 0x04),
        retain_as_published=bool(options & 0x08),
        retain_handling=retain_handling,
    )


def _suback(reader: Reader, first: int, version: int) -> Packet:
    packet_id = _packet_id(reader)
    properties = read_properties(reader, PacketType.SUBACK) if version == V5 else {}
    return Suback(packet_id=packet_id, reasons=list(reader.take(reader.left(), "reasons")), properties=properties)


def _text_of_filter(reader: Reader) -> str:
    return reader.text("topic filter")


def _unsubscribe(reader: Reader, first: int, version: int) -> Packet:
    packet_id = _packet_id(reader)
    properties = read_properties(reader, PacketType.UNSUBSCRIBE) if version == V5 else {}
    filters = _some_at_once(_filters(reader, _text_of_filter), PacketType.UNSUBSCRIBE)
    return Unsubscribe(packet_id=packet_id, filters=filters, properties=properties)


def _unsuback(reader: Reader, first: int, version: int) -> Packet:
    packet_id = _packet_id(reader)
    properties = read_properties(reader, PacketType.UNSUBACK) if version == V5 else {}
    reasons = list(reader.take(reader.left(), "reasons")) if version == V5 else []
    return Unsuback(packet_id=packet_id, reasons=reasons, properties=properties)


def _pingreq(reader: Reader, first: int, version: int) -> Packet:
    return Pingreq()


def _pingresp(reader: Reader, first: int, version: int) -> Packet:
    return Pingresp()


def _disconnect(reader: Reader, first: int, version: int) -> Packet:
    reason, properties = _reason_and_properties(reader, PacketType.DISCONNECT, version)
    return Disconnect(reason=reason, properties=properties)


def _auth(reader: Reader, first: int, version: int) -> Packet:
    if version != V5:
        raise malformed("packet type 15")
    reason, properties = _reason_and_properties(reader, PacketType.AUTH, version)
    return Auth(reason=reason, properties=properties)


_DECODERS: dict[PacketType, Callable[[Reader, int, int], Packet]] = {
    PacketType.CONNECT: _connect,
    PacketType.CONNACK: _connack,
    PacketType.PUBLISH: _publish,
    PacketType.PUBACK: _ack,
    PacketType.PUBREC: _ack,
    PacketType.PUBREL: _ack,
    PacketType.PUBCOMP: _ack,
    PacketType.SUBSCRIBE: _subscribe,
    PacketType.SUBACK: _suback,
    PacketType.UNSUBSCRIBE: _unsubscribe,
    PacketType.UNSUBACK: _unsuback,
    PacketType.PINGREQ: _pingreq,
    PacketType.PINGRESP: _pingresp,
    PacketType.DISCONNECT: _disconnect,
    PacketType.AUTH: _auth,
}
