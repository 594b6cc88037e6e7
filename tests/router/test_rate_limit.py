"""The token bucket in front of every session (router.md 7.1)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, get, of_type, subscribe

from clasp_edge import wire
from clasp_edge.wire import Qos

RATE = 100
COMPLAINT = wire.Error(429, f"Rate limit exceeded: {RATE} messages/second")


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """One for each test: what one has used of the host's rate, the next one would not have."""
    with Daemon(tcp=True, messages_per_second=RATE) as running:
        yield running


def test_one_seconds_worth_passes_in_a_burst_and_the_rest_is_refused_with_one_error(clients: Crowd, base: str) -> None:
    client = clients.tcp()
    for number in range(3 * RATE):
        client.send(wire.Set(f"{base}/a", number))
    answers = client.drain()
    acks = of_type(answers, wire.Ack)
    assert RATE * 0.9 <= len(acks) <= RATE * 1.5
    assert [ack.revision for ack in acks] == list(range(1, len(acks) + 1))
    assert of_type(answers, wire.Error) == [COMPLAINT]


def test_at_most_one_complaint_a_second_and_no_disconnection(clients: Crowd) -> None:
    client = clients.tcp()
    started_s = time.monotonic()
    answers: list[wire.Message] = []
    while time.monotonic() - started_s < 2.2:
        for _ in range(50):
            client.send(wire.Ping())
        answers += client.drain(0.02)
    took_s = time.monotonic() - started_s
    errors = of_type(answers, wire.Error)
    assert errors == [COMPLAINT] * len(errors)
    assert 2 <= len(errors) <= took_s + 1
    pongs = of_type(answers, wire.Pong)
    assert RATE * took_s * 0.5 <= len(pongs) <= RATE * (took_s + 1) + RATE
    time.sleep(1)
    assert client.sync() == []


def test_who_stays_below_is_never_bothered(clients: Crowd, base: str) -> None:
    client = clients.tcp()
    for number in range(80):
        client.send(wire.Set(f"{base}/fader", number), Qos.FIRE)
        time.sleep(1 / RATE)
    assert client.sync() == []
    assert get(client, f"{base}/fader").revision == 80


def test_one_sessions_excess_is_not_anothers(clients: Crowd, base: str) -> None:
    loud, quiet = clients.tcp(), clients.tcp()
    for _ in range(5 * RATE):
        loud.send(wire.Ping())
    for _ in range(10):
        assert quiet.sync() == []
    assert COMPLAINT in loud.drain()


def test_a_bundle_costs_what_it_holds(clients: Crowd, base: str) -> None:
    client = clients.tcp()
    bundle = wire.Bundle([wire.Set(f"{base}/a", number) for number in range(RATE // 2)])
    for _ in range(5):
        client.send(bundle)
    answers = client.drain()
    assert len(of_type(answers, wire.Ack)) <= 3
    assert of_type(answers, wire.Error) == [COMPLAINT]
    # A large one is not refused, but it is paid for: silence for as long as it was too large.
    large = clients.tcp()
    large.send(wire.Bundle([wire.Set(f"{base}/b", number) for number in range(3 * RATE)]))
    large.recv_type(wire.Ack)
    large.send(wire.Set(f"{base}/b", 1))
    assert large.recv() == COMPLAINT
    time.sleep(2.6)
    assert large.sync() == []


def test_empty_bundles_are_no_way_around_it(clients: Crowd) -> None:
    client = clients.tcp()
    for _ in range(4 * RATE):
        client.send(wire.Bundle([]))
    answers = client.drain()
    assert len(of_type(answers, wire.Ack)) <= RATE * 1.5
    assert COMPLAINT in answers


def test_garbage_counts_too(clients: Crowd) -> None:
    client = clients.tcp()
    for _ in range(3 * RATE):
        client.send_raw(b"garbage")
    errors = of_type(client.drain(), wire.Error)
    assert len([error for error in errors if error.code == 100]) <= RATE * 1.5
    assert errors.count(COMPLAINT) == 1


def test_what_is_delivered_is_not_limited(clients: Crowd, base: str) -> None:
    reader = clients.tcp()
    subscribe(reader, f"{base}/**")
    writers = [clients.tcp() for _ in range(4)]
    for number in range(80):
        for writer in writers:
            writer.send(wire.Set(f"{base}/a", number), Qos.FIRE)
    for writer in writers:
        writer.sync()
    assert len(of_type(reader.sync(), wire.Set)) == 320
