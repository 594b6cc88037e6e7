"""The fan-out on a clock that only moves when a device is told something: slices, order, and the bound in bytes."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import Callable
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.osc.delivery import Delivery
from clasp_edge.devices.osc.fan_out import MAX_WAITING_BYTES, MOST_WAITING_BYTES, FanOut
from clasp_edge.devices.osc.pending import BUNDLE_AT_ONCE, BYTES_AT_ONCE, Ledger, Pending
from clasp_edge.devices.osc.slices import DUE, SLICE_S, STATE, Slices
from clasp_edge.wire import SignalType


class Turns:
    """An event loop whose turns are taken by hand."""

    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> Turns:
        self.ready.append(callback)
        return self

    def cancel(self) -> None:
        self.ready.clear()

    def turn(self) -> None:
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()


class Rig:
    """A fan-out, and who was told what."""

    def __init__(self) -> None:
        self.loop = Turns()
        self.cpu_s = 1.0
        self.told: list[tuple[str, int]] = []
        self.slices = Slices(cast("AbstractEventLoop", self.loop), lambda: self.cpu_s)
        self.fan_out = FanOut(self.slices, lambda: int(self.cpu_s * 1e6))


class Costly:
    """A set of events with none in it, of which each question costs so much CPU."""

    def __init__(self, rig: Rig, cost_s: float) -> None:
        self.rig = rig
        self.cost_s = cost_s

    def matches(self, address: bytes) -> bool:
        self.rig.cpu_s += self.cost_s
        return False


class Receiver:
    """A device that costs so much CPU each time it is told something."""

    events: Costly | None = None

    def __init__(self, rig: Rig, name: str, cost_s: float = 0.001) -> None:
        self.rig = rig
        self.name = name
        self.cost_s = cost_s
        self.outrun_us: list[int] = []
        self.lost = 0
        self.first_lost: list[bytes] = []

    def take(self, deliveries: list[Delivery]) -> None:
        self.rig.cpu_s += self.cost_s
        self.rig.told += [(self.name, delivery.origin) for delivery in deliveries]

    def outrun(self, since_us: int) -> None:
        self.outrun_us.append(since_us)

    def lose(self, count: int, address: bytes) -> None:
        self.lost += count
        self.first_lost.append(address)


def delivery(
    number: int, size: int = 20, *, address: bytes | None = None, bundle: int = 0, event: bool = False
) -> Delivery:
    """A value where it has an address or is in a bundle, else an event. `number` is found again as its origin."""
    signal = SignalType.EVENT if event or (address is None and not bundle) else SignalType.PARAM
    text = address or b"/%d" % number
    frame = bytes(6) + len(text).to_bytes(2, "big") + text
    return Delivery(number, signal, frame + bytes(max(0, size - len(frame))), None, bundle)


def test_what_is_little_is_done_at_once() -> None:
    rig = Rig()
    for number in range(3):
        rig.fan_out.add(Receiver(rig, "desk"), [delivery(number)])
    assert rig.told == [("desk", 0), ("desk", 1), ("desk", 2)]


def test_the_rest_waits_for_the_loops_turns_and_each_devices_order_holds() -> None:
    rig = Rig()
    receivers = [Receiver(rig, str(number)) for number in range(100)]
    for number in range(3):
        for receiver in receivers:
            rig.fan_out.add(receiver, [delivery(number)])
    assert len(rig.told) < 10
    while len(rig.fan_out):
        began_s = rig.cpu_s
        rig.loop.turn()
        assert rig.cpu_s - began_s <= SLICE_S + 0.0011, "everybody else has a turn"
    for receiver in receivers:
        assert [number for name, number in rig.told if name == receiver.name] == [0, 1, 2]
    rig.loop.turn()
    assert not rig.loop.ready, "where nothing waits nothing is looked at"


def test_what_waits_is_bounded_in_bytes() -> None:
    rig = Rig()
    count = 3 * MAX_WAITING_BYTES // 60_000
    desk = Receiver(rig, "desk", 1.0)
    for number in range(count):
        rig.fan_out.add(desk, [delivery(number, 60_000)])
    assert len(rig.told) == 1, "nobody waits until there is room"
    assert 0 < desk.lost < count
    assert rig.fan_out.waiting_bytes <= MOST_WAITING_BYTES
    while len(rig.fan_out):
        rig.loop.turn()
    assert len(rig.told) + desk.lost == count, "what is lost is said"
    numbers = [number for _, number in rig.told]
    assert numbers == sorted(numbers)
    assert numbers[-1] == count - 1, "the oldest are lost"
    assert rig.fan_out.waiting_bytes == 0


def test_too_many_events_for_hundreds_of_devices_are_no_round_of_their_own() -> None:
    """They were all told at once, for as long as it took: seconds."""
    rig = Rig()
    devices = [Receiver(rig, str(number), 0.0001) for number in range(256)]
    for burst in range(20):
        events = [delivery(200 * burst + number) for number in range(200)]
        began_s = rig.cpu_s
        for device in devices:
            rig.fan_out.add(device, events)
        rig.loop.turn()
        assert rig.cpu_s - began_s < 3 * SLICE_S
        assert rig.fan_out.waiting_bytes <= MOST_WAITING_BYTES
    while len(rig.fan_out):
        rig.loop.turn()
    heard = Counter(name for name, _ in rig.told)
    assert all(heard[device.name] + device.lost == 4000 for device in devices), "what is lost is said"
    assert sum(device.lost for device in devices) > 0
    assert all(heard[device.name] for device in devices)


def test_who_is_told_little_loses_nothing_for_those_who_are_told_too_much() -> None:
    rig = Rig()
    flooded, quiet = Receiver(rig, "flooded", 1.0), Receiver(rig, "quiet", 1.0)
    rig.fan_out.add(flooded, [delivery(0)])
    rig.fan_out.add(quiet, [delivery(1)])
    for number in range(2 * MAX_WAITING_BYTES // 60_000):
        rig.fan_out.add(flooded, [delivery(number, 60_000)])
    assert flooded.lost
    assert not quiet.lost


def test_of_a_param_that_waits_the_newest_value_counts_unless_something_came_behind_it() -> None:
    rig = Rig()
    rig.fan_out.add(Receiver(rig, "other", 1.0), [delivery(0)])
    desk = Receiver(rig, "desk")
    for number in range(1, 6):
        rig.fan_out.add(desk, [delivery(number, address=b"/level"), delivery(10 * number, address=b"/pan")])
    rig.fan_out.add(desk, [delivery(6)])
    for number in range(7, 10):
        rig.fan_out.add(desk, [delivery(number, address=b"/level")])
    while len(rig.fan_out):
        rig.loop.turn()
    assert [number for name, number in rig.told if name == "desk"] == [5, 50, 6, 9]


def test_a_bundle_is_not_taken_apart() -> None:
    rig = Rig()
    rig.fan_out.add(Receiver(rig, "other", 1.0), [delivery(0)])

    class Desk(Receiver):
        def take(self, deliveries: list[Delivery]) -> None:
            super().take(deliveries)
            bundles.append({one.bundle for one in deliveries})

    bundles: list[set[int]] = []
    desk = Desk(rig, "desk")
    for bundle in (1, 2):
        rig.fan_out.add(desk, [delivery(number, bundle=bundle) for number in range(100)])
    while len(rig.fan_out):
        rig.loop.turn()
    assert bundles == [{1}, {2}]


def test_one_that_fails_harms_no_other() -> None:
    class Broken(Receiver):
        def take(self, deliveries: list[Delivery]) -> None:
            raise RuntimeError

    rig = Rig()
    rig.fan_out.add(Broken(rig, "broken"), [delivery(1)])
    rig.fan_out.add(Receiver(rig, "desk"), [delivery(2)])
    assert rig.told == [("desk", 2)]


def test_what_cannot_be_looked_through_holds_nobody_else_up() -> None:
    class Unanswerable(Costly):
        def matches(self, address: bytes) -> bool:
            raise RuntimeError

    rig = Rig()
    broken, desk = Receiver(rig, "broken"), Receiver(rig, "desk")
    broken.events = Unanswerable(rig, 0.0)
    rig.cpu_s += SLICE_S
    for receiver in (broken, desk):
        rig.fan_out.add(receiver, [delivery(number, address=b"/a") for number in range(BUNDLE_AT_ONCE + 1)])
    for _ in range(10):
        rig.loop.turn()
    assert rig.told == [("desk", BUNDLE_AT_ONCE)]
    assert len(rig.fan_out) == 0
    assert rig.fan_out.waiting_bytes == 0
    assert not rig.loop.ready


def test_the_newest_value_waits_in_its_place_also_while_others_are_told() -> None:
    """What was told in part is replaced by nothing that comes later; what still waits is."""
    rig = Rig()
    slow, desk = Receiver(rig, "slow", SLICE_S), Receiver(rig, "desk")
    rig.fan_out.add(slow, [delivery(0)])
    rig.fan_out.add(desk, [delivery(number, address=b"%d" % number) for number in range(40)])
    rig.loop.turn()
    rig.fan_out.add(slow, [delivery(1)])
    told = [number for name, number in rig.told if name == "desk"]
    for number in range(40):
        rig.fan_out.add(desk, [delivery(100 + number, address=b"%d" % number)])
    while rig.loop.ready:
        rig.loop.turn()
    got = [number for name, number in rig.told if name == "desk"]
    assert got[: len(told)] == told
    assert {number % 100 for number in got} == set(range(40))
    assert [number for number in got if number >= 100] == list(range(100, 140))


def test_a_scene_for_hundreds_waits_once() -> None:
    """What goes to many devices takes its bytes once, so it is told in slices, all of it."""
    rig = Rig()
    receivers = [Receiver(rig, str(number)) for number in range(256)]
    scene = [delivery(number, bundle=1) for number in range(500)]
    for receiver in receivers:
        rig.fan_out.add(receiver, scene)
    assert len(rig.told) <= 4 * BUNDLE_AT_ONCE
    assert rig.fan_out.waiting_bytes < 4 * 1024 * 1024
    while len(rig.fan_out):
        rig.loop.turn()
    assert rig.fan_out.waiting_bytes == 0
    assert len(rig.told) == 256 * 500
    assert not any(receiver.outrun_us for receiver in receivers)


def test_what_comes_at_once_for_hundreds_is_looked_through_in_slices() -> None:
    rig = Rig()
    receivers = [Receiver(rig, str(number), 0.0001) for number in range(60)]
    for receiver in receivers:
        receiver.events = Costly(rig, 1e-5)
    began_s = rig.cpu_s
    for burst in range(3):
        values = [delivery(1000 * burst + number, address=b"%d" % number) for number in range(200)]
        for receiver in receivers:
            rig.fan_out.add(receiver, values)
        rig.fan_out.add(receivers[0], [])
    assert rig.cpu_s - began_s < SLICE_S + 0.003
    while len(rig.fan_out):
        began_s = rig.cpu_s
        rig.loop.turn()
        assert rig.cpu_s - began_s < SLICE_S + 0.003
    for receiver in receivers:
        got = [number for name, number in rig.told if name == receiver.name]
        assert got[-200:] == list(range(2000, 2200))
        assert got == sorted(got)
    assert len(rig.told) < 1.2 * 60 * 200, "of what waited the newest counted"
    assert rig.fan_out.waiting_bytes == 0


def test_a_large_bundle_is_told_in_parts() -> None:
    rig = Rig()
    desk = Receiver(rig, "desk", SLICE_S)
    rig.fan_out.add(desk, [delivery(number, bundle=1) for number in range(3 * BUNDLE_AT_ONCE)])
    assert not rig.told, "to have it delivered to hundreds has taken a part of this round"
    rig.loop.turn()
    assert len(rig.told) == BUNDLE_AT_ONCE
    while len(rig.fan_out):
        rig.loop.turn()
    assert [number for _, number in rig.told] == list(range(3 * BUNDLE_AT_ONCE))


def test_above_the_bound_values_are_let_go_and_events_are_not() -> None:
    rig = Rig()
    other, desk = Receiver(rig, "other", 1.0), Receiver(rig, "desk", 1.0)
    rig.fan_out.add(other, [delivery(0)])
    began_us = int(rig.cpu_s * 1e6)
    count = 3 * MAX_WAITING_BYTES // 60_000
    rig.fan_out.add(desk, [delivery(-1)])
    for number in range(count):
        rig.fan_out.add(desk, [delivery(number, 60_000, address=b"/%d" % number)])
    assert began_us in desk.outrun_us, "it is told them later, from the first one on"
    assert rig.told == [("other", 0)], "nobody waits for that"
    assert rig.fan_out.waiting_bytes <= MOST_WAITING_BYTES
    while len(rig.fan_out):
        rig.loop.turn()
    assert rig.told[1] == ("desk", -1)
    assert rig.fan_out.waiting_bytes == 0


def test_of_one_bundle_each_device_is_told_its_own_part() -> None:
    rig = Rig()
    first, last = [delivery(number, bundle=1) for number in (1, 2)]
    large, small = delivery(3, 60_000, bundle=1), delivery(4, bundle=1)
    for _ in range(2 * MAX_WAITING_BYTES // 60_000):
        rig.fan_out.add(Receiver(rig, "other", 1.0), [delivery(0)])
        rig.fan_out.add(Receiver(rig, "desk"), [first, large, last])
        rig.fan_out.add(Receiver(rig, "lamp"), [first, small, last])
        while len(rig.fan_out):
            rig.loop.turn()
        rig.loop.turn()
        assert [number for name, number in rig.told if name == "desk"] == [1, 3, 2]
        assert [number for name, number in rig.told if name == "lamp"] == [1, 4, 2]
        rig.told.clear()
    assert not rig.fan_out.is_behind, "nothing waits"


def test_what_is_left_of_a_bundle_above_the_bound_is_each_devices_own() -> None:
    rig = Rig()
    rig.fan_out.add(Receiver(rig, "other", 1.0), [delivery(0)])
    devices = [Receiver(rig, str(number), 1.0) for number in range(2)]
    value = delivery(1, 60_000, address=b"/level", bundle=1)
    for number, device in enumerate(devices):
        rig.fan_out.add(device, [value, delivery(10 + number, bundle=1, event=True)])
    filler = Receiver(rig, "filler", 1.0)
    for number in range(MAX_WAITING_BYTES // 60_000 + 1):
        rig.fan_out.add(filler, [delivery(100 + number, 60_000)])
    while len(rig.fan_out):
        rig.loop.turn()
    assert [device.outrun_us != [] for device in devices] == [True, True]
    assert [told for told in rig.told if told[0] in "01"] == [("0", 10), ("1", 11)]


def test_above_the_bound_one_device_at_a_time_lets_go() -> None:
    """All of them did, with the message that was too much."""
    rig = Rig()
    other = Receiver(rig, "other", 1.0)
    devices = [Receiver(rig, str(number), 0.0001) for number in range(256)]
    rig.fan_out.add(other, [delivery(-1)])
    for address in (None, b"/level/%d"):
        for burst in range(20):
            some = [delivery(number, address=address and address % (1000 * burst + number)) for number in range(200)]
            for device in devices:
                before = [(len(one.first_lost), len(one.outrun_us)) for one in devices]
                rig.fan_out.add(device, some)
                changed = [one for one, (lost, outrun) in zip(devices, before, strict=True)
                           if (lost, outrun) != (len(one.first_lost), len(one.outrun_us))]  # fmt: skip
                assert len(changed) <= 1
            assert rig.fan_out.waiting_bytes < MOST_WAITING_BYTES + MAX_WAITING_BYTES // 8
    assert any(device.lost for device in devices)
    assert any(device.outrun_us for device in devices)
    assert {first for device in devices for first in device.first_lost} <= {b"/%d" % number for number in range(200)}
    while len(rig.fan_out):
        rig.loop.turn()
    assert rig.fan_out.waiting_bytes == 0


def test_of_what_is_large_little_is_told_at_once() -> None:
    """It was thirty-two at once, of whatever size."""

    class Desk(Receiver):
        def take(self, deliveries: list[Delivery]) -> None:
            super().take(deliveries)
            sizes.append(sum(len(one.frame) for one in deliveries))

    rig = Rig()
    sizes: list[int] = []
    desk = Desk(rig, "desk")
    rig.fan_out.add(Receiver(rig, "other", 1.0), [delivery(-1)])
    for some in (
        [delivery(number, 8000) for number in range(20)],
        [delivery(20 + number, 8000, address=b"/%d" % number) for number in range(20)],
        [delivery(40 + number, 8000, bundle=1) for number in range(20)],
        [delivery(60 + number, 60_000) for number in range(5)],
    ):
        rig.fan_out.add(desk, some)
    while len(rig.fan_out):
        rig.loop.turn()
    assert [number for name, number in rig.told if name == "desk"] == list(range(65))
    assert max(sizes) <= BYTES_AT_ONCE + 60_000
    assert max(sizes[:-6]) <= BYTES_AT_ONCE + 8000
    rig.loop.turn()
    sizes.clear()
    rig.fan_out.add(desk, [delivery(number, 60_000) for number in range(5)])
    assert not sizes, "also where nobody waits"
    rig.fan_out.add(Desk(rig, "lamp"), [delivery(0, 60_000)])
    while len(rig.fan_out):
        rig.loop.turn()
    assert sorted(sizes) == [60_000] * 6


def test_for_a_device_that_has_gone_nothing_waits() -> None:
    rig = Rig()
    rig.fan_out.add(Receiver(rig, "other", 1.0), [delivery(0)])
    desk = Receiver(rig, "desk")
    rig.fan_out.add(desk, [delivery(number, address=b"/%d" % number) for number in range(9)])
    rig.fan_out.add(desk, [delivery(number, bundle=1) for number in range(200)])
    assert rig.fan_out.waiting_bytes > 0
    rig.fan_out.leave(desk)
    assert rig.fan_out.waiting_bytes == 0
    while rig.loop.ready:
        rig.loop.turn()
    assert [name for name, _ in rig.told] == ["other"]


def test_what_waits_for_a_rate_and_the_state_have_their_share_of_a_slice() -> None:
    """However much has just been delivered."""

    class Endless:
        turns = 0

        def resume(self) -> bool:
            self.turns += 1
            rig.cpu_s += 0.0005
            return True

    rig = Rig()
    due, state = Endless(), Endless()
    devices = [Receiver(rig, str(number), 0.0005) for number in range(50)]
    for device in devices:
        rig.fan_out.add(device, [delivery(number) for number in range(100)])
    rig.slices.want(due, DUE)
    rig.slices.want(state, STATE)
    told = len(rig.told)
    for _ in range(30):
        rig.loop.turn()
    assert min(due.turns, state.turns) > 40
    assert len(rig.told) - told > 20 * 32


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.booleans()), max_size=60),
    st.lists(st.integers(1, 9), max_size=20),
)
def test_each_device_is_told_what_counts_in_its_order(said: list[tuple[int, int, bool]], sizes: list[int]) -> None:
    """In batches of any size: all that is no single value of a param, and of those the newest between two others."""
    deliveries = [
        delivery(number, address=b"/%d" % place, bundle=bundle * number, event=event and not bundle)
        for number, (place, bundle, event) in enumerate(said)
    ]
    ledger = Ledger()
    pending = Pending(ledger, None, 1)
    at = 0
    for size in [*sizes, len(said)]:
        if deliveries[at : at + size]:
            pending.add(deliveries[at : at + size])
        at += size
    while not pending.look_through(3):
        pass
    told: list[int] = []
    while len(pending):
        told += [one.origin for one in pending.take_some()]
    wanted: list[int] = []
    stretch: dict[bytes, int] = {}
    for one in deliveries:
        if one.bundle or one.signal != SignalType.PARAM:
            wanted += [*stretch.values(), one.origin]
            stretch = {}
        else:
            stretch.pop(one.address, None)
            stretch[one.address] = one.origin
    assert told == [*wanted, *stretch.values()]
    assert ledger.size == 0
