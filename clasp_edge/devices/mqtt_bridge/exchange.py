"""What goes between clasp-edges over maps with `payload = "clasp"`: params end equal everywhere, events come once.

Trusts no broker to keep an order or to say a thing once. Of two values of a param the one with the higher version
counts, of equal versions that of the router whose name is higher, in whatever order they come; events have numbers
(`ordering`). Runs on the event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from clasp_edge.address_memory import AddressMemory
from clasp_edge.devices.mqtt_bridge.envelope import CLEARED, MAGIC, UNRETAINED, VALUE_OF_CLIENT, Content, opened, sealed
from clasp_edge.devices.mqtt_bridge.events import NO_EXPIRY, Arrived, Outgoing, Up
from clasp_edge.devices.mqtt_bridge.loops import COMES_BACK
from clasp_edge.devices.mqtt_bridge.mapping import Mapping
from clasp_edge.devices.mqtt_bridge.ordering import HOLD_S, Ordering
from clasp_edge.devices.mqtt_bridge.queue import Record
from clasp_edge.devices.mqtt_bridge.said import said
from clasp_edge.devices.mqtt_bridge.versions import MAX_ADDRESSES
from clasp_edge.wire import (
    Publish,
    SignalType,
    Ttl,
    TtlMode,
    decode_value,
    encode_payload,
)

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from clasp_edge.devices.mqtt_bridge.bridge import Bridge

SIGNALS: dict[int, str] = {SignalType.PARAM: "param", SignalType.EVENT: "event", SignalType.STREAM: "stream"}
"""Those that are one value; gestures and timelines are more than a payload can say."""

KINDS = {"event": SignalType.EVENT, "stream": SignalType.STREAM}

HELD_BYTES = 1000
"""Of an event that waits for what went before it, beside what it says."""

MOST_SAID = 8192
"""Events remembered by where their routers' journals have them, some 200 bytes each: more than a bridge has under way,
or a journal has not stored yet, when a router is killed."""

BYTES_AT = 2
"""In a value of bytes they come after their length (wire.md 2.2)."""

NO_TTL = -1
HAS_TTL = 0x10

GONE = CLEARED, b"", NO_TTL, b"", SignalType.PARAM


class Exchange:
    """Of one bridge. `origin` names it as long as it runs, `source` in all its lives."""

    def __init__(self, bridge: Bridge, origin: str, source: str) -> None:
        self._bridge = bridge
        self._origin = origin
        self._source = source
        self._said: OrderedDict[tuple[str, int, int], None] = OrderedDict()  # events of other journals, the last taken
        self._numbers: dict[int, int] = {}  # of events, by the number of their map
        # Of values whose version is not from here.
        self._authors: AddressMemory[str] = AddressMemory(MAX_ADDRESSES, weigh=len)
        self._ordering: Ordering[tuple[bytes, Arrived, Content]] = Ordering()
        self._timer: TimerHandle | None = None

    def close(self) -> None:
        """No more timers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- what goes out ----

    def written(self, record: Record) -> None:
        """A param was written here: its version is that of this moment, not of the one at which it can be sent."""
        record.version = self._bridge.versions.next(record.address, self._bridge.wall_ms())
        self._authors.drop(record.address)

    def outgoing(self, record: Record, qos: int, up: Up) -> list[Outgoing]:
        """The messages for a record; none for what has no value or has been overtaken."""
        author = self._origin
        version = record.version
        if record.is_param:
            known = self._bridge.versions.known(record.address)
            if record.again:
                version = known or self._bridge.version_here(record.address) or self._bridge.wall_ms()
                author = self._authors.get(record.address, self._origin)
            elif record.address in self._authors and version < known:
                return []  # somebody else's value has taken its place
        found = self._value(record)
        if found is None:
            return []
        code, data, ttl, properties, signal = found
        if data.startswith(MAGIC, 0 if code < 0 else BYTES_AT):
            # By this router's own MQTT server, which keeps it as it is: to put that into another one would never end.
            self._bridge.trouble(COMES_BACK)
            return []
        if not record.is_param and not record.number:
            at = record.mapping.number
            record.number = self._numbers[at] = self._numbers.get(at, 0) + 1
        via = [*record.via, self._bridge.daemon_id]
        content = Content(
            author, record.number, SIGNALS[signal], version, record.again, via, code, data, ttl, properties
        )  # fmt: skip
        if record.logged and not record.is_param:
            content = Content(
                author, record.number, SIGNALS[signal], version, record.again, via, code, data, ttl, properties,
                self._source, record.logged, record.written_us,
            )  # fmt: skip
        retain = record.is_param and record.mapping.config.retain and up.retains and code != UNRETAINED
        if code == CLEARED:
            # Everybody who is there hears who says so and when; then the broker is made to forget it, if it keeps any.
            stub = Record(record.mapping, record.topic, record.address, None, True, record.born_s) if retain else record
            stub.qos = qos
            first, then = stub, record
            if retain and up.one_by_one:
                # What is not acknowledged does not count; what everybody is to hear is.
                first, then = record, stub
                stub.qos = 0
            said = Outgoing(first, sealed(content), first.qos, False, "param", (), False, 0, False, is_sealed=True)
            forget = Outgoing(then, b"", then.qos, True, "param", (), False, 0, False, is_sealed=True)
            return [said, forget] if retain else [said]
        return [Outgoing(record, sealed(content), qos, retain, SIGNALS[signal], (), False, 0, False, is_sealed=True)]

    def unsent(self, record: Record) -> None:
        """It was the last for which there were messages, and they do not go out: nobody is to wait for its number."""
        at = record.mapping.number
        if record.number and record.number == self._numbers.get(at):
            self._numbers[at] -= 1

    def _value(self, record: Record) -> tuple[int, bytes, int, bytes, SignalType] | None:
        """Its type, data, word of its time to live, properties and signal; `GONE` for a param whose time is over, as
        what the broker has of it is older still; None for what else has no value any more."""
        ttl: int | None = NO_TTL
        if record.frame is not None:
            found = said(record.frame)
            if found is None:
                return None
            kind, code, data, word = found
            if word >= 0:
                ttl = self._left(Ttl.from_word(word), record)
            if ttl is None:
                return GONE if record.is_param else None
            return code, data, ttl, b"", SignalType(kind)
        signal = SignalType.PARAM if record.is_param else SignalType.EVENT
        if record.message is None:
            described = self._bridge.plane.describe(record.address)
            if described is None:
                return GONE if record.is_param and not record.again else None
            retained = self._bridge.retained(record.address) or (b"", b"", NO_EXPIRY, 1, True)
            ttl = 0 if retained[2] == NO_EXPIRY else Ttl(TtlMode.ABSOLUTE, retained[2]).word
            return described[1], described[2], ttl, retained[1], signal
        payload, properties, expiry_s, _, is_retained = record.message
        if record.is_param and is_retained and not payload:
            return GONE
        if expiry_s != NO_EXPIRY:
            ttl = self._left(Ttl(TtlMode.ABSOLUTE, expiry_s), record)
        kind = VALUE_OF_CLIENT if is_retained or not record.is_param else UNRETAINED
        if ttl is None:
            return GONE if record.is_param and is_retained else None
        return kind, payload, ttl, properties, signal

    def _left(self, ttl: Ttl, record: Record) -> int | None:
        """The word of a time to live, less what the record has waited; None where that is over."""
        if ttl.mode is not TtlMode.ABSOLUTE:
            return ttl.word
        seconds = ttl.seconds - int(self._bridge.monotonic_s() - record.born_s)
        return Ttl(TtlMode.ABSOLUTE, seconds).word if seconds > 0 else None

    # ---- what comes in ----

    def arrived(self, mapping: Mapping, address: bytes, message: Arrived) -> None:
        """Take a message, or leave it. Raises ValueError where no clasp-edge has sent it, WireError for its value."""
        if not message.payload:
            return  # the broker is made to forget the topic; who did that has said so before
        message, content = opened(message)
        bridge = self._bridge
        is_param = content.signal == "param"
        if message.retained and is_param:
            bridge.named_by_broker(address)
        if bridge.daemon_id in message.via and not (message.retained or content.again):
            return
        if not is_param:
            if not message.retained:
                self._event(mapping, address, message, content)
            return
        if bridge.versions.is_far(address, content.version, bridge.wall_ms()):
            raise ValueError(f"its version is {content.version}, a hundred years ahead of the clock here")
        here = bridge.version_here(address), self._authors.get(address, self._origin)
        if (content.version, content.origin) <= here:
            if content.version < here[0] and mapping.gives_out and (message.retained or content.again):
                bridge.repeat(address)  # the broker, or who repeats this to it, has fallen behind
            return
        bridge.versions.heard(address, content.version, bridge.wall_ms())
        self._authors.note(address, content.origin)
        self._take(address, message, content)

    def _event(self, mapping: Mapping, address: bytes, message: Arrived, content: Content) -> None:
        ordering = self._ordering
        size = HELD_BYTES + len(message.payload) + len(address)
        sender = content.origin, mapping.number
        self._take_all(
            ordering.arrived(sender, content.number, (address, message, content), size, self._bridge.monotonic_s())
        )
        if self._timer is None and ordering.holds:
            self._timer = self._bridge.call_later(HOLD_S, self._look_at_held)

    def _look_at_held(self) -> None:
        self._timer = None
        found, lost = self._ordering.expired(self._bridge.monotonic_s())
        if lost:
            self._bridge.trouble(f"{lost} events have not arrived: those behind them have waited for {HOLD_S:g} s")
        self._take_all(found)
        if self._ordering.holds:
            self._timer = self._bridge.call_later(HOLD_S / 4, self._look_at_held)

    def _take_all(self, found: list[tuple[bytes, Arrived, Content]]) -> None:
        """Each of them, whatever the one before it is."""
        for one in found:
            if self._was_said(one[2]):
                continue
            try:
                self._take(*one)
            except ValueError as error:
                self._bridge.trouble(f"not taken: {one[0].decode()}: {error}")

    def _was_said(self, content: Content) -> bool:
        """Whether an earlier process of the router that says it has said it, and was killed before it knew."""
        if not content.logged:
            return False
        key = content.source, content.logged, content.written_us
        if key in self._said:
            return True
        self._said[key] = None
        if len(self._said) > MOST_SAID:
            self._said.popitem(last=False)
        return False

    def _take(self, address: bytes, message: Arrived, content: Content) -> None:
        bridge = self._bridge
        bridge.trails.remember(address, message.via)
        if content.type < 0:
            expiry_s = NO_EXPIRY
            if content.ttl > 0 and (ttl := Ttl.from_word(content.ttl)).mode is TtlMode.ABSOLUTE:
                expiry_s = ttl.seconds
            is_param = content.signal == "param"
            verdict = bridge.write(
                address, content.data, content.properties, expiry_s, message.qos,
                is_param and content.type != UNRETAINED, not is_param,
            )  # fmt: skip
        elif content.signal == "param":
            flags, ttl_word = (HAS_TTL, content.ttl) if content.ttl != NO_TTL else (0, 0)
            verdict, _ = bridge.set(address, content.type, content.data, flags, 0, ttl_word)
        else:
            value = decode_value(content.type, content.data)
            kind = KINDS.get(content.signal, SignalType.EVENT)
            verdict = bridge.publish(
                encode_payload(Publish(address=address.decode(), signal=kind, value=value)), address
            )
        bridge.taken(message, verdict)
