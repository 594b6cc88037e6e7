"""One bridge: a party of the router that writes what a broker sends and carries out what its maps cover.

Puts the parts together on the event loop: maps, queue, echo memory, and the link's events. Everything it writes goes
through the router's one gate; nothing here blocks.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence
from hashlib import blake2s
from random import Random

from msgspec.structs import replace

from clasp_edge.address_memory import AddressSet
from clasp_edge.clock import Clock
from clasp_edge.config.model import Bridge as BridgeConfig
from clasp_edge.dataplane import Plane, RawAdapter, Sink, Subscription, Verdict
from clasp_edge.devices.mqtt_bridge.echo import EchoMemory, Seen
from clasp_edge.devices.mqtt_bridge.events import (
    CLEARING,
    NO_EXPIRY,
    Arrived,
    Down,
    Event,
    Filter,
    Outgoing,
    Trouble,
    Trying,
    Up,
)  # fmt: skip
from clasp_edge.devices.mqtt_bridge.exchange import KINDS, SIGNALS, Exchange
from clasp_edge.devices.mqtt_bridge.expiries import Expiries
from clasp_edge.devices.mqtt_bridge.link import Link
from clasp_edge.devices.mqtt_bridge.loops import BLOCKED_S, LoopBreaker, Trails
from clasp_edge.devices.mqtt_bridge.mapping import Mapping, MappingError, MappingTable
from clasp_edge.devices.mqtt_bridge.plain import plain_message
from clasp_edge.devices.mqtt_bridge.properties import is_value_of_bytes, trail
from clasp_edge.devices.mqtt_bridge.queue import Message, OutQueue, Record
from clasp_edge.devices.mqtt_bridge.recovery import Recovery, place_of
from clasp_edge.devices.mqtt_bridge.resync import Resync
from clasp_edge.devices.mqtt_bridge.status import Status
from clasp_edge.devices.mqtt_bridge.versions import Versions
from clasp_edge.devices.values import use_in_dataplane
from clasp_edge.journal.followed_log import Log
from clasp_edge.wire import (
    MessageType,
    Publish,
    SignalType,
    Snapshot,
    Value,
    WireError,
    decode_payload,
    decode_value,
    encode_payload,
    encode_value,
)
from clasp_edge.wire.frame import HEADER_BYTES
from clasp_edge.wire.pattern import Pattern

log = logging.getLogger("clasp_edge.bridge")

ADDRESS_AT = HEADER_BYTES + 4
"""Where the address begins in the frames of a SET and a PUBLISH: after type, flags and its length (wire.md 2.3)."""

REVISION_BYTES = 8

SETTLE_S = 1.0
"""Retained messages follow a subscription at once; when none has come for so long, there are no more."""

MOST_PER_TURN = 256
"""Published at once: a few milliseconds of work."""

MAX_HOPS = 16
"""Daemons a message may have passed: more than any sensible chain, fewer than a loop nobody recognised makes."""


class Bridge(RawAdapter):
    """`start` once, `stop` once, on the loop. `daemon_id` names this process in what it publishes."""

    def __init__(
        self, plane: Plane, name: str, config: BridgeConfig, client_id: str, daemon_id: str, loop: AbstractEventLoop,
        clock: Clock, random: Random, journal: Log | None, max_packet: int,
    ) -> None:  # fmt: skip
        use_in_dataplane()
        self.name = name
        self.config = config
        self._loop = loop
        self._clock = clock
        self.daemon_id = daemon_id
        self.via = (daemon_id,)
        self._table = MappingTable(config.map)
        self._has_sealed = any(m.is_sealed for m in self._table.mappings)
        place = place_of(journal, self._table, name, loop)
        self._queue = OutQueue(config.queue_kib * 1024, config.queue_age_s, place)
        writer = f"bridge:{name}".encode()
        self._recovery = Recovery(
            place, journal, self._table, writer, self._queue.offer, self._pump, clock.monotonic_s, loop, self._is_gone
        )  # fmt: skip
        self._echoes = EchoMemory()
        self._loops = LoopBreaker()
        self.trails = Trails()
        self.reserved = True  # for its status; `mapping` lets nothing from outside get there
        self._status = Status(self, name, loop, clock)
        self._up: Up | None = None
        self.versions = Versions()
        # The numbers of its events begin again with each bridge, also with one that a reload has changed.
        origin = f"{daemon_id}.{name}.{clock.wall_us():x}"
        self._exchange = Exchange(self, origin, blake2s(client_id.encode()).hexdigest()[:16])
        self._named = AddressSet()  # by the broker's retained messages since the link came up
        self._there = AddressSet()  # params that the broker is known to have, while that matters
        self._named_s = 0.0
        self.expiries = Expiries(loop, self._expired)
        self._settling: TimerHandle | None = None
        self._heard = AddressSet()  # params that a broker has told while that is so
        self._is_first = True  # since the process started, nothing has been compared with a broker
        self._resync: Resync | None = None
        self._pump_due = False
        filters = [
            Filter(m.config.topic, m.config.qos, m.config.policy == "latest")
            for m in self._table.mappings
            if m.takes_in
        ]
        self._link = Link(config, client_id, filters, self, random, clock, loop, max_packet)
        mask = sum(1 << signal for signal in SIGNALS)
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
        self._recovery.start()
        self._link.start()

    def stop(self) -> None:
        """Take part no more and begin to disconnect."""
        for subscription in self._subscriptions:
            self.plane.trie.discard(subscription)
        self._stop_settling()
        self._recovery.close()
        self.expiries.close()
        self._link.stop()
        self._exchange.close()
        self._status.state("stopped", "")
        self._status.close()
        self.plane.unregister(self)

    # ---- from the router ----

    def on_deliveries(  # type: ignore[override]
        self, deliveries: list[tuple[Sink, int, bytes, bytes | None, Message | None, bool, int]]
    ) -> None:
        now_s = self._clock.monotonic_s()
        for origin, signal, address, frame, message, gone, logged in deliveries:
            # What this bridge wrote came from the broker, which has it.
            if origin is not self:
                self.carry(address, signal, frame, origin, now_s, CLEARING if gone else message, logged)
        self._pump()

    def carry(
        self, address: bytes, signal: int, frame: bytes | None, origin: Sink | None, now_s: float,
        message: Message | None = None, logged: int = 0,
    ) -> None:  # fmt: skip
        """Queue a change: a frame, or what an MQTT client published; with neither, the param's value at its turn.
        `logged` is its number in the journal's log, 0 without one."""
        found = self._table.outward(address)
        if found is None or (message is CLEARING and not found[0].config.retain):
            return
        record = Record(*found, address, frame if message is None else None, signal == SignalType.PARAM, now_s)
        record.message = message
        if logged and found[0].config.policy == "log":
            record.logged = logged
            record.written_us = self.plane.core.now_us
        if record.is_param and found[0].is_sealed:
            self._exchange.written(record)
        if isinstance(origin, Bridge):
            record.via = origin.trails.of(address)
            text = message[0] if message is not None else None
            if text is None and frame is not None:
                # A SET ends with its revision, which is always another one.
                end = -REVISION_BYTES if frame[HEADER_BYTES] == MessageType.SET else None
                text = frame[ADDRESS_AT + len(address) : end]
            if text is not None and not self._passes(origin, address, text, now_s):
                return
        if not self._recovery.holds(record):
            self._queue.offer(record)
        self._status.touch()

    def _passes(self, origin: Bridge, address: bytes, said: bytes, now_s: float) -> bool:
        """Whether to carry what another bridge brought, which may be what this one has carried out before."""
        if self.speaks_mqtt5 and origin.speaks_mqtt5:
            return True  # the messages themselves say where they have been
        passes = self._loops.passes(address, said, now_s)
        if passes is None:
            self.trouble(f"a loop with bridge {origin.name}: {address.decode()} waits for {BLOCKED_S:g} s")
            self._loop.call_later(BLOCKED_S, self._after_loop, address)
        return bool(passes)

    def _is_gone(self, address: bytes) -> bool:
        return self.plane.describe(address) is None

    def _after_loop(self, address: bytes) -> None:
        if self.plane.describe(address) is not None:
            self.carry(address, SignalType.PARAM, None, None, self._clock.monotonic_s())
            self._pump()

    @property
    def speaks_mqtt5(self) -> bool:
        """Whether what it carries can say where it has been."""
        return self._up is None or self._up.mqtt5

    def counts(self) -> tuple[int, int]:
        """How many messages wait or are under way, and how many have been dropped since the start."""
        return len(self._queue), self._queue.dropped.total()

    def report(self) -> dict[str, Value]:
        """What its params say, with the counts as they are now."""
        queued, dropped = self.counts()
        return self._status.told | {"queued": queued, "dropped": dropped}

    # ---- to the broker ----

    def _pump(self) -> None:
        self._queue.settle()
        up = self._up
        if up is None:
            return
        now_s = self._clock.monotonic_s()
        self._queue.expire(now_s)
        queue, link = self._queue, self._link
        turn = 0
        # A record may be two messages; with QoS 0 it makes room again at once.
        while (room := min(up.window - queue.flying, MOST_PER_TURN - turn)) > 0 and link.has_room:
            for _ in range((room + 1) // 2 if self._has_sealed else room):
                if (record := queue.next()) is None:
                    break
                self._send(record, up)
            else:
                turn += room
                continue
            break  # nothing waits
        if turn >= MOST_PER_TURN:
            self._pump_later()
        link.flush()
        if queue.has_missed and not len(queue) and self._settling is None and self._resync is None:
            queue.has_missed = False
            self._resync = Resync(self, self._loop, (), self._resynced, clear=False, spared=())
            self._resync.start([m for m in self._table.mappings if m.config.policy == "latest"])
        self._status.touch()

    def _pump_later(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump_again)

    def _pump_again(self) -> None:
        self._pump_due = False
        self._pump()

    def _send(self, record: Record, up: Up) -> None:
        try:
            messages = self._messages(record, up)
        except ValueError as error:  # a WireError too
            self._queue.done(record, refused=True)
            self.trouble(f"has no payload: {record.topic}: {error}")
            return
        if not messages:
            self._queue.done(record)
            return
        if len(messages[0].payload) + len(record.topic) * 3 > up.max_packet:
            self._queue.done(record, refused=True)
            self._exchange.unsent(record)
            self.trouble(f"larger than the broker takes: {record.topic}")
            return
        if len(messages) > 1:
            self._queue.beside(message.record for message in messages if message.record is not record)
        for message in messages:
            self._link.publish(message)

    def _messages(self, record: Record, up: Up) -> list[Outgoing]:
        """The messages for a record, none for what has no value (any more). Raises WireError."""
        record.qos = min(record.mapping.config.qos, up.max_qos)
        if record.mapping.is_sealed:
            return self._exchange.outgoing(record, record.qos, up)
        message = plain_message(self, record, up)
        if message is None:
            return []
        if not up.mqtt5 and record.mapping.takes_in:
            self._echoes.sent(record.topic, message.payload, self._clock.monotonic_s())
        return [message]

    def _expired(self, address: bytes) -> None:
        if self.plane.describe(address) is None:
            self.carry(address, SignalType.PARAM, None, None, self._clock.monotonic_s(), CLEARING)
            self._pump()

    # ---- from the link ----

    def on_turn(self, begins: bool) -> None:
        """As `link.Party`. One pass for all of it: what it changes is sent to each client in one write."""
        if begins:
            self.plane.core.begin_pass()
        else:
            self.plane.core.end_pass()
            self._pump()

    def on_done(self, record: Record, refusal: str) -> None:
        """As `link.Party`."""
        self._queue.done(record, refused=bool(refusal))
        if refusal:
            self.trouble(f"refused: {record.topic}: {refusal}")
        elif record.is_param and (self._settling is not None or self._resync is not None):
            self._there.add(record.address)

    def on_event(self, event: Event) -> None:
        """As `link.Party`."""
        match event:
            case Trying(broker):
                self._status.broker(broker)
            case Up():
                self._on_up(event)
                self._pump()
            case Down(reason):
                self._on_down(reason)
            case Trouble(reason):
                self.trouble(reason)

    def on_arrived(self, message: Arrived) -> None:
        """As `link.Party`."""
        try:
            self._on_arrived(message)
        except Exception:
            # The others must not suffer: among them are acknowledgements that nobody repeats.
            log.exception("bridge %s: a message could not be dealt with", self.name)

    def _on_up(self, up: Up) -> None:
        log.info("bridge %s: connected to %s (MQTT %s)", self.name, up.broker, "5" if up.mqtt5 else "3.1.1")
        self._up = up
        self._queue.online = True
        if up.fresh:
            self._queue.start_over()
        self._status.state("up", "")
        self._status.broker(up.broker)
        # It may be another broker, or one that was killed and has lost what it had acknowledged.
        self._named.clear()
        self._there.clear()
        self._link.subscribe()
        self._settling = self._loop.call_later(SETTLE_S, self._look_if_settled)

    def _look_if_settled(self) -> None:
        """Once no more retained values come, it is known what the broker has."""
        quiet_s = self._clock.monotonic_s() - self._named_s
        if quiet_s < SETTLE_S:
            self._settling = self._loop.call_later(SETTLE_S - quiet_s, self._look_if_settled)
            return
        self._settling = None
        if self._table.mappings:
            # What was cleared while the link was down comes by the session at the broker; but not to a new process. A
            # broker that names nothing at all has lost what it had; it does not say that it was cleared.
            # Nor does one that names more than is remembered here, or has refused a subscription, say what it does not
            # have.
            self._there.update(self._named)
            clear = (
                self._is_first and self._link.is_subscribed and len(self._named) > 0
                and not (self._there.is_cut or self._heard.is_cut)
            )  # fmt: skip
            self._resync = Resync(self, self._loop, self._there, self._resynced, clear=clear, spared=self._heard)
            # A log is complete but for what waited when the process ended.
            self._resync.start([m for m in self._table.mappings if m.config.policy == "latest" or self._is_first])
        else:
            self._resynced()

    def _resynced(self) -> None:
        self._resync = None
        self._is_first = False
        self._heard = AddressSet()
        self._named = AddressSet()
        self._there = AddressSet()
        self._pump()

    def repeat(self, address: bytes) -> None:
        """Queue the present value of a param that the broker seems to lack, unless a new one is on its way anyway."""
        found = self._table.outward(address)
        if found is not None and not self._queue.busy(address):
            record = Record(*found, address, None, True, self._clock.monotonic_s())
            record.again = True
            self._queue.offer(record)

    def forget(self, address: bytes) -> None:
        """Clear a param that came from the broker and that it does not have any more."""
        self.write(address, b"", b"", NO_EXPIRY, 1, True, False)

    def _on_down(self, reason: str) -> None:
        if self._up is not None:
            log.warning("bridge %s: lost %s: %s", self.name, self._up.broker, reason)
        else:
            self._status.complain(f"no connection: {reason}")
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

    def has_passed(self, via: Sequence[str]) -> bool:
        """Whether a message with this trail has been here, or gone far enough."""
        return self.daemon_id in via or len(via) >= MAX_HOPS

    def _on_arrived(self, message: Arrived) -> None:
        if self._up is not None and self._up.daemon and self._up.daemon not in message.via:
            # The MQTT server of a clasp-edge: it tells what is said there, and does not say of it that it was there.
            via = (*message.via, self._up.daemon)
            message = replace(message, via=via, properties=message.properties + trail(via))
        try:
            mapping, address = self._table.inward(message.topic)
        except MappingError as error:
            if not self.has_passed(message.via):
                self._refused(message.topic, str(error))
            return
        if mapping.is_sealed:
            try:
                self._exchange.arrived(mapping, address, message)
            except ValueError as error:  # a WireError too
                self._refused(message.topic, str(error))
            return
        has_passed = self.has_passed(message.via)
        if has_passed and not message.retained:
            return  # it has come round
        if has_passed:
            if self._settling is not None or self._resync is not None:
                self._there.add(address)
            return
        is_param = message.signal == "param" or (
            message.signal not in KINDS and (message.retained or mapping.config.arrives_as == "param")
        )
        # Without MQTT 5 a live message does not say whether it is retained. Where something is retained here already it
        # is taken as its next value; elsewhere it is a param that is no retained message, and each of them is told.
        is_value = (
            not is_param and not self.speaks_mqtt5 and mapping.config.arrives_as is None and bool(message.payload)
        )
        is_next = is_value and self.retained(address) is not None
        if is_next:
            is_param, is_value = True, False
        if self._up is not None and not self._up.mqtt5 and mapping.gives_out:
            seen = self._echoes.seen(message.topic, message.payload, self._clock.monotonic_s())
            converges = is_param and mapping.config.policy != "log"
            if seen is Seen.OWN or (seen is Seen.OVERTAKEN and converges):
                return
        if is_param and not self._is_news(mapping, address, message):
            return
        self.trails.remember(address, message.via)
        try:
            if is_value:
                self.versions.heard(address, message.version, self.wall_ms())
                self._write(address, message, retained=False, event=False)
            elif is_param:
                self._set(mapping, address, message, is_next)
            else:
                self._publish(address, message)
        except WireError as error:
            self._refused(message.topic, str(error))

    def _is_news(self, mapping: Mapping, address: bytes, message: Arrived) -> bool:
        """Whether a param that has arrived is not overtaken by what is here already."""
        self._note_heard(address, message.retained)
        # A value of ours is on its way and will be the later one for the broker, and so for everybody.
        # Only a log is taken as it comes, for it is to be complete.
        if mapping.config.policy == "log":
            self.versions.heard(address, message.version, self.wall_ms())
            return True
        if self._queue.busy(address) and (message.retained or not self.speaks_mqtt5):
            return False
        said_again = message.again or (message.retained and self._settling is not None)
        if said_again and message.version and message.version < self.version_here(address):
            # The broker, or who repeats this to it, has fallen behind.
            if mapping.gives_out:
                self.repeat(address)
            return False
        self.versions.heard(address, message.version, self.wall_ms())
        return True

    def named_by_broker(self, address: bytes) -> None:
        """It has a retained value of it."""
        if self._settling is not None or self._resync is not None:
            self._there.add(address)
        self._note_heard(address, True)

    def _note_heard(self, address: bytes, retained: bool) -> None:
        if self._is_first:
            self._heard.add(address)
        if retained and self._settling is not None:
            self._named.add(address)
            self._named_s = self._clock.monotonic_s()

    def monotonic_s(self) -> float:
        """Of the clock by which records are as old as they are."""
        return self._clock.monotonic_s()

    def version_here(self, address: bytes) -> int:
        """The version of a param's value. After a restart it is the time at which somebody here wrote it."""
        known = self.versions.known(address)
        if not known and (found := self.plane.read(address)) is not None:
            snapshot = decode_payload(found)
            assert isinstance(snapshot, Snapshot)
            param = snapshot.params[0]
            if param.writer != f"bridge:{self.name}":
                known = (param.timestamp or 0) // 1000
        return known

    def wall_ms(self) -> int:
        """Unix time."""
        return self._clock.wall_us() // 1000

    def _set(self, mapping: Mapping, address: bytes, message: Arrived, is_next: bool) -> None:
        # Another daemon's param may be one that no broker retains; it is a param all the same. Without MQTT 5 nobody
        # tells a live message that clears a retained one from another, but that it is empty.
        cleared = not message.payload and not self.speaks_mqtt5 and self.retained(address) is not None
        told = message.retained or message.again or cleared
        retained = told or is_next
        if is_value_of_bytes(message):
            code, data = encode_value(message.payload)
            described = self.plane.describe(address)
            if described is None or described[1:3] != (code, data) or not retained:
                self.taken(message, self.set(address, code, data)[0])
            return
        if told and message.payload and (mapping.config.policy != "log" or self._is_first):
            # Retained messages come again with every connection.
            here = self.retained(address)
            if here is not None and here[:2] == (message.payload, message.properties):
                return
        self._write(address, message, retained=retained, event=False)

    def _publish(self, address: bytes, message: Arrived) -> None:
        if message.signal == "stream" or is_value_of_bytes(message):
            code, data = message.encoded()
            signal = KINDS.get(message.signal, SignalType.EVENT)
            payload = encode_payload(Publish(address=address.decode(), signal=signal, value=decode_value(code, data)))
            self.taken(message, self.publish(payload, address))
        else:
            self._write(address, message, retained=False, event=True)

    def _write(self, address: bytes, message: Arrived, *, retained: bool, event: bool) -> None:
        verdict = self.write(
            address, message.payload, message.properties, message.expiry_s, message.qos, retained, event
        )
        self.taken(message, verdict)

    def taken(self, message: Arrived, verdict: int) -> None:
        """Say so where the router has not taken a message."""
        if verdict != Verdict.ACCEPTED:
            self._refused(message.topic, Verdict(verdict).name.lower().replace("_", " "))

    def _refused(self, topic: str, reason: str) -> None:
        self.trouble(f"not taken: {topic[:200]}: {reason}")

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """On the loop."""
        return self._loop.call_later(delay_s, callback)

    def trouble(self, reason: str) -> None:
        """Say what was refused or went wrong."""
        self._status.trouble(reason)
