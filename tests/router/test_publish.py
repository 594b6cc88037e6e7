"""Events, streams, gestures with and without the throttle, timelines, signalling (router.md 5, 8.5)."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, get, of_type, params_of, subscribe

from clasp_edge import wire
from clasp_edge.wire import Phase, SignalType

INTERVAL_S = 0.016


def gesture(address: str, phase: Phase, value: wire.Value = None, finger: int = 1) -> wire.Publish:
    return wire.Publish(address, SignalType.GESTURE, value=value, id=finger, phase=phase)


# ---- relaying ----


@pytest.mark.parametrize(
    "message",
    [
        wire.Publish("", SignalType.EVENT, phase=Phase.START),
        wire.Publish("", SignalType.EVENT, value=None, phase=Phase.START, timestamp=5),
        wire.Publish("", SignalType.STREAM, samples=(1.0, 2.5, -0.0), phase=Phase.START, rate=48_000),
        wire.Publish("", SignalType.STREAM, samples=(), phase=Phase.START),
        wire.Publish("", SignalType.GESTURE, value={"x": 1}, phase=Phase.END, id=7, timestamp=9, rate=3),
        wire.Publish("", SignalType.TIMELINE, phase=Phase.START, timestamp=2**64 - 1),
        wire.Publish("", SignalType.PARAM, value=1, phase=Phase.START),
    ],
    ids=lambda message: f"{message.signal.name}",
)
def test_a_publish_arrives_as_it_was_sent_and_is_not_stored(clients: Crowd, base: str, message: wire.Publish) -> None:
    sender, receiver = clients.ws(), clients.tcp()
    subscribe(receiver, f"{base}/**")
    message.address = f"{base}/a"
    sender.send(message)
    assert sender.sync() == []
    assert receiver.sync() == [message]
    assert get(sender, f"{base}/a") is None
    assert params_of(subscribe(clients.ws(), f"{base}/**")) == []


@pytest.mark.parametrize("code", [5, 6, 7])
def test_an_unknown_signal_is_an_event_and_an_unknown_phase_a_start(clients: Crowd, base: str, code: int) -> None:
    sender, receiver = clients.ws(), clients.ws()
    subscribe(receiver, f"{base}/**", types=[SignalType.EVENT])
    address = f"{base}/a".encode()
    sender.send_raw(
        wire.encode_frame(bytes((0x20, code << 5 | 6)) + struct.pack(">H", len(address)) + address + b"\x00abc")
    )
    sender.sync()
    assert receiver.sync() == [wire.Publish(f"{base}/a", SignalType.EVENT, phase=Phase.START)]


def test_the_publish_of_an_address_that_is_a_param_leaves_the_param_alone(clients: Crowd, base: str) -> None:
    sender = clients.ws()
    sender.send(wire.Set(f"{base}/a", 1))
    sender.send(wire.Publish(f"{base}/a", SignalType.EVENT, value=2))
    sender.sync()
    param = get(sender, f"{base}/a")
    assert param is not None
    assert (param.value, param.revision) == (1, 1)


# ---- gestures ----


def test_start_moves_and_end_of_three_fingers_all_arrive(clients: Crowd, base: str) -> None:
    sender, receiver = clients.ws(), clients.ws()
    subscribe(receiver, f"{base}/**")
    for phase in (Phase.START, Phase.MOVE, Phase.END):
        for finger in (1, 2, 3):
            sender.send(gesture(f"{base}/g", phase, f"{finger} {phase}", finger))
    sender.sync()
    received = of_type(receiver.drain(), wire.Publish)
    assert [(message.id, message.phase) for message in received] == [
        (finger, phase) for phase in (Phase.START, Phase.MOVE, Phase.END) for finger in (1, 2, 3)
    ]
    assert sender.sync() == []


def test_a_burst_of_moves_keeps_its_first_and_its_last(clients: Crowd, base: str) -> None:
    sender, receiver = clients.tcp(), clients.tcp()
    subscribe(receiver, f"{base}/**")
    sender.send(gesture(f"{base}/g", Phase.START))
    for number in range(100):
        sender.send(gesture(f"{base}/g", Phase.MOVE, number))
    sender.send(gesture(f"{base}/g", Phase.END, "end"))
    sender.sync()
    received = of_type(receiver.sync(), wire.Publish)
    values = [message.value for message in received]
    assert values[:2] == [None, 0]
    assert values[-2:] == [99, "end"]
    assert values[1:-1] == sorted(values[1:-1])
    assert len(values) < 30
    assert sender.drain() == []


def test_large_moves_wait_for_nothing_and_stay_in_order(clients: Crowd, base: str) -> None:
    sender, receiver = clients.tcp(), clients.tcp()
    subscribe(receiver, f"{base}/**")
    large = [f"{number:05000}" for number in range(5)]
    for value in (*large, 1, 2, large[0], 3):
        sender.send(gesture(f"{base}/g", Phase.MOVE, value))
    sender.sync()
    values = [message.value for message in of_type(receiver.drain(), wire.Publish)]
    # Of the small ones only the newest before each large one is kept for certain.
    assert [value for value in values if value != 1] == [*large, 2, large[0], 3]


def test_moves_at_240_hz_flow_at_the_throttles_pace(clients: Crowd, base: str) -> None:
    sender, receiver = clients.tcp(), clients.tcp()
    subscribe(receiver, f"{base}/**")
    sender.send(gesture(f"{base}/g", Phase.START))
    started_s = time.monotonic()
    for number in range(240):
        sender.send(gesture(f"{base}/g", Phase.MOVE, number))
        time.sleep(max(0.0, started_s + (number + 1) / 240 - time.monotonic()))
    took_s = time.monotonic() - started_s
    # The trailing edge comes by itself, without waiting for an end.
    values = [message.value for message in of_type(receiver.drain(), wire.Publish)][1:]
    assert values[0] == 0
    assert values[-1] == 239
    assert values == sorted(values)
    assert 15 <= len(values) <= took_s / INTERVAL_S + 2
    assert sender.sync() == []


def test_a_pause_in_a_stroke_does_not_end_it(clients: Crowd, base: str) -> None:
    sender, receiver = clients.ws(), clients.ws()
    subscribe(receiver, f"{base}/**")
    for phase, value in ((Phase.START, 0), (Phase.MOVE, 1), (Phase.MOVE, 2)):
        sender.send(gesture(f"{base}/g", phase, value))
        time.sleep(0.1)
    sender.send(gesture(f"{base}/g", Phase.CANCEL, 3))
    sender.sync()
    assert [message.value for message in of_type(receiver.sync(), wire.Publish)] == [0, 1, 2, 3]


def test_two_sessions_moving_the_same_thing_do_not_mix(clients: Crowd, base: str) -> None:
    one, two, receiver = clients.ws(), clients.ws(), clients.ws()
    subscribe(receiver, f"{base}/**")
    for sender, name in ((one, "one"), (two, "two")):
        sender.send(gesture(f"{base}/g", Phase.START, name))
        sender.send(gesture(f"{base}/g", Phase.MOVE, name))
        sender.sync()
    assert [message.value for message in of_type(receiver.sync(), wire.Publish)] == ["one", "one", "two", "two"]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_who_leaves_in_the_middle_of_a_stroke_is_cancelled(clients: Crowd, base: str, how: str) -> None:
    sender, receiver = clients.ws(), clients.ws()
    subscribe(receiver, f"{base}/**")
    sender.send(gesture(f"{base}/finished", Phase.START, finger=4))
    sender.send(gesture(f"{base}/finished", Phase.END, finger=4))
    for finger in (5, 6):
        sender.send(gesture(f"{base}/open", Phase.START, finger=finger))
        sender.send(gesture(f"{base}/open", Phase.MOVE, 1, finger=finger))
    sender.sync()
    receiver.sync()
    getattr(sender, how)()
    cancelled = [receiver.recv_type(wire.Publish) for _ in range(2)]
    assert [(message.address, message.id, message.phase) for message in cancelled] == [
        (f"{base}/open", 5, Phase.CANCEL),
        (f"{base}/open", 6, Phase.CANCEL),
    ]
    assert receiver.drain() == []


@pytest.fixture(scope="module")
def unthrottled() -> Iterator[Daemon]:
    with Daemon(sets={"limits.gesture_coalesce_ms": 0}) as daemon:
        yield daemon


def test_the_throttle_can_be_switched_off(unthrottled: Daemon, base: str) -> None:
    crowd = Crowd(unthrottled)
    sender, receiver = crowd.ws(), crowd.ws()
    subscribe(receiver, f"{base}/**")
    for number in range(50):
        sender.send(gesture(f"{base}/g", Phase.MOVE, number))
    sender.sync()
    assert [message.value for message in of_type(receiver.sync(), wire.Publish)] == list(range(50))
    crowd.leave()


# ---- signalling between two sessions ----


def test_a_signal_needs_no_subscription_and_reaches_nobody_else(clients: Crowd) -> None:
    caller, callee, spy = clients.ws(), clients.tcp(), clients.ws()
    subscribe(spy, "/clasp/**")
    address = f"/clasp/p2p/signal/{callee.welcome.session}"
    for kind in ("offer", "ice_candidate"):
        caller.send(wire.Publish(address, SignalType.EVENT, value={"type": kind, "from": caller.welcome.session}))
    assert caller.sync() == []
    assert [message.value["type"] for message in of_type(callee.sync(), wire.Publish)] == ["offer", "ice_candidate"]
    assert spy.sync() == []


def test_a_session_that_left_is_no_target(clients: Crowd) -> None:
    caller, callee = clients.ws(), clients.ws()
    callee.close()
    address = f"/clasp/p2p/signal/{callee.welcome.session}"
    caller.send(wire.Publish(address, SignalType.EVENT, value=1))
    assert caller.recv() == wire.Error(404, f"Target session not found: {callee.welcome.session}", address)


def test_announcements_pass_every_filter_but_not_back(clients: Crowd) -> None:
    one, two = clients.ws(), clients.ws()
    for client in (one, two):
        subscribe(client, "/clasp/p2p/announce", types=[SignalType.PARAM])
    one.send(wire.Publish("/clasp/p2p/announce", SignalType.EVENT, value={"session_id": one.welcome.session}))
    assert one.sync() == []
    (announced,) = of_type(two.sync(), wire.Publish)
    assert announced.value == {"session_id": one.welcome.session}


@pytest.mark.parametrize("name", ["signal", "signal/", "signal/a/b", "other"])
def test_other_addresses_there_are_ordinary(clients: Crowd, name: str) -> None:
    sender, receiver = clients.ws(), clients.ws()
    subscribe(receiver, "/clasp/p2p/**")
    sender.send(wire.Publish(f"/clasp/p2p/{name}", SignalType.EVENT, value=1))
    assert sender.sync() == []
    assert len(receiver.sync()) == 1


def test_a_set_to_a_signal_address_is_an_ordinary_param(clients: Crowd) -> None:
    sender, target = clients.ws(), clients.ws()
    address = f"/clasp/p2p/signal/{target.welcome.session}"
    sender.send(wire.Set(address, 1))
    assert sender.recv() == wire.Ack(address, 1)
    assert target.sync() == []
    assert get(target, address).value == 1


def test_who_leaves_is_cancelled_also_without_coalescing(unthrottled: Daemon, base: str) -> None:
    crowd = Crowd(unthrottled)
    sender, receiver = crowd.ws(), crowd.ws()
    subscribe(receiver, f"{base}/**")
    phases = [Phase.START, Phase.MOVE, Phase.MOVE]
    for phase in phases:
        sender.send(gesture(f"{base}/open", phase, 1, finger=7))
    sender.sync()
    assert [message.phase for message in of_type(receiver.sync(), wire.Publish)] == phases
    sender.abort()
    cancelled = receiver.recv_type(wire.Publish)
    assert (cancelled.id, cancelled.phase) == (7, Phase.CANCEL)
    crowd.leave()
