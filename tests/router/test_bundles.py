"""BUNDLE: all or nothing, in order, and at the time it names (router.md 6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from support.client import Client
from support.daemon import Daemon
from support.live import Crowd, eventually, get, of_type, put, refused, subscribe

from clasp_edge import wire
from clasp_edge.wire import Phase, Qos, SignalType

LATEST_S = 0.25
"""How late a scheduled bundle may be on a busy machine before the test calls it lost; the record says what it was."""


def now_us() -> int:
    return time.time_ns() // 1000


# ---- all or nothing ----


def spoiled_by_a_lock(owner: Client, base: str) -> tuple[wire.Message, int]:
    put(owner, f"{base}/locked", 1, lock=True)
    return wire.Set(f"{base}/locked", 2), 400


def spoiled_by_a_revision(owner: Client, base: str) -> tuple[wire.Message, int]:
    put(owner, f"{base}/known", 1)
    return wire.Set(f"{base}/known", 2, revision=5), 400


def spoiled_by_an_address(owner: Client, base: str) -> tuple[wire.Message, int]:
    return wire.Set("no/slash", 1), 200


def spoiled_by_an_events_address(owner: Client, base: str) -> tuple[wire.Message, int]:
    return wire.Publish(f"{base}//x", SignalType.EVENT), 200


def spoiled_by_size(owner: Client, base: str) -> tuple[wire.Message, int]:
    return wire.Set(f"{base}/large", b"x" * 65_470), 402


@pytest.mark.parametrize(
    "spoil",
    [spoiled_by_a_lock, spoiled_by_a_revision, spoiled_by_an_address, spoiled_by_an_events_address, spoiled_by_size],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_message_and_nothing_happens(
    clients: Crowd, base: str, spoil: Callable[[Client, str], tuple[wire.Message, int]], place: int
) -> None:
    owner, sender, watcher = clients.ws(), clients.ws(), clients.ws()
    bad, code = spoil(owner, base)
    subscribe(watcher, f"{base}/**")
    messages: list[wire.Message] = [wire.Set(f"{base}/a", 1), wire.Publish(f"{base}/e", SignalType.EVENT)]
    if spoil is spoiled_by_size:
        messages = [wire.Set(f"{base}/a", None), wire.Set(f"{base}/b", None)]  # little room is left
    messages.insert(place, bad)
    sender.send(wire.Bundle(messages))
    (error,) = of_type(sender.sync(), wire.Error)
    assert (error.code, error.address) == (code, bad.address)
    assert error.message.startswith("Bundle rejected: ")
    assert watcher.sync() == []
    assert get(sender, f"{base}/a") is None


def test_the_check_sees_what_earlier_messages_of_the_bundle_would_do(clients: Crowd, base: str) -> None:
    sender = clients.ws()
    sender.send(wire.Bundle([wire.Set(f"{base}/a", 1), wire.Set(f"{base}/a", 2, revision=1)]))
    assert sender.recv() == wire.Ack(revision=2)
    sender.send(wire.Bundle([wire.Set(f"{base}/a", 3), wire.Set(f"{base}/a", 4, revision=2)]))
    assert sender.recv_type(wire.Error).message.startswith("Bundle rejected: RevisionConflict")
    assert get(sender, f"{base}/a").value == 2


def test_locks_taken_and_released_in_a_bundle(clients: Crowd, base: str) -> None:
    sender, other = clients.ws(), clients.ws()
    sender.send(wire.Bundle([wire.Set(f"{base}/a", 1, lock=True), wire.Set(f"{base}/b", 1, lock=True)]))
    assert sender.recv() == wire.Ack(revision=1)
    assert refused(other, f"{base}/a", 2).message.startswith("LockHeld")
    sender.send(wire.Bundle([wire.Set(f"{base}/a", 3, unlock=True)]))
    assert sender.recv() == wire.Ack(revision=2)
    assert put(other, f"{base}/a", 4).revision == 3


def test_capacity_is_checked_for_the_whole_bundle(base: str) -> None:
    with Daemon(sets={"state.max_params": 3, "state.eviction": "reject"}) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        put(client, f"{base}/0", 0)
        client.send(wire.Bundle([wire.Set(f"{base}/{number}", number) for number in (0, 1, 2, 3)]))
        error = client.recv_type(wire.Error)
        assert (error.code, error.message) == (400, "Bundle rejected: AtCapacity")
        assert get(client, f"{base}/1") is None
        client.send(wire.Bundle([wire.Set(f"{base}/{number}", number) for number in (0, 1, 1, 2, 0)]))
        assert client.recv() == wire.Ack(revision=3)
        crowd.leave()


# ---- order and contents ----


def test_the_listed_order_is_kept(clients: Crowd, base: str) -> None:
    sender, watcher = clients.ws(), clients.tcp()
    subscribe(watcher, f"{base}/**")
    messages: list[wire.Message] = []
    for number in range(100):
        messages.append(wire.Publish(f"{base}/e", SignalType.EVENT, value=number, phase=Phase.START))
        messages.append(wire.Set(f"{base}/a", number))
    sender.send(wire.Bundle(messages))
    assert sender.sync() == [wire.Ack(revision=100)]
    got = [message.value for message in watcher.sync() if isinstance(message, wire.Set | wire.Publish)]
    assert got == [number // 2 for number in range(200)]


def test_the_sender_gets_its_sets_back_but_not_its_publishes(clients: Crowd, base: str) -> None:
    sender = clients.ws()
    subscribe(sender, f"{base}/**")
    sender.send(wire.Bundle([wire.Publish(f"{base}/e", SignalType.EVENT), wire.Set(f"{base}/a", 1)]))
    assert sender.sync() == [wire.Set(f"{base}/a", 1, revision=1), wire.Ack(revision=1)]


def test_a_bundle_of_publishes_is_acknowledged_without_a_revision(clients: Crowd, base: str) -> None:
    sender = clients.ws()
    for messages in ([], [wire.Publish(f"{base}/e", SignalType.EVENT)]):
        sender.send(wire.Bundle(messages))
        assert sender.recv() == wire.Ack()


def test_other_messages_inside_are_ignored(clients: Crowd, base: str) -> None:
    sender = clients.ws()
    sender.send(wire.Bundle([wire.Get(f"{base}/a"), wire.Set(f"{base}/a", 1), wire.Ping(), wire.Subscribe(1, "/**")]))
    assert sender.sync() == [wire.Ack(revision=1)]


def test_moves_in_a_bundle_are_not_thinned(clients: Crowd, base: str) -> None:
    sender, watcher = clients.ws(), clients.ws()
    subscribe(watcher, f"{base}/**")
    moves = [
        wire.Publish(f"{base}/g", SignalType.GESTURE, value=number, id=1, phase=Phase.MOVE) for number in range(10)
    ]
    sender.send(wire.Bundle(moves))
    sender.sync()
    assert [message.value for message in of_type(watcher.sync(), wire.Publish)] == list(range(10))


def test_a_bundle_in_messagepack(clients: Crowd, base: str) -> None:
    msgpack = pytest.importorskip("msgpack")
    sender, watcher = clients.ws(), clients.ws()
    subscribe(watcher, f"{base}/**")
    inner = [
        {"type": "SET", "address": f"{base}/a", "value": 1.5},
        {"type": "PUBLISH", "address": f"{base}/e", "signal": "event", "payload": "go"},
    ]
    sender.send_raw(wire.encode_frame(msgpack.packb({"type": "BUNDLE", "messages": inner})))
    assert sender.sync() == []
    assert [message.value for message in watcher.sync()] == [1.5, "go"]


@pytest.mark.parametrize("in_bundle", [False, True])
def test_a_timeline_in_messagepack_keeps_its_keyframes(clients: Crowd, base: str, in_bundle: bool) -> None:
    """As the value of the PUBLISH, by the names that the published clients give its parts."""
    msgpack = pytest.importorskip("msgpack")
    sender, watcher = clients.ws(), clients.ws()
    subscribe(watcher, f"{base}/**")
    frames = [{"time": 0, "value": 0.0}, {"time": 9, "value": [1], "easing": "ease-in", "bezier": [0, 0.5, 1, 1]}]
    timeline = {"keyframes": frames, "loop_": True, "start_time": 5, "duration": 9}
    message = {"type": "PUBLISH", "address": f"{base}/t", "signal": "timeline", "timeline": timeline}
    sent = {"type": "BUNDLE", "messages": [message]} if in_bundle else message
    sender.send_raw(wire.encode_frame(msgpack.packb(sent)))
    assert sender.sync() == []
    (told,) = of_type(watcher.sync(), wire.Publish)
    assert told.signal == wire.SignalType.TIMELINE
    assert told.value == {
        "keyframes": [
            {"time": 0, "value": 0.0, "easing": "linear"},
            {"time": 9, "value": [1], "easing": "ease-in", "bezier": [0, 0.5, 1, 1]},
        ],
        "loop": True,
        "startTime": 5,
        "duration": 9,
    }


def test_what_is_too_large_for_the_compact_encoding_is_refused(clients: Crowd, base: str) -> None:
    msgpack = pytest.importorskip("msgpack")
    sender = clients.ws()
    sender.send_raw(wire.encode_frame(msgpack.packb({"type": "SET", "address": f"{base}/a", "value": [1] * 20_000})))
    (error,) = sender.sync()
    assert isinstance(error, wire.Error)
    assert (error.code, error.address) == (402, f"{base}/a")


# ---- at a given time ----


def test_times_gone_by_mean_now(clients: Crowd, base: str) -> None:
    sender = clients.ws()
    for timestamp in (0, 1, now_us() - 5_000_000):
        sender.send(wire.Bundle([wire.Set(f"{base}/a", timestamp)], timestamp=timestamp))
        sender.recv_type(wire.Ack)
    assert get(sender, f"{base}/a").revision == 3


@pytest.mark.parametrize("ahead_ms", [5.0, 50.0, 123.456, 200.0])
def test_a_scheduled_bundle_comes_on_time(
    clients: Crowd, base: str, ahead_ms: float, record_property: Callable[[str, object], None]
) -> None:
    sender, watcher = clients.tcp(), clients.tcp()
    subscribe(watcher, f"{base}/**")
    due_us = now_us() + round(ahead_ms * 1000)
    sender.send(wire.Bundle([wire.Set(f"{base}/a", 1)], timestamp=due_us))
    watcher.recv_type(wire.Set)
    late_us = now_us() - due_us
    record_property("late_us", late_us)
    assert 0 <= late_us < LATEST_S * 1e6
    param = get(watcher, f"{base}/a")
    assert param is not None
    assert param.timestamp is not None
    assert due_us <= param.timestamp <= due_us + late_us
    assert sender.recv() == wire.Ack(revision=1)


def test_bundles_come_in_the_order_of_their_times_and_then_of_arrival(clients: Crowd, base: str) -> None:
    sender, watcher = clients.tcp(), clients.tcp()
    subscribe(watcher, f"{base}/**")
    start_us = now_us() + 150_000
    for name, ahead_us in (("d", 30_000), ("a", 0), ("b", 0), ("c", 10_000)):
        bundle = wire.Bundle([wire.Publish(f"{base}/e", SignalType.EVENT, value=name)], timestamp=start_us + ahead_us)
        sender.send(bundle, Qos.FIRE)
    assert sender.sync() == []
    assert watcher.sync() == []
    assert [watcher.recv_type(wire.Publish).value for _ in range(4)] == list("abcd")


def test_what_changed_meanwhile_counts(clients: Crowd, base: str) -> None:
    sender, other = clients.ws(), clients.ws()
    due_us = now_us() + 200_000
    sender.send(wire.Bundle([wire.Set(f"{base}/x", 1), wire.Set(f"{base}/a", 1)], timestamp=due_us))
    assert sender.sync() == []
    put(other, f"{base}/a", 2, lock=True)
    error = sender.recv_type(wire.Error)
    assert (error.code, error.address) == (400, f"{base}/a")
    assert "cancelled" in error.message
    assert "LockHeld" in error.message
    assert get(other, f"{base}/x") is None


def test_a_bundle_that_could_not_run_now_is_refused_at_once(clients: Crowd, base: str) -> None:
    sender, other = clients.ws(), clients.ws()
    put(other, f"{base}/a", 1, lock=True)
    sender.send(wire.Bundle([wire.Set(f"{base}/a", 2)], timestamp=now_us() + 60_000_000))
    assert sender.recv_type(wire.Error).code == 400


def test_a_bundle_outlives_its_senders_connection_but_its_lock_does_not(base: str) -> None:
    with Daemon(sets={"state.lock_grace_s": 0.2}) as daemon:
        crowd = Crowd(daemon)
        sender, other = crowd.ws(), crowd.ws()
        subscribe(other, f"{base}/**")
        sender.send(wire.Bundle([wire.Set(f"{base}/a", 1, lock=True)], timestamp=now_us() + 300_000))
        sender.sync()
        sender.close()
        assert other.recv_type(wire.Set).value == 1
        other.send(wire.Unsubscribe(1))
        eventually(lambda: _accepted(other, f"{base}/a"))
        crowd.leave()


def _accepted(client: Client, address: str) -> bool:
    client.send(wire.Set(address, 2))
    return isinstance(client.recv(), wire.Ack)


@pytest.fixture(scope="module")
def small_schedule() -> Iterator[Daemon]:
    with Daemon(sets={"limits.max_scheduled_bundles": 3, "limits.schedule_horizon_s": 10}) as daemon:
        yield daemon


def test_horizon_and_queue_are_bounded(small_schedule: Daemon, base: str) -> None:
    crowd = Crowd(small_schedule)
    client = crowd.ws()
    bundle = [wire.Set(f"{base}/a", 1)]
    for timestamp in (now_us() + 11_000_000, 2**63, 2**64 - 1):
        client.send(wire.Bundle(bundle, timestamp=timestamp))
        error = client.recv_type(wire.Error)
        assert error.code == 400
        assert "at most 10 s" in error.message
    due_us = now_us() + 500_000
    for _ in range(4):
        client.send(wire.Bundle(bundle, timestamp=due_us))
    error = client.recv_type(wire.Error)
    assert error.code == 503
    assert "3 bundles are already waiting" in error.message
    assert [client.recv() for _ in range(3)] == [wire.Ack(revision=revision) for revision in (1, 2, 3)]
    # Places are free again.
    client.send(wire.Bundle(bundle, timestamp=now_us() + 50_000))
    assert client.recv() == wire.Ack(revision=4)
    crowd.leave()


def test_one_session_does_not_fill_the_schedule(clients: Crowd, base: str) -> None:
    greedy, other = clients.ws(), clients.ws()
    bundle = wire.Bundle([wire.Set(f"{base}/a", 1)], timestamp=now_us() + 60_000_000)
    for _ in range(256):
        greedy.send(bundle)
    assert greedy.sync() == []
    greedy.send(bundle)
    text = "Bundle rejected: 256 bundles of this session are already waiting for their time"
    assert greedy.recv() == wire.Error(503, text)
    other.send(bundle)
    assert other.sync() == []
