"""Fan-out lists are shared, and bounded in bytes however many addresses have audiences of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from support.plane_rig import Line, Rig, publish_payload, set_payload

from clasp_edge.wire.pattern import Pattern

MAX_FAN_BYTES = 8 << 20
BITS = 12
LISTENERS = 180


@pytest.fixture
def rig() -> Iterator[Rig]:
    one = Rig()
    yield one
    one.close()


def address_of(number: int) -> bytes:
    return b"/b/" + b"/".join(b"%d" % (number >> bit & 1) for bit in range(BITS))


def wants(listener: int) -> Pattern:
    """One bit of the address is 1: so every address has another audience, of about half of all."""
    return Pattern(b"/b/" + b"/".join(b"1" if bit == listener % BITS else b"*" for bit in range(BITS)))


def crowd(rig: Rig) -> list[Line]:
    listeners = [rig.line(b"l%d" % number) for number in range(LISTENERS)]
    for number, line in enumerate(listeners):
        line.subscribe(wants(number))
    return listeners


def pass_over(rig: Rig, listeners: list[Line]) -> None:
    """Read what has been sent, and do not look at it."""
    rig.turn()
    for line in listeners:
        with suppress(BlockingIOError):
            line.far.recv(1 << 20)


@pytest.mark.parametrize(
    "payload", [set_payload, lambda address, _value: publish_payload(address)], ids=["set", "event"]
)
def test_lists_of_many_audiences_are_bounded(rig: Rig, payload: Callable[[bytes, int], bytes]) -> None:
    listeners = crowd(rig)
    writer = rig.line(b"writer")
    most = 0
    for number in range(1, 1 << BITS):
        writer.feed([payload(address_of(number), number)])
        most = max(most, rig.plane.trie.fan_bytes)
        if number % 64 == 0:
            pass_over(rig, listeners)
    assert MAX_FAN_BYTES // 2 < most < MAX_FAN_BYTES + (1 << 20)
    # Those that were forgotten are made again: everybody gets what is theirs, and nothing else.
    pass_over(rig, listeners)
    for number in (1, 2, 4095, 77, 1 << 11):
        writer.feed([set_payload(address_of(number), -number)])
        told = [bool(line.read()) for line in listeners]
        assert told == [bool(number >> index % BITS & 1) for index in range(LISTENERS)]


def test_lists_go_with_their_listeners(rig: Rig) -> None:
    listeners = crowd(rig)
    writer = rig.line(b"writer")
    for _ in range(3):
        for number in range(1, 1200):
            writer.feed([set_payload(address_of(number), number)])
        for line in listeners:
            rig.hang_up(line)
        listeners = crowd(rig)
    assert rig.plane.trie.fan_bytes < MAX_FAN_BYTES + (1 << 20)


def test_one_list_for_all_who_have_the_same_audience(rig: Rig) -> None:
    listeners = [rig.line(b"l%d" % number) for number in range(10)]
    for line in listeners:
        line.subscribe()
    writer = rig.line(b"writer")
    for number in range(1000):
        writer.feed([set_payload(b"/a/%d" % number, number)])
    assert rig.plane.trie.fan_bytes < 2000


class Below:
    """May read what is below one address."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def allows(self, action: str, address: bytes) -> bool:
        return address.startswith(self.text)


def test_new_addresses_of_one_audience_share_its_list_and_who_may_not_read_is_in_none(rig: Rig) -> None:
    """A list that was made lately is found again by who it is made of."""
    listeners = [rig.line(b"l%d" % number) for number in range(6)]
    for line in listeners:
        line.subscribe(Pattern(b"/**"))
    rig.plane.trie.invalidate()
    writer = rig.line(b"writer")

    def told(address: bytes) -> list[bool]:
        writer.feed([set_payload(address, 1)])
        return [bool(line.read()) for line in listeners]

    assert all(told(b"/a/%d" % number) == [True] * 6 for number in range(20))
    one_list = rig.plane.trie.fan_bytes
    assert all(told(b"/a/%d" % number) == [True] * 6 for number in range(20, 40))
    assert rig.plane.trie.fan_bytes == one_list
    listeners[2].peer.scopes = Below(b"/a")
    rig.plane.trie.invalidate()
    for number in range(20):
        assert told(b"/b/%d" % number) == [True, True, False, True, True, True]
        assert told(b"/a/new/%d" % number) == [True] * 6
    gone = listeners.pop(4)
    rig.hang_up(gone)
    newcomer = rig.line(b"newcomer")
    newcomer.subscribe(Pattern(b"/b/**"))
    listeners.append(newcomer)
    for number in range(20, 40):
        assert told(b"/b/%d" % number) == [True, True, False, True, True, True]
        assert told(b"/a/new/%d" % number) == [True] * 5 + [False]
