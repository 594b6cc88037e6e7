"""Clients that do not keep up: params converge, losses are told, memory is bounded, nobody else suffers.

router.md 7.2.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import Client, Closed, TcpClient
from support.daemon import Daemon
from support.live import Crowd, Witness, eventually, fresh, get, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import Qos, SignalType

KILOBYTE = "x" * 1000
MESSAGES = 20_000
"""Of a kilobyte each: several times what kernel buffers, an outbox and an event backlog take together."""

RSS_GROWTH_KIB = 32 * 1024
"""The arena is 16 MiB; the rest is what the allocator keeps."""


class SlowClient(TcpClient):
    """Reads only when told to, and has a small window."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(address)
        self._received = bytearray()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True) as running:
        yield running


@pytest.fixture
def slow(daemon: Daemon) -> Iterator[SlowClient]:
    client = SlowClient(daemon.tcp_address).hello("slow")
    yield client
    client.close()


def rss_kib(daemon: Daemon) -> int:
    pages = int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def flood(client: Client, messages: Iterator[wire.Message]) -> None:
    """Send all, waiting now and then until they have been dealt with."""
    for number, message in enumerate(messages, 1):
        client.send(message, Qos.FIRE)
        if number % 200 == 0:
            assert client.sync(30) == []
    assert client.sync(30) == []


class Reader(threading.Thread):
    """Reads on beside the test until it has so many messages."""

    def __init__(self, client: Client, count: int) -> None:
        super().__init__()
        self.client = client
        self.count = count
        self.messages: list[wire.Message] = []
        self.start()

    def run(self) -> None:
        while len(self.messages) < self.count:
            try:
                self.messages.append(self.client.recv(30))
            except (TimeoutError, Closed):
                return


def read_until_quiet(client: Client, quiet: float = 1.5) -> list[wire.Message]:
    """Everything, and the notice about losses, which comes within a second or so of the end."""
    return client.drain(quiet)


