"""From what the router delivers to what a device is sent: an OSC address and a message (router.md 10).

Several devices often get the same change; the last translation is kept for them.
"""

from __future__ import annotations

from clasp_edge.devices.osc.encode import Encoder
from clasp_edge.wire import ABSENT, Publish, Set, SignalType, Value
from clasp_edge.wire.compact import decode_payload

_HEADER_BYTES = 4


class Outgoing:
    """One namespace, one way to encode."""

    def __init__(self, namespace: bytes, encoder: Encoder) -> None:
        self._namespace = namespace
        self.encoder = encoder
        self._frame = b""
        self._last: bytes | None = None

    def frame(self, frame: bytes) -> bytes | None:
        """The OSC message for a SET or PUBLISH frame; None if OSC has none for it."""
        if frame != self._frame:
            self._last = self._translate(frame)
            self._frame = frame
        return self._last

    def param(self, address: bytes, value: Value) -> bytes:
        """The message that tells a param's value."""
        return self.encoder.message(self.address(address), value)

    def address(self, address: bytes) -> bytes:
        """The OSC address: without the namespace, or whole where it lies elsewhere."""
        if address.startswith(self._namespace):
            rest = address[len(self._namespace) :]
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
            return self.param(address, message.value)
        if message.samples is not None:
            return self.encoder.arguments(self.address(address), message.samples)
        if message.signal is SignalType.EVENT:
            # Something happened and there is no more to say: in OSC a message without arguments.
            return self.encoder.arguments(self.address(address), ())
        return None
