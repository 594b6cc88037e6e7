"""Echoes and loops, with times as numbers: what is believed, what is not, and what counts as a loop."""

from __future__ import annotations

import gc
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.osc.echo import CROSSINGS, MAX_RECORDS, EchoMemory, Known, comparable
from clasp_edge.devices.osc.loops import EVENT_HOPS, Loops
from clasp_edge.wire import Value
from clasp_edge.wire.values import encode_value

ECHO_S = 0.25
A = b"/osc/a"


def known(value: Value) -> Known:
    value_type, data = encode_value(value)
    return value_type, data


ON, OFF = known(True), known(False)


class Rig:
    """A memory, and the loops over two addresses it found."""

    def __init__(self, rate: float = 0, echo_s: float = ECHO_S) -> None:
        self.loops: list[tuple[bytes, float]] = []
        self.memory = EchoMemory(rate, echo_s, lambda address, until_s: self.loops.append((address, until_s)))


def single(value: float) -> float:
    found: float = struct.unpack(">f", struct.pack(">f", value))[0]
    return found


@pytest.mark.parametrize(
    ("told", "said"),
    [(1, 1.0), (1.0, True), (0, False), (0.1, single(0.1)), ([1, [2]], [1, 2]), ([1], 1), ("x", "x"), (None, None)],
)
def test_another_number_type_is_the_same_value(told: Value, said: Value) -> None:
    assert comparable(known(told)) == comparable(known(said))


@pytest.mark.parametrize(
    ("one", "other"), [(1, 2), (0.1, 0.2), ("1", 1), (2**24 + 1, 2**24 + 2), (2**40, 2**40 + 1), (None, False)]
)
def test_other_values_are_others(one: Value, other: Value) -> None:
    assert comparable(known(one)) != comparable(known(other))


@pytest.mark.parametrize("bands", [7, 28, 29, 31, 64, 400])
def test_a_row_of_any_length_comes_back_in_single_precision(bands: int) -> None:
    """A graphic equaliser of 31 bands answers with what it was told, as OSC's floats have it."""
    told = [band / 10 for band in range(bands)]
    assert comparable(known(told)) == comparable(known([single(gain) for gain in told]))
    assert comparable(known(told)) != comparable(known([*told[:-1], 99.0]))
    assert comparable(known([float(band) for band in range(bands)])) == comparable(known(list(range(bands))))


def test_of_what_is_large_little_is_remembered() -> None:
    for value in ("x" * 60_000, "\0" * 3000, [None] * 3000, [0.1] * 400, ["\U0001f600" * 9] * 90, {"k": "v" * 3000}):
        remembered = comparable(known(value))
        assert isinstance(remembered, bytes)
        assert len(remembered) == 16


@given(st.floats(width=32) | st.integers(-(2**63), 2**63 - 1) | st.text() | st.lists(st.integers(0, 9)))
def test_every_value_equals_itself(value: Value) -> None:
    assert comparable(known(value)) == comparable(known(value))


def test_every_value_told_lately_is_an_echo_not_only_the_newest() -> None:
    memory = Rig().memory
    for step in range(10):
        memory.told(A, comparable(known(step / 10)), 10.0 + step / 100, 0)
    assert all(memory.repeats(A, known(step / 10), 10.12) for step in range(10))
    assert all(memory.repeats(A, known(step / 10), 10.13) for step in range(10)), "some devices report more than once"


@pytest.mark.parametrize("steps", [100, 127, 255, 1023])
def test_what_a_device_with_fewer_steps_makes_of_a_value_is_an_echo(steps: int) -> None:
    memory = Rig().memory
    for step in range(40):
        told = 0.1 + step / 49
        memory.told(A, comparable(known(told)), 10.0, 0)
        assert memory.repeats(A, known(round(told * steps) / steps), 10.1)
        assert not memory.repeats(A, known(round(told * steps) / steps), 10.0 + ECHO_S)


def test_whole_numbers_are_nobodys_rounding() -> None:
    memory = Rig().memory
    memory.told(A, comparable(known(8000)), 10.0, 0)
    assert not memory.repeats(A, known(8001), 10.1)
    assert not memory.repeats(A, known(8001.0), 10.1)


def test_a_whole_number_that_no_single_holds_comes_back_rounded() -> None:
    memory = Rig().memory
    memory.told(A, comparable(known(16777217)), 10.0, 0)
    assert memory.repeats(A, known(16777216.0), 10.1)
    assert not memory.repeats(A, known(16777218), 10.1)
    assert not memory.repeats(A, known(16777220.0), 10.1)


def test_a_row_is_rounded_element_by_element() -> None:
    memory = Rig().memory
    memory.told(A, comparable(known([1, 0.2, "x"])), 10.0, 0)
    assert memory.repeats(A, known([1, 0.201, "x"]), 10.1)
    assert not memory.repeats(A, known([1, 0.21, "x"]), 10.1)
    assert not memory.repeats(A, known([1, 0.201, "y"]), 10.1)
    assert not memory.repeats(A, known([1, 0.201]), 10.1)


