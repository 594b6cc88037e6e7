"""What a neighbouring router is told: every write that the link carries and that did not come from there.

Params converge: while the link is slow their addresses are noted and the newest value follows. Messages that must all
arrive go through the backlog; the rest is dropped under pressure, and counted. Between two clasp-edges every run of
writes says where it comes from, and checkpoints say how far the neighbour has got. Knows no connection but a `Port`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Protocol

from clasp_edge.dataplane import Plane
from clasp_edge.federation.shared.agreement import Agreement
from clasp_edge.federation.shared.batches import Item, deliver, routes_of, sets_among, with_routes
from clasp_edge.federation.shared.dedup import MAX_HOPS, Route, goes_back
from clasp_edge.federation.shared.extensions import LOCK_HELD, checkpoint_frame, gone_frame
from clasp_edge.federation.shared.mqtt_messages import split
from clasp_edge.federation.shared.policy import Policies
from clasp_edge.federation.shared.queue import LinkQueue
from clasp_edge.federation.shared.relay import Relay
from clasp_edge.federation.shared.unpack import set_parts
from clasp_edge.federation.shared.waiting_frames import GONE_TTL, bare_frame, versioned_frame
from clasp_edge.wire import MessageType, Qos, WireError, encode_frame
from clasp_edge.wire.compact import join_bundle
from clasp_edge.wire.frame import HEADER_BYTES

GONE = 0x80
"""In the kind of a delivery: the param was cleared (dataplane.relay)."""

QUIET = 0x40
"""In the kind of a delivery: only its version is news, for routers that know versions (relay.pyx)."""

ASKS_FOR_ACK = 0x41
ASKS_FOR_NOTHING = 0x01
"""Flags of a SET's frame (wire.md 1.1): the reference acknowledges each SET, a clasp-edge checkpoints."""

PRESSURE_BYTES = 256 * 1024
"""Unsent bytes of a link above which params converge and streams are dropped."""

MESSAGES_AT_ONCE = 512
BYTES_AT_ONCE = 128 * 1024
"""Of the backlog in one turn of the loop: a millisecond or two, so that live traffic never waits for longer."""

WINDOW_STORED = 8192
"""Messages under way to a neighbour that acknowledges them only when they are stored, perhaps ten times a second."""

FLIGHTS = 8
"""Batches of the backlog under way to a clasp-edge; more where they are small, as those of live traffic."""

BUNDLE_BYTES = 60_000
"""Of a BUNDLE to a reference hub, which acknowledges those and not PUBLISHes; one at a time, for its ACK names none."""

LOOK_S = 0.02
"""How often a link under pressure is looked at, where it does not tell by itself."""

SLOW_S = 0.05
BUNDLED_PARAMS = 250
"""Twenty bundles a second to a reference that refuses more than thirty messages (federation.md 6); a bundle of 300 SETs
is known to work there (7.7)."""

MAX_TOMBSTONES = 10_000
"""Cleared params that the neighbour has not heard of; of more, the oldest are forgotten."""


class Port(Protocol):
    """The way to the neighbour."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes that it has not taken."""
        ...

    def send(self, frames: list[bytes]) -> None:
        """Send whole frames, in order. Never waits."""
        ...


