"""Devices that are sent values, on a plane of their own: what is made once for all, and what is left of one that has
gone."""

from __future__ import annotations

import dataclasses
import time
from asyncio import TimerHandle
from collections.abc import Iterator
from typing import Any

import pytest
from support.plane_rig import Rig

from clasp_edge.config.model import Osc
from clasp_edge.dataplane import Adapter
from clasp_edge.devices.osc.counters import Counters
from clasp_edge.devices.osc.loops import Loops
from clasp_edge.devices.osc.profile import Profile, default_profile
from clasp_edge.devices.osc.rate_limit import MAX_WAITING_BYTES
from clasp_edge.devices.osc.spoken import Spoken
from clasp_edge.devices.osc.target import CHECK_S, CLOCK_SLACK_US, Target
from clasp_edge.devices.osc.telling import Telling
from clasp_edge.wire.pattern import Pattern
from clasp_edge.wire.values import encode_value


class Way:
    """A link that takes everything, or nothing."""

    def __init__(self) -> None:
        self.open = True
        self.sent: list[bytes] = []

    def send(self, packet: bytes) -> bool:
        if self.open:
            self.sent.append(packet)
        return self.open


class Place:
    """Where devices are told what one writer says."""

    def __init__(self, rig: Rig, profile: Profile) -> None:
        self.rig = rig
        self.profile = profile
        self.telling = Telling(rig.loop, lambda: 1_000_000)
        self.loops = Loops(lambda address, party, hand: None)
        self.counters = Counters()
        self.writer = Adapter(rig.plane)
        rig.plane.register(self.writer, b"writer")

    def device(self, name: str) -> tuple[Target, Way]:
        way = Way()
        target = Target(
            self.rig.plane, name, way, loop=self.rig.loop, telling=self.telling, profile=self.profile,
            loops=self.loops, spoken=Spoken(), counters=self.counters, on_loop=lambda target, address: None,
        )  # fmt: skip
        target.subscribe("all", Pattern(b"/**"))
        return target, way

    def say(self, values: dict[bytes, Any]) -> None:
        self.rig.core.begin_pass()
        for address, value in values.items():
            self.writer.set(address, *encode_value(value))
        self.rig.core.end_pass()


@pytest.fixture
def place() -> Iterator[Place]:
    rig = Rig()
    made = Place(rig, default_profile(Osc(), 0.0))
    yield made
    made.telling.close()
    made.telling.losses.close()
    rig.close()


@pytest.fixture
def timers(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, TimerHandle]]:
    """All that is to be done after a while."""
    made: list[tuple[float, TimerHandle]] = []
    call_later = place.rig.loop.call_later

    def noted(delay: float, callback: Any, *args: Any, **keys: Any) -> TimerHandle:
        handle = call_later(delay, callback, *args, **keys)
        made.append((delay, handle))
        return handle

    monkeypatch.setattr(place.rig.loop, "call_later", noted)
    return made


def test_a_message_is_made_once_for_all_who_are_told_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = place.profile.outgoing.encoder
    made: list[bytes] = []
    plain = encoder.plain

    def noted(address: bytes, value_type: int, value: bytes) -> bytes | None:
        made.append(address)
        return plain(address, value_type, value)

    monkeypatch.setattr(encoder, "plain", noted)
    devices = [place.device(str(number)) for number in range(8)]
    place.say({b"/osc/%d" % number: number / 2 for number in range(20)})
    place.rig.turn()
    assert sorted(made) == sorted(b"/%d" % number for number in range(20))
    assert [len(way.sent) for _, way in devices] == [20] * 8
    for target, _ in devices:
        target.resync()
    place.rig.turn(0.3)
    assert [len(way.sent) for _, way in devices] == [40] * 8
    assert len(made) == 40, "and so is the state, for those who are told it at the same time"


def test_a_device_whose_link_takes_nothing_is_told_the_state_again_once(
    place: Place, timers: list[tuple[float, TimerHandle]]
) -> None:
    """Each value that could wait no longer had a timer of its own, also when the device had gone."""
    target, way = place.device("slow")
    way.open = False
    place.say({b"/osc/%d" % number: "x" * 60_000 for number in range(3 * MAX_WAITING_BYTES // 60_000)})
    place.rig.turn()
    assert len([handle for delay, handle in timers if delay == CHECK_S and not handle.cancelled()]) == 1
    target.close()
    assert not [handle for delay, handle in timers if delay == CHECK_S and not handle.cancelled()]
    target.outrun(1)
    assert not [handle for delay, handle in timers if delay == CHECK_S and not handle.cancelled()]


def test_what_cannot_be_made_a_message_keeps_nothing_from_a_device(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What waited for the same rate waited for ever."""
    rig = Rig()
    place = Place(rig, default_profile(Osc(), 20.0))
    plain = place.profile.outgoing.encoder.plain

    def failing(address: bytes, value_type: int, value: bytes) -> bytes | None:
        if address == b"/bad":
            raise ValueError
        return plain(address, value_type, value)

    monkeypatch.setattr(place.profile.outgoing.encoder, "plain", failing)
    target, way = place.device("desk")
    for value in range(3):
        place.say({b"/osc/bad": value, b"/osc/a": value, b"/osc/b": value})
        rig.turn(0.1)
    assert [packet[:3] for packet in way.sent] == [b"/a\0", b"/b\0"] * 3
    assert place.counters.lost == 3
    assert len(caplog.records) == 1
    target.close()
    place.telling.close()
    rig.close()


def test_a_device_without_a_state_is_told_what_could_not_wait() -> None:
    """It was not: that it does not want all there is when it comes does not mean that it may stay at an older value."""
    rig = Rig()
    place = Place(rig, dataclasses.replace(default_profile(Osc(), 0.0), initial=False))
    place.say({b"/osc/before": 1})
    target, way = place.device("slow")
    way.open = False
    time.sleep(CLOCK_SLACK_US / 1e6 + 0.1)
    addresses = [b"/osc/%d" % number for number in range(3 * MAX_WAITING_BYTES // 60_000)]
    place.say(dict.fromkeys(addresses, "x" * 60_000))
    rig.turn(0.1)
    way.open = True
    rig.turn(1.5)
    told = {packet.partition(b"\0")[0] for packet in way.sent}
    assert told == {address.removeprefix(b"/osc") for address in addresses}
    target.close()
    place.telling.close()
    rig.close()


def test_nothing_waits_for_a_device_that_has_gone(place: Place) -> None:
    devices = [place.device(str(number)) for number in range(40)]
    for value in range(3):
        place.say({b"/osc/%d" % number: value for number in range(300)})
    assert len(place.telling.fan_out) == 40
    assert place.telling.fan_out.waiting_bytes > 0
    for target, _ in devices:
        target.close()
    assert len(place.telling.fan_out) == 0
    assert place.telling.fan_out.waiting_bytes == 0
    place.rig.turn()
    assert not any(way.sent for _, way in devices)
