"""The options that a subscription can carry: maxRate, epsilon, history, window (router.md 13)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, of_type, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import Phase, Qos, SignalType


def numbers(messages: list[wire.Message]) -> list[object]:
    return [message.value for message in messages if isinstance(message, wire.Set | wire.Publish)]


def test_without_options_everything_arrives(clients: Crowd, base: str) -> None:
    reader, writer = clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**")
    for number in range(200):
        writer.send(wire.Set(f"{base}/a", number), Qos.FIRE)
    writer.sync()
    assert numbers(reader.sync()) == list(range(200))


@pytest.mark.parametrize("kind", ["param", "stream"])
def test_max_rate_thins_and_ends_on_the_last_value(clients: Crowd, base: str, kind: str) -> None:
    reader, full, writer = clients.ws(), clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**", max_rate=10)
    subscribe(full, f"{base}/**")
    started_s = time.monotonic()
    for number in range(60):
        if kind == "param":
            writer.send(wire.Set(f"{base}/a", number), Qos.FIRE)
        else:
            writer.send(wire.Publish(f"{base}/a", SignalType.STREAM, value=number))
        time.sleep(0.01)
    took_s = time.monotonic() - started_s
    got = numbers(reader.drain(0.4))
    assert got[0] == 0
    assert got[-1] == 59
    assert got == sorted(got)
    assert 3 <= len(got) <= took_s * 10 + 2
    assert len(numbers(full.sync())) == 60


def test_held_back_values_never_overtake(clients: Crowd, base: str) -> None:
    reader, writer = clients.tcp(), clients.tcp()
    subscribe(reader, f"{base}/**", max_rate=200)
    for number in range(150):
        for name in range(20):
            writer.send(wire.Publish(f"{base}/{name}", SignalType.STREAM, value=number))
        time.sleep(0.005)  # as long as the interval: timers and messages meet
    messages = of_type(reader.drain(), wire.Publish)
    for name in range(20):
        values = [message.value for message in messages if message.address == f"{base}/{name}"]
        assert values == sorted(values)
        assert values[-1] == 149


def test_max_rate_counts_each_address_for_itself(clients: Crowd, base: str) -> None:
    reader, writer = clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**", max_rate=1)
    for name in "abcde":
        writer.send(wire.Set(f"{base}/{name}", name), Qos.FIRE)
    writer.sync()
    assert sorted(numbers(reader.sync())) == list("abcde")


def test_max_rate_leaves_events_and_gesture_edges_alone(clients: Crowd, base: str) -> None:
    reader, writer = clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**", max_rate=1)
    for number in range(20):
        writer.send(wire.Publish(f"{base}/e", SignalType.EVENT, value=number))
    for phase in (Phase.START, Phase.END) * 3:
        writer.send(wire.Publish(f"{base}/g", SignalType.GESTURE, id=1, phase=phase))
    writer.sync()
    messages = of_type(reader.sync(), wire.Publish)
    assert [message.value for message in messages if message.signal is SignalType.EVENT] == list(range(20))
    assert [message.phase for message in messages if message.signal is SignalType.GESTURE] == [
        Phase.START,
        Phase.END,
    ] * 3


def test_the_held_back_value_is_the_newest_and_comes_once(clients: Crowd, base: str) -> None:
    reader, writer = clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**", max_rate=4)
    for number in (1, 2, 3):
        put(writer, f"{base}/a", number)
    assert numbers(reader.sync()) == [1]
    trailing = reader.recv_type(wire.Set)
    assert (trailing.value, trailing.revision) == (3, 3)
    assert reader.drain(0.4) == []


def test_epsilon_keeps_small_changes_back_measured_from_the_last_delivery(clients: Crowd, base: str) -> None:
    reader, writer = clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**", epsilon=0.5)
    for value in (0.0, 0.3, 0.6, 0.9, 1.2, 1.05, 5, 5.4, "text", "text", 5.4, True, True):
        writer.send(wire.Set(f"{base}/a", value), Qos.FIRE)
    writer.sync()
    assert numbers(reader.sync()) == [0.0, 0.6, 1.2, 5, "text", "text", 5.4, True, True]


def test_epsilon_takes_the_largest_difference_of_arrays(clients: Crowd, base: str) -> None:
    reader, writer = clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**", epsilon=1)
    for value in ([0, 0], [0.5, 0.9], [0.5, 1.0], [0.5, 1.0, 1.0], [0.5, 1.0, 1.0]):
        writer.send(wire.Publish(f"{base}/a", SignalType.STREAM, value=value))
    writer.sync()
    assert numbers(reader.sync()) == [[0, 0], [0.5, 1.0], [0.5, 1.0, 1.0]]


def test_window_gathers_samples(clients: Crowd, base: str) -> None:
    reader, writer = clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**", window=200)
    for number in range(50):
        writer.send(wire.Publish(f"{base}/s", SignalType.STREAM, value=float(number)))
    writer.send(wire.Publish(f"{base}/s", SignalType.STREAM, samples=[50.0, 51.0]))
    writer.send(wire.Publish(f"{base}/e", SignalType.EVENT, value="at once"))
    writer.sync()
    assert numbers(reader.sync()) == ["at once"]
    gathered = reader.recv_type(wire.Publish)
    assert gathered.signal is SignalType.STREAM
    assert list(gathered.samples or ()) == [float(number) for number in range(52)]


def test_unsubscribing_drops_what_was_held_back(clients: Crowd, base: str) -> None:
    reader, writer = clients.ws(), clients.ws()
    subscribe(reader, f"{base}/**", max_rate=5, window=100)
    for number in range(3):
        put(writer, f"{base}/a", number)
        writer.send(wire.Publish(f"{base}/s", SignalType.STREAM, value=number))
    writer.sync()
    assert numbers(reader.sync()) == [0]
    reader.send(wire.Unsubscribe(1))
    assert reader.drain(0.4) == []


def test_history_comes_before_the_state(clients: Crowd, base: str) -> None:
    writer = clients.ws()
    for number in range(10):
        put(writer, f"{base}/a", number)
        writer.send(wire.Publish(f"{base}/e", SignalType.EVENT, value=number))
    writer.sync()
    reader = clients.ws()
    messages = subscribe(reader, f"{base}/**", history=3)
    assert numbers([m for m in messages if isinstance(m, wire.Set)]) == [7, 8, 9]
    assert numbers([m for m in messages if isinstance(m, wire.Publish)]) == [7, 8, 9]
    assert isinstance(messages[-1], wire.Snapshot)
    assert [m.value for m in of_type(subscribe(clients.ws(), f"{base}/e", history=1), wire.Publish)] == [9]
    only_events = subscribe(clients.ws(), f"{base}/**", history=2, types=[SignalType.EVENT])
    assert numbers(only_events) == [8, 9]


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Daemon]:
    with Daemon(sets={"limits.history_kib": 0}) as daemon:
        yield daemon


def test_history_can_be_switched_off(forgetful: Daemon, base: str) -> None:
    crowd = Crowd(forgetful)
    put(crowd.ws(), f"{base}/a", 1)
    assert [type(message) for message in subscribe(crowd.ws(), f"{base}/**", history=5)] == [wire.Snapshot]
    crowd.leave()


def test_absurd_options_do_no_harm(clients: Crowd, base: str) -> None:
    reader, writer = clients.ws(), clients.ws()
    highest = 2**32 - 1
    subscribe(reader, f"{base}/**", id=1, max_rate=highest, epsilon=float("nan"), history=highest, window=highest)
    subscribe(reader, f"{base}/**", id=2, epsilon=-1.0)
    subscribe(reader, f"{base}/x", id=3, epsilon=float("inf"), max_rate=0, window=0)
    writer.send(wire.Publish(f"{base}/a", SignalType.STREAM, value=1))
    put(writer, f"{base}/a", 1)
    assert wire.Set(f"{base}/a", 1, revision=1) in reader.drain()


def test_what_is_remembered_of_large_values_is_bounded(clients: Crowd, base: str) -> None:
    """Every value arrives although only a few of them can be remembered for the comparison."""
    sender, receiver = clients.ws(), clients.ws()
    subscribe(receiver, f"{base}/**", epsilon=0.5)
    array = list(range(4000))
    for number in range(40):
        put(sender, f"{base}/{number}", array)
    put(sender, f"{base}/0", array)
    got = of_type(receiver.sync(), wire.Set)
    assert [message.address for message in got] == [f"{base}/{number}" for number in [*range(40), 0]]
