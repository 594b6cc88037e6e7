"""Mode strict beside a disk that does not answer: whoever asks, by whatever protocol, is shown what is stored."""

from __future__ import annotations

import http.client
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.client import TcpClient
from support.console import ask
from support.daemon import Daemon
from support.held_disk import HeldDisk
from support.live import eventually, put
from support.mqtt_client import MqttClient
from support.mqtt_packets import V5, Suback, subscribe
from support.osc import Device, packet

from clasp_edge.wire import Get, Publish, Replay, Set, SignalType, Snapshot, Subscribe

BEFORE, AFTER = 1111.0, 2222.0

Shown = Callable[[], list[float]]
"""What a reader has been shown by now."""


@pytest.fixture(scope="module")
def disk() -> Iterator[HeldDisk]:
    with tempfile.TemporaryDirectory(prefix="held-") as name:
        yield HeldDisk(Path(name))


@pytest.fixture(scope="module")
def daemon(disk: HeldDisk) -> Iterator[Daemon]:
    sets = {"journal.mode": "strict", "oscquery.listen": "127.0.0.1:0", "osc.query": "reply"}
    with Daemon(tcp=True, mqtt=True, osc=True, manager=disk, sets=sets) as running:
        yield running


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def _heard(source: Callable[[], object | None]) -> Shown:
    """Collects on a thread what `source` brings, until it ends."""
    found: list[float] = []

    def collect() -> None:
        while (value := source()) is not None:
            if isinstance(value, float):
                found.append(value)

    threading.Thread(target=collect, daemon=True).start()
    return lambda: list(found)


def by_clasp(daemon: Daemon, stack: ExitStack, ask: object) -> Callable[[], Shown]:
    client = stack.enter_context(TcpClient(daemon.tcp_address)).hello("reader", features=())
    client.sync()

    def source() -> object | None:
        try:
            message = client.recv()
        except Exception:
            return None
        values = [p.value for p in message.params] if isinstance(message, Snapshot) else [getattr(message, "value", "")]
        return next((value for value in values if isinstance(value, float)), "")

    def begin() -> Shown:
        client.send(ask)  # type: ignore[arg-type]
        return _heard(source)

    return begin


def by_mqtt(daemon: Daemon, stack: ExitStack, topic: str) -> Callable[[], Shown]:
    client = stack.enter_context(MqttClient(daemon.mqtt_address, V5)).connect("reader")

    def source() -> object | None:
        try:
            found = client.recv()
        except Exception:
            return None
        payload = getattr(found, "payload", b"")
        return float(payload) if payload else ""

    def begin() -> Shown:
        client.send(subscribe(V5, 7, [(topic, 0)]))
        return _heard(source)

    return begin


def by_osc(daemon: Daemon, stack: ExitStack, ask: bytes) -> Callable[[], Shown]:
    device = Device(daemon.osc_address)
    stack.callback(device.socket.close)

    def source() -> object | None:
        try:
            _, arguments = device.hear()
        except Exception:
            return None
        return next((value for value in arguments if isinstance(value, float)), "")

    def begin() -> Shown:
        device.send(ask)
        return _heard(source)

    return begin


def by_oscquery(daemon: Daemon, stack: ExitStack, path: str) -> Callable[[], Shown]:
    host, port = daemon.address_pair("oscquery")
    answers: list[str] = []

    def ask() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=60)
        connection.request("GET", path)
        answers.append(connection.getresponse().read().decode())
        connection.close()

    def begin() -> Shown:
        threading.Thread(target=ask, daemon=True).start()
        return lambda: [value for value in (BEFORE, AFTER) for answer in answers if str(value) in answer]

    return begin


READERS = {
    "get": lambda daemon, stack: by_clasp(daemon, stack, Get("/osc/level")),
    "get pattern": lambda daemon, stack: by_clasp(daemon, stack, Get("/osc/*")),
    "subscribe": lambda daemon, stack: by_clasp(daemon, stack, Subscribe(1, "/osc/**")),
    "replay": lambda daemon, stack: by_clasp(daemon, stack, Replay("/osc/level", limit=100_000)),
    "mqtt": lambda daemon, stack: by_mqtt(daemon, stack, "level"),
    "osc subscriber": lambda daemon, stack: by_osc(daemon, stack, packet("/clasp/subscribe", "/level")),
    "osc query": lambda daemon, stack: by_osc(daemon, stack, packet("/level")),
    "oscquery": lambda daemon, stack: by_oscquery(daemon, stack, "/level"),
    "oscquery value": lambda daemon, stack: by_oscquery(daemon, stack, "/level?VALUE"),
    "oscquery tree": lambda daemon, stack: by_oscquery(daemon, stack, "/"),
}


