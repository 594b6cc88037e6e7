"""What a client gets of the log when it is back: as long as it may read it, and no more than can be read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_packets import V5, Publish

from clasp_edge import wire
from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.devices.mqtt import log_replay
from clasp_edge.devices.mqtt.codec import SubscribeFilter
from clasp_edge.devices.mqtt.connection import TcpConnection
from clasp_edge.devices.mqtt.log_batches import LogBatches, Part
from clasp_edge.devices.mqtt.log_replay import Logged, LogReplay, Readable
from clasp_edge.devices.mqtt.server import MqttServer
from clasp_edge.devices.mqtt.session import Session
from clasp_edge.devices.mqtt.subscribe import subscribe
from clasp_edge.journal.cursors import Logged as Record
from clasp_edge.router.router import Router
from clasp_edge.security.tokens import Identity, Scopes
from clasp_edge.wire import SignalType, encode

Wanted = Callable[[bytes], Any]
Then = Callable[[tuple[Sequence[Logged], int] | Exception], None]


def shared(server: MqttServer, log: Readable) -> LogBatches:
    """As `session_store` has it."""
    trie = server.router.plane.trie
    return LogBatches(
        log, lambda address: [one.sink for one in trie.matching(address)], lambda: trie.generation,
        server.loop.call_later,
    )  # fmt: skip


class Unreadable:
    """A log on a disk that has gone."""

    last_sequence = 10
    run = 1
    asked = 0

    def waited_s(self, record: Any) -> int:
        return 0

    def fetch_wanted(
        self, sequence: int, limit_records: int, limit_bytes: int, wanted: Wanted, known: dict[bytes, Any], then: Then
    ) -> None:
        self.asked += 1
        then(OSError("the disk has gone"))


def connect(server: MqttServer, session: Session, ours: socket.socket) -> None:
    ours.setblocking(False)
    session.connection = TcpConnection(server)
    session.window = session.receive_maximum = 10
    session.accept_aliases(0)
    session.attach(ours.fileno(), V5, False, 0)


def test_a_log_that_cannot_be_read_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_replay, "RETRY_S", 0.01)

    async def run() -> None:
        server = MqttServer(Router(Config(), asyncio.get_running_loop(), Clock(), None))
        account = server.router.account_of("127.0.0.1")
        sender = server.new_session("sender", account)
        connect(server, sender, other)
        sender.start_sending()
        sender.publish_topic(b"a/param", b"7", b"", 0xFFFFFFFF, 1, True)
        session = server.new_session("back", account)
        session.keeps = True
        subscribe(session, SubscribeFilter(filter="a/#", qos=1), 0)
        unreadable = Unreadable()
        session.from_log = LogReplay(session, shared(server, unreadable), 3, 1, [], False)
        connect(server, session, ours)
        session.continue_sending()
        while session.from_log is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert unreadable.asked == log_replay.MOST_FAILURES
        sender.publish_topic(b"a/event", b"live", b"", 0xFFFFFFFF, 1, False)
        await asyncio.sleep(0.05)
        data = bytearray(theirs.recv(1 << 16))
        found = []
        while (packet := mqtt.split(data)) is not None:
            kind, flags, body, length = packet
            del data[:length]
            message = mqtt.read(kind, flags, body, V5)
            assert isinstance(message, Publish)
            found.append((message.topic, message.payload))
        # The params as they are now, in place of what cannot be had.
        assert found == [("a/param", b"7"), ("a/event", b"live")]

    ours, theirs = socket.socketpair()
    other, others = socket.socketpair()
    theirs.settimeout(5)
    with ours, theirs, other, others:
        asyncio.run(asyncio.wait_for(run(), 10))
    assert "given up" in caplog.text


class Narrowing:
    """A log of three messages to one address; after the first has been read, the client may read nothing any more."""

    last_sequence = 3
    run = 1

    def __init__(self) -> None:
        self.session: Session | None = None

    def waited_s(self, record: Any) -> int:
        return 0

    def fetch_wanted(
        self, sequence: int, limit_records: int, limit_bytes: int, wanted: Wanted, known: dict[bytes, Any], then: Then
    ) -> None:
        number = sequence + 1
        if number == 2 and self.session is not None:
            self.session.identify(Identity("device", Scopes(), "token[0]", None, b""))
        frame = encode(wire.Publish("/mqtt/a/cue", SignalType.EVENT, value=number))
        assert wanted(b"/mqtt/a/cue")
        assert not wanted(b"/mqtt/b")
        then(([Record(number, 1, 0, b"desk", b"/mqtt/a/cue", SignalType.EVENT, frame)] if number <= 3 else [], number))


def test_what_a_client_may_not_read_any_more_is_not_refilled() -> None:
    async def run() -> None:
        server = MqttServer(Router(Config(), asyncio.get_running_loop(), Clock(), None))
        session = server.new_session("back", server.router.account_of("127.0.0.1"))
        session.keeps = True
        subscribe(session, SubscribeFilter(filter="a/#", qos=1), 0)
        log = Narrowing()
        log.session = session
        session.from_log = LogReplay(session, shared(server, log), 0, 1, [], False)
        connect(server, session, ours)
        session.continue_sending()
        while session.from_log is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        data = bytearray(theirs.recv(1 << 16))
        packet = mqtt.split(data)
        assert packet is not None
        kind, flags, body, length = packet
        message = mqtt.read(kind, flags, body, V5)
        assert isinstance(message, Publish)
        assert (message.topic, message.payload, len(data)) == ("a/cue", b"1", length)

    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    with ours, theirs:
        asyncio.run(asyncio.wait_for(run(), 10))


class Counting:
    """A log of `SIZE` messages to ten addresses that is read ten at a time, later, and counts how often."""

    SIZE = 95
    last_sequence = SIZE
    run = 1

    def __init__(self) -> None:
        self.asked = 0
        self.made = 0
        self.due: list[Callable[[], None]] = []

    def waited_s(self, record: Any) -> int:
        return 0

    def fetch_wanted(
        self, sequence: int, limit_records: int, limit_bytes: int, wanted: Wanted, known: dict[bytes, Any], then: Then
    ) -> None:
        def answer() -> None:
            found = []
            last = min(sequence + 10, self.SIZE)
            for number in range(sequence + 1, last + 1):
                address = b"/mqtt/%d" % (number % 10)
                hit = known.get(address)
                if wanted(address) if hit is None else hit:
                    frame = encode(wire.Publish(address.decode(), SignalType.EVENT, value=1))
                    found.append(Record(number, 1, 0, b"desk", address, SignalType.EVENT, frame))
            self.made += len(found)
            then((found, last))

        self.asked += 1
        self.due.append(answer)

    def work_off(self) -> None:
        while self.due:
            self.due.pop(0)()


SINKS: dict[bytes, list[object]] = {b"/mqtt/%d" % digit: [] for digit in range(10)}
"""Of all readers that ever were."""


class Reader:
    """A session that wants what lies at one address."""

    def __init__(self, log: LogBatches, address: bytes, position: int) -> None:
        self.log = log
        self.sink = object()
        SINKS[address].append(self.sink)
        self.position = position
        self.heard: list[int] = []
        log.enter(self)

    def read(self) -> None:
        self.log.read(self, self.position, self._have)

    def _have(self, part: Part | Exception) -> None:
        assert isinstance(part, Part)
        self.heard += [record.number for record in part.records]
        assert part.end > self.position
        self.position = part.end
        if self.position < Counting.SIZE:
            self.read()


def _wanted_of(digit: int, at: int) -> list[int]:
    return [number for number in range(at + 1, Counting.SIZE + 1) if number % 10 == digit]


def _batches(journal: Counting) -> LogBatches:
    return LogBatches(
        journal,
        lambda address: SINKS[address],
        lambda: 0,
        lambda _, callback: journal.due.append(callback),
    )


def test_the_log_is_read_once_for_all_who_come_back_together() -> None:
    """And nothing is made of records that nobody of them wants."""
    journal = Counting()
    log = _batches(journal)
    addresses = {digit: b"/mqtt/%d" % digit for digit in range(10)}
    places = [(0, 0), (1, 0), (1, 0), (2, 7), (3, 0)]
    readers = [Reader(log, addresses[digit], at) for digit, at in places]
    for reader in readers:
        reader.read()
    journal.work_off()
    assert [reader.heard for reader in readers] == [_wanted_of(*place) for place in places]
    assert journal.asked <= 2 * 10 + 2  # two places to begin at, ten readings from each at most
    assert journal.made <= 2 * 4 * 10
    for reader in readers:
        log.leave(reader)
    late = Reader(log, addresses[5], 80)
    late.read()
    journal.work_off()
    assert late.heard == _wanted_of(5, 80)  # nothing is remembered from before


def test_who_comes_while_others_read_misses_nothing() -> None:
    """What was read before it came has been looked at for the others only."""
    journal = Counting()
    log = _batches(journal)
    first = Reader(log, b"/mqtt/1", 0)
    first.read()
    for _ in range(4):
        journal.due.pop(0)()
    second = Reader(log, b"/mqtt/2", 0)
    second.read()
    journal.work_off()
    assert (first.heard, second.heard) == (_wanted_of(1, 0), _wanted_of(2, 0))


def test_who_has_left_is_told_nothing() -> None:
    journal = Counting()
    log = _batches(journal)
    staying, leaving = Reader(log, b"/mqtt/1", 0), Reader(log, b"/mqtt/1", 0)
    leaving.read()
    staying.read()
    log.leave(leaving)
    journal.work_off()
    assert (staying.heard, leaving.heard) == (_wanted_of(1, 0), [])