def test_a_long_echo_time_remembers_all_that_was_told_in_it() -> None:
    memory = Rig(echo_s=10.0).memory
    for step in range(600):  # a hand at 60 Hz
        memory.told(A, comparable(known(step)), 10.0 + step / 60, 0)
    assert all(memory.repeats(A, known(step), 19.99) for step in range(600))


def test_another_value_or_another_address_is_news() -> None:
    memory = Rig().memory
    memory.told(A, comparable(ON), 10.0, 0)
    assert not memory.repeats(A, OFF, 10.1)
    assert not memory.repeats(b"/osc/b", ON, 10.1)


def test_after_a_while_the_same_value_is_news() -> None:
    memory = Rig().memory
    memory.told(A, comparable(ON), 10.0, 0)
    assert not memory.repeats(A, ON, 10.0 + ECHO_S)


def test_without_a_time_nothing_is_an_echo() -> None:
    memory = Rig(echo_s=0).memory
    memory.told(A, comparable(ON), 10.0, 0)
    assert not memory.repeats(A, ON, 10.0)


def test_a_loop_over_two_addresses_is_found() -> None:
    rig = Rig()
    for step in range(CROSSINGS + 2):
        now_s = 10.0 + step * 0.002
        rig.memory.told(A, comparable((ON, OFF)[step % 2]), now_s, step)  # `step`: something was heard each time
        rig.memory.repeats(b"/osc/b", (ON, OFF)[step % 2], now_s + 0.001)
    assert [address for address, _ in rig.loops] == [A]


def test_a_lamp_that_blinks_by_itself_is_no_loop() -> None:
    rig = Rig()
    for step in range(5 * CROSSINGS):
        rig.memory.told(A, comparable((ON, OFF)[step % 2]), 10.0 + step * 0.002, 7)  # nothing was heard in between
    assert rig.loops == []


def test_what_the_device_has_set_itself_is_known() -> None:
    memory = Rig().memory
    memory.repeats(A, ON, 10.0)
    assert memory.said_since(A, 9.9)
    assert not memory.said_since(A, 10.1)
    assert not memory.said_since(b"/osc/b", 0)


def test_the_memory_is_bounded() -> None:
    memory = Rig().memory
    for index in range(2 * MAX_RECORDS):
        memory.told(b"/%d" % index, comparable(ON), 10.0, 0)
    assert memory.repeats(b"/%d" % (2 * MAX_RECORDS - 1), ON, 10.0)
    assert not memory.repeats(b"/0", ON, 10.0)


# Loops


class Room:
    """Devices that answer, and hands; a second passes as its hops do."""

    def __init__(self) -> None:
        self.found: list[tuple[bytes, object, Known | None]] = []
        self.loops = Loops(lambda address, party, hand: self.found.append((address, party, hand)))
        self.writes = 0

    def hand(self, value: Value, now_s: float) -> None:
        self.writes += 1
        self.loops.written(A, known(value), b"%d" % self.writes, now_s, remote=False)


def test_two_devices_that_answer_each_other_are_a_loop_whatever_they_say() -> None:
    room = Room()
    room.hand(7, 10.0)
    now_s, value, ignored = 10.0, 0, False
    while not ignored:
        now_s += 0.1
        value += 1  # never twice the same
        ignored, _ = room.loops.said(A, value % 2, known(value), now_s, answer=True)
        assert now_s < 15
    assert [(address, hand) for address, _, hand in room.found] == [(A, known(7))]
    assert room.loops.said(A, (value + 1) % 2, known(0), now_s + 0.1, answer=True)[0], "both are ignored"
    assert not room.loops.said(A, 0, known(0), now_s + 5, answer=False)[0], "until they are silent"


@pytest.mark.parametrize("hertz", [20, 60])
def test_two_hands_are_no_loop(hertz: int) -> None:
    room = Room()
    for step in range(int(1.5 * hertz)):
        now_s = 10.0 + step / hertz
        assert not room.loops.said(A, "one", known(step), now_s, answer=step > 0)[0]
        assert not room.loops.said(A, "two", known(-step), now_s + 0.4 / hertz, answer=True)[0]
    assert room.found == []


def test_two_devices_in_turns_without_end_are_a_loop_whoever_began() -> None:
    room = Room()
    assert not room.loops.said(A, 0, known(0), 10.0, answer=False)[0]
    for step in range(1, 500):
        room.loops.said(A, step % 2, known(step), 10.0 + step / 100, answer=True)
    assert room.found


def test_a_loop_beside_a_hand_ends_at_the_hands_last_value() -> None:
    room = Room()
    now_s, answers = 10.0, 0
    while not room.found:
        now_s += 0.01
        if now_s < 11.0 and int(now_s * 100) % 5 == 0:
            room.hand(now_s, now_s)
            last = now_s
        for device in range(2):
            answers += 1
            room.loops.said(A, device, known(answers), now_s, answer=True)
        assert now_s < 12.0, "a second after the hand"
    assert room.found[0][2] == known(last)


