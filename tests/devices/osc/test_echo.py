"""Echoes and loops, with times as numbers: what is believed, what is not, and what counts as a loop."""

from __future__ import annotations

from clasp_edge.devices.osc.echo import (
    CROSSINGS,
    ECHO_S,
    HOLD_S,
    MAX_RECORDS,
    REFLECTIONS,
    WINDOW_S,
    EchoMemory,
)

ON = (1, b"\x01")
OFF = (1, b"\x00")
A = b"/osc/a"


def number(value: int) -> tuple[int, bytes]:
    return 5, value.to_bytes(8, "big")


class Rig:
    """A memory, and the loops it found."""

    def __init__(self, rate: float = 0) -> None:
        self.loops: list[tuple[bytes, float]] = []
        self.memory = EchoMemory(rate, lambda address, until_s: self.loops.append((address, until_s)))


def test_what_was_just_told_is_an_echo() -> None:
    memory = Rig().memory
    memory.told(A, ON, 10.0, 0)
    assert memory.said(A, ON, 10.1)
    assert memory.said(A, ON, 10.2), "some devices report more than once"


def test_another_value_or_another_address_is_news() -> None:
    memory = Rig().memory
    memory.told(A, ON, 10.0, 0)
    assert not memory.said(A, OFF, 10.1)
    assert not memory.said(b"/osc/b", ON, 10.1)


def test_after_a_while_the_same_value_is_news() -> None:
    memory = Rig().memory
    memory.told(A, ON, 10.0, 0)
    assert not memory.said(A, ON, 10.0 + ECHO_S)


def test_after_news_an_old_value_is_news_again() -> None:
    memory = Rig().memory
    memory.told(A, ON, 10.0, 0)
    assert not memory.said(A, OFF, 10.05)
    assert not memory.said(A, ON, 10.1)


def test_an_answer_with_alternating_values_is_a_loop() -> None:
    rig = Rig()
    now_s = 10.0
    for step in range(REFLECTIONS + 2):
        rig.memory.told(A, ON, now_s, step)
        rig.memory.said(A, OFF, now_s + 0.01)
        now_s += 0.02
    assert rig.loops == [(A, rig.loops[0][1])]
    assert rig.loops[0][1] > now_s + HOLD_S - 1


def test_a_slow_hand_is_no_loop() -> None:
    rig = Rig()
    now_s = 10.0
    for step in range(10 * REFLECTIONS):
        rig.memory.told(A, ON, now_s, step)
        rig.memory.said(A, OFF, now_s + 0.3)
        now_s += WINDOW_S / REFLECTIONS * 1.5
    assert rig.loops == []


def test_a_moving_fader_is_no_loop() -> None:
    rig = Rig()
    for step in range(500):
        rig.memory.told(A, number(2 * step), 10.0 + step / 100, step)
        rig.memory.said(A, number(2 * step + 1), 10.005 + step / 100)
    assert rig.loops == []


def test_a_loop_through_a_slow_link_is_found_too() -> None:
    rig = Rig(rate=5)
    for step in range(REFLECTIONS + 2):
        rig.memory.told(A, ON, 10.0 + step / 5, step)
        rig.memory.said(A, OFF, 10.01 + step / 5)
    assert len(rig.loops) == 1


def test_a_loop_over_two_addresses_is_found() -> None:
    rig = Rig()
    for step in range(CROSSINGS + 2):
        now_s = 10.0 + step * 0.002
        rig.memory.told(A, (ON, OFF)[step % 2], now_s, step)  # `step`: something was heard each time
        rig.memory.said(b"/osc/b", (ON, OFF)[step % 2], now_s + 0.001)
    assert [address for address, _ in rig.loops] == [A]


def test_a_lamp_that_blinks_by_itself_is_no_loop() -> None:
    rig = Rig()
    for step in range(5 * CROSSINGS):
        rig.memory.told(A, (ON, OFF)[step % 2], 10.0 + step * 0.002, 7)  # nothing was heard in between
    assert rig.loops == []


def test_what_the_device_has_set_itself_is_known() -> None:
    memory = Rig().memory
    memory.said(A, ON, 10.0)
    assert memory.said_since(A, 9.9)
    assert not memory.said_since(A, 10.1)
    assert not memory.said_since(b"/osc/b", 0)


def test_the_memory_is_bounded() -> None:
    memory = Rig().memory
    for index in range(2 * MAX_RECORDS):
        memory.told(b"/%d" % index, ON, 10.0, 0)
    assert memory.said(b"/%d" % (2 * MAX_RECORDS - 1), ON, 10.0)
    assert not memory.said(b"/0", ON, 10.0)