class PeerSender(Relay):
    """`open` when the neighbour is ready for writes, `close` when it is gone. `logged` and `unlogged` are the routes of
    what was first written here. `later_s(seconds, callback)`
    calls back."""

    def __init__(
        self, plane: Plane, policies: Policies, logged: Route, unlogged: Route,
        later_s: Callable[[float, Callable[[], None]], object], wall_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self.policies = policies
        self.agreement = Agreement()
        self.decided_there: Callable[[bytes], bool] = lambda address: False
        """Whether a router beyond the link decides about locks, expected revisions and strategies of an address."""
        self.backlog: LinkQueue | None = None
        self.neighbour = ""
        self.dropped: Counter[str] = Counter()
        self.tombstones: dict[bytes, float] = {}
        self.told = 0
        self.drain_bytes = BYTES_AT_ONCE
        self.window = MESSAGES_AT_ONCE
        self.all_heard_s = 0.0  # Unix time: whatever was written here before was acknowledged
        self.retells_up_to = 0
        """Up to this number of the log, what the neighbour has told is told to it too: it was started anew since, and
        may have told what it had not stored. It recognises what it has."""
        self.retells_all = False
        """And so is what was first said there: it may have lost that too."""
        self.logged_route = logged
        self.unlogged_route = unlogged
        self._later_s = later_s
        self._wall_s = wall_s
        self._port: Port | None = None
        self._is_edge = False
        self._checkpoints = True
        self._slow = False
        self._draining = False
        self._pending: dict[bytes, tuple[Route | None, int]] = {}
        self._in_flight: dict[bytes, int] = {}
        self._batches: deque[tuple[int, list[bytes]]] = deque()
        self._bundled: list[bytes] = []
        self._in_bundle = 0
        self._one_by_one = 0  # so many messages of a bundle that was refused are still to be tried alone
        self._outdated: set[bytes] = set()  # params of which the log has just told what they are no more
        self._checkpoint = 0
        self._pump_due = False

    # ---- life of a link ----

    def open(self, port: Port, neighbour: str, *, is_edge: bool, checkpoints: bool = True, mqtt: bool = False) -> None:
        """Writes go out from now on. A hub, whose order counts, needs no `checkpoints` from a leaf. `mqtt`: the
        neighbour is told what MQTT clients are told of them."""
        self.tells_mqtt = mqtt
        self._port = port
        self._is_edge = is_edge
        self._checkpoints = checkpoints
        self._slow = False
        self.neighbour = neighbour
        self.flags = ASKS_FOR_NOTHING if is_edge else ASKS_FOR_ACK

    def start_draining(self) -> None:
        """State has been settled: now what waits in the backlog."""
        self._draining = True
        self.pump_soon()

    def close(self) -> None:
        """The neighbour is gone."""
        self._port = None
        self._draining = False
        self._pending.clear()
        self._in_flight.clear()
        self._batches.clear()
        self._bundled = []
        self._one_by_one = 0
        self.agreement.link_lost()
        if self.backlog is not None:
            self.backlog.link_lost()

    @property
    def is_open(self) -> bool:
        return self._port is not None

    @property
    def caught_up(self) -> bool:
        """Whether nothing waits for the neighbour: what is said now is on its way at once."""
        return self._draining and self.backlog is not None and self.backlog.drained

    # ---- from the plane ----

    def on_deliveries(self, deliveries: list[tuple[int, bytes, bytes, Route | None, int, int]]) -> None:  # type: ignore[override]
        """Send what can go now, keep what must arrive."""
        port = self._port
        deliver(self, deliveries, port is None or self._slow or port.backlog_bytes > PRESSURE_BYTES)
        if self.contested:
            self._contested()

    def _contested(self) -> None:
        """Of the writes of this pass, some need the word of a router beyond the link."""
        contested, self.contested = self.contested, {}
        theirs = {address: why for address, why in contested.items() if self.decided_there(address)}
        self.agreement.awaits(theirs)
        if theirs and self._port is not None:
            self.pump_soon()

    def ask_word(self) -> None:
        """Have the neighbour tell when it has dealt with what is pending: it has been told all of that."""
        if self._port is not None and self.agreement.has_unasked:
            self._checkpoint += 1
            self.agreement.asked(self._checkpoint)
            self._port.send([checkpoint_frame(self._checkpoint)])

    def writers_refused(self, address: bytes, text: str) -> tuple[bytes, bytes]:
        """The neighbour has refused what it was told there: who may have written it, the likelier one first. Something
        else may stand here by now."""
        held = self.held(address)
        writers = (self.agreement.refused(address), held[2] if held is not None else b"")
        # Any write may be refused for a lock; that it needed a word is known here of the others.
        return writers[::-1] if text.startswith(LOCK_HELD) else writers

    def is_back(self, route: Route, number: int, logged: int) -> bool:
        """Whether a message of the backlog is not for the neighbour, because it has come from there."""
        if not goes_back(route, self.neighbour):
            return False
        again = 0 < logged <= self.retells_up_to and number and self._is_edge
        return not again or (route.origin == self.neighbour and not self.retells_all) or route.hops >= MAX_HOPS

    def marked(self, loop_mark: int, logged: int, number: int) -> tuple[Route, int]:
        """Whence a write of our own comes that is a device's answer, or ends a loop (`Sink.loop_mark`)."""
        route, number = self._way(None, number, logged)
        return route._replace(answer=loop_mark), number

    def _way(self, route: Route | None, number: int, logged: int) -> tuple[Route, int]:
        """Whence a write comes, and its number there."""
        if route is not None:
            return route, number
        return (self.logged_route, logged) if logged else (self.unlogged_route, number)

    def _bury(self, address: bytes) -> None:
        """Until the neighbour is known to have heard of it: the link that tells it may be dead already."""
        self.tombstones[address] = self._wall_s()
        if len(self.tombstones) > MAX_TOMBSTONES:
            del self.tombstones[next(iter(self.tombstones))]

    # ---- to the neighbour ----

    def _send(self, sending: list[Item], written: list[bytes], *, to_be_done: bool = False) -> None:
        """`to_be_done`: the backlog must know when it has been dealt with."""
        assert self._port is not None
        self.told += len(sending)
        if not self._is_edge:
            for address in written:
                self._in_flight[address] = self._in_flight.get(address, 0) + 1
            self._port.send([split(item.frame)[1] for item in sending])
            return
        frames = with_routes(sending, self.tells_mqtt)
        # A version tells by itself what stands; only what must all arrive is acknowledged.
        checkpoints = self._checkpoints and not self.versioned
        if checkpoints or to_be_done:
            self._checkpoint += 1
            frames.append(checkpoint_frame(self._checkpoint))
        if checkpoints:
            for address in written:
                self._in_flight[address] = self._checkpoint
            self._batches.append((self._checkpoint, written))
        self._port.send(frames)

    def push(self, address: bytes, frame: bytes) -> None:
        """Tell a param's present value (or that there is none) as our own, without a number."""
        self._send([Item(frame, self.unlogged_route, 0, 0, 0.0)], [address])

    def push_all(self, told: list[tuple[bytes, bytes]]) -> None:
        """`push` for many at once: (address, frame) each."""
        route = self.unlogged_route
        self._send([Item(frame, route, 0, 0, 0.0) for _, frame in told], [address for address, _ in told])

    def tell(self, address: bytes) -> None:
        """Tell a param's present value, or that there is none, when the link has room for it."""
        self._pending[address] = (None, 0)
        self.pump_soon()

    # ---- what the neighbour has got ----

    def reached(self, checkpoint: int) -> None:
        """A clasp-edge has dealt with everything up to this checkpoint."""
        if self.agreement.pending:
            self.agreement.dealt_with(checkpoint)
        while self._batches and self._batches[0][0] <= checkpoint:
            number, addresses = self._batches.popleft()
            for address in addresses:
                if self._in_flight.get(address) == number:
                    del self._in_flight[address]
                    self._heard_of(address)

    def stored(self, checkpoint: int) -> None:
        """A clasp-edge answers for everything up to this checkpoint."""
        if self.agreement.pending:
            self.agreement.dealt_with(checkpoint)
        if self.backlog is not None and self.backlog.flights:
            self.backlog.done(checkpoint)
            self.pump_soon()

    def acknowledged(self, address: bytes) -> bool:
        """The reference has acknowledged (or refused) a SET; whether none of this address is under way any more."""
        if self._is_edge:
            return address not in self._in_flight  # its checkpoint tells
        count = self._in_flight.get(address, 0)
        if count > 1:
            self._in_flight[address] = count - 1
            return False
        if self._in_flight.pop(address, None) is not None:
            self._heard_of(address)
        return True

    def _heard_of(self, address: bytes) -> None:
        if not self._in_flight and not self._pending:
            self.all_heard_s = self._wall_s()
        if address in self.tombstones and address not in self._pending:
            del self.tombstones[address]

    def forget_tombstones(self) -> None:
        """The neighbour has none of what was cleared, but for what it is being told just now."""
        for address in [address for address in self.tombstones if address not in self._in_flight]:
            if address not in self._pending:
                del self.tombstones[address]

    def bundle_done(self) -> None:
        """The reference has acknowledged the bundle under way."""
        for address in self._bundled:
            self.acknowledged(address)
        self._bundled = []
        if self.backlog is not None:
            self.backlog.done(self._checkpoint)
        self.pump_soon()

    def bundle_refused(self) -> int:
        """The reference has refused the bundle under way, for one of its messages, and does not say which. How many
        messages that was the end of."""
        if self._in_bundle <= 1:
            self.bundle_done()
            return 1
        self._one_by_one = self._in_bundle
        flying = self.backlog is not None and self.backlog.flights > 0
        for address in self._bundled:
            self.acknowledged(address)
            if not flying:
                self._pending[address] = (None, 0)
        self._bundled = []
        if flying and self.backlog is not None:
            self.backlog.link_lost()
        self.pump_soon()
        return 0

    @property
    def bundle_under_way(self) -> bool:
        """Whether the reference owes the ACK of a BUNDLE."""
        flights = self.backlog.flights if self.backlog is not None else 0
        return not self._is_edge and (bool(self._bundled) or flights > 0)

    def is_in_flight(self, address: bytes) -> bool:
        """Whether a write of ours is on its way: what comes from there meanwhile was written before it."""
        return address in self._in_flight

    def next_checkpoint(self) -> int:
        """A number for a checkpoint that covers no write: a heartbeat."""
        self._checkpoint += 1
        return self._checkpoint

    def forget_in_flight(self) -> None:
        """Of what was sent, something was lost: nothing is known to be on its way."""
        self._in_flight.clear()

    def slow_down(self) -> None:
        """The reference takes only so many messages a second: from now on, params go in bundles."""
        self._slow = True
        if self.bundle_under_way:
            # It may have been the one that was dropped.
            self._bundled = []
            if self.backlog is not None:
                self.backlog.link_lost()

    @property
    def awaits(self) -> int:
        """Checkpoints that the neighbour has not reached."""
        return len(self._batches)

    # ---- waiting for room ----

    def pump_soon(self) -> None:
        """Send what waits, in the next turn of the loop."""
        if not self._pump_due:
            self._pump_due = True
            self._later_s(0.0, self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        if self._port is None:
            return
        if self._slow:
            self._pump_due = True
            self._later_s(SLOW_S, self._pump_slowly)
            return
        self._converge()
        if self._draining:
            self._drain()
            if not self._pending and (self.backlog is None or self.backlog.drained):
                self.ask_word()

    def _pump_slowly(self) -> None:
        """One bundle at a time, and not more of them than the reference takes."""
        self._pump_due = False
        backlog, port = self.backlog, self._port
        if port is None or self.bundle_under_way:
            return  # its ACK calls again
        if self._pending:
            payloads: list[bytes] = []
            size = 0
            for address in list(self._pending)[: self._at_most(BUNDLED_PARAMS)]:
                frame = self.image(address) or gone_frame(address, self.flags)
                size += len(frame)
                if payloads and size > BUNDLE_BYTES:
                    break
                del self._pending[address]
                payloads.append(frame[HEADER_BYTES:])
                self._in_flight[address] = self._in_flight.get(address, 0) + 1
                self._bundled.append(address)
            port.send([encode_frame(join_bundle(payloads), Qos.COMMIT)])
            self._in_bundle = len(payloads)
            self.told += len(payloads)
        elif backlog is not None and self._draining:
            self._drain_bundle(backlog, port)
        if self._pending:
            self.pump_soon()

    def _look_again(self) -> None:
        if not self._pump_due and (self._pending or self._draining):
            self._pump_due = True
            self._later_s(LOOK_S, self._pump)

    def _converge(self) -> None:
        """The newest values of what was written under pressure."""
        port = self._port
        sending: list[Item] = []
        written: list[bytes] = []
        if port is None or port.backlog_bytes > PRESSURE_BYTES:
            self._look_again()
            return
        while self._pending and len(sending) < MESSAGES_AT_ONCE:
            address = next(iter(self._pending))
            route, _ = self._pending.pop(address)
            frame = self.image(address)
            if frame is None and self.versioned:
                continue  # its tombstone is gone too
            told = frame or gone_frame(address, self.flags)
            sending.append(Item(told, route or self.unlogged_route, 0, 0, 0.0))
            written.append(address)
        if sending:
            self._send(sending, written)
        if self._pending:
            self.pump_soon()

    def room_to_drain(self) -> bool:
        """Whether the neighbour has taken enough to be given more of the backlog."""
        return self._port is not None and self._port.backlog_bytes <= PRESSURE_BYTES

    def enough_under_way(self, backlog: LinkQueue) -> bool:
        """Whether the neighbour has to acknowledge something first."""
        return backlog.flights >= FLIGHTS and backlog.flying >= self.window

    def _drain(self) -> None:
        backlog, port = self.backlog, self._port
        if backlog is None or port is None:
            return
        if not self.room_to_drain():
            self._look_again()
            return
        if not self._is_edge:
            self._drain_bundle(backlog, port)
            return
        if self.enough_under_way(backlog):
            return
        items = backlog.take(MESSAGES_AT_ONCE, self.drain_bytes)
        if items:
            sending, written = self._not_back(items), []
            if sets := sets_among(sending):
                written = self._params_in([split(frame)[1][HEADER_BYTES:] for frame in sets])
                if self.versioned:
                    sending = [
                        Item(versioned_frame(self, item.frame), item.route, item.number, item.logged, item.since_s)
                        for item in sending
                    ]
            self._send(sending, written, to_be_done=True)
            backlog.sent(items, self._checkpoint)
            self.pump_soon()
        elif backlog.drained:
            self._tell_outdated()

    def _not_back(self, items: list[Item]) -> list[Item]:
        """Those that have not come from the neighbour; mostly all, by one or two routes."""
        back = {route for route in routes_of(items) if goes_back(route, self.neighbour)}
        if not back:
            return items
        return [
            item for item in items if item.route not in back or not self.is_back(item.route, item.number, item.logged)
        ]

    def without_version(self, frame: bytes) -> bytes:
        """A SET's frame as it waits in the backlog: by the time it is sent, its version may not be what stands."""
        return bare_frame(frame) if self.versioned else frame

    def _at_most(self, messages: int) -> int:
        if not self._one_by_one:
            return messages
        self._one_by_one -= 1
        return 1

    def _params_in(self, payloads: Iterable[bytes]) -> list[bytes]:
        """The addresses of those that are SETs; what they say may be outdated."""
        found = []
        for payload in payloads:
            if payload[0] == MessageType.SET:
                address, value_type, value, _, ttl = set_parts(payload)
                held = self.held(address)
                if ttl == GONE_TTL if held is None else held[:2] == (value_type, value):
                    self._outdated.discard(address)
                else:
                    self._outdated.add(address)
                found.append(address)
        return found

    def _tell_outdated(self) -> None:
        """The log has been told to its end, and the neighbour may be left with a value that is not ours any more."""
        if self._outdated:
            for address in self._outdated:
                self._pending[address] = (None, 0)
            self._outdated.clear()
            self.pump_soon()

    def _drain_bundle(self, backlog: LinkQueue, port: Port) -> None:
        if backlog.flights:
            return
        items = backlog.take(self._at_most(MESSAGES_AT_ONCE), BUNDLE_BYTES)
        if not items:
            if backlog.drained:
                self._tell_outdated()
            return
        self.told += len(items)
        self._in_bundle = len(items)
        payloads = [split(item.frame)[1][HEADER_BYTES:] for item in items]
        self._bundled = self._params_in(payloads)
        for address in self._bundled:
            self._in_flight[address] = self._in_flight.get(address, 0) + 1
        self._checkpoint += 1
        backlog.sent(items, self._checkpoint)
        try:
            port.send([encode_frame(join_bundle(payloads), Qos.COMMIT)])
        except WireError:
            # One message as large as a frame can be does not fit into a bundle: then it goes as it is, without an ACK.
            port.send([split(items[0].frame)[1]])
            self.bundle_done()
