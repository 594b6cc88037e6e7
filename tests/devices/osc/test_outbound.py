"""What devices are sent: by subscription, by configuration, how often, and never their own values."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, eventually, put, subscribe
from support.osc import Device, bundle, packet

from clasp_edge import wire

Devices = Callable[[], Device]


def joined(device: Device, pattern: str, *more: object) -> None:
    """Subscribe to something nobody has written to yet."""
    device.say("/clasp/subscribe", pattern, *more)
    assert device.hear()[0] == "/clasp/subscribed"
    device.renew(pattern, *more)


# Subscriptions


def test_a_subscriber_gets_the_state_then_every_change(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    put(client, f"/osc{base}/a", 1)
    put(client, f"/osc{base}/b", "two")
    device.say("/clasp/subscribe", f"{base}/**", 30)
    assert device.hear() == ("/clasp/subscribed", [f"{base}/**", 30])
    assert sorted(device.hear_all(2)) == [(f"{base}/a", [1]), (f"{base}/b", ["two"])]
    device.renew(f"{base}/**", 30)
    put(client, f"/osc{base}/c/d", [1, 2.5])
    assert device.hear() == (f"{base}/c/d", [1, 2.5])
    put(client, f"{base}/outside", 1)
    assert device.hears_nothing()


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        (None, [None]),
        (True, [True]),
        (-3, [-3]),
        (2**40, [2**40]),
        (0.5, [0.5]),
        (0.1, [struct.unpack("f", struct.pack("f", 0.1))[0]]),
        ("é", ["é"]),
        (b"\0\xff", [b"\0\xff"]),
        ([], []),
        ([1, [2, [3.5]]], [1, 2, 3.5]),
        ({"a": [1, True]}, ['{"a":[1,true]}']),
    ],
)
def test_values(clients: Crowd, device: Device, base: str, value: wire.Value, arguments: list[object]) -> None:
    joined(device, base)
    put(clients.ws(), f"/osc{base}", value)
    assert device.hear() == (base, arguments)


@pytest.mark.parametrize("first", ["said by the device", "said by another", "set"])
def test_whole_numbers_where_there_are_fractions(clients: Crowd, devices: Devices, base: str, first: str) -> None:
    """A page has no 1.0. A device that takes floats would stay at the last fraction."""
    device, witness, client = devices(), devices(), clients.ws()
    joined(device, f"{base}/**")
    joined(witness, f"{base}/**")
    for address, fraction, whole in ((f"{base}/fader", 0.5, 1), (f"{base}/xy", [0.5, 0.25], [1, 0])):
        arguments = fraction if isinstance(fraction, list) else [fraction]
        if first == "set":
            put(client, f"/osc{address}", fraction)
        else:
            (device if "device" in first else devices()).say(address, *arguments)
        for one in (witness,) if first == "said by the device" else (witness, device):
            assert one.hear() == (address, arguments)
        put(client, f"/osc{address}", whole)
        assert witness.hear()[0] == address
        heard, values = device.hear()
        assert (heard, values) == (address, whole if isinstance(whole, list) else [whole])
        assert all(isinstance(value, float) for value in values), values


def test_published_things_arrive_too(clients: Crowd, device: Device, base: str) -> None:
    joined(device, f"{base}/**")
    client = clients.ws()
    client.send(wire.Publish(address=f"/osc{base}/go", signal=wire.SignalType.EVENT))
    client.send(wire.Publish(address=f"/osc{base}/cue", signal=wire.SignalType.EVENT, value=7))
    client.send(wire.Publish(address=f"/osc{base}/wave", signal=wire.SignalType.STREAM, samples=[0.5, 0.25]))
    assert device.hear_all(3) == [(f"{base}/go", []), (f"{base}/cue", [7]), (f"{base}/wave", [0.5, 0.25])]


def test_an_event_is_never_replaced_by_the_next(clients: Crowd, device: Device, base: str) -> None:
    joined(device, base)
    client = clients.ws()
    for number in range(100):
        client.send(wire.Publish(address=f"/osc{base}", signal=wire.SignalType.EVENT, value=number))
    assert [arguments for _, arguments in device.hear_all(100)] == [[number] for number in range(100)]


def test_unsubscribe_one_and_all(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    joined(device, f"{base}/a")
    joined(device, f"{base}/b")
    device.say("/clasp/unsubscribe", f"{base}/a")
    assert device.hear() == ("/clasp/unsubscribed", [f"{base}/a"])
    put(client, f"/osc{base}/a", 1)
    put(client, f"/osc{base}/b", 2)
    assert device.hear() == (f"{base}/b", [2])
    device.say("/clasp/unsubscribe")
    assert device.hear() == ("/clasp/unsubscribed", [""])
    put(client, f"/osc{base}/b", 3)
    assert device.hears_nothing()


def test_each_page_that_is_asked_for_comes_with_its_state(clients: Crowd, device: Device, base: str) -> None:
    """A surface asks for its pages one after the other, sooner than it is told the first."""
    client = clients.ws()
    for page in range(4):
        for number in range(60):
            client.send(wire.Set(address=f"/osc{base}/{page}/{number}", value=number))
    client.sync()
    heard = []
    for page in (0, 1, 2, 3, 1):
        device.say("/clasp/subscribe", f"{base}/{page}/**", 30)
        heard += device.hear_until(("/clasp/subscribed", [f"{base}/{page}/**", 30]))
    untold = {f"{base}/{page}/{number}" for page in range(4) for number in range(60)}
    untold -= {address for address, _ in heard}
    while untold:
        untold.discard(device.hear()[0])


def test_a_lease_ends_unless_it_is_renewed(clients: Crowd, devices: Devices, base: str) -> None:
    client = clients.ws()
    forgetful, careful = devices(), devices()
    joined(forgetful, f"{base}/**", 1)
    joined(careful, f"{base}/**", 1)
    put(client, f"/osc{base}/a", 1)
    assert forgetful.hear() == careful.hear() == (f"{base}/a", [1])
    careful.say("/clasp/renew", f"{base}/**", 60)
    assert careful.hear() == ("/clasp/subscribed", [f"{base}/**", 60]), "and no state again"
    number = 1

    def forgetful_is_forgotten() -> bool:
        nonlocal number
        number += 1
        put(client, f"/osc{base}/a", number)
        careful.hear_until((f"{base}/a", [number]))
        return forgetful.hears_nothing()

    eventually(forgetful_is_forgotten)


def test_to_another_port_of_the_device(clients: Crowd, devices: Devices, base: str) -> None:
    asking, listening = devices(), devices()
    asking.say("/clasp/subscribe", f"{base}/**", 30, listening.port)
    assert listening.hear() == ("/clasp/subscribed", [f"{base}/**", 30])
    put(clients.ws(), f"/osc{base}/a", 1)
    assert listening.hear() == (f"{base}/a", [1])
    asking.say(f"{base}/a", 2)  # its own value
    assert listening.hears_nothing()
    asking.say("/clasp/unsubscribe")
    assert asking.hear() == ("/clasp/unsubscribed", [""])
    put(clients.ws(), f"/osc{base}/a", 3)
    assert listening.hears_nothing()


def test_numbers_may_be_of_any_type(clients: Crowd, devices: Devices, base: str) -> None:
    """Pd and many surfaces know floats only."""
    asking, listening = devices(), devices()
    for tags in ("sff", "sdd", "sif", "shh"):
        number = int if tags[2] == "h" else float
        asking.say("/clasp/subscribe", f"{base}/{tags}", 30, number(listening.port), tags=tags)
        assert listening.hear() == ("/clasp/subscribed", [f"{base}/{tags}", 30])
    put(clients.ws(), f"/osc{base}/sff", 1)
    assert listening.hear() == (f"{base}/sff", [1])


def test_unsubscribing_from_another_port(clients: Crowd, devices: Devices, base: str) -> None:
    """Tools such as oscsend have a new port for each message: what they end they have to name, and are told so."""
    asking, later, listening, beside = devices(), devices(), devices(), devices()
    client = clients.ws()
    asking.say("/clasp/subscribe", f"{base}/**", 30, listening.port)
    assert listening.hear()[0] == "/clasp/subscribed"
    joined(beside, f"{base}/**")
    for arguments in ((f"{base}/**",), ()):
        later.say("/clasp/unsubscribe", *arguments)
        address, (about, text) = later.hear()
        assert (address, about) == ("/clasp/error", "/clasp/unsubscribe")
        assert "the third argument is the port" in text
    later.say("/clasp/unsubscribe", f"{base}/nothing/of/this")
    assert later.hear()[0] == "/clasp/unsubscribed"
    put(client, f"/osc{base}/a", 1)
    assert listening.hear() == beside.hear() == (f"{base}/a", [1])
    later.say("/clasp/unsubscribe", f"{base}/**", 0, listening.port)
    assert listening.hear() == ("/clasp/unsubscribed", [f"{base}/**"])
    put(client, f"/osc{base}/a", 2)
    assert beside.hear() == (f"{base}/a", [2])
    assert listening.hears_nothing()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "the first argument is a pattern"),
        ((5,), "the first argument is a pattern"),
        (("no/slash",), "the first argument is a pattern"),
        (("/a", "soon"), "a number of seconds from 1 to 3600"),
        (("/a", 0), "a number of seconds from 1 to 3600"),
        (("/a", 1e9), "a number of seconds from 1 to 3600"),
        (("/a", 60, 70000), "the port"),
        (("/a", 60, "x"), "the port"),
        (("/a", 60, 9000.5), "the port"),
        (("/a", 60, True), "the port"),
        (("/ch/{01,02}/fader",), '"{01,02}" is no wildcard of CLASP'),
        (("/ch/[1-8]/fader",), 'write "/ch/*/fader"'),
        (("/fader?",), 'write "/fader*"'),
        (("/a//b",), 'write "/a/**/b"'),
    ],
)
def test_what_cannot_be_subscribed_is_answered(device: Device, arguments: tuple[object, ...], reason: str) -> None:
    device.say("/clasp/subscribe", *arguments)
    address, (about, text) = device.hear()
    assert (address, about) == ("/clasp/error", "/clasp/subscribe")
    assert reason in text


def test_answers_are_not_answered(daemon: Daemon, device: Device) -> None:
    for address in ("/clasp/error", "/clasp/subscribed", "/clasp/unsubscribed", "/clasp/what"):
        device.say(address, "x", "y")
    assert device.hears_nothing()
    assert "no control message: /clasp/error" in daemon.stderr


def test_patterns_and_subscribers_are_bounded() -> None:
    with Daemon(osc=True, sets={"osc.max_subscribers": 2}) as daemon:
        made = [Device(daemon.osc_address) for _ in range(3)]
        joined(made[0], "/a")
        joined(made[1], "/a")
        made[2].say("/clasp/subscribe", "/a")
        assert made[2].hear()[0] == "/clasp/error"
        for number in range(63):
            joined(made[0], f"/p{number}")
        made[0].say("/clasp/subscribe", "/one-more")
        assert made[0].hear()[0] == "/clasp/error"
        made[1].say("/clasp/unsubscribe")
        made[1].hear()
        joined(made[2], "/a")
        for device in made:
            device.close()


# Echoes and loops


def test_a_device_never_gets_its_own_values_back(clients: Crowd, devices: Devices, base: str) -> None:
    one, two = devices(), devices()
    joined(one, f"{base}/**")
    joined(two, f"{base}/**")
    one.say(f"{base}/fader", 0.5)
    assert two.hear() == (f"{base}/fader", [0.5])
    two.say(f"{base}/fader", 0.25)
    assert one.hear() == (f"{base}/fader", [0.25])
    assert one.hears_nothing()
    assert two.hears_nothing()


def test_a_motor_fader_that_reports_what_it_was_told_is_not_believed(clients: Crowd, device: Device, base: str) -> None:
    joined(device, f"{base}/**")
    client = clients.ws()
    subscribe(client, f"/osc{base}/**")
    for step in range(50):
        put(clients.ws(), f"/osc{base}/fader", step / 100)
        address, (position,) = device.hear()
        device.say(address, position, tags="d")
    put(clients.ws(), f"/osc{base}/end", 1)
    found = []
    while not found or found[-1].address != f"/osc{base}/end":
        found.append(client.recv_type(wire.Set))
    assert [message.value for message in found[:-1]] == [step / 100 for step in range(50)]


def test_a_loop_is_broken_named_and_over_after_a_while() -> None:
    """Two devices that each answer with the opposite: nothing between them stops by itself."""
    with Daemon(osc=True, sets={"osc.subscriber_rate": 0}) as daemon:
        crowd = Crowd(daemon)
        one, two = Device(daemon.osc_address), Device(daemon.osc_address)
        joined(one, "/x")
        joined(two, "/x")
        one.say("/x", 1)
        bounces = 0
        end_s = time.monotonic() + 30
        while time.monotonic() < end_s:
            try:
                value = two.hear(0.5)[1][0]
                two.say("/x", 1 - value)
                value = one.hear(0.5)[1][0]
                one.say("/x", 1 - value)
            except TimeoutError:
                break
            bounces += 1
        else:
            pytest.fail("the loop goes on")
        assert 5 < bounces < 500
        assert "OSC loop: 127.0.0.1:" in daemon.stderr
        assert "answers /osc/x again and again" in daemon.stderr
        # Other addresses are not affected, and in the end both are told how it stands.
        joined(one, "/y")
        put(crowd.ws(), "/osc/y", 1)
        assert one.hear() == ("/y", [1])
        put(crowd.ws(), "/osc/x", 99)
        assert ("/x", [99]) in one.hear_until(("/x", [99]))
        assert ("/x", [99]) in two.hear_until(("/x", [99]))
        crowd.leave()
        one.close()
        two.close()


# Targets of the configuration


@pytest.fixture
def target() -> Iterator[Device]:
    with Device(("127.0.0.1", 9)) as device:
        yield device


def configured(device: Device, **keys: object) -> str:
    lines = {"name": '"desk"', "host": '"127.0.0.1"', "port": device.port, "patterns": '["/osc/**"]', **keys}
    return "[osc]\nsilence_s = 2\n[[osc.target]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def test_a_target_is_sent_what_its_patterns_say(target: Device) -> None:
    config = configured(target, patterns='["/osc/a/**", "/lamps/*/level"]')
    with Daemon(osc=True, config=config) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        put(client, "/osc/a/x", 1)
        put(client, "/osc/b/x", 2)
        put(client, "/lamps/1/level", 0.5)
        assert target.hear_all(2) == [("/a/x", [1]), ("/lamps/1/level", [0.5])]
        assert target.hears_nothing()
        crowd.leave()


def test_a_name_is_looked_up(target: Device) -> None:
    with Daemon(osc=True, config=configured(target, host='"localhost"')) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        put(client, "/osc/a", 1)
        assert target.hear() == ("/a", [1])
        crowd.leave()


def test_the_rate_holds_and_the_last_value_arrives(target: Device) -> None:
    with Daemon(osc=True, config=configured(target, rate=20)) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        start_s = time.monotonic()
        for number in range(1000):
            client.send(wire.Set(address="/osc/a", value=number))
        heard = target.hear_until(("/a", [999]))
        elapsed_s = time.monotonic() - start_s
        assert heard[0] == ("/a", [0])
        assert len(heard) <= 2 + 20 * elapsed_s * 1.05
        crowd.leave()


def test_a_value_that_is_no_number_of_the_devices_keeps_nothing_from_it(target: Device) -> None:
    """What waited behind it waited for ever."""
    config = configured(target, rate=20, types='{ "/step" = "int", "/whole" = "whole-as-int" }')
    with Daemon(osc=True, config=config) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        for value in (1, 1e300):
            for name in ("step", "whole", "a", "b"):
                put(client, f"/osc/{name}", value)
        heard = target.hear_all(8)
        assert sorted(heard[:4]) == [("/a", [1]), ("/b", [1]), ("/step", [1]), ("/whole", [1])]
        assert {name for name, _ in heard[4:]} == {"/a", "/b", "/step", "/whole"}
        put(client, "/osc/step", 2.4)
        assert target.hear() == ("/step", [2])
        crowd.leave()


def test_a_value_beside_an_event_is_the_last_one_told(target: Device) -> None:
    """An event waits for no rate; somebody else's older value that did came behind it, and stayed."""
    with Daemon(osc=True, config=configured(target, rate=2)) as daemon, Device(daemon.osc_address) as cues:
        crowd = Crowd(daemon)
        client = crowd.ws()
        put(client, "/osc/a", 1)
        put(client, "/osc/a", 2)
        cues.send(bundle(0, packet("/a", 3), packet("/go")))
        assert target.hear_all(3) == [("/a", [1]), ("/a", [3]), ("/go", [])]
        time.sleep(0.6)
        assert target.hears_nothing()
        crowd.leave()


