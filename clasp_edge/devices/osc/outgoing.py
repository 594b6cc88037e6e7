"""From what the router delivers to what a device is sent: an OSC address and a message (router.md 10).

What another device said goes out as it was said, with its type tags and its shape, unless the receiver wants a type of
its own there. Many devices often get the same changes; the last translations are kept for them.
"""

from __future__ import annotations

from collections.abc import Hashable

from clasp_edge.devices.osc.decode import OscError, decode_message
from clasp_edge.devices.osc.delivery import Delivery
from clasp_edge.devices.osc.echo import comparable
from clasp_edge.devices.osc.encode import Encoder, padded
from clasp_edge.wire import ABSENT, Publish, SignalType, ValueType, decode_value
from clasp_edge.wire.compact import decode_payload

_HEADER_BYTES = 4

KEPT_BYTES = 4096
"""Of a message that stays with its delivery: larger ones would take more than is counted for that."""

KNOWN_BYTES = 262_144
KNOWN_COST = 300
"""Of messages that were made lately: many devices are told the same burst, one after the other."""


class Message:
    """An OSC message, made once for all devices that are told the same. `packet` is None where OSC has none."""

    __slots__ = ("_value", "packet")

    def __init__(self, packet: bytes | None) -> None:
        self.packet = packet
        self._value: tuple[Hashable] | None = None

    @property
    def value(self) -> Hashable:
        """The value as it went out, which is what comes back (`echo.comparable`). Raises OscError for what cannot be
        read."""
        if self._value is None:
            if self.packet is None:
                raise OscError("no message")
            _, _, value_type, value = decode_message(self.packet)
            self._value = (comparable((value_type, value)),)
        return self._value[0]


class Outgoing:
    """One prefix that goes without saying, one way to encode."""

    def __init__(self, base: bytes, encoder: Encoder) -> None:
        self._base = base
        self.encoder = encoder
        self._known: dict[tuple[object, ...], Message] = {}
        self._known_bytes = 0
        self._learned = 0

    def said(self, address: bytes, value_type: int, value: bytes) -> None:
        """The device has said this value itself."""
        if value_type == ValueType.F64 or (value_type == ValueType.ARRAY and ValueType.F64 in value):
            shown = self.address(address)
            if not self.encoder.has_fractions(shown) and self.encoder.plain(shown, value_type, value) is None:
                self.encoder.message(shown, decode_value(value_type, value))

    def delivered(self, delivery: Delivery) -> Message:
        """The message for what was delivered."""
        made = delivery.made
        if made is not None and made[0] is self:
            found: Message = made[1]
            return found
        message = self._find(key := (delivery.frame, delivery.tail))
        if message is None:
            message = self._keep(key, self._made(delivery), len(delivery.frame) + len(delivery.tail or b""))
        if message.packet is None or len(message.packet) <= KEPT_BYTES:
            delivery.made = (self, message)
        return message

    def state(self, address: bytes, value_type: int, value: bytes, tail: bytes | None) -> Message:
        """The message that tells a param as it is. `tail` is how a device said it."""
        message = self._find(key := (address, value_type, value, tail))
        if message is None:
            packet = self.answer(self.address(address), value_type, value, tail)
            message = self._keep(key, packet, len(address) + len(value) + len(tail or b""))
        return message

    def _find(self, key: tuple[object, ...]) -> Message | None:
        if self._learned != self.encoder.learned:
            self._forget()  # what was made of a whole number may be of another type now
        return self._known.get(key)

    def _forget(self) -> None:
        self._known.clear()
        self._known_bytes = 0
        self._learned = self.encoder.learned

    def _keep(self, key: tuple[object, ...], packet: bytes | None, size: int) -> Message:
        if self._known_bytes > KNOWN_BYTES:
            self._forget()
        message = self._known[key] = Message(packet)
        self._known_bytes += KNOWN_COST + size + len(packet or b"")
        return message

    def answer(self, shown: bytes, value_type: int, value: bytes, tail: bytes | None) -> bytes:
        """The message that tells an encoded value at this OSC address, as a device said it last if one did."""
        if tail is not None and self.encoder.kind_of(shown) is None:
            return self._as_said(shown, tail)
        plain = self.encoder.plain(shown, value_type, value)
        return self.encoder.message(shown, decode_value(value_type, value)) if plain is None else plain

    def _as_said(self, shown: bytes, tail: bytes) -> bytes:
        packet = padded(shown) + tail
        tags = tail[: tail.index(0)]
        if (b"f" in tags or b"d" in tags) and not self.encoder.has_fractions(shown):
            self.encoder.note(shown, tags, decode_value(*decode_message(packet)[2:]))
        return packet

    def address(self, address: bytes) -> bytes:
        """The OSC address: without the prefix, or whole where it lies elsewhere."""
        if address.startswith(self._base):
            rest = address[len(self._base) :]
            if rest.startswith(b"/"):
                return rest
            if not rest:
                return b"/"
        return address

    def _made(self, delivery: Delivery) -> bytes | None:
        shown = self.address(delivery.address)
        value = delivery.value
        if value is not None:
            return self.answer(shown, *value, delivery.tail)
        if delivery.tail is not None and self.encoder.kind_of(shown) is None:
            return self._as_said(shown, delivery.tail)
        message = decode_payload(delivery.frame[_HEADER_BYTES:])
        assert isinstance(message, Publish)
        if message.samples is not None:
            return self.encoder.arguments(shown, message.samples)
        if message.signal is SignalType.EVENT:
            # Something happened and there is no more to say: in OSC a message without arguments. Clients that have no
            # way to say "without a value" say null.
            return self.encoder.arguments(shown, ())
        return None if message.value is ABSENT else self.encoder.message(shown, message.value)
