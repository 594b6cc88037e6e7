"""One bridge: a party of the router that writes what a broker sends and carries out what its maps cover.

Puts the parts together on the event loop: maps, queue, echo memory, and the link's events. Everything it writes goes
through the router's one gate; nothing here blocks.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle
from collections import OrderedDict
from random import Random

from clasp_edge.clock import Clock
from clasp_edge.config.model import Bridge as BridgeConfig
from clasp_edge.dataplane import Adapter, Plane, Sink, Subscription, Verdict
from clasp_edge.devices.mqtt_bridge.echo import EchoMemory, Seen
from clasp_edge.devices.mqtt_bridge.events import Arrived, Done, Down, Event, Filter, Outgoing, Trouble, Trying, Up
from clasp_edge.devices.mqtt_bridge.handover import Handover
from clasp_edge.devices.mqtt_bridge.link import Link
from clasp_edge.devices.mqtt_bridge.loops import BLOCKED_S, LoopBreaker
from clasp_edge.devices.mqtt_bridge.mapping import Mapping, MappingError, MappingTable
from clasp_edge.devices.mqtt_bridge.queue import OutQueue, Record
from clasp_edge.devices.mqtt_bridge.resync import Resync
from clasp_edge.devices.mqtt_bridge.status import Status
from clasp_edge.devices.mqtt_bridge.versions import Versions
from clasp_edge.devices.values import encoded_value_of, payload_of
from clasp_edge.wire import (
    Absent,
    MessageType,
    Publish,
    Set,
    SignalType,
    Value,
    ValueType,
    WireError,
    decode,
    decode_value,
    encode_payload,
    encode_value,
)
from clasp_edge.wire.frame import HEADER_BYTES
from clasp_edge.wire.pattern import Pattern

log = logging.getLogger("clasp_edge.bridge")

CARRIED = {SignalType.PARAM: "param", SignalType.EVENT: "event", SignalType.STREAM: "stream"}
"""Signals that are one value; gestures and timelines are more than a payload can say."""

ARRIVING = {"event": SignalType.EVENT, "stream": SignalType.STREAM}

ADDRESS_AT = HEADER_BYTES + 4
"""Where the address begins in the frames of a SET and a PUBLISH: after type, flags and its length (wire.md 2.3)."""

REVISION_BYTES = 8

HAS_TTL = 0x10
TTL_AT_ONCE = 0x8000_0000
"""SET's flag and word for a param that is over as soon as it has been told (wire.md 2.3; router.md 3.4)."""

EMPTY_TEXT = b'""'

SETTLE_S = 1.0
"""Retained messages follow a subscription at once; when none has come for so long, there are no more."""

MAX_HOPS = 16
"""Daemons a message may have passed: more than any sensible chain, fewer than a loop nobody recognised makes."""

MAX_TRAILS = 10_000
"""Addresses for which a bridge remembers by which daemons their value came, for other bridges of this daemon."""


