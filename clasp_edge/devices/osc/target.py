"""A device that is sent values: its subscriptions in the router's trie, how often it is sent what, and what it knows.

A param or a sample may be replaced by a newer one while it waits for its turn; an event may not. The device's own
values do not come back to it (`echo`). Knows no sockets: `link` is the way out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from clasp_edge.dataplane import Plane, Sink, Subscription
from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.decode import OscError, decode_message
from clasp_edge.devices.osc.echo import EchoMemory, Known
from clasp_edge.devices.osc.links import Link
from clasp_edge.devices.osc.outgoing import Outgoing
from clasp_edge.devices.osc.rate_limit import Pacer
from clasp_edge.devices.osc.receiver import Party, Source
from clasp_edge.devices.osc.resync import Resyncs, addresses_of
from clasp_edge.wire import MAGIC, SignalType, decode_value
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

log = logging.getLogger("clasp_edge.osc")

ALL_SIGNALS = 0x1F

MAGIC_BYTE = bytes([MAGIC])
"""What a CLASP frame begins with, and no OSC message."""

ADDRESS_AT = 8
"""Where the address stands in every SET and PUBLISH frame the router sends (wire.md 1, 2.3): behind the header, type,
flags and its own length."""

JUST_SAID_S = 0.1
"""What a device has said so shortly before it is told the state belongs to its coming back; it is not told that."""


class Target(Party):
    """One device. `link` is None until its address is known. `on_loop(target, address)` tells of a broken loop."""

    def __init__(
        self,
        plane: Plane,
        name: str,
        link: Link | None,
        *,
        loop: AbstractEventLoop,
        resyncs: Resyncs,
        outward: Outgoing,
        counters: Counters,
        rate: float,
        on_loop: Callable[[Target, bytes], None],
    ) -> None:
        self.name = name
        self.link = link
        self.subscriptions: dict[str, Subscription] = {}
        self._loop = loop
        self._outward = outward
        self._counters = counters
        self._tell_loop = on_loop
        self._pacer = Pacer(loop, rate, self._send)
        self._memory = EchoMemory(rate, self._looped)
        self._resyncs = resyncs
        self._untold: Iterator[bytes | None] = iter(())
        self._resync_since_s = 0.0

    def __repr__(self) -> str:
        return f"<OSC device {self.name}>"

    # ---- what it gets ----

    def subscribe(self, text: str, pattern: Pattern) -> None:
        """Send what matches from now on. `text` is what the subscription goes by."""
        if text not in self.subscriptions:
            self.subscriptions[text] = Subscription(self, len(self.subscriptions), pattern, ALL_SIGNALS)
            self.plane.trie.add(self.subscriptions[text])

    def unsubscribe(self, text: str) -> None:
        """Stop that, if it was so."""
        subscription = self.subscriptions.pop(text, None)
        if subscription is not None:
            self.plane.trie.discard(subscription)

    def close(self) -> None:
        """The device is no longer ours to serve."""
        for text in list(self.subscriptions):
            self.unsubscribe(text)
        self._untold = iter(())
        self._pacer.close()
        self.link = None

    def on_deliveries(self, deliveries: list[tuple[Sink, int, bytes]]) -> None:
        for origin, signal, frame in deliveries:
            address = address_in(frame)
            if isinstance(origin, Source) and origin.party is self:
                # Its own value; what was still waiting to go there is older than that.
                self._pacer.forget(address)
            elif signal in (SignalType.PARAM, SignalType.STREAM):
                # As a frame: what is replaced while it waits need not be translated.
                self._pacer.offer(address, frame)
            elif not self._send(address, frame):
                self._counters.lost += 1

    # ---- what it says ----

    def said(self, address: bytes, value: Known) -> bool:
        """One of its sources wrote this. True: it only repeats what it was just told, and is to be ignored."""
        return self._memory.said(address, value, self._loop.time())

    def refresh(self, address: bytes) -> None:
        """Tell it the value as it stands, because its own was refused."""
        if any(subscription.pattern.matches(address) for subscription in self.subscriptions.values()):
            self._offer_current(address)

    def resync(self, only: Pattern | None = None) -> None:
        """Tell it every current value it is subscribed to (or those of one pattern), a few at a time."""
        patterns = [only] if only is not None else [s.pattern for s in self.subscriptions.values()]
        self._untold = addresses_of(self.plane, patterns, self.scopes)
        self._resync_since_s = self._loop.time() - JUST_SAID_S
        self._resyncs.start(self)

    def tell_some(self, count: int) -> bool:
        if self.link is None:
            return False
        if self._pacer.blocked:
            return True
        for _ in range(count):
            address = next(self._untold, b"")
            if address is None:
                break
            if not address:
                return False
            if not self._memory.said_since(address, self._resync_since_s):
                self._offer_current(address)
        return True

    # ---- inside ----

    def _offer_current(self, address: bytes) -> None:
        described = self.plane.describe(address)
        if described is not None and (self.scopes is None or self.scopes.allows("read", address)):
            value = decode_value(described[1], described[2])
            self._pacer.offer(address, self._outward.param(address, value))

    def _send(self, address: bytes, data: bytes) -> bool:
        """Send a message, or what a CLASP frame is as one. False where the link takes nothing now."""
        packet = self._outward.frame(data) if data.startswith(MAGIC_BYTE) else data
        if self.link is None or packet is None:
            return True  # nobody is there yet (it gets the state when it is), or OSC has no word for this
        try:
            # As it would come back: that is what an echo has to be compared with.
            _, _, value_type, value = decode_message(packet)
        except OscError:
            return True  # an address with a NUL in it, say, at which OSC's ends
        if not self.link.send(packet):
            return False
        self._counters.sent += 1
        self._memory.told(address, (value_type, value), self._loop.time(), self.datagrams)
        return True

    def _looped(self, address: bytes, until_s: float) -> None:
        self._pacer.postpone(address, until_s)
        self._tell_loop(self, address)


def address_in(frame: bytes) -> bytes:
    """The address in a SET or PUBLISH frame."""
    return frame[ADDRESS_AT : ADDRESS_AT + int.from_bytes(frame[ADDRESS_AT - 2 : ADDRESS_AT], "big")]
