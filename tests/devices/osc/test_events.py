"""Events: told once, in order, and never again; types and shape as they were said."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put, subscribe
from support.osc import Device, bundle, packet

from clasp_edge import wire

Devices = Callable[[], Device]


def joined(device: Device, pattern: str, *more: object) -> None:
    device.say("/clasp/subscribe", pattern, *more)
    assert device.hear()[0] == "/clasp/subscribed"
    device.renew(pattern, *more)


def raw(device: Device) -> bytes:
    device.socket.settimeout(10)
    return device.socket.recv(65536)


def desk(device: Device, **keys: object) -> str:
    lines = {"name": '"desk"', "host": '"127.0.0.1"', "port": device.port, "patterns": '["/osc/**"]', **keys}
    return "[[osc.target]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


@pytest.fixture
def target() -> Iterator[Device]:
    with Device(("127.0.0.1", 9)) as device:
        yield device


def test_a_message_without_arguments_is_an_event_and_keeps_the_value(
    clients: Crowd, devices: Devices, base: str
) -> None:
    client = clients.ws()
    other = devices()
    joined(other, f"{base}/**")
    device = devices()
    put(client, f"/osc{base}/fader", 0.5)
    assert other.hear() == (f"{base}/fader", [0.5])
    subscribe(client, f"/osc{base}/**")
    device.say(f"{base}/fader")
    event = client.recv_type(wire.Publish)
    assert (event.address, event.signal, event.value) == (f"/osc{base}/fader", wire.SignalType.EVENT, wire.ABSENT)
    assert raw(other).endswith(b",\0\0\0")
    param = get(clients.ws(), f"/osc{base}/fader")
    assert param is not None
    assert param.value == 0.5


def test_events_are_told_once_and_never_again(target: Device) -> None:
    config = "[osc]\nsilence_s = 0.5\nevents = ['/go']\n" + desk(target)
    with Daemon(osc=True, config=config, sets={"journal.mode": "group"}) as daemon:
        target.router = daemon.osc_address
        crowd = Crowd(daemon)
        with Device(daemon.osc_address) as surface:
            surface.say("/cue/1/start")
            surface.say("/go", 1)
            surface.say("/level", 7)
            assert target.hear_all(3) == [("/cue/1/start", []), ("/go", [1]), ("/level", [7])]
            put(crowd.ws(), "/osc/go", 5)
            assert target.hear() == ("/go", [5]), "also where a client sets it"
            # It comes back, asks for everything, and the router starts anew: the state, and nothing that happened.
            target.say("/here", 1)
            assert target.hear() == ("/level", [7])
            with Device(daemon.osc_address) as late:
                late.say("/clasp/subscribe", "/**")
                assert late.hear()[0] == "/clasp/subscribed"
                assert sorted(late.hear_all(2)) == [("/here", [1]), ("/level", [7])]
                assert late.hears_nothing()
        crowd.leave()
        assert target.hears_nothing()
        daemon.stop()
        daemon.start()
        assert sorted(target.hear_all(2)) == [("/here", [1]), ("/level", [7])]
        assert target.hears_nothing()


def test_two_people_at_one_button_and_one_encoder() -> None:
    with Daemon(osc=True, sets={"osc.events": '["/next", "/osc/wheel"]'}) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/**")
        surfaces = [Device(daemon.osc_address) for _ in range(2)]
        for surface in surfaces:
            joined(surface, "/**")
        for _ in range(20):
            for number, surface in enumerate(surfaces):
                for address in ("/next", "/wheel"):
                    surface.say(address, 1)
                    assert client.recv_type(wire.Publish).address == f"/osc{address}"
                    assert surfaces[1 - number].hear() == (address, [1])
        for surface in surfaces:
            surface.close()
        crowd.leave()


def test_a_target_can_do_without_the_state(target: Device) -> None:
    with Daemon(osc=True, config=desk(target, initial="false"), sets={"journal.mode": "group"}) as daemon:
        crowd = Crowd(daemon)
        put(crowd.ws(), "/osc/a", 1)
        assert target.hear() == ("/a", [1])
        crowd.leave()
        daemon.stop()
        daemon.start()
        target.router = daemon.osc_address
        target.say("/here", 1)
        assert target.hears_nothing()
        crowd = Crowd(daemon)
        put(crowd.ws(), "/osc/a", 2)
        assert target.hear() == ("/a", [2])
        crowd.leave()


def test_what_waits_for_a_device_goes_before_its_senders_event(target: Device) -> None:
    with Daemon(osc=True, config=desk(target, rate=1)) as daemon, Device(daemon.osc_address) as surface:
        for number in range(3):
            surface.say("/level", number)
        surface.say("/go")
        heard = target.hear_until(("/go", []))
        assert heard[-2:] == [("/level", [2]), ("/go", [])]


def test_the_members_of_a_bundle_arrive_all_and_in_order(target: Device) -> None:
    with Daemon(osc=True, config=desk(target, rate=20)) as daemon, Device(daemon.osc_address) as suit:
        for frame in range(3):
            suit.send(bundle(0, *[packet("/bone", f"bone{bone}", frame) for bone in range(20)]))
        wanted = [("/bone", [f"bone{bone}", 2]) for bone in range(20)]
        heard = target.hear_until(wanted[-1])
        assert heard[-20:] == wanted
        assert heard[:20] == [("/bone", [f"bone{bone}", 0]) for bone in range(20)]


TYPED = [
    b",\0\0\0",
    b",h\0\0" + bytes(7) + b"\x05",
    b",d\0\0" + struct.pack(">d", 0.5),
    b",I\0\0",
    b",N\0\0",
    b",S\0\0sym\0",
    b",c\0\0\0\0\0x",
    b",r\0\0\xff\0\0\xff",
    b",m\0\0\0\x90\x3c\x64",
    b",t\0\0\xe0\0\0\0\0\0\0\0",
    b",[ii]\0\0\0\0\0\0\x01\0\0\0\x02",
    b",[i]\0\0\0\0\0\0\0\x01",
    b",TFNi\0\0\0\0\0\0\x07",
]


@pytest.mark.parametrize("tail", TYPED, ids=lambda tail: tail.split(b"\0")[0].decode())
def test_type_tags_and_shape_stay_as_they_were_said(devices: Devices, base: str, tail: bytes) -> None:
    one, other = devices(), devices()
    joined(other, f"{base}/**")
    address = f"{base}/a".encode()
    address += b"\0" * (4 - len(address) % 4)
    one.send(address + tail)
    assert raw(other) == address + tail
    if tail != b",\0\0\0":
        late = devices()
        late.say("/clasp/subscribe", f"{base}/**")
        assert raw(late).startswith(b"/clasp/subscribed")
        told = raw(late)
        assert told == address + tail or tail == b",N\0\0", "and for who asks later"


def test_what_a_target_wants_at_an_address(target: Device) -> None:
    config = desk(target, types='{ "/fader/*" = "float", "/mute" = "bool-as-int", "/id" = "whole-as-int" }')
    with Daemon(osc=True, config=config) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        for address, value, wanted in (
            ("/fader/1", 1, b",f\0\0" + struct.pack(">f", 1)),
            ("/mute", True, b",i\0\0" + struct.pack(">i", 1)),
            ("/id", 3.0, b",i\0\0" + struct.pack(">i", 3)),
            ("/other", 0.1, b",f\0\0" + struct.pack(">f", 0.1)),
        ):
            put(client, f"/osc{address}", value)
            assert raw(target).endswith(wanted)
        with Device(daemon.osc_address) as device:
            device.say("/fader/2", 1)
            assert raw(target).endswith(b",f\0\0" + struct.pack(">f", 1)), "whoever says it"
        crowd.leave()


def test_repeating_devices_and_a_hand_end_at_the_hands_last_value() -> None:
    """Two motor faders that report each position late, in steps of their own, while a client moves them."""
    with Daemon(osc=True, sets={"osc.subscriber_rate": 0}) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        faders = [Device(daemon.osc_address) for _ in range(2)]
        for fader in faders:
            joined(fader, "/fader")
        late: list[tuple[Device, float]] = []
        for step in range(60):
            put(client, "/osc/fader", step / 59)
            for fader in faders:
                for _, (position,) in heard_now(fader):
                    late.append((fader, round(position * 127) / 127))
            if len(late) > 8:  # they are two values behind
                for fader, position in late[:-8]:
                    fader.say("/fader", float(position), tags="f")
                late = late[-8:]
        for fader, position in late:
            fader.say("/fader", float(position), tags="f")

        def quiet_at_the_hands_value() -> bool:
            busy = False
            for fader in faders:
                for _, (position,) in heard_now(fader, 0.3):
                    busy = True
                    fader.say("/fader", round(position * 127) / 127, tags="f")
            param = get(client, "/osc/fader")
            return not busy and param is not None and param.value == 1.0

        eventually(quiet_at_the_hands_value)
        for fader in faders:
            fader.close()
        crowd.leave()


def heard_now(device: Device, timeout_s: float = 0.005) -> list[tuple[str, list[float]]]:
    found = []
    try:
        while True:
            found.append(device.hear(timeout_s))
    except TimeoutError:
        return found