def test_a_target_that_comes_back_gets_the_current_values(target: Device) -> None:
    with Daemon(osc=True, config=configured(target)) as daemon:
        target.router = daemon.osc_address
        crowd = Crowd(daemon)
        client = crowd.ws()
        for name in ("a", "b", "c"):
            put(client, f"/osc/{name}", name)
        assert len(target.hear_all(3)) == 3
        target.say("/hello", 1)  # never heard before
        assert sorted(target.hear_all(3)) == [("/a", ["a"]), ("/b", ["b"]), ("/c", ["c"])]
        target.say("/hello", 2)
        assert target.hears_nothing()  # no silence worth speaking of
        time.sleep(2.2)
        target.say("/c", "mine")
        assert sorted(target.hear_all(3)) == [("/a", ["a"]), ("/b", ["b"]), ("/hello", [2])], "not what it just said"
        assert target.hears_nothing()
        crowd.leave()


def test_a_large_state_is_told_completely(target: Device) -> None:
    target.socket.setsockopt(1, 8, 4 * 1024 * 1024)  # SO_RCVBUF: what is tested is the router
    with Daemon(osc=True, config=configured(target, patterns='["/osc/**", "/osc/n/*"]')) as daemon:
        target.router = daemon.osc_address
        crowd = Crowd(daemon)
        client = crowd.ws()
        for number in range(2000):
            client.send(wire.Set(address=f"/osc/n/{number}", value=number))
        client.sync()
        heard = {target.hear()[0] for _ in range(2000)}
        assert len(heard) == 2000
        target.say("/hello", 1)
        again = target.hear_all(2000)
        assert sorted(again) == sorted((f"/n/{number}", [number]) for number in range(2000))
        assert target.hears_nothing(), "each once, though two patterns match it"
        crowd.leave()