class Bridge(Adapter):
    """`start` once, `stop` once, on the loop. `daemon_id` names this process in what it publishes."""

    def __init__(
        self, plane: Plane, name: str, config: BridgeConfig, client_id: str, daemon_id: str, loop: AbstractEventLoop,
        clock: Clock, random: Random,
    ) -> None:  # fmt: skip
        self.name = name
        self.config = config
        self._loop = loop
        self._clock = clock
        self._daemon_id = daemon_id
        self._table = MappingTable(config.map)
        self._queue = OutQueue(config.queue_kib * 1024, config.queue_age_s)
        self._echoes = EchoMemory()
        self._loops = LoopBreaker()
        self._trails: OrderedDict[bytes, tuple[str, ...]] = OrderedDict()
        self.reserved = True  # for its status; `mapping` lets nothing from outside get there
        self._status = Status(self, name, loop, clock)
        self._up: Up | None = None
        self._versions = Versions()
        self._known_broker = False
        self._may_lack = False
        self._named: set[bytes] = set()  # by the broker's retained messages since the link came up
        self._named_s = 0.0
        self._settling: TimerHandle | None = None
        self._resync: Resync | None = None
        self._handover = Handover(loop, self._on_events, self._on_room)
        filters = [
            Filter(m.config.topic, m.config.qos, m.config.policy == "latest")
            for m in self._table.mappings
            if m.takes_in
        ]
        self._link = Link(config, client_id, filters, self._handover, random)
        mask = sum(1 << signal for signal in CARRIED)
        self._subscriptions = [
            Subscription(self, m.number, Pattern(m.config.address.encode()), mask)
            for m in self._table.mappings
            if m.gives_out
        ]

    # ---- life ----

    def start(self) -> None:
        """Take part: subscribe to what the maps carry out, and begin to connect."""
        self.plane.register(self, f"bridge:{self.name}".encode())
        for subscription in self._subscriptions:
            self.plane.trie.add(subscription)
        self._status.state("connecting", "")
        self._link.start()

    def stop(self) -> None:
        """Take part no more and begin to disconnect."""
        for subscription in self._subscriptions:
            self.plane.trie.discard(subscription)
        self._stop_settling()
        self._link.stop()
        self._handover.close()
        self._status.state("stopped", "")
        self._status.close()
        self.plane.unregister(self)

    def join(self, timeout_s: float) -> None:
        """Wait until it is disconnected, after `stop`."""
        self._link.join(timeout_s)

    # ---- from the router ----

    def on_deliveries(self, deliveries: list[tuple[Sink, int, bytes]]) -> None:
        now_s = self._clock.monotonic_s()
        for origin, signal, frame in deliveries:
            # What this bridge wrote came from the broker, which has it.
            if origin is not self:
                size = int.from_bytes(frame[ADDRESS_AT - 2 : ADDRESS_AT])
                self.carry(frame[ADDRESS_AT : ADDRESS_AT + size], signal, frame, origin, now_s)
        self._pump()

    def carry(self, address: bytes, signal: int, frame: bytes | None, origin: Sink | None, now_s: float) -> None:
        """Queue a change. A param under `latest` needs no frame."""
        found = self._table.outward(address)
        if found is None:
            return
        mapping, topic = found
        frame_of = frame
        is_param = signal == SignalType.PARAM
        if is_param and mapping.config.policy == "latest":
            frame = None
        record = Record(mapping, topic, address, frame, is_param, now_s)
        if isinstance(origin, Bridge):
            record.via = origin.trail(address)
            if frame_of is not None and not self._passes(origin, address, frame_of, now_s):
                return
        self._queue.offer(record)
        self._status.touch()

    def _passes(self, origin: Bridge, address: bytes, frame: bytes, now_s: float) -> bool:
        """Whether to carry what another bridge brought, which may be what this one has carried out before."""
        if self.speaks_mqtt5 and origin.speaks_mqtt5:
            return True  # the messages themselves say where they have been
        # A SET ends with its revision, which is always another one.
        end = -REVISION_BYTES if frame[HEADER_BYTES] == MessageType.SET else None
        passes = self._loops.passes(address, frame[ADDRESS_AT + len(address) : end], now_s)
        if passes is None:
            self._trouble(f"a loop with bridge {origin.name}: {address.decode()} waits for {BLOCKED_S:g} s")
            self._loop.call_later(BLOCKED_S, self._after_loop, address)
        return bool(passes)

    def _after_loop(self, address: bytes) -> None:
        if self.plane.describe(address) is not None:
            self.carry(address, SignalType.PARAM, None, None, self._clock.monotonic_s())
            self._pump()

    @property
    def speaks_mqtt5(self) -> bool:
        """Whether what it carries can say where it has been."""
        return self._up is None or self._up.mqtt5

    def trail(self, address: bytes) -> tuple[str, ...]:
        """The daemons by which the last value of an address came to this bridge."""
        return self._trails.get(address, ())

    def counts(self) -> tuple[int, int]:
        """How many messages wait or are under way, and how many have been dropped since the start."""
        return len(self._queue), self._queue.dropped.total()

    def report(self) -> dict[str, Value]:
        """What its params say, with the counts as they are now."""
        queued, dropped = self.counts()
        return self._status.told | {"queued": queued, "dropped": dropped}

    # ---- to the broker ----

    def _pump(self) -> None:
        up = self._up
        if up is None:
            return
        now_s = self._clock.monotonic_s()
        self._queue.expire(now_s)
        batch: list[Outgoing] = []
        while self._queue.flying < up.window and (record := self._queue.next()) is not None:
            try:
                message = self._outgoing(record, up)
            except WireError as error:
                self._queue.done(record, refused=True)
                self._trouble(f"has no payload: {record.topic}: {error}")
                continue
            if message is None:
                self._queue.done(record)
                continue
            if len(message.payload) + len(record.topic) * 3 > up.max_packet:
                self._queue.done(record, refused=True)
                self._trouble(f"larger than the broker takes: {record.topic}")
                continue
            if not up.mqtt5 and record.mapping.takes_in:
                self._echoes.sent(record.topic, message.payload, now_s)
            batch.append(message)
        if batch:
            self._link.send(up.connection, batch)
        self._status.touch()

    def _outgoing(self, record: Record, up: Up) -> Outgoing | None:
        """The message for a record; None for what has no value (any more)."""
        signal = SignalType.PARAM
        value: Value
        if record.frame is None:
            described = self.plane.describe(record.address)
            if described is None:
                return None
            value_type, data = described[1:3]
            value = decode_value(value_type, data)
        else:
            message = decode(record.frame)[1]
            if not isinstance(message, (Set, Publish)) or isinstance(message.value, Absent):
                return None
            value = message.value
            if isinstance(message, Publish) and message.signal is not None:
                signal = message.signal
        config = record.mapping.config
        record.qos = min(config.qos, up.max_qos)
        version = 0
        if record.is_param:
            version = self._versions.known(record.address) if record.again else 0
            version = version or self._versions.next(record.address, self._wall_ms())
        retain = config.retain and record.is_param and up.retains
        # An empty retained message would make the broker forget the topic.
        payload = payload_of(value) or (EMPTY_TEXT if retain else b"")
        return Outgoing(
            record,
            payload,
            record.qos,
            retain,
            CARRIED[signal],
            (*record.via, self._daemon_id),
            isinstance(value, bytes),
            version,
            record.again,
        )

    # ---- from the link ----

    def _on_room(self) -> None:
        self._link.wake()

    def _on_events(self, events: list[Event]) -> None:
        # One pass for all of them: what they change is sent to each client in one write.
        self.plane.core.begin_pass()
        try:
            for event in events:
                try:
                    self._on_event(event)
                except Exception:
                    # The others must not suffer: among them are acknowledgements that nobody repeats.
                    log.exception("bridge %s: an event could not be dealt with", self.name)
        finally:
            self.plane.core.end_pass()
        self._pump()

    def _on_event(self, event: Event) -> None:
        match event:
            case Arrived():
                self._on_arrived(event)
            case Done(record, refusal):
                self._queue.done(record, refused=bool(refusal))
                if refusal:
                    self._trouble(f"refused: {record.topic}: {refusal}")
            case Trying(broker):
                self._status.broker(broker)
            case Up():
                self._on_up(event)
            case Down(reason):
                self._on_down(reason)
            case Trouble(reason):
                self._trouble(reason)

    def _on_up(self, up: Up) -> None:
        log.info("bridge %s: connected to %s (MQTT %s)", self.name, up.broker, "5" if up.mqtt5 else "3.1.1")
        self._up = up
        self._queue.online = True
        if up.fresh:
            self._queue.start_over()
        self._status.state("up", "")
        self._status.broker(up.broker)
        # It may be another broker, or one that was killed and has lost what it had acknowledged.
        self._may_lack = self._known_broker
        self._known_broker = True
        self._named.clear()
        self._link.subscribe(up.connection)
        self._settling = self._loop.call_later(SETTLE_S, self._look_if_settled)

    def _look_if_settled(self) -> None:
        """Once no more retained values come, it is known what the broker has."""
        quiet_s = self._clock.monotonic_s() - self._named_s
        if quiet_s < SETTLE_S:
            self._settling = self._loop.call_later(SETTLE_S - quiet_s, self._look_if_settled)
            return
        self._settling = None
        if self._may_lack:
            self._resync = Resync(self, self._loop, self._named, self._resynced)
            self._resync.start(self._table.mappings)
        else:
            self._resynced()

    def _resynced(self) -> None:
        self._resync = None
        self._named = set()
        self._pump()

    def repeat(self, address: bytes) -> None:
        """Queue the present value of a param that the broker seems to lack, unless a new one is on its way anyway."""
        found = self._table.outward(address)
        if found is not None and not self._queue.busy(address):
            record = Record(*found, address, None, True, self._clock.monotonic_s())
            record.again = True
            self._queue.offer(record)

    def _on_down(self, reason: str) -> None:
        if self._up is not None:
            log.warning("bridge %s: lost %s: %s", self.name, self._up.broker, reason)
        self._up = None
        self._stop_settling()
        self._queue.link_lost()
        self._echoes.forget()
        self._status.state("down", reason)

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self._resync is not None:
            self._resync.cancel()
            self._resync = None

    # ---- what arrives ----

    def _on_arrived(self, message: Arrived) -> None:
        if self._daemon_id in message.via or len(message.via) >= MAX_HOPS:
            return  # it has come round
        try:
            mapping, address = self._table.inward(message.topic)
        except MappingError as error:
            self._refused(message.topic, str(error))
            return
        is_param = message.signal == "param" or (
            message.signal not in ARRIVING and (message.retained or mapping.config.arrives_as == "param")
        )
        if self._up is not None and not self._up.mqtt5 and mapping.gives_out:
            seen = self._echoes.seen(message.topic, message.payload, self._clock.monotonic_s())
            converges = is_param and mapping.config.policy != "log"
            if seen is Seen.OWN or (seen is Seen.OVERTAKEN and converges):
                return
        if is_param and not self._is_news(mapping, address, message):
            return
        self._remember_trail(address, message.via)
        try:
            if is_param:
                self._set(mapping, address, message)
            else:
                self._publish(address, message)
        except WireError as error:
            self._refused(message.topic, str(error))

    def _is_news(self, mapping: Mapping, address: bytes, message: Arrived) -> bool:
        """Whether a param that has arrived is not overtaken by what is here already."""
        if message.retained and self._settling is not None:
            self._named.add(address)
            self._named_s = self._clock.monotonic_s()
        # A value of ours is on its way and will be the later one for the broker, and so for everybody.
        # Only a log is taken as it comes, for it is to be complete.
        if mapping.config.policy == "log":
            self._versions.heard(address, message.version, self._wall_ms())
            return True
        if self._queue.busy(address):
            return False
        said_again = message.again or (message.retained and self._settling is not None)
        if said_again and message.version and message.version < self._versions.known(address):
            # The broker, or who repeats this to it, has fallen behind.
            if mapping.gives_out:
                self.repeat(address)
            return False
        self._versions.heard(address, message.version, self._wall_ms())
        return True

    def _wall_ms(self) -> int:
        return self._clock.wall_us() // 1000

    def _set(self, mapping: Mapping, address: bytes, message: Arrived) -> None:
        code, data = _encoded(message)
        if not message.payload and message.retained and not message.signal:
            # The broker has been told to forget it; so do we (router.md 9).
            self._taken(message, self.set(address, ValueType.NULL, b"", HAS_TTL, 0, TTL_AT_ONCE)[0])
            return
        repeated = mapping.config.policy != "log" and (message.retained or message.again)
        if repeated or not self.speaks_mqtt5:
            # Retained messages come again with every connection; and without MQTT 5, what is no news ends a ring.
            described = self.plane.describe(address)
            if described is not None and described[1:3] == (code, data):
                return
        self._taken(message, self.set(address, code, data)[0])

    def _publish(self, address: bytes, message: Arrived) -> None:
        code, data = _encoded(message)
        signal = ARRIVING.get(message.signal, SignalType.EVENT)
        payload = encode_payload(Publish(address=address.decode(), signal=signal, value=decode_value(code, data)))
        self._taken(message, self.publish(payload, address))

    def _taken(self, message: Arrived, verdict: int) -> None:
        if verdict != Verdict.ACCEPTED:
            self._refused(message.topic, Verdict(verdict).name.lower().replace("_", " "))

    def _remember_trail(self, address: bytes, via: tuple[str, ...]) -> None:
        if via:
            self._trails[address] = via
            self._trails.move_to_end(address)
            if len(self._trails) > MAX_TRAILS:
                self._trails.popitem(last=False)
        else:
            self._trails.pop(address, None)

    def _refused(self, topic: str, reason: str) -> None:
        self._trouble(f"not taken: {topic[:200]}: {reason}")

    def _trouble(self, reason: str) -> None:
        self._status.trouble(reason)


def _encoded(message: Arrived) -> tuple[int, bytes]:
    if message.binary:
        return encode_value(message.payload)
    return encoded_value_of(message.payload)
