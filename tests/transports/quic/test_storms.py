"""Much of what one client may do now and then: ends, moves, handshakes and streams by the hundred. Counted, and cleaned
up after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.live import get
from support.quic_client import QuicClient

from clasp_edge import wire
from clasp_edge.transports.quic.handshakes import MAX_WAITING, MAX_WAITING_OF_HOST, Waiting

PARAMS = 450
"""New ones take several slices of the loop's time, and go out at once, with the end behind them."""

ENDS = 20
CLIENTS = 40


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(sets={"quic.listen": "127.0.0.1:0", "limits.messages_per_second": 0}) as daemon:
        yield daemon


def client_of(daemon: Daemon) -> QuicClient:
    return QuicClient(daemon.quic_address, daemon.data_dir / "tls" / "certificate.pem")


def numbers(daemon: Daemon) -> dict[str, Any]:
    quic: dict[str, Any] = ask(daemon.control_path, request="status")["result"]["quic"]
    return quic


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.parametrize("ends_stream", [True, False])
def test_links_that_end_while_their_input_waits_are_forgotten(daemon: Daemon, ends_stream: bool) -> None:
    """The stream's end and the connection's come with the messages before them: those count, and nothing is left."""
    with WsClient(daemon.ws_url).hello("reader") as reader:
        reader.sync()
        for number in range(ENDS):
            part = f"/{int(ends_stream)}{number}"
            frames = b"".join(wire.encode(wire.Set(f"{part}/{param}", param)) for param in range(PARAMS))
            with client_of(daemon) as client:
                client.hello()
                client.write(frames, end=ends_stream)
                client.pump(lambda client=client: client.quic.get_send_buffer_size(0) == 0)  # type: ignore[misc]
            until(lambda part=part: get(reader, f"{part}/{PARAMS - 1}") is not None)  # type: ignore[misc]
    until(lambda: numbers(daemon)["connections"] == 0)


def test_a_client_that_moves_again_and_again_costs_nobody_else(daemon: Daemon) -> None:
    with client_of(daemon) as honest, client_of(daemon) as restless:
        honest.hello("honest")
        restless.hello("restless")
        for _ in range(20):
            restless.move()
            restless.send(wire.Ping())
            honest.send(wire.Ping())
            honest.until(wire.Pong)
        # Its connection has ended; where it was told so it is no more.
        until(lambda: numbers(daemon)["connections"] == 1)
        honest.send(wire.Ping())
        honest.until(wire.Pong)
    until(lambda: numbers(daemon)["connections"] == 0)


def test_many_clients_at_once_are_all_served(daemon: Daemon) -> None:
    before = numbers(daemon)["handshakes"]
    served = []
    failures = []

    def connect() -> None:
        try:
            with client_of(daemon) as client:
                client.hello()
                client.send(wire.Ping())
                client.until(wire.Pong)
                served.append(client)
        except Exception as error:
            failures.append(error)

    with client_of(daemon) as honest:
        honest.hello("honest")
        threads = [threading.Thread(target=connect) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            honest.send(wire.Ping())
            honest.until(wire.Pong)
        for thread in threads:
            thread.join()
    assert not failures
    assert len(served) == CLIENTS
    assert numbers(daemon)["handshakes"] == before + CLIENTS + 1
    until(lambda: numbers(daemon)["connections"] == 0)


def test_streams_without_end_end_the_connection_and_nobody_elses(daemon: Daemon) -> None:
    before = numbers(daemon)["surplus_streams"]
    with client_of(daemon) as honest, client_of(daemon) as flood:
        honest.hello("honest")
        flood.hello("flood")
        for number in range(1, 61):
            flood.quic.send_stream_data(4 * number, b"x" * 100)
            flood.quic.send_stream_data(4 * number - 2, b"x" * 100)
        flood.flush()
        assert "one stream" in flood.closing().reason
        honest.send(wire.Ping())
        honest.until(wire.Pong)
        assert numbers(daemon)["surplus_streams"] > before + 100
    until(lambda: numbers(daemon)["connections"] == 0)


def test_nothing_is_given_to_begin_again_with(daemon: Daemon) -> None:
    """Without a ticket there are no early data that could be said twice (RFC 8446, 8)."""
    tickets: list[object] = []
    client = client_of(daemon)
    client.quic._session_ticket_handler = tickets.append
    with client:
        client.hello()
        client.send(wire.Ping())
        client.until(wire.Pong)
    assert not tickets


def test_beginnings_wait_in_order_so_many_of_a_host_and_of_all() -> None:
    waiting: Waiting[int] = Waiting()
    assert sum(waiting.put("one", number) for number in range(MAX_WAITING)) == MAX_WAITING_OF_HOST
    assert waiting.put("other", -1)
    assert waiting.get() == 0
    assert waiting.put("one", -2)
    assert not waiting.put("one", -3)
    for host in range(MAX_WAITING):
        waiting.put(str(host), host)
    assert len(waiting) == MAX_WAITING
    assert not waiting.put("another", 0)
    taken = [waiting.get() for _ in range(MAX_WAITING)]
    assert taken[:3] == [1, 2, 3]
    assert len(waiting) == 0
