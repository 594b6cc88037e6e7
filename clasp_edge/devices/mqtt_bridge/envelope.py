"""The payload of a map with `payload = "clasp"`: a value as it is, with who sent it, number and version.

For what goes from one clasp-edge to another over brokers that cannot say so beside the payload (MQTT 3.1.1), repeat
what they are not sure of, and tell subscribers of different nodes in different orders. Pure functions.
"""

from __future__ import annotations

import msgspec

from clasp_edge.devices.mqtt.codec import PacketType, Property
from clasp_edge.devices.mqtt.codec.primitives import Reader, put_varint
from clasp_edge.devices.mqtt.codec.properties import read_properties
from clasp_edge.devices.mqtt.codec.reason import MqttError
from clasp_edge.devices.mqtt_bridge.events import Arrived

MAGIC = b"\xc1clasp1"
"""In front: 0xC1 begins no text in UTF-8 and nothing in MessagePack."""

MAX_VIA = 64
MAX_ORIGIN = 64
"""Characters of a bridge's name, and of each daemon's in `via`."""

MAX_NUMBER = 2**63

PASSED_ON = frozenset({
    Property.PAYLOAD_FORMAT_INDICATOR, Property.CONTENT_TYPE, Property.RESPONSE_TOPIC, Property.CORRELATION_DATA,
    Property.USER_PROPERTY,
})  # fmt: skip
"""Properties of a message that are its publisher's own (MQTT 5.0, 3.3.2.3)."""

VALUE_OF_CLIENT = -1
CLEARED = -2
UNRETAINED = -3
"""In place of a value's type: what follows is the payload that an MQTT client published, for a param with the retain
flag; the param is gone; it is a payload, but for a param without the flag."""


class Content(msgspec.Struct, array_like=True, frozen=True):
    """What stands in it, behind `MAGIC`, in MessagePack. `origin` is the bridge in its process, `number` counts the
    events that it sends under a map (a param has 0). `ttl` is the word of a SET (wire.md 2.3), -1 without one.

    Of an event that its router's journal has: the bridge in all its processes, the number of the record and when it was
    written. Routers before these do not send them, and pass over them."""

    origin: str
    number: int
    signal: str
    version: int
    again: bool
    via: list[str]
    type: int
    data: bytes
    ttl: int
    properties: bytes
    source: str = ""
    logged: int = 0
    written_us: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Content).decode


def sealed(content: Content) -> bytes:
    """The payload for it."""
    return MAGIC + _encode(content)


def opened(message: Arrived) -> tuple[Arrived, Content]:
    """A message that has arrived, as the bridge that sent it would have said it to a broker that speaks MQTT 5. Raises
    ValueError where no clasp-edge has sent it."""
    if not message.payload.startswith(MAGIC):
        raise ValueError('its payload is not that of a clasp-edge (payload = "clasp")')
    try:
        content = _decode(memoryview(message.payload)[len(MAGIC) :])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"its payload is damaged: {error}") from None
    if not (
        0 <= content.number < MAX_NUMBER and 0 <= content.version < MAX_NUMBER and UNRETAINED <= content.type <= 255
        and -1 <= content.ttl < 2**32 and len(content.via) <= MAX_VIA
        and all(len(name) <= MAX_ORIGIN for name in (content.origin, content.source, *content.via))
    ):  # fmt: skip
        raise ValueError("its payload is damaged: a number is out of range")
    if content.properties:
        _check_properties(content.properties)
    return (
        Arrived(
            message.topic, content.data, message.retained, content.signal, tuple(content.via), message.binary,
            content.version, content.again, message.qos, content.properties, message.expiry_s,
        ),
        content,
    )  # fmt: skip


def _check_properties(encoded: bytes) -> None:
    """They go to MQTT clients as they are: one that is none would end the connection of everybody who gets it."""
    try:
        found = read_properties(Reader(put_varint(len(encoded)) + encoded), PacketType.PUBLISH)
    except MqttError as error:
        raise ValueError(f"its payload is damaged: {error}") from None
    if not found.keys() <= PASSED_ON:
        raise ValueError("its payload is damaged: a property that is not passed on")
