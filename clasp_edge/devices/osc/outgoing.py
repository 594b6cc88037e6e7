"""From what the router delivers to what a device is sent: an OSC address and a message (router.md 10).

What another device said goes out as it was said, with its type tags and its shape, unless the receiver wants a type of
its own there. Many devices often get the same changes; the last translations are kept for them.
"""

from __future__ import annotations

from clasp_edge.devices.osc.encode import Encoder, padded
from clasp_edge.wire import ABSENT, Publish, Set, SignalType, Value
from clasp_edge.wire.compact import decode_payload

_HEADER_BYTES = 4


KNOWN_BYTES = 262_144
KNOWN_COST = 300
"""Of messages that were made lately: many devices are told the same burst, one after the other."""


class Outgoing:
    """One prefix that goes without saying, one way to encode."""

    def __init__(self, base: bytes, encoder: Encoder) -> None:
        self._base = base
        self.encoder = encoder
        self._known: dict[tuple[bytes, bytes | None], bytes | None] = {}
        self._known_bytes = 0

    def frame(self, address: bytes, frame: bytes, tail: bytes | None) -> bytes | None:
        """The OSC message for a SET or PUBLISH frame; None if OSC has none for it. `tail` is how a device said it."""
        key = (frame, tail)
        try:
            return self._known[key]
        except KeyError:
            pass
        shown = self.address(address)
        known = tail is not None and self.encoder.kind_of(shown) is None
        packet = padded(shown) + tail if known and tail is not None else self._translate(frame)
        if self._known_bytes > KNOWN_BYTES:
            self._known.clear()
            self._known_bytes = 0
        self._known[key] = packet
        self._known_bytes += KNOWN_COST + len(frame) + len(packet or b"") + len(tail or b"")
        return packet

    def param(self, address: bytes, value: Value, tail: bytes | None = None) -> bytes:
        """The message that tells a param's value, as a device said it last if one did."""
        return self.answer(self.address(address), value, tail)

    def answer(self, shown: bytes, value: Value, tail: bytes | None) -> bytes:
        """The message that answers a question at this OSC address."""
        if tail is not None and self.encoder.kind_of(shown) is None:
            return padded(shown) + tail
        return self.encoder.message(shown, value)

    def address(self, address: bytes) -> bytes:
        """The OSC address: without the prefix, or whole where it lies elsewhere."""
        if address.startswith(self._base):
            rest = address[len(self._base) :]
            if rest.startswith(b"/"):
                return rest
            if not rest:
                return b"/"
        return address

    def _translate(self, frame: bytes) -> bytes | None:
        message = decode_payload(frame[_HEADER_BYTES:])
        assert isinstance(message, Set | Publish)
        address = message.address.encode()
        if isinstance(message, Set):
            return self.param(address, message.value)
        if message.value is not ABSENT:
            # Clients that have no way to say "without a value" say null.
            if message.value is None and message.signal is SignalType.EVENT:
                return self.encoder.arguments(self.address(address), ())
            return self.param(address, message.value)
        if message.samples is not None:
            return self.encoder.arguments(self.address(address), message.samples)
        if message.signal is SignalType.EVENT:
            # Something happened and there is no more to say: in OSC a message without arguments.
            return self.encoder.arguments(self.address(address), ())
        return None
