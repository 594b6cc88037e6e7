"""What gathers for devices during a pass: each hears all that is for it, in order, and those that are told the same
share it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from support.plane_rig import Rig

from clasp_edge.dataplane import Adapter, Plane, Subscription
from clasp_edge.devices.osc.source import Party
from clasp_edge.wire.pattern import Pattern
from clasp_edge.wire.values import encode_value


class Device(Party):
    """Remembers what it is told."""

    def __init__(self, plane: Plane, pattern: bytes) -> None:
        self.lists: list[list[Any]] = []
        self.pattern = pattern
        plane.trie.add(Subscription(self, 0, Pattern(pattern), 0x1F))

    def on_deliveries(self, deliveries: list[Any]) -> None:
        self.lists.append(deliveries)

    @property
    def heard(self) -> list[bytes]:
        return [delivery.address for deliveries in self.lists for delivery in deliveries]


class Answering(Device):
    """Writes something when it is told anything."""

    def on_deliveries(self, deliveries: list[Any]) -> None:
        super().on_deliveries(deliveries)
        self.set(b"/answer", *encode_value(len(self.lists)))


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def said(rig: Rig, *addresses: bytes) -> None:
    writer = Adapter(rig.plane)
    rig.plane.register(writer, b"writer")
    rig.core.begin_pass()
    for number, address in enumerate(addresses):
        writer.set(address, *encode_value(number))
    rig.core.end_pass()


def test_devices_that_are_told_the_same_share_one_list(rig: Rig) -> None:
    everybody = [Device(rig.plane, b"/**") for _ in range(3)]
    said(rig, b"/a", b"/b", b"/a")
    first = everybody[0].lists[0]
    assert everybody[0].heard == [b"/a", b"/b", b"/a"]
    assert all(device.lists[0] is first for device in everybody)
    said(rig, b"/c")
    assert len(first) == 3, "nobody adds to it any more"
    assert all(device.heard == [b"/a", b"/b", b"/a", b"/c"] for device in everybody)


def test_what_is_only_for_some_stays_in_order_and_comes_to_nobody_else(rig: Rig) -> None:
    everything, begin, end, between, seldom = (
        Device(rig.plane, pattern) for pattern in (b"/**", b"/a/**", b"/z/**", b"/m/**", b"/a/1")
    )
    said(rig, b"/a/1", b"/a/2", b"/m/1", b"/m/2", b"/a/3", b"/z/1", b"/m/3", b"/a/1", b"/z/2", b"/z/3")
    assert everything.heard == [
        b"/a/1", b"/a/2", b"/m/1", b"/m/2", b"/a/3", b"/z/1", b"/m/3", b"/a/1", b"/z/2", b"/z/3",
    ]  # fmt: skip
    assert begin.heard == [b"/a/1", b"/a/2", b"/a/3", b"/a/1"]
    assert between.heard == [b"/m/1", b"/m/2", b"/m/3"]
    assert end.heard == [b"/z/1", b"/z/2", b"/z/3"]
    assert seldom.heard == [b"/a/1", b"/a/1"]


def test_what_devices_say_when_they_are_told_comes_behind(rig: Rig) -> None:
    first = Device(rig.plane, b"/**")
    answering = Answering(rig.plane, b"/a")
    last = Device(rig.plane, b"/**")
    rig.plane.register(answering, b"answering")
    said(rig, b"/a", b"/b")
    said(rig, b"/b", b"/a")
    assert answering.heard == [b"/a", b"/a"]
    for device in (first, last):
        assert device.heard == [b"/a", b"/b", b"/answer", b"/b", b"/a", b"/answer"]


class Writer(Adapter):
    """Can be referred to weakly."""


def test_nothing_is_kept_of_what_devices_are_told_in_turns(rig: Rig) -> None:
    devices = [Device(rig.plane, pattern) for pattern in (b"/a/**", b"/b/**")]
    writer: Writer | None = Writer(rig.plane)
    rig.plane.register(writer, b"writer")
    rig.core.begin_pass()
    for address in (b"/a/1", b"/b/1", b"/a/2", b"/b/2"):
        writer.set(address, *encode_value(1))
    rig.core.end_pass()
    assert [device.heard for device in devices] == [[b"/a/1", b"/a/2"], [b"/b/1", b"/b/2"]]
    for device in devices:
        device.lists.clear()
    rig.plane.unregister(writer)
    remains = weakref.ref(writer)
    writer = None
    gc.collect()
    assert remains() is None, "what was delivered would gather for ever, and its writers with it"