def test_params_converge_for_the_slow_and_arrive_whole_for_the_quick(
    daemon: Daemon, clients: Crowd, slow: SlowClient, base: str
) -> None:
    witness = Witness(clients)
    quick = clients.tcp()
    for client in (slow, quick):
        subscribe(client, f"{base}/**")
    before = rss_kib(daemon)
    writers = [clients.tcp(), clients.tcp()]
    reader = Reader(quick, MESSAGES)
    per_writer = MESSAGES // len(writers)
    threads = [
        threading.Thread(
            target=flood,
            args=(writer, (wire.Set(f"{base}/{which}/{n % 50}", [n, KILOBYTE]) for n in range(per_writer))),
        )
        for which, writer in enumerate(writers)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        witness.assert_undisturbed()
        time.sleep(0.1)
    reader.join()
    # The quick one has every write, in order.
    assert len(reader.messages) == MESSAGES
    revisions: dict[str, int] = {}
    for message in reader.messages:
        assert isinstance(message, wire.Set)
        assert message.revision == revisions.get(message.address, 0) + 1
        revisions[message.address] = message.revision
    assert rss_kib(daemon) - before < RSS_GROWTH_KIB
    # The slow one has fewer, in order too, and ends on the newest of each.
    last: dict[str, int] = {}
    received = read_until_quiet(slow)
    for message in received:
        assert isinstance(message, wire.Set), "no param is ever reported as lost"
        assert message.revision is not None
        assert message.revision > last.get(message.address, 0)
        last[message.address] = message.revision
    assert len(received) < MESSAGES
    assert last == revisions
    # From here on it is served like everybody else.
    put(clients.tcp(), f"{base}/after", 1)
    assert slow.recv_type(wire.Set).value == 1


def drops_told(messages: list[wire.Message]) -> int:
    """How many losses the ERRORs 503 add up to."""
    total = 0
    for message in messages:
        if isinstance(message, wire.Error):
            assert message.code == 503
            assert message.address is None
            found = re.fullmatch(
                r"Buffer overflow: messages being dropped \((\d+) drops in last 10 seconds\)", message.message
            )
            assert found is not None
            total += int(found[1])
    return total


def test_events_are_bounded_and_every_loss_is_told(daemon: Daemon, clients: Crowd, slow: SlowClient, base: str) -> None:
    quick, writer = clients.tcp(), clients.tcp()
    for client in (slow, quick):
        subscribe(client, f"{base}/**")
    before = rss_kib(daemon)
    reader = Reader(quick, MESSAGES)
    flood(writer, (wire.Publish(f"{base}/e", SignalType.EVENT, value=[n, KILOBYTE]) for n in range(MESSAGES)))
    reader.join()
    assert [message.value[0] for message in reader.messages] == list(range(MESSAGES))
    assert rss_kib(daemon) - before < RSS_GROWTH_KIB
    received = read_until_quiet(slow)
    numbers = [message.value[0] for message in received if isinstance(message, wire.Publish)]
    assert numbers == sorted(set(numbers))
    assert 0 < len(numbers) < MESSAGES
    # What was queued first is kept: the bound is on the end of the queue.
    assert numbers[:100] == list(range(100))
    assert len(numbers) + drops_told(received) == MESSAGES


def test_of_streams_the_newest_survive(daemon: Daemon, clients: Crowd, slow: SlowClient, base: str) -> None:
    writer = clients.tcp()
    subscribe(slow, f"{base}/**")
    flood(writer, (wire.Publish(f"{base}/s", SignalType.STREAM, value=[n, KILOBYTE]) for n in range(MESSAGES)))
    received = read_until_quiet(slow)
    numbers = [message.value[0] for message in received if isinstance(message, wire.Publish)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == MESSAGES - 1
    assert len(numbers) + drops_told(received) == MESSAGES


def test_params_and_events_together(daemon: Daemon, clients: Crowd, slow: SlowClient, base: str) -> None:
    writer = clients.tcp()
    subscribe(slow, f"{base}/**")

    def mixed() -> Iterator[wire.Message]:
        for n in range(MESSAGES // 4):
            yield wire.Set(f"{base}/p/{n % 20}", [n, KILOBYTE])
            yield wire.Publish(f"{base}/e", SignalType.EVENT, value=[n, KILOBYTE])
            yield wire.Publish(f"{base}/s", SignalType.STREAM, value=[n, KILOBYTE])

    flood(writer, mixed())
    received = read_until_quiet(slow)
    newest: dict[str, int] = {}
    publishes = 0
    for message in received:
        if isinstance(message, wire.Set):
            newest[message.address] = message.value[0]
        elif isinstance(message, wire.Publish):
            publishes += 1
    count = MESSAGES // 4
    assert newest == {f"{base}/p/{n % 20}": n for n in range(count - 20, count)}
    assert publishes + drops_told(received) == 2 * count


def test_a_client_that_asks_and_does_not_read_waits_for_itself(
    daemon: Daemon, clients: Crowd, slow: SlowClient, base: str
) -> None:
    witness = Witness(clients)
    # Requests as long as their answers: otherwise what the kernel holds of them would be answered by a gigabyte.
    address = f"{base}/{'a' * 900}"
    put(clients.tcp(), address, KILOBYTE)
    before = rss_kib(daemon)
    request = wire.encode(wire.Get(address))
    request = len(request).to_bytes(4, "big") + request
    slow.socket.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 100_000 * len(request):
            sent += slow.socket.send((request * 101)[sent % len(request) :])
    asked = sent // len(request)
    assert asked < 100_000, "the router must stop reading"
    witness.assert_undisturbed()
    assert rss_kib(daemon) - before < RSS_GROWTH_KIB
    for _ in range(asked):
        assert slow.recv_type(wire.Snapshot, 10).params[0].revision == 1


def test_the_newest_value_arrives_though_many_are_slow_and_memory_is_short() -> None:
    with Daemon(tcp=True, sets={"limits.arena_mib": 1}) as daemon:
        crowd = Crowd(daemon)
        base = fresh()
        slow = [SlowClient(daemon.tcp_address).hello() for _ in range(20)]
        quick, writer = crowd.tcp(), crowd.tcp()
        for client in (*slow, quick):
            subscribe(client, f"{base}/**")
        threads = threading.Thread(
            target=flood, args=(writer, (wire.Set(f"{base}/{n % 10}", [n, KILOBYTE]) for n in range(5000)))
        )
        threads.start()
        expected = {f"{base}/{n % 10}": n for n in range(4990, 5000)}
        assert newest_of(quick, expected) == expected
        threads.join()
        for client in slow:
            assert newest_of(client, expected) == expected
            client.close()
        crowd.leave()


def newest_of(client: Client, expected: dict[str, int]) -> dict[str, int]:
    """The last value of each address, reading until they are as expected."""
    last: dict[str, int] = {}
    while last != expected:
        message = client.recv(10)
        if isinstance(message, wire.Set):
            last[message.address] = message.value[0]
    return last


def test_who_never_reads_is_closed() -> None:
    with Daemon(tcp=True, sets={"limits.slow_client_timeout_s": 1}) as daemon:
        crowd = Crowd(daemon)
        base = fresh()
        idle, writer = crowd.tcp(), crowd.tcp()
        slow = SlowClient(daemon.tcp_address).hello("deaf")
        for client in (slow, idle):
            subscribe(client, f"{base}/**", types=[SignalType.EVENT])
        put(slow, f"{base}/locked", 1, lock=True)
        messages = 8000
        reader = Reader(idle, messages)
        flood(writer, (wire.Publish(f"{base}/e", SignalType.EVENT, value=[n, KILOBYTE]) for n in range(messages)))
        reader.join()
        assert len(reader.messages) == messages
        eventually(lambda: "the client is not reading" in daemon.stderr)
        slow.wait_closed(20)
        slow.close()
        # One that reads, and one that has nothing to read, stay.
        time.sleep(1.5)
        assert idle.sync() == []
        assert get(writer, f"{base}/locked").value == 1
        crowd.leave()