@pytest.mark.parametrize("reader", READERS)
def test_nobody_is_shown_what_is_not_stored(daemon: Daemon, disk: HeldDisk, stack: ExitStack, reader: str) -> None:
    writer = stack.enter_context(TcpClient(daemon.tcp_address)).hello("writer", features=())
    bystander = stack.enter_context(TcpClient(daemon.tcp_address)).hello("bystander", features=())
    bystander.sync()
    bystander.send(Subscribe(1, "/beside"))
    bystander.sync()
    begin = READERS[reader](daemon, stack)
    address = "/mqtt/level" if reader == "mqtt" else "/osc/level"
    put(writer, address, BEFORE)
    with disk.held():
        writer.send(Set(address, AFTER), 0)
        writer.send(Publish("/beside", SignalType.EVENT, 0), 0)
        bystander.recv_until(Publish)
        shown = begin()
        for _ in range(20):
            # What is said passes all the same, and with it the time in which an answer would have come.
            writer.send(Publish("/beside", SignalType.EVENT, 1), 0)
            bystander.recv_until(Publish)
        assert AFTER not in shown()
    eventually(lambda: AFTER in shown())


def test_the_trail_is_told_with_what_is_about_to_be_stored(daemon: Daemon, disk: HeldDisk, stack: ExitStack) -> None:
    """On a card that takes a second for a commit, what an operator did last had been missing as long."""
    writer = stack.enter_context(TcpClient(daemon.tcp_address)).hello("writer", features=())
    put(writer, "/trail", 1)

    def told() -> list[str]:
        return [text for _, text in ask(daemon.control_path, request="audit")["result"]["entries"]]

    with disk.held():
        before = told()
        ask(daemon.control_path, request="reload")
        writer.send(Set("/trail", 2), 0)  # a commit, which takes it along
        during = told()
        assert during[1:] == before
        assert during[0].startswith("reload")
        for _ in range(20):
            assert told() == during
    put(writer, "/trail", 3)
    assert told() == during


def anonymous_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) / 1000


def test_questions_by_osc_keep_no_more_than_they_may(daemon: Daemon, disk: HeldDisk, stack: ExitStack) -> None:
    """Answers wait for the disk; without a bound, as many as anybody asks for: 50 kB each here."""
    writer = stack.enter_context(TcpClient(daemon.tcp_address)).hello("writer", features=())
    put(writer, "/osc/large", "x" * 50_000)
    bystander = stack.enter_context(TcpClient(daemon.tcp_address)).hello("bystander", features=())
    bystander.send(Subscribe(1, "/osc/level"))
    bystander.send(Subscribe(2, "/osc/done"))
    bystander.sync()
    device = Device(daemon.osc_address)
    stack.callback(device.socket.close)
    with disk.held():
        writer.send(Set("/osc/level", AFTER), 0)
        bystander.recv_until(Set)
        before_mb = anonymous_mb(daemon.pid)
        for number in range(20):
            for _ in range(20):
                device.say("/large")
            device.say("/done", number)
            # Values wait for nothing: what was asked before has been looked at.
            assert bystander.recv_until(Set).value == number
        assert anonymous_mb(daemon.pid) - before_mb < 10


def test_subscribing_again_and_again_keeps_nothing_more(daemon: Daemon, disk: HeldDisk, stack: ExitStack) -> None:
    """What a subscription is still to be told is kept once, however often it is asked for: 1.7 kB each time before."""
    at_once, rounds = 200, 100
    writer = stack.enter_context(TcpClient(daemon.tcp_address)).hello("writer", features=())
    put(writer, "/mqtt/level", BEFORE)
    bystander = stack.enter_context(TcpClient(daemon.tcp_address)).hello("bystander", features=())
    bystander.send(Subscribe(1, "/mqtt/level"))
    bystander.sync()
    client = stack.enter_context(MqttClient(daemon.mqtt_address, V5)).connect("again")
    with disk.held():
        writer.send(Set("/mqtt/level", AFTER), 0)
        bystander.recv_until(Set)
        before_mb = anonymous_mb(daemon.pid)
        for _ in range(rounds):
            client.send(*(subscribe(V5, number, [("level", 0)]) for number in range(1, at_once + 1)))
            for _ in range(at_once):
                client.expect(Suback)
        assert anonymous_mb(daemon.pid) - before_mb < 12
    assert client.receive().payload == str(AFTER).encode()
