"""The connection to one of a bridge's brokers: kept up by fail-over and back-off, and watched for silence.

Runs on the event loop; a coroutine for each connection, none for a message. Knows neither addresses nor values nor
policies.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, CancelledError, Task, TimerHandle, sleep
from collections.abc import Sequence
from random import Random
from typing import Protocol

from clasp_edge.backoff import STABLE_S, Backoff
from clasp_edge.clock import Clock
from clasp_edge.config.broker import Broker, parse_broker
from clasp_edge.config.model import Bridge as BridgeConfig
from clasp_edge.devices.mqtt.codec import (
    Auth,
    Disconnect,
    PacketType,
    Property,
    Reason,
    Suback,
    Subscribe,
    SubscribeFilter,
    decode,
    encode,
)
from clasp_edge.devices.mqtt.codec.reason import protocol_error
from clasp_edge.devices.mqtt_bridge.connection import Connection
from clasp_edge.devices.mqtt_bridge.dialing import Dialing, Greeted, reason_text
from clasp_edge.devices.mqtt_bridge.events import Arrived, Down, Event, Filter, Outgoing, Trouble, Trying, Up
from clasp_edge.devices.mqtt_bridge.flow import Flow
from clasp_edge.devices.mqtt_bridge.properties import of_publish, server_in
from clasp_edge.devices.mqtt_bridge.queue import Record
from clasp_edge.devices.mqtt_bridge.silence import Watch

log = logging.getLogger("clasp_edge.bridge")

PATIENCE_S = (1.0, 2.0, 5.0)
"""For each step of a connection, in the first round through several brokers, the second, and from then on: the next
one may be there at once. A single broker has the longest."""

SHUNNED_S = 30.0
"""For so long a broker that has failed comes after those that have not."""

SOON_ROUNDS = 4
"""Of failures with several brokers, before the pauses between them grow."""

WINDOW = 256
"""Messages under way; a broker may ask for fewer (MQTT 5, receive maximum)."""

FAILURE = 0x80
"""From this reason code on something was refused (MQTT 5.0, 2.4)."""


OF_CLIENTS = (PacketType.CONNECT, PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE, PacketType.PINGREQ)


class Party(Protocol):
    """The bridge, as its link sees it."""

    def on_event(self, event: Event) -> None:
        """The link has come, gone, or has something to say."""

    def on_arrived(self, message: Arrived) -> None:
        """A message."""

    def on_done(self, record: Record, refusal: str) -> None:
        """A record has reached the broker (QoS 0: is on its way), or was refused."""

    def on_turn(self, begins: bool) -> None:
        """What has come is taken now (`begins`), or has been; then there may be room for more."""


class Link:
    """Keeps one connection up, whatever it takes. `start` once, `stop` once."""

    def __init__(
        self, config: BridgeConfig, client_id: str, filters: Sequence[Filter], party: Party, random: Random,
        clock: Clock, loop: AbstractEventLoop, max_packet: int,
    ) -> None:  # fmt: skip
        self.config = config
        self.filters = list(filters)
        self._party = party
        self._loop = loop
        self._brokers = [parse_broker(text) for text in config.brokers]
        self._dialing = Dialing(config, client_id, clock, loop, max_packet)
        self._backoff = Backoff(random)
        self._flow = Flow(party.on_arrived, self._on_done, self._on_packet, self._on_trouble, max_packet)
        self._connection: Connection | None = None
        self._session: tuple[Broker, bool] | None = None  # whose the flow is, and in which version
        self._subscribed: set[tuple[Broker, bool]] = set()
        self._asked: dict[int, Filter] = {}  # by the identifier of its SUBSCRIBE
        self._refused: list[Filter] = []  # to be asked for again
        self._ask_again: TimerHandle | None = None
        self._random = random
        self._patience = Backoff(random)  # with who refuses a subscription
        self._failed: dict[Broker, float] = {}  # and when, the last time
        self._task: Task[None] | None = None
        self._watch: Watch | None = None

    def start(self) -> None:
        """Begin to connect; events follow."""
        self._task = self._loop.create_task(self._run())

    def stop(self) -> None:
        """Disconnect. What has been published still goes out, as far as the broker takes it: wills are among it."""
        if self._watch is not None:
            self._watch.close()
        if self._connection is not None:
            self._connection.flush()
            self._connection.close()
            self._connection = None
        if self._task is not None:
            self._task.cancel()

    @property
    def has_room(self) -> bool:
        """Whether there is a connection that takes what is published."""
        return self._connection is not None and not self._connection.paused

    # ---- what goes out ----

    def publish(self, message: Outgoing) -> None:
        """Publish; `on_done` follows, at once for QoS 0. `flush` sends it."""
        record = message.record
        try:
            properties = b"" if message.is_sealed else of_publish(message)
            self._flow.publish(record, record.topic, message.payload, message.qos, message.retain, properties)
        except (ValueError, OverflowError) as error:
            self._party.on_done(record, str(error))
            return
        if not message.qos:
            self._party.on_done(record, "")

    def flush(self) -> None:
        """Send what has been published."""
        if self._connection is not None:
            self._connection.flush()

    def subscribe(self) -> None:
        """Subscribe; with MQTT 5 not to what we publish ourselves, and retain flags as they were published."""
        self._subscribe(self.filters)
        if self._session is not None:
            self._subscribed.add(self._session)

    def _subscribe(self, filters: Sequence[Filter]) -> None:
        connection = self._connection
        if connection is None:
            return
        for wanted in filters:
            options = SubscribeFilter(filter=wanted.topic, qos=wanted.qos)
            if connection.mqtt5:
                replay = wanted.replay or self._session not in self._subscribed
                options = SubscribeFilter(
                    filter=wanted.topic, qos=wanted.qos, no_local=True, retain_as_published=True,
                    retain_handling=0 if replay else 1,
                )  # fmt: skip
            packet_id = self._flow.free_id()
            while packet_id in self._asked:
                packet_id = self._flow.free_id()
            self._asked[packet_id] = wanted
            self._flow.send(encode(Subscribe(packet_id=packet_id, filters=[options]), connection.version))
        self.flush()

    @property
    def is_subscribed(self) -> bool:
        """Whether the broker has granted all of it."""
        return not (self._asked or self._refused)

    def _on_suback(self, wanted: Filter, code: int) -> None:
        if code < FAILURE:
            return
        self._on_trouble(f"the broker refused the subscription to {wanted.topic}: {reason_text(Reason, code)}")
        # It may be for good; or a node of a cluster without a leader, which can say nothing else in MQTT 3.1.1.
        self._refused.append(wanted)
        if self._ask_again is None:
            self._ask_again = self._loop.call_later(self._patience.after(0.0), self._resubscribe)

    def _resubscribe(self) -> None:
        self._ask_again = None
        refused, self._refused = self._refused, []
        self._subscribe(refused)

    def _forget_asked(self) -> None:
        """With a connection go the answers to what was asked on it."""
        self._asked.clear()
        self._refused.clear()
        if self._ask_again is not None:
            self._ask_again.cancel()
            self._ask_again = None

    # ---- the connection ----

    async def _run(self) -> None:
        rounds = 0
        brief = 0
        while True:
            lasted_s = 0.0
            try:
                patience_s = PATIENCE_S[-1 if len(self._brokers) == 1 else min(rounds, len(PATIENCE_S) - 1)]
                greeted = await self._dialing.first_of(self._in_order(), patience_s, self._on_trying, self._on_failed)
                if greeted is not None:
                    lasted_s = await self._serve(greeted)
            except CancelledError:
                raise
            except Exception as error:
                log.exception("a bridge has failed")
                self._party.on_event(Down(f"internal error: {error!r}"))
            rounds = 0 if lasted_s else rounds + 1
            brief = 0 if lasted_s >= STABLE_S else brief + 1
            # One of several is likely to be there: the others are asked at once, and soon again.
            if len(self._brokers) == 1 or brief > 1 or not lasted_s:
                is_soon = len(self._brokers) > 1 and brief <= SOON_ROUNDS
                await sleep(self._backoff.after(STABLE_S if is_soon else lasted_s))

    def _in_order(self) -> list[Broker]:
        """As configured, but for those that have failed just now: they come last, the latest at the very end."""
        since_s = self._loop.time() - SHUNNED_S
        failed = {broker: at_s for broker, at_s in self._failed.items() if at_s > since_s}
        return sorted(self._brokers, key=lambda broker: failed.get(broker, 0.0))

    def _on_trying(self, broker: Broker) -> None:
        self._party.on_event(Trying(str(broker)))

    def _on_failed(self, broker: Broker, reason: str) -> None:
        self._failed[broker] = self._loop.time()
        self._party.on_event(Down(reason if len(self._brokers) == 1 else f"{broker}: {reason}"))

    async def _serve(self, greeted: Greeted) -> float:
        """One connection to its end; returns the seconds that it has lasted."""
        broker, connection, connack = greeted
        began_s = self._loop.time()
        session = (broker, connection.mqtt5)
        resumed = connack.session_present and session == self._session
        up = self._up(greeted, resumed)
        self._session = session
        self._connection = connection
        self._forget_asked()
        self._patience = Backoff(self._random)
        self._flow.begin(connection.mqtt5, resumed, up.window, connack.session_present)
        self._watch = Watch(self._loop, connection, self.config.keep_alive_s, connack, self._probe_of(broker))
        try:
            connection.serve(self._flow, self._party.on_turn)
            self._party.on_event(up)
            connection.flush()
            reason = await connection.ended
        finally:
            self._watch.close()
            self._connection = None
            self._flow.lost()
            self._forget_asked()
        if self._watch.is_silent:
            # It is asked last; one that has closed a connection may have it again at once.
            self._failed[broker] = self._loop.time()
        else:
            self._failed.pop(broker, None)
        self._party.on_event(Down(reason if len(self._brokers) == 1 else f"{broker}: {reason}"))
        return max(self._loop.time() - began_s, 1e-3)

    def _probe_of(self, broker: Broker) -> tuple[Dialing, Broker] | None:
        """Only where there is another broker to go to."""
        return None if len(self._brokers) == 1 else (self._dialing, broker)

    def _up(self, greeted: Greeted, resumed: bool) -> Up:
        broker, connection, connack = greeted
        said = connack.properties
        receives = said.get(Property.RECEIVE_MAXIMUM, 65535)
        one_by_one = receives == 1
        if any(entry.payload == "clasp" for entry in self.config.map):
            receives = max(1, receives - 1)  # a clear is two messages (`Exchange.outgoing`)
        return Up(
            broker=str(broker),
            mqtt5=connection.mqtt5,
            fresh=not resumed,
            resumed=connack.session_present,
            window=min(WINDOW, receives),
            max_packet=said.get(Property.MAXIMUM_PACKET_SIZE, 2**28),
            max_qos=said.get(Property.MAXIMUM_QOS, 2),
            retains=bool(said.get(Property.RETAIN_AVAILABLE, 1)),
            one_by_one=one_by_one,
            daemon=server_in(said.get(Property.USER_PROPERTY, ())),
        )

    # ---- what comes in ----

    def _on_done(self, record: Record, reason: int) -> None:
        self._party.on_done(record, reason_text(Reason, reason) if reason else "")

    def _on_trouble(self, text: str) -> None:
        self._party.on_event(Trouble(text))

    def _on_packet(self, first: int, body: bytes) -> None:
        """All but messages and acknowledgements. Raises MqttError for what a broker does not send."""
        connection = self._connection
        if connection is None:
            return
        kind = first >> 4
        if kind == PacketType.CONNACK:
            raise protocol_error("the broker has sent a second CONNACK")
        if kind in OF_CLIENTS:
            raise protocol_error(f"the broker has sent a {PacketType(kind).name}, which only clients send")
        match decode(first, body, connection.version):
            case Suback(packet_id=packet_id, reasons=reasons):
                wanted = self._asked.pop(packet_id, None)
                if wanted is not None and reasons:
                    self._on_suback(wanted, reasons[0])
            case Disconnect(reason=code) if connection.mqtt5:
                connection.give_up(f"disconnected by the broker: {reason_text(Reason, code)}")
            case Auth() | Disconnect():
                raise protocol_error(f"the broker has sent {PacketType(kind).name}")
