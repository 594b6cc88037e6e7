"""What a client gets of the log when it is back: as long as it may read it, and no more than can be read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_packets import V5, Publish

from clasp_edge import wire
from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.devices.mqtt import log_replay
from clasp_edge.devices.mqtt.codec import SubscribeFilter
from clasp_edge.devices.mqtt.connection import TcpConnection
from clasp_edge.devices.mqtt.log_batches import LogBatches
from clasp_edge.devices.mqtt.log_replay import Logged, LogReplay
from clasp_edge.devices.mqtt.server import MqttServer
from clasp_edge.devices.mqtt.session import Session
from clasp_edge.devices.mqtt.subscribe import subscribe
from clasp_edge.journal.cursors import Logged as Record
from clasp_edge.router.router import Router
from clasp_edge.security.tokens import Identity, Scopes
from clasp_edge.wire import SignalType, encode


class Unreadable:
    """A log on a disk that has gone."""

    last_sequence = 10
    run = 1
    asked = 0

    def fetch_after(
        self, sequence: int, limit_records: int, limit_bytes: int, then: Callable[[Sequence[Logged] | Exception], None]
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
        session.from_log = LogReplay(session, LogBatches(unreadable), 3, 1, [], False)
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

    def fetch_after(
        self, sequence: int, limit_records: int, limit_bytes: int, then: Callable[[Sequence[Logged] | Exception], None]
    ) -> None:
        number = sequence + 1
        if number == 2 and self.session is not None:
            self.session.identify(Identity("device", Scopes(), "token[0]", None, b""))
        frame = encode(wire.Publish("/mqtt/a/cue", SignalType.EVENT, value=number))
        then([Record(number, 1, 0, b"desk", b"/mqtt/a/cue", SignalType.EVENT, frame)] if number <= 3 else [])


def test_what_a_client_may_not_read_any_more_is_not_refilled() -> None:
    async def run() -> None:
        server = MqttServer(Router(Config(), asyncio.get_running_loop(), Clock(), None))
        session = server.new_session("back", server.router.account_of("127.0.0.1"))
        session.keeps = True
        subscribe(session, SubscribeFilter(filter="a/#", qos=1), 0)
        log = Narrowing()
        log.session = session
        session.from_log = LogReplay(session, LogBatches(log), 0, 1, [], False)
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
    """A log of `SIZE` messages that is read ten at a time, later, and counts how often."""

    SIZE = 95
    last_sequence = SIZE
    run = 1

    def __init__(self) -> None:
        self.asked = 0
        self.due: list[Callable[[], None]] = []

    def waited_s(self, record: object) -> int:
        return 0

    def fetch_after(
        self, sequence: int, limit_records: int, limit_bytes: int, then: Callable[[Sequence[Logged] | Exception], None]
    ) -> None:
        self.asked += 1
        frame = encode(wire.Publish("/mqtt/a", SignalType.EVENT, value=1))
        numbers = range(sequence + 1, min(sequence + 10, self.SIZE) + 1)
        found = [Record(number, 1, 0, b"desk", b"/mqtt/a", SignalType.EVENT, frame) for number in numbers]
        self.due.append(lambda: then(found))


def test_the_log_is_read_once_for_all_who_come_back_together() -> None:
    journal = Counting()
    log = LogBatches(journal)
    heard: dict[int, list[int]] = {}

    def read(reader: int, at: int) -> None:
        def have(result: Sequence[Logged] | Exception) -> None:
            assert not isinstance(result, Exception)
            heard[reader] += [record.number for record in result]
            if heard[reader][-1] < journal.SIZE:
                read(reader, heard[reader][-1])

        log.fetch_after(at, 10, 1000, have)

    starts = [0, 0, 0, 7, 0]
    for reader, at in enumerate(starts):
        heard[reader] = []
        log.enter()
        read(reader, at)
    while journal.due:
        journal.due.pop(0)()
    assert heard == {reader: list(range(at + 1, journal.SIZE + 1)) for reader, at in enumerate(starts)}
    assert journal.asked < 2 * 10 + 2  # two places to begin at, ten readings from each at most
    for _ in starts:
        log.leave()
    heard[0] = []
    log.enter()
    read(0, 80)
    while journal.due:
        journal.due.pop(0)()
    assert heard[0] == list(range(81, journal.SIZE + 1))  # nothing is remembered from before
