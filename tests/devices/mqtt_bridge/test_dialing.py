"""Connections to brokers that are slow, silent, say too much, or are no brokers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from clasp_edge.clock import Clock
from clasp_edge.config.broker import Broker, parse_broker
from clasp_edge.config.model import Bridge
from clasp_edge.devices.mqtt.codec import Connack, Publish, encode
from clasp_edge.devices.mqtt.codec.types import V311
from clasp_edge.devices.mqtt_bridge.connection import MOST_PER_TURN, READ_BYTES
from clasp_edge.devices.mqtt_bridge.dialing import Dialing, Greeted
from clasp_edge.devices.mqtt_bridge.events import Arrived
from clasp_edge.devices.mqtt_bridge.flow import Flow
from clasp_edge.devices.mqtt_bridge.silence import SHORTEST_S, Watch

REFUSED = b"\x20\x02\x00\x01"
CONNACK = b"\x20\x02\x00\x00"


@contextmanager
def broker(*answers: bytes, over: threading.Event | None = None) -> Iterator[Broker]:
    """Says the next of the answers to whatever each connection says first, and closes it when it is `over`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection = listener.accept()[0]
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)
                    if over is not None:
                        over.wait(60.0)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield parse_broker(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        if over is not None:
            over.set()
        thread.join(5.0)


class Tried:
    """What an attempt at several brokers has told."""

    def __init__(self) -> None:
        self.order: list[Broker] = []
        self.failures: list[tuple[Broker, str]] = []

    async def first_of(self, brokers: Sequence[Broker], patience_s: float = 30.0) -> Greeted | None:
        config = Bridge(brokers=tuple(map(str, brokers)), map=())
        dialing = Dialing(config, "me", Clock(), asyncio.get_running_loop(), 1 << 20)
        return await dialing.first_of(
            brokers, patience_s, self.order.append, lambda one, reason: self.failures.append((one, reason))
        )


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def test_a_flood_is_taken_in_bounded_parts() -> None:
    over = threading.Event()
    numbers: list[bytes] = []
    turns: list[int] = []
    flood = [b"%d" % number for number in range(20 * MOST_PER_TURN)]
    large = b"x" * (3 * READ_BYTES + 5)
    said = b"".join(encode(Publish(topic="t", payload=p), V311) for p in [*flood, large, b"last"])

    async def scenario() -> None:
        with broker(REFUSED, CONNACK + said, over=over) as one:
            # The first connection is of MQTT 5, and refused for it.
            over.set()
            greeted = await Tried().first_of([one])
            over.clear()
            assert greeted is not None
            assert not greeted.connection.mqtt5
            done = asyncio.Event()

            def arrived(message: Arrived) -> None:
                numbers.append(message.payload)
                if message.payload == b"last":
                    done.set()

            def taken(begins: bool) -> None:
                turns.append(len(numbers))

            flow = Flow(arrived, lambda *_: None, lambda *_: None, lambda _: None)
            flow.begin(False, False, 10)
            greeted.connection.serve(flow, taken)
            await asyncio.wait_for(done.wait(), 30)
            greeted.connection.give_up("enough")

    run(scenario)
    assert numbers == [*flood, large, b"last"]
    assert max(after - before for before, after in zip(turns[::2], turns[1::2], strict=True)) <= MOST_PER_TURN


@pytest.mark.parametrize(
    "said", [b"\x20\xff\xff\xff\x7f", b"\x20\xff\xff\xff\xff\x01", b"\x30\x02\0\0", b"HTTP/1.1 400 No"]
)
def test_who_is_no_broker_is_named(said: bytes) -> None:
    tried = Tried()

    async def scenario() -> None:
        with broker(said) as one:
            assert await tried.first_of([one]) is None

    run(scenario)
    ((_, reason),) = tried.failures
    assert reason.startswith("the broker has ")


def test_a_slow_broker_does_not_hold_up_the_next_one() -> None:
    over = threading.Event()
    tried = Tried()

    async def scenario() -> None:
        with broker(b"", over=over) as slow, broker(encode(Connack(), 5)) as quick:
            began_s = time.monotonic()
            greeted = await tried.first_of([slow, quick])
            assert greeted is not None
            assert greeted.broker == quick
            assert time.monotonic() - began_s < 20.0, "it has not waited until the first one's time was up"

    run(scenario)
    assert [reason for _, reason in tried.failures] == ["no answer to CONNECT within 1 s"]


def test_one_broker_is_enough_where_the_others_refuse() -> None:
    tried = Tried()

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        dead = parse_broker(f"mqtt://127.0.0.1:{port}")
        with broker(b"\x20\x03\0\x87\0") as refuses, broker(encode(Connack(), 5)) as takes:
            greeted = await tried.first_of([dead, refuses, takes])
            assert greeted is not None
            assert greeted.broker == takes
            assert tried.order == [dead, refuses, takes]
            assert [one for one, _ in tried.failures] == [dead, refuses]
            assert tried.failures[1][1] == "refused: Not authorized"

    run(scenario)


def test_of_brokers_that_are_reached_at_the_same_moment_one_is_told_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of a cluster would throw each other's session out; elsewhere one would stay that nobody takes up."""
    said: dict[int, bytes] = {}
    reached = 0
    both = asyncio.Event()
    opened = Dialing._open

    async def open_together(self: Dialing, *arguments: Any) -> None:
        nonlocal reached
        await opened(self, *arguments)
        reached += 1
        if reached == 2:
            both.set()
        await both.wait()

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            number = listener.getsockname()[1]
            said[number] = b""
            with suppress(OSError):
                while data := connection.recv(1000):
                    said[number] += data
                    connection.sendall(encode(Connack(), 5))

    async def scenario() -> None:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        threads = [threading.Thread(target=serve, args=(listener,), daemon=True) for listener in listeners]
        for thread in threads:
            thread.start()
        ports = [listener.getsockname()[1] for listener in listeners]
        greeted = await Tried().first_of([parse_broker(f"mqtt://127.0.0.1:{port}") for port in ports])
        assert greeted is not None
        assert reached == 2
        greeted.connection.give_up("enough")
        for thread in threads:
            await asyncio.to_thread(thread.join, 5.0)
        assert [said[port][:1] for port in ports if said[port]] == [b"\x10"]
        for listener in listeners:
            listener.close()

    monkeypatch.setattr(Dialing, "_open", open_together)
    run(scenario)


def test_a_broker_that_has_greeted_nobody_any_more_is_hung_up_on() -> None:
    """The bridge is stopped in the moment in which a broker's greeting has been read."""

    async def scenario() -> None:
        over = threading.Event()
        with broker(encode(Connack(), 5), over=over) as one:
            loop = asyncio.get_running_loop()
            dialing = Dialing(Bridge(brokers=(str(one),), map=()), "me", Clock(), loop, 1 << 20)
            made: list[Greeted] = []
            dial = dialing._dial

            async def dial_and_stop(*arguments: Any) -> Greeted:
                made.append(await dial(*arguments))
                task.cancel()
                return made[0]

            dialing._dial = dial_and_stop  # type: ignore[method-assign]
            task = loop.create_task(dialing.first_of([one], 5.0, lambda _: None, lambda *_: None))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert made[0].connection.ended.done()
            over.set()

    run(scenario)


def test_a_silent_broker_is_kept_while_it_answers_elsewhere() -> None:
    """A node of a cluster that waits for a leader answers nobody it serves; one that hangs does not answer at all."""
    over = threading.Event()

    async def scenario() -> None:
        # Takes CONNECT, then says nothing; ends what begins with anything else, as often as it is asked.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            probes: list[bytes] = []
            answers = threading.Event()
            answers.set()

            def serve() -> None:
                kept = []
                while not over.is_set():
                    connection = listener.accept()[0]
                    kept.append(connection)
                    connection.settimeout(0.2)
                    try:
                        first = connection.recv(1000)
                    except TimeoutError:
                        continue
                    if first[:1] == b"\x10":
                        connection.sendall(encode(Connack(), 5))
                    else:
                        probes.append(first)
                        if answers.is_set():
                            connection.close()
                for one in kept:
                    one.close()

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            one = parse_broker(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
            loop = asyncio.get_running_loop()
            dialing = Dialing(Bridge(brokers=(str(one),), map=()), "me", Clock(), loop, 1 << 20)
            greeted = await dialing.first_of([one], 5.0, lambda _: None, lambda *_: None)
            assert greeted is not None
            greeted.connection.serve(Flow(print, print, print, print), lambda _: None)
            watch = Watch(loop, greeted.connection, 1000, greeted.connack, (dialing, one))
            watch._ask_after_s = SHORTEST_S  # a keep-alive so long that only the probe decides
            watch.close()
            watch._look()
            while len(probes) < 3:  # noqa: ASYNC110  # a thread counts them
                await asyncio.sleep(0.05)
            assert not greeted.connection.ended.done()
            answers.clear()
            assert (await greeted.connection.ended).startswith("Keep alive timeout")
            assert watch.is_silent
            watch.close()
            over.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join(5.0)

    run(scenario)
