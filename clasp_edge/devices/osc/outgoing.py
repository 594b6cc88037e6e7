"""From what the router delivers to what a device is sent: an OSC address and a message (router.md 10).

What another device said goes out as it was said, with its type tags and its shape, unless the receiver wants a type of
its own there. Several devices often get the same change; the last translation is kept for them.
"""

from __future__ import annotations

from clasp_edge.devices.osc.encode import Encoder, padded
from clasp_edge.wire import ABSENT, Publish, Set, SignalType, Value
from clasp_edge.wire.compact import decode_payload

_HEADER_BYTES = 4


class Outgoing:
    """One prefix that goes without saying, one way to encode."""

    def __init__(self, base: bytes, encoder: Encoder) -> None:
        self._base = base
        self.encoder = encoder
        self._frame = b""
        self._tail: bytes | None = None
        self._last: bytes | None = None

    def frame(self, address: bytes, frame: bytes, tail: bytes | None) -> bytes | None:
        """The OSC message for a SET or PUBLISH frame; None if OSC has none for it. `tail` is how a device said it."""
        if frame != self._frame or tail != self._tail:
            shown = self.address(address)
            if tail is not None and self.encoder.kind_of(shown) is None:
                self._last = padded(shown) + tail
            else:
                self._last = self._translate(frame)
            self._frame, self._tail = frame, tail
        return self._last

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
