"""The pacer, on a clock that only moves when told to: distances are kept, and the last value always goes out."""

from __future__ import annotations

import heapq
import itertools
import tracemalloc
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.osc.rate_limit import AT_ONCE, MAX_SLOTS, MAX_WAITING_BYTES, Member, Pacer
from clasp_edge.devices.osc.slices import DUE, SLICE_S, Slices


class Timer:
    """What `call_at` gives back."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class SteppedClock:
    """The timers of an event loop, with time that passes when `advance` is called."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._timers: list[tuple[float, int, Timer, Callable[..., Any]]] = []
        self._numbers = itertools.count()
        self.after: Callable[[], object] = lambda: None

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: Callable[..., Any]) -> Timer:
        timer = Timer()
        heapq.heappush(self._timers, (when, next(self._numbers), timer, callback))
        return timer

    def call_soon(self, callback: Callable[..., Any]) -> Timer:
        return self.call_at(self.now_s, callback)

    def advance(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self._timers and self._timers[0][0] <= end_s:
            when, _, timer, callback = heapq.heappop(self._timers)
            self.now_s = max(self.now_s, when)
            if not timer.cancelled:
                self.run(callback)
        self.now_s = end_s

    def run(self, callback: Callable[..., Any]) -> None:
        callback()
        self.after()


class Rig:
    """A pacer and what came out of it, with the time."""

    def __init__(self, rate: float, total: float = 0) -> None:
        self.clock = SteppedClock()
        self.sent: list[tuple[float, bytes, bytes]] = []
        self.open = True
        self.given_up: list[Member] = []
        loop = cast("AbstractEventLoop", self.clock)
        self.cpu_s = self.cost_s = 0.0
        self.slices = Slices(loop, lambda: self.cpu_s)
        self.pacer = Pacer(loop, self.slices, rate, self._send, total, self.given_up.extend)

    def _send(self, members: Sequence[Member]) -> int:
        if not self.open:
            return 0
        self.cpu_s += self.cost_s
        self.sent += [(self.clock.now_s, key, packet) for key, packet in members]
        return len(members)

    def packets(self) -> list[bytes]:
        return [packet for _, _, packet in self.sent]


def test_without_a_rate_everything_goes_out_at_once() -> None:
    rig = Rig(0)
    for packet in (b"1", b"2", b"3"):
        rig.pacer.offer(b"/a", packet)
    assert rig.packets() == [b"1", b"2", b"3"]


def test_the_first_goes_at_once_and_the_last_when_its_time_comes() -> None:
    rig = Rig(10)
    for packet in (b"1", b"2", b"3"):
        rig.pacer.offer(b"/a", packet)
    assert rig.packets() == [b"1"]
    assert rig.pacer.waits(b"/a")
    rig.clock.advance(0.2)
    assert rig.packets() == [b"1", b"3"]
    rig.clock.advance(10)
    assert rig.packets() == [b"1", b"3"]


def test_keys_do_not_wait_for_each_other() -> None:
    rig = Rig(10)
    for key in (b"/a", b"/b", b"/c"):
        rig.pacer.offer(key, key)
    assert rig.packets() == [b"/a", b"/b", b"/c"]


def test_what_is_forgotten_is_not_sent() -> None:
    rig = Rig(10)
    rig.pacer.offer(b"/a", b"1")
    rig.pacer.offer(b"/a", b"2")
    rig.pacer.forget(b"/a")
    rig.clock.advance(1)
    assert rig.packets() == [b"1"]
    rig.pacer.offer(b"/a", b"3")
    assert rig.packets() == [b"1", b"3"]


def test_what_is_postponed_waits_and_the_newest_comes() -> None:
    rig = Rig(0)
    rig.pacer.postpone(b"/a", rig.clock.now_s + 5)
    rig.pacer.offer(b"/a", b"1")
    rig.pacer.offer(b"/a", b"2")
    rig.clock.advance(4.9)
    assert rig.packets() == []
    rig.clock.advance(0.2)
    assert rig.packets() == [b"2"]


def test_a_blocked_link_gets_the_newest_when_it_opens() -> None:
    rig = Rig(0)
    rig.open = False
    rig.pacer.offer(b"/a", b"1")
    rig.clock.advance(1)
    rig.pacer.offer(b"/a", b"2")
    rig.pacer.offer(b"/b", b"3")
    rig.open = True
    rig.clock.advance(1)
    assert sorted(rig.packets()) == [b"2", b"3"]


def test_the_line_is_bounded_and_nothing_in_it_is_lost() -> None:
    rig = Rig(0.1)
    keys = [str(i).encode() for i in range(MAX_SLOTS + 100)]
    for key in keys:
        rig.pacer.offer(key, b"first")
        rig.pacer.offer(key, b"last")
    assert sum(rig.pacer.waits(key) for key in keys) <= MAX_SLOTS
    rig.clock.advance(100)
    last = {key: packet for _, key, packet in rig.sent}
    assert last == dict.fromkeys(keys, b"last")


def test_what_changes_faster_than_all_is_told_has_its_turn() -> None:
    """Each newer value took the place at the end of the line, which it never left: others came in all the time."""
    rig = Rig(0, total=100)
    for number in range(1000):
        for slow in range(5):
            rig.pacer.offer(b"slow %d" % ((5 * number + slow) % 100), b"%d" % number)
        rig.pacer.offer(b"fast", b"%d" % number)
        rig.clock.advance(0.01)
    told = [number for at, key, number in rig.sent if key == b"fast"]
    assert len(told) > 5, "10 s, each of 101 keys about once a second"
    assert told == sorted(told, key=int)
    assert len({key for _, key, _ in rig.sent}) == 101, "and so has everything else"


def test_of_what_was_replaced_nothing_is_kept_until_its_time() -> None:
    rig = Rig(0)
    rig.pacer.postpone(b"held", rig.clock.now_s + 1000)
    tracemalloc.start()
    try:
        for number in range(20_000):
            rig.pacer.offer(b"held", number)
            if number == 1000:
                before, _ = tracemalloc.get_traced_memory()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000
    rig.clock.advance(1001)
    assert rig.packets() == [19_999]


A, B = "a sender", "another sender"


def test_an_event_goes_behind_what_its_sender_has_waiting() -> None:
    rig = Rig(10)
    for packet in (b"1", b"2"):
        rig.pacer.offer(b"/level", packet, A)
        rig.pacer.offer(b"/other", packet, B)
    rig.pacer.event(b"/go", b"go", A)
    assert rig.packets() == [b"1", b"1", b"2", b"go"], "not behind what others have waiting"
    rig.clock.advance(1)
    assert rig.packets() == [b"1", b"1", b"2", b"go", b"2"]


def test_the_members_of_a_bundle_stay_together_and_in_order() -> None:
    rig = Rig(10)
    one = [(b"/bone", b"a1"), (b"/bone", b"b1"), (b"/face", b"1")]
    rig.pacer.together(list(one), A, lasting=False)
    assert rig.packets() == [b"a1", b"b1", b"1"], "also those of one address"
    rig.pacer.offer(b"/bone", b"late", B)
    rig.pacer.together([(b"/bone", b"a2"), (b"/new", b"n2"), (b"/bone", b"b2")], A, lasting=False)
    assert len(rig.sent) == 3
    rig.clock.advance(0.2)
    assert rig.packets()[3:] == [b"a2", b"n2", b"b2"]


def test_a_bundle_with_an_event_does_not_wait() -> None:
    rig = Rig(10)
    for number in (b"1", b"2"):
        rig.pacer.offer(b"/level", number, A)
    rig.pacer.together([(b"/level", b"3"), (b"/go", b"go")], A, lasting=True)
    assert rig.packets() == [b"1", b"2", b"3", b"go"]


def test_events_wait_for_a_blocked_link_in_their_order() -> None:
    rig = Rig(0)
    rig.open = False
    for number in range(20):
        rig.pacer.event(b"/go", str(number).encode(), A)
        rig.clock.advance(0.015)
    assert rig.packets() == []
    rig.open = True
    rig.clock.advance(1)
    assert rig.packets() == [str(number).encode() for number in range(20)]


def test_a_rate_for_all_together_holds_and_events_keep_their_order() -> None:
    rig = Rig(0, total=100)
    for number in range(200):
        rig.pacer.offer(b"/%d" % (number % 10), b"p%d" % number, B)
        rig.pacer.event(b"/go", b"%d" % number, A)
    rig.clock.advance(0.5)
    assert len(rig.sent) <= 2 + 0.5 * 100 * 1.2
    rig.clock.advance(10)
    assert [packet for _, key, packet in rig.sent if key == b"/go"] == [b"%d" % number for number in range(200)]
    last = {key: packet for _, key, packet in rig.sent if key != b"/go"}
    assert last == {b"/%d" % (number % 10): b"p%d" % number for number in range(190, 200)}


def test_each_event_finds_the_value_its_sender_said_before_it_also_where_all_waits() -> None:
    rig = Rig(0, total=20)
    for number in range(8):
        rig.pacer.offer(b"/level", b"%d" % number, A)
        rig.pacer.event(b"/go", b"go %d" % number, A)
    rig.clock.advance(3)
    assert rig.packets() == [packet for number in range(8) for packet in (b"%d" % number, b"go %d" % number)]


def test_behind_a_waiting_event_only_the_newest_value_waits() -> None:
    rig = Rig(0)
    rig.open = False
    rig.pacer.offer(b"/level", b"before", A)
    rig.pacer.event(b"/go", b"go", A)
    for number in range(100):
        rig.pacer.offer(b"/level", b"%d" % number, A)
    assert len(rig.pacer) == 3
    rig.open = True
    rig.clock.advance(1)
    assert rig.packets() == [b"before", b"go", b"99"]


def test_somebody_elses_newer_value_is_not_overtaken_by_the_one_an_event_counts_on() -> None:
    rig = Rig(0)
    rig.open = False
    rig.pacer.offer(b"/level", b"old", A)
    rig.pacer.event(b"/go", b"go", A)
    rig.pacer.offer(b"/level", b"new", B)
    rig.open = True
    rig.clock.advance(1)
    assert rig.packets() == [b"new", b"go"]
    rig.open = False
    rig.pacer.offer(b"/level", b"1", A)
    rig.pacer.event(b"/go", b"go", A)
    rig.pacer.offer(b"/level", b"2", A)
    rig.pacer.forget(b"/level")
    rig.open = True
    rig.clock.advance(1)
    assert rig.packets()[2:] == [b"go"], "what the device has set itself is newer than all that waits"


def test_a_newer_bundle_is_not_overtaken_by_the_value_an_event_counts_on() -> None:
    """The device stayed at the older one."""
    rig = Rig(0)
    rig.open = False
    rig.pacer.offer(b"/level", b"1", A)
    rig.pacer.event(b"/go", b"go", A)
    rig.pacer.offer(b"/level", b"2", A)
    rig.pacer.together([(b"/level", b"3"), (b"/pan", b"3")], B, lasting=False)
    rig.clock.advance(0.03)
    rig.open = True
    rig.clock.advance(1)
    assert [packet for _, key, packet in rig.sent if key == b"/level"][-1] == b"3"
    assert b"go" in rig.packets()
    assert len(rig.pacer) == 0


def test_a_newer_value_is_not_overtaken_by_the_one_beside_an_event() -> None:
    rig = Rig(0)
    rig.open = False
    bundle = [(b"/level", b"1"), (b"/level", b"go"), (b"/pan", b"1")]
    rig.pacer.together(bundle, A, lasting=True, values=[bundle[0], bundle[2]])
    rig.pacer.offer(b"/level", b"2", B)
    rig.clock.advance(0.03)
    rig.open = True
    rig.clock.advance(1)
    assert [packet for _, key, packet in rig.sent if key == b"/level"] == [b"2", b"go", b"2"]


def test_the_value_beside_an_event_is_newer_than_what_waits_for_the_rate() -> None:
    rig = Rig(20)
    rig.pacer.offer(b"/level", b"1", A)
    rig.pacer.offer(b"/level", b"2", A)
    bundle = [(b"/level", b"3"), (b"/go", b"go")]
    rig.pacer.together(bundle, B, lasting=True, values=bundle[:1])
    rig.clock.advance(1)
    assert rig.packets() == [b"1", b"3", b"go"]
    rig.open = False
    rig.pacer.together(bundle, B, lasting=True, values=bundle[:1])
    rig.pacer.forget(b"/level")
    rig.open = True
    rig.clock.advance(1)
    assert rig.packets()[3:] == [b"go"], "what the device has set itself is newer"


said = st.lists(
    st.tuples(
        st.sampled_from([A, B]),
        st.sampled_from([b"/a", b"/b"]),
        st.sampled_from(["param", "event", "bundle", "cue", "shut", "pause"]),
    ),
    max_size=40,
)


@given(said, st.sampled_from([0, 20]), st.sampled_from([5, 50]))
def test_the_newest_values_arrive_and_events_in_order_whoever_says_what(
    script: list[tuple[str, bytes, str]], rate: float, total: float
) -> None:
    rig = Rig(rate, total)
    wanted: dict[bytes, bytes] = {}
    events: dict[str, list[bytes]] = {A: [], B: []}
    for number, (sender, key, kind) in enumerate(script):
        packet = b"%d" % number
        if kind == "param":
            rig.pacer.offer(key, packet, sender)
            wanted[key] = packet
        elif kind == "event":
            rig.pacer.event(b"/go", sender.encode() + packet, sender)
            events[sender].append(sender.encode() + packet)
        elif kind == "bundle":
            rig.pacer.together([(b"/a", packet), (b"/b", packet)], sender, lasting=False)
            wanted[b"/a"] = wanted[b"/b"] = packet
        elif kind == "cue":
            bundle = [(b"/a", packet), (b"/go", sender.encode() + packet)]
            rig.pacer.together(bundle, sender, lasting=True, values=bundle[:1])
            wanted[b"/a"] = packet
            events[sender].append(sender.encode() + packet)
        elif kind == "shut":
            rig.open = not rig.open
        else:
            rig.clock.advance(0.03)
    rig.open = True
    rig.clock.advance(100)
    assert {key: packet for _, key, packet in rig.sent if key != b"/go"} == wanted
    for told in events.values():
        assert [packet for _, key, packet in rig.sent if key == b"/go" and packet in told] == told
    assert len(rig.pacer) == 0


def test_what_takes_the_place_of_a_smaller_one_is_bounded_in_bytes_too() -> None:
    """Values that an event counts on keep their places, whoever overwrites them, and with how much."""
    rig = Rig(0)
    rig.open = False
    for number in range(100):
        rig.pacer.offer(b"/%d" % number, b"small", A, 10)
    rig.pacer.event(b"/go", b"go", A, 10)
    for number in range(100):
        rig.pacer.offer(b"/%d" % number, b"large", B, 60_000)
    assert len(rig.given_up) > 80
    rig.open = True
    rig.clock.advance(1)
    assert 0 < rig.packets().count(b"large") <= MAX_WAITING_BYTES // 60_000
    assert len(rig.sent) + len(rig.given_up) == 101


def test_what_waits_is_bounded_in_bytes_and_the_owner_is_told() -> None:
    rig = Rig(0)
    rig.open = False
    for number in range(100):
        rig.pacer.event(b"/go", b"%d" % number, A, MAX_WAITING_BYTES // 50)
    assert rig.given_up
    rig.open = True
    rig.clock.advance(1)
    assert rig.packets() + [packet for _, packet in rig.given_up] != []
    assert len(rig.packets()) + len(rig.given_up) == 100


def test_what_is_due_for_many_devices_at_one_moment_goes_out_in_slices() -> None:
    """Each device had a timer of its own, and all of them went off in one round of the loop."""
    cpu_s = 0.0
    sent: list[Member] = []
    longest_s = 0.0

    class Clock(SteppedClock):
        def run(self, callback: Callable[..., Any]) -> None:
            nonlocal longest_s
            began_s = cpu_s
            callback()
            longest_s = max(longest_s, cpu_s - began_s)

    def send(members: Sequence[Member]) -> int:
        nonlocal cpu_s
        cpu_s += 0.0001 * len(members)
        sent.extend(members)
        return len(members)

    clock = Clock()
    slices = Slices(cast("AbstractEventLoop", clock), lambda: cpu_s)
    pacers = [Pacer(cast("AbstractEventLoop", clock), slices, 10, send) for _ in range(50)]
    for value in range(2):
        for pacer in pacers:
            for key in range(20):
                pacer.offer(b"%d" % key, value)
    assert len(sent) == 50 * 20
    clock.advance(1)
    assert len(sent) == 2 * 50 * 20
    assert longest_s <= SLICE_S + 0.0001 * AT_ONCE
    assert all(not len(pacer) for pacer in pacers)


def test_of_what_is_large_little_goes_out_at_once() -> None:
    rig = Rig(1)
    for value in (b"1", b"2"):
        for number in range(8):
            rig.pacer.offer(b"%d" % number, value, A, 10_000)
    sent = len(rig.sent)
    rig.cost_s = SLICE_S  # each turn of its own uses a slice up
    turns = []
    rig.clock.after = lambda: turns.append(len(rig.sent))
    rig.pacer.event(b"/go", b"go", A)
    turns.append(len(rig.sent))
    rig.clock.advance(2)
    steps = [b - a for a, b in itertools.pairwise([sent, *turns])]
    assert rig.packets()[sent:] == [b"2"] * 8 + [b"go"]
    assert max(steps) <= 3


def test_an_event_behind_much_that_waits_sends_it_in_parts_and_in_order() -> None:
    """All of it went out at once, before the event."""
    rig = Rig(1)
    for value in range(2):
        for number in range(400):
            rig.pacer.offer(b"%d" % number, b"%d" % value, A)
    before = len(rig.sent)
    rig.pacer.event(b"/go", b"first", A)
    rig.pacer.event(b"/go", b"second", A)
    assert len(rig.sent) - before <= 2 * AT_ONCE
    rig.clock.advance(0.1)
    assert rig.packets()[before:] == [b"1"] * 400 + [b"first", b"second"]


def test_a_device_that_has_gone_leaves_nothing_in_line() -> None:
    rig = Rig(10)
    for value in (b"1", b"2"):
        rig.pacer.offer(b"/a", value)
    rig.cpu_s = 1.0  # the slice is over when the second one is due
    rig.slices.want(rig.pacer, DUE)
    rig.pacer.close()
    rig.clock.advance(1)
    assert rig.packets() == [b"1"]


steps = st.lists(
    st.tuples(
        st.sampled_from([b"/a", b"/b"]), st.floats(0, 0.3), st.sampled_from(["offer", "offer", "block", "forget"])
    ),
    max_size=40,
)


@given(steps, st.sampled_from([0, 5, 50]))
def test_distances_are_kept_and_the_last_value_arrives(script: list[tuple[bytes, float, str]], rate: float) -> None:
    rig = Rig(rate)
    wanted: dict[bytes, bytes | None] = {}
    for number, (key, pause, action) in enumerate(script):
        if action == "offer":
            wanted[key] = str(number).encode()
            rig.pacer.offer(key, str(number).encode())
        elif action == "forget":
            if rig.pacer.waits(key):
                wanted[key] = None
            rig.pacer.forget(key)
        else:
            rig.open = not rig.open
        rig.clock.advance(pause)
    rig.open = True
    rig.clock.advance(60)
    for key, packet in wanted.items():
        times = [at for at, k, _ in rig.sent if k == key]
        if rate:
            assert all(b - a >= 1 / rate - 0.0011 for a, b in itertools.pairwise(times))
        if packet is not None:
            assert [p for _, k, p in rig.sent if k == key][-1] == packet