def test_a_target_that_sends_from_another_port_is_known_by_it(target: Device) -> None:
    voice, stranger = Device(("127.0.0.1", 9)), Device(("127.0.0.1", 9))
    config = configured(target, sends_from=f'"127.0.0.1:{voice.port}"')
    with Daemon(osc=True, config=config) as daemon, voice, stranger:
        voice.router = stranger.router = daemon.osc_address
        voice.say("/a", 1)
        assert target.hears_nothing()
        stranger.say("/a", 2)
        assert target.hear() == ("/a", [2])
        voice.say("/a", 3)
        assert target.hears_nothing()


def test_on_one_machine_a_sender_is_not_taken_for_the_target(target: Device) -> None:
    with Daemon(osc=True, config=configured(target)) as daemon, Device(daemon.osc_address) as other:
        other.say("/a", 1)
        assert target.hear() == ("/a", [1])


def test_a_target_that_is_not_there_harms_nobody(target: Device) -> None:
    port = target.port
    target.close()
    with Daemon(osc=True, config=configured(target, port=port)) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/**")
        for number in range(100):
            device.say("/a", number)
        assert [client.recv_type(wire.Set).value for _ in range(100)] == list(range(100))
        crowd.leave()


def test_floats_and_arrays_as_configured(target: Device) -> None:
    with Daemon(osc=True, config=configured(target), sets={"osc.floats": "single", "osc.arrays": "brackets"}) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        put(client, "/osc/a", 0.1)
        ((_, (value,)),) = target.hear_all(1)
        assert value == pytest.approx(0.1)
        assert value != 0.1
        put(client, "/osc/b", [1, [2]])
        assert target.hear() == ("/b", [1, [2]])
        crowd.leave()


def test_a_target_that_had_subscribed_as_well_is_known_as_itself_again(target: Device) -> None:
    with Daemon(osc=True, config=configured(target)) as daemon:
        target.router = daemon.osc_address
        target.say("/clasp/subscribe", "/only/**")
        assert target.hear()[0] == "/clasp/subscribed"
        target.say("/clasp/unsubscribe")
        assert target.hear()[0] == "/clasp/unsubscribed"
        target.say("/a", 1)
        assert target.hears_nothing()


def test_a_configured_device_that_subscribes_is_told_once(target: Device) -> None:
    """It gets what it asked for beside what it is sent anyway, and its echo is known as its own."""
    with Daemon(osc=True, config=configured(target, patterns='["/osc/a/**"]')) as daemon:
        crowd = Crowd(daemon)
        client, watcher = crowd.ws(), crowd.ws()
        subscribe(watcher, "/osc/**")
        target.router = daemon.osc_address
        target.say("/clasp/subscribe", "/**")
        assert target.hear()[0] == "/clasp/subscribed"
        target.renew("/**")
        put(client, "/osc/a/x", 1)
        put(client, "/osc/b/x", 2)
        put(client, "/osc/end", 0)
        assert target.hear_until(("/end", [0])) == [("/a/x", [1]), ("/b/x", [2]), ("/end", [0])]
        target.say("/a/x", 1)  # its fader has moved
        target.say("/clasp/unsubscribe")
        assert target.hear()[0] == "/clasp/unsubscribed"
        put(client, "/osc/b/x", 3)
        put(client, "/osc/a/x", 4)
        assert target.hear() == ("/a/x", [4])
        seen = [watcher.recv_type(wire.Set).value for _ in range(5)]
        assert seen == [1, 2, 0, 3, 4]
        crowd.leave()


def test_a_subscriber_that_the_configuration_comes_to_name_is_told_once(target: Device) -> None:
    """And what it had subscribed to it is still sent."""
    with Daemon(osc=True, config="[osc]\nsilence_s = 2\n") as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        target.router = daemon.osc_address
        target.say("/clasp/subscribe", "/**")
        assert target.hear()[0] == "/clasp/subscribed"
        target.renew("/**")
        (daemon.directory / "clasp-edge.toml").write_text(configured(target, patterns='["/osc/a/**"]'))
        daemon.hangup()
        for number in range(1, 4):
            put(client, "/osc/a/x", number)
            put(client, "/osc/b/x", number)
            assert [address for address, _ in target.hear_until(("/b/x", [number]))].count("/a/x") <= 2
        put(client, "/osc/a/x", 9)
        put(client, "/osc/b/x", 9)
        assert target.hear_until(("/b/x", [9])) == [("/a/x", [9]), ("/b/x", [9])]
        (daemon.directory / "clasp-edge.toml").write_text("[osc]\nsilence_s = 2\n")
        daemon.hangup()
        put(client, "/osc/a/x", 10)
        target.say("/clasp/subscribe", "/**")
        target.hear_until(("/clasp/subscribed", ["/**", 60]))
        target.hear_until(("/b/x", [9]))
        put(client, "/osc/b/x", 11)
        assert target.hear() == ("/b/x", [11])
        crowd.leave()


# What an address may be sent that only asked once


@pytest.fixture
def remote(daemon: Daemon) -> Iterator[Device]:
    """A device at an address that is not the one of this machine's own programs."""
    with Device(daemon.osc_address, "127.0.0.2") as one:
        yield one


def test_a_program_of_this_machine_is_believed_at_once() -> None:
    with Daemon(osc=True) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()
        for number in range(100):
            put(client, f"/osc/{number}", number)
        device.say("/clasp/subscribe", "/**", 3600)
        assert len({address for address, _ in device.hear_all(101)}) == 101
        crowd.leave()


def test_who_asks_once_is_sent_three_times_what_it_sent(clients: Crowd, remote: Device, base: str) -> None:
    device = remote
    client = clients.ws()
    for number in range(200):
        put(client, f"/osc{base}/{number}", number)
    asked = packet("/clasp/subscribe", f"{base}/**", 3600)
    device.send(asked)
    sent = 0
    while not device.hears_nothing():
        sent += 1
    assert sent < 6, "three times the size of the question"
    device.say("/clasp/renew", f"{base}/**", 3600)
    heard = {address for address, _ in device.hear_all(201)}
    assert {f"{base}/{number}" for number in range(200)} < heard, "and all of it when it asks again"


def test_who_has_asked_once_is_named_and_what_else_it_says_is_no_answer(
    clients: Crowd, remote: Device, daemon: Daemon, base: str
) -> None:
    """Somebody may have asked in the name of a surface that is used."""
    client = clients.ws()
    for number in range(50):
        put(client, f"/osc{base}/{number}", number)
    remote.say("/clasp/subscribe", f"{base}/**", 3600)
    eventually(lambda: "has asked once; it is sent no more until it sends /clasp/renew" in daemon.stderr)
    while not remote.hears_nothing():
        pass
    remote.say(f"{base}/button", 1)
    remote.say(f"{base}/button", 0)
    time.sleep(1.5)  # longer than between two looks at who is there
    for number in range(50):
        put(client, f"/osc{base}/{number}", 100 + number)
    told = 0
    while not remote.hears_nothing():
        told += 1
    assert told <= 12, "three times what it has said, in bytes, and not what it was not told"
    remote.say("/clasp/renew", f"{base}/**", 3600)
    heard = {address for address, _ in remote.hear_all(51)}
    assert {f"{base}/{number}" for number in range(50)} < heard
    put(client, f"/osc{base}/0", 7)
    remote.hear_until((f"{base}/0", [7]))


def test_two_questions_in_one_packet_are_one(clients: Crowd, remote: Device, base: str) -> None:
    device = remote
    client = clients.ws()
    for number in range(100):
        put(client, f"/osc{base}/{number}", number)
    question = packet("/clasp/subscribe", f"{base}/**", 3600)
    device.send(bundle(0, question, question))
    sent = 0
    while not device.hears_nothing():
        sent += 1
    assert sent < 12


def test_a_subscriber_has_a_total_rate() -> None:
    with Daemon(osc=True, sets={"osc.subscriber_kib_per_second": 1}) as daemon, Device(daemon.osc_address) as device:
        device.say("/clasp/subscribe", "/**", 60)
        assert device.hear()[0] == "/clasp/subscribed"
        device.renew("/**", 60)
        crowd = Crowd(daemon)
        client = crowd.ws()
        for number in range(400):
            client.send(wire.Set(address=f"/osc/{number % 40}", value=number))
        heard = device.hear_until(("/39", [399]))
        assert len(heard) < 200, "values were replaced while they waited"
        crowd.leave()