def test_two_encoders_are_no_loop_of_events_and_a_storm_is() -> None:
    room = Room()
    for step in range(200):
        room.loops.said(A, step % 2, None, 10.0 + step / 40, answer=True)
    assert room.found == []
    for step in range(EVENT_HOPS + 10):
        room.loops.said(A, step % 2, None, 20.0 + step / 1000, answer=True)
    assert len(room.found) == 1


def test_a_value_from_elsewhere_is_no_hand_while_one_is_here() -> None:
    room = Room()
    room.hand(1, 10.0)
    room.loops.written(A, known(2), b"remote", 10.1, remote=True)
    for step in range(40):
        room.loops.said(A, step % 2, known(step), 10.2 + step / 20, answer=True)
    assert room.found[0][2] == known(1)


def test_answers_at_another_router_are_hops_and_no_hands() -> None:
    room = Room()
    room.hand(1, 10.0)
    for step in range(40):
        now_s = 10.05 + step / 20
        room.loops.written(A, known(step), b"r%d" % step, now_s, "one", remote=True, answer=True)
        if room.loops.said(A, "one", known(step + 0.5), now_s + 0.02, answer=True)[0]:
            break
    assert [hand for _, _, hand in room.found] == [known(1)]
    assert now_s < 12.0


def test_the_end_of_a_loop_that_another_router_found_is_one_here_too() -> None:
    room = Room()
    room.loops.written(A, known(1), b"end", 10.0, "one", remote=True, end=True)
    assert room.loops.said(A, "one", known(2), 10.1, answer=True) == (True, True)
    assert room.loops.hand_of(A)[0] == known(1)


def test_answers_that_come_when_a_loop_is_broken_are_named() -> None:
    strays: list[bytes] = []
    loops = Loops(lambda address, party, hand: None, strays.append)
    loops.written(A, known(1), b"end", 10.0, "one", remote=True, end=True)
    loops.written(A, known(3), b"late", 10.1, "one", remote=True, answer=True)
    loops.written(A, known(4), b"later", 20.0, "one", remote=True, answer=True)
    assert strays == [A], "only as long as answers are ignored"


@pytest.mark.parametrize("answers_too", [False, True])
def test_a_hand_is_told_no_answers_until_it_rests(answers_too: bool) -> None:
    """Whoever goes on without being told is a hand; whoever then answers again was part of a loop."""
    room = Room()
    for step in range(60):
        now_s = 10.0 + step / 40
        assert not room.loops.said(A, "hand", known(step), now_s, answer=step > 0)[0]
        assert not room.loops.said(A, "other", known(-step), now_s + 0.01, answer=True)[0]
    assert room.loops.withholds(A, "hand", now_s + 0.02)
    assert not room.loops.withholds(A, "other", now_s + 0.02)
    assert not room.loops.rests(A, "hand", now_s + 0.1)
    assert room.loops.rests(A, "hand", now_s + 0.4)
    if answers_too:
        for hop in range(4):
            room.loops.said(A, ("hand", "other")[hop % 2], known(hop), now_s + 0.45 + hop / 20, answer=True)
        assert [hand for _, _, hand in room.found] == [known(59)]
    else:
        assert room.found == []


def test_steps_of_an_encoder_are_no_positions_of_a_fader() -> None:
    """What is said of a device that repeats them: the same whole number in a row, not a fader that rests or a blinking
    lamp."""
    rig = Rig()
    said: tuple[tuple[bytes, list[Value]], ...] = (
        (b"/wheel", [1] * 8),
        (b"/button", [True] * 8),
        (b"/fader", [0.5] * 8),
        (b"/lamp", [0, 1] * 4),
        (b"/ramp", [0.1 * step for step in range(8)]),
        (b"/name", ["x"] * 8),
    )
    for address, values in said:
        for number, value in enumerate(values):
            rig.memory.told(address, comparable(known(value)), 1.0 + number / 20, number)
    steps = [address for address in (b"/wheel", b"/button", b"/fader", b"/lamp", b"/ramp", b"/name", b"/none")
             if rig.memory.looks_relative(address)]  # fmt: skip
    assert steps == [b"/wheel", b"/button"]


def test_the_garbage_collector_looks_at_nothing_that_is_remembered_of_an_address() -> None:
    """Of 256 devices that are sent 200 params each there are 51,200 records: a collection would take 50 ms for them, in
    which nobody is served."""
    rig = Rig()
    rig.memory.told(A, comparable(known(0.5)), 1.0, 0)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1000):
        rig.memory.told(b"/osc/%d" % number, comparable(known(number / 7)), 1.0, number)
    gc.collect()  # which looks at what is new once
    assert len(gc.get_objects()) - before < 100
