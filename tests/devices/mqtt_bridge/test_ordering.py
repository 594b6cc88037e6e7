"""Events come once and in order, whatever a broker does to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.mqtt_bridge.ordering import HOLD_S, MOST_HELD_BYTES, MOST_SENDERS, Ordering

A = ("a", 0)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, list[int]]:
    """So many messages, the first of them first, and then in any order and some of them more than once."""
    count = draw(st.integers(1, 40))
    again = draw(st.lists(st.integers(1, count), max_size=20))
    return count, [1, *draw(st.permutations([*range(2, count + 1), *again]))]


@given(deliveries(), deliveries())
def test_each_once_and_in_order_from_each_sender(first: tuple[int, list[int]], second: tuple[int, list[int]]) -> None:
    ordering: Ordering[tuple[str, int]] = Ordering()
    taken: list[tuple[str, int]] = []
    for at in range(max(len(first[1]), len(second[1]))):
        for name, (_, numbers) in (("a", first), ("b", second)):
            if at < len(numbers):
                taken += ordering.arrived((name, 0), numbers[at], (name, numbers[at]), 1, 0.0)
    assert not ordering.holds
    for name, (count, _) in (("a", first), ("b", second)):
        assert [number for who, number in taken if who == name] == list(range(1, count + 1))


def test_what_does_not_come_is_waited_for_so_long_and_taken_when_it_comes_after_all() -> None:
    ordering: Ordering[int] = Ordering()
    assert ordering.arrived(A, 7, 7, 1, 0.0) == [7]
    assert ordering.arrived(A, 6, 6, 1, 0.0) == [6]
    assert ordering.arrived(A, 6, 6, 1, 0.0) == ordering.arrived(A, 0, 0, 1, 0.0) == []
    assert ordering.arrived(A, 10, 10, 1, 5.0) == ordering.arrived(A, 12, 12, 1, 6.0) == []
    assert ordering.expired(5.0 + HOLD_S - 0.1) == ([], 0)
    assert ordering.expired(5.0 + HOLD_S) == ([10], 2)
    assert ordering.expired(5.0 + HOLD_S) == ([], 0)
    assert ordering.arrived(A, 8, 8, 1, 20.0) == [8]
    assert ordering.arrived(A, 8, 8, 1, 20.0) == []
    assert ordering.arrived(A, 11, 11, 1, 20.0) == [11, 12]
    assert ordering.expired(100.0) == ([], 0)


def test_what_is_held_and_who_is_remembered_is_bounded() -> None:
    ordering: Ordering[int] = Ordering()
    assert ordering.arrived(A, 1, 1, 1, 0.0) == [1]
    assert ordering.arrived(A, 3, 3, MOST_HELD_BYTES, 0.0) == []
    assert ordering.arrived(A, 4, 4, 1, 0.0) == [3, 4]
    assert ordering.arrived(A, 2**62, 5, MOST_HELD_BYTES + 1, 0.0) == [5]
    for number in range(2 * MOST_SENDERS):
        assert ordering.arrived((str(number), 0), 1, number, 1, 0.0) == [number]
    assert ordering.arrived(A, 9, 9, 1, 0.0) == [9]  # forgotten, and begun anew


def test_what_is_held_behind_many_gaps_is_bounded_in_bytes() -> None:
    ordering: Ordering[int] = Ordering()
    assert ordering.arrived(A, 1, 1, 1, 0.0) == [1]
    small = list(range(3, 2003, 2))
    for number in small:
        assert ordering.arrived(A, number, number, 1, 0.0) == []
    assert ordering.arrived(A, 2**40, 2**40, MOST_HELD_BYTES, 0.0) == [*small, 2**40]
    assert not ordering.holds
    assert ordering.arrived(A, 2**40 - 1, 0, 1, 0.0) == [0]  # it comes after all
    assert ordering.arrived(A, 2**40 + 1, 1, 1, 0.0) == [1]


def test_what_all_senders_have_waiting_is_bounded_together() -> None:
    ordering: Ordering[int] = Ordering()
    part = MOST_HELD_BYTES // 4
    for sender in range(4):
        assert ordering.arrived((str(sender), 0), 1, 1, 1, 0.0) == [1]
        assert ordering.arrived((str(sender), 0), 3, 3, part, 0.0) == []
    assert ordering.arrived(("4", 0), 1, 1, 1, 0.0) == [1]
    assert ordering.arrived(("4", 0), 3, 3, 1, 0.0) == [3]
    assert ordering.arrived(("0", 0), 2, 2, 1, 0.0) == [2, 3]
    assert ordering.arrived(("4", 0), 5, 5, 1, 0.0) == []


def test_what_a_forgotten_sender_had_waiting_is_taken() -> None:
    ordering: Ordering[int] = Ordering()
    assert ordering.arrived(A, 1, 1, 1, 0.0) == [1]
    assert ordering.arrived(A, 4, 4, MOST_HELD_BYTES, 0.0) == ordering.arrived(A, 3, 3, 0, 0.0) == []
    for number in range(MOST_SENDERS - 1):
        assert ordering.arrived((str(number), 0), 1, number, 1, 0.0) == [number]
    assert ordering.arrived(("one more", 0), 1, 0, 1, 0.0) == [3, 4, 0]
    assert ordering.arrived(("0", 0), 3, 3, MOST_HELD_BYTES, 0.0) == []
