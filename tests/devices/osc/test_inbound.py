"""What devices send becomes params: values, bundles, wildcards, time tags."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest
from support.console import ask
from support.daemon import Daemon, DaemonFailed
from support.live import Crowd, eventually, fresh, get, put, subscribe
from support.osc import Device, bundle, packet

from clasp_edge import wire

LATEST_S = 5.0
"""How late a bundle may be on a busy machine before the test calls it lost."""


def test_a_message_is_a_param_below_the_namespace(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}/**")
    device.say(f"{base}/fader", 0.5)
    message = client.recv_type(wire.Set)
    assert (message.address, message.value, message.revision) == (f"/osc{base}/fader", 0.5, 1)
    param = get(clients.ws(), f"/osc{base}/fader")
    assert param is not None
    assert param.value == 0.5
    assert param.writer == f"osc:127.0.0.1:{device.port}"


@pytest.mark.parametrize(
    ("arguments", "tags", "value"),
    [
        ((7,), None, 7),
        ((2**40,), None, 2**40),
        ((0.25,), None, 0.25),
        ((0.1,), "d", 0.1),
        (("words",), None, "words"),
        ((b"\0\x01",), None, b"\0\x01"),
        ((True,), None, True),
        ((None,), None, None),
        ((1, 2.5, "x", [True, [None]]), None, [1, 2.5, "x", [True, [None]]]),
        (((0, 144, 60, 127),), "m", [0, 144, 60, 127]),
        ((0x01020304,), "r", [1, 2, 3, 4]),
    ],
)
def test_values(
    clients: Crowd, device: Device, base: str, arguments: tuple[object, ...], tags: str | None, value: wire.Value
) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}")
    device.say(base, *arguments, tags=tags)
    assert client.recv_type(wire.Set).value == value


def test_order_is_kept(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}")
    for number in range(300):
        device.say(base, number)
    found = [client.recv_type(wire.Set) for _ in range(300)]
    assert [message.value for message in found] == list(range(300))
    assert [message.revision for message in found] == list(range(1, 301))


# Bundles


def test_a_bundle_is_done_in_order_at_once(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}/**")
    inner = bundle(0, packet(f"{base}/b", 2), packet(f"{base}/a", 3))
    device.send(bundle(0, packet(f"{base}/a", 1), inner, packet(f"{base}/c", 4)))
    found = [client.recv_type(wire.Set) for _ in range(4)]
    assert [(message.address[-1], message.value) for message in found] == [("a", 1), ("b", 2), ("a", 3), ("c", 4)]


def test_a_time_tag_of_the_past_is_now(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}/**")
    device.send(bundle(time.time() - 3600, packet(f"{base}/a", 1)))
    assert client.recv_type(wire.Set).value == 1


def test_a_bundle_for_later_comes_on_time_and_in_the_order_of_times(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}/**")
    start = time.time()
    device.send(bundle(start + 0.6, packet(f"{base}/later", 2), packet(f"{base}/also", 3)))
    device.send(bundle(start + 0.3, packet(f"{base}/sooner", 1)))
    device.say(f"{base}/now", 0)
    found = []
    for _ in range(4):
        message = client.recv_type(wire.Set)
        found.append((message.address.rpartition("/")[2], time.time()))
    assert [name for name, _ in found] == ["now", "sooner", "later", "also"]
    assert start + 0.3 <= found[1][1] < start + 0.3 + LATEST_S
    assert start + 0.6 <= found[2][1] < start + 0.6 + LATEST_S


def test_a_bundle_within_a_bundle_may_be_for_later(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}/**")
    start = time.time()
    inner = bundle(start + 0.6, packet(f"{base}/inner", 2))
    device.send(bundle(start + 0.3, packet(f"{base}/outer", 1), inner))
    assert client.recv_type(wire.Set).value == 1
    assert client.recv_type(wire.Set).value == 2
    assert time.time() >= start + 0.6


@pytest.mark.parametrize("seconds", [120, 86_400, 978_307_200, 0xFFFFFFFF])
def test_a_time_tag_that_no_set_clock_gives_is_now_and_named(
    daemon: Daemon, clients: Crowd, device: Device, base: str, seconds: int
) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}/**")
    for number in range(2):
        whole = bundle(0, packet(f"{base}/a", number))
        device.send(whole[:8] + seconds.to_bytes(4, "big") + bytes(4) + whole[16:])
        assert client.recv_type(wire.Set).value == number
    told = [line for line in daemon.stderr.splitlines() if f"127.0.0.1:{device.port}: its time tags are off by" in line]
    assert len(told) == 1


def test_a_time_tag_beyond_the_horizon_is_now_and_named(
    daemon: Daemon, clients: Crowd, device: Device, base: str
) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}/**")
    device.send(bundle(time.time() + 10_000, packet(f"{base}/a", 1)))
    assert client.recv_type(wire.Set).value == 1
    assert f"127.0.0.1:{device.port}: its time tags are off by +" in daemon.stderr
    with Device(daemon.osc_address) as ahead:
        # Within it a bundle waits, which is named where it is long.
        ahead.send(bundle(time.time() + 1000, packet(f"{base}/a", 2)))
        ahead.say(f"{base}/a", 3)
        assert client.recv_type(wire.Set).value == 3
        assert f"127.0.0.1:{ahead.port}: its bundles wait for their time, " in daemon.stderr


def test_time_tags_can_be_ignored_and_clocks_learned() -> None:
    for mode, wait_s in (("ignore", 0.0), ("relative", 0.4)):
        with Daemon(osc=True, sets={"osc.timetags": mode}) as daemon, Device(daemon.osc_address) as device:
            crowd = Crowd(daemon)
            client = crowd.ws()
            subscribe(client, "/osc/**")
            wrong = time.time() + 2000  # a clock that is half an hour ahead
            device.send(bundle(wrong, packet("/a", 1)))
            device.send(bundle(wrong + wait_s, packet("/a", 2)))
            assert client.recv_type(wire.Set).value == 1
            start = time.monotonic()
            assert client.recv_type(wire.Set).value == 2
            assert time.monotonic() - start > wait_s - 0.2
            crowd.leave()


@pytest.mark.parametrize(
    ("timetags", "offset_s", "spacing_s"),
    [("schedule", 0.5, 0), ("schedule", -1, 0), ("relative", -5000, 0.001), ("relative", 5000, 0.001)],
)
def test_no_stamped_message_is_lost_because_of_a_rate(timetags: str, offset_s: float, spacing_s: float) -> None:
    sets = {"osc.messages_per_second": 100, "osc.timetags": timetags}
    with Daemon(osc=True, sets=sets) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/**")
        began = time.time()
        for number in range(300):
            device.send(bundle(began + offset_s + number * spacing_s, packet("/a", number)))
        assert [client.recv_type(wire.Set).value for _ in range(300)] == list(range(300))
        crowd.leave()


def test_a_time_tag_within_a_bundle_holds_above_the_rate() -> None:
    with Daemon(osc=True, sets={"osc.messages_per_second": 10}) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/later")
        for number in range(12):
            device.say("/flood", number)
        due = time.time() + 2
        device.send(bundle(0, packet("/now", 1), bundle(due, packet("/later", 1))))
        assert client.recv_type(wire.Set).value == 1
        assert time.time() >= due - 0.1
        crowd.leave()


def test_what_one_source_may_have_waiting_is_bounded_in_bytes(
    daemon: Daemon, clients: Crowd, device: Device, base: str
) -> None:
    client = clients.ws()
    subscribe(client, f"/osc{base}/**")
    due = time.time() + 1.0
    for number in range(300):
        device.send(bundle(due, packet(f"{base}/{number}", number)))
    filler = packet(f"{base}/filler", b"x" * 30_000)
    for _ in range(60):
        device.send(bundle(due, filler))
    device.say(f"{base}/now", -1)
    assert client.recv_type(wire.Set).value == -1
    assert [client.recv_type(wire.Set).value for _ in range(300)] == list(range(300))
    eventually(lambda: "bytes of this source are already waiting for their time" in daemon.stderr)


# Wildcards


def test_a_pattern_is_expanded_against_the_params_there_are(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    for name in ("ch1/level", "ch2/level", "ch3/level", "ch1/mute", "group1/level"):
        put(client, f"/osc{base}/{name}", 0)
    put(client, f"{base}/ch1/level", 0)  # outside the namespace
    subscribe(client, f"/osc{base}/**", id=1)
    subscribe(client, f"{base}/**", id=2)
    device.say(f"{base}/ch[1-2]/{{level,mute}}", 1)
    found = {client.recv_type(wire.Set).address for _ in range(3)}
    assert found == {f"/osc{base}/{name}" for name in ("ch1/level", "ch2/level", "ch1/mute")}
    device.say(f"{base}/*/level", 2)
    assert len({client.recv_type(wire.Set).address for _ in range(4)}) == 4
    assert client.sync() == []


def test_a_pattern_that_matches_nothing_makes_nothing(clients: Crowd, device: Device, base: str) -> None:
    device.say(f"{base}/nothing?", 1)
    device.say(f"{base}/here", 1)
    client = clients.ws()
    eventually(lambda: get(client, f"/osc{base}/here"))
    assert get(client, f"/osc{base}/nothing?") is None


def test_many_params_are_found(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    for number in range(1000):
        client.send(wire.Set(address=f"/osc{base}/p/{number}", value=0))
    client.sync()
    device.say(f"{base}/p/*", 1)
    other = clients.ws()
    eventually(lambda: all(p is not None and p.value == 1 for p in [get(other, f"/osc{base}/p/{n}") for n in (0, 999)]))


# The namespace, limits and rights come from the configuration


def test_another_namespace_holds_both_ways() -> None:
    with Daemon(osc=True, sets={"osc.namespace": "/stage/left"}) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/**")
        device.say("/fader/1", 3)
        assert client.recv_type(wire.Set).address == "/stage/left/fader/1"
        device.say("/clasp/subscribe", "/fader/**")
        assert device.hear_all(2) == [("/clasp/subscribed", ["/fader/**", 60]), ("/fader/1", [3])]
        put(crowd.ws(), "/stage/left/fader/2", 4)
        put(crowd.ws(), "/osc/fader/2", 5)
        assert device.hear() == ("/fader/2", [4])
        assert device.hears_nothing()
        crowd.leave()


def test_without_a_namespace_everything_is_in_reach() -> None:
    with Daemon(osc=True, sets={"osc.namespace": "''"}) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/**")
        device.say("/fader/1", 3)
        assert client.recv_type(wire.Set).address == "/fader/1"
        crowd.leave()


def test_above_a_sources_rate_the_newest_values_arrive_and_it_is_named() -> None:
    with Daemon(osc=True, sets={"osc.messages_per_second": 100}) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/**")
        for number in range(100):
            device.send(bundle(0, *[packet(f"/a/{index}", number) for index in range(20)]))
        with Device(daemon.osc_address) as other:
            other.say("/b", 1)
            found = []
            while not found or found[-1].address != "/osc/b":
                found.append(client.recv_type(wire.Set))
        assert len(found) < 200, "another one does not wait for it"
        newest: dict[str, object] = {message.address: message.value for message in found[:-1]}
        while newest != {f"/osc/a/{index}": 99 for index in range(20)}:
            message = client.recv_type(wire.Set)
            newest[message.address] = message.value
        assert f"{device.port}: more than 100 messages per second" in daemon.stderr
        crowd.leave()


def test_what_replaces_a_waiting_value_is_bounded_in_bytes_as_well() -> None:
    """Of a param the newest value waits: many small ones, each replaced by one of 60 KB, would be 30 MB."""
    with Daemon(osc=True, sets={"osc.messages_per_second": 1}) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()

        def counted() -> dict[str, int]:
            found: dict[str, int] = ask(daemon.control_path, request="status")["result"]["osc"]
            return found

        for number in range(500):
            device.say(f"/a/{number}", 1)
            if number % 50 == 49:
                eventually(lambda most=number: counted()["over_rate"] + counted()["messages"] >= most)
        for number in range(500):
            device.say(f"/a/{number}", b"x" * 60_000)
            if number % 2:
                client.sync()
        eventually(lambda: counted()["dropped_over_rate"] > 400)
        assert counted()["replaced_over_rate"] < 10
        crowd.leave()


def test_above_the_rate_a_bundle_keeps_its_place_among_single_values() -> None:
    """What was said before a bundle with a time tag is overwritten by it, and what was said after it is not."""
    with Daemon(osc=True, sets={"osc.messages_per_second": 10}) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/**")
        for number in range(12):
            device.say(f"/flood/{number}", number)
        device.say("/a", "before")
        device.say("/b", "before")
        device.send(bundle(time.time() - 1, packet("/a", "bundle"), packet("/b", "bundle")))
        device.say("/a", "after")
        device.say("/end", 1)
        found: list[wire.Set] = []
        while not found or found[-1].address != "/osc/end":
            found.append(client.recv_type(wire.Set))
        assert [message.value for message in found if message.address == "/osc/a"][-2:] == ["bundle", "after"]
        assert [message.value for message in found if message.address == "/osc/b"][-1] == "bundle"
        crowd.leave()


def test_only_allowed_networks_are_heard() -> None:
    config = '[osc]\nallow = ["10.0.0.0/8", "127.0.0.2"]\n'
    with Daemon(osc=True, config=config) as daemon:
        crowd = Crowd(daemon)
        with Device(daemon.osc_address) as stranger, Device(daemon.osc_address, "127.0.0.2") as guest:
            client = crowd.ws()
            subscribe(client, "/osc/**")
            stranger.say("/a", 1)
            guest.say("/a", 2)
            assert client.recv_type(wire.Set).value == 2
            assert f"127.0.0.1:{stranger.port}: refused" in daemon.stderr
        crowd.leave()


def test_in_authenticated_mode_devices_may_do_what_osc_scopes_says() -> None:
    config = """
[security]
mode = "authenticated"
[[security.token]]
token = "all"
scopes = ["admin:/**"]
[osc]
scopes = ["write:/osc/in/**", "read:/osc/out/**"]
"""
    with Daemon(osc=True, config=config) as daemon, Device(daemon.osc_address) as device:
        crowd = Crowd(daemon)
        client = crowd.ws(token="all")
        subscribe(client, "/osc/**")
        device.say("/secret", 1)
        device.say("/out/a", 1)
        device.say("/in/a", 1)
        assert client.recv_type(wire.Set).address == "/osc/in/a"
        device.say("/clasp/subscribe", "/**")
        assert device.hear() == ("/clasp/subscribed", ["/**", 60])
        assert device.hear() == ("/in/a", [1])
        writer = crowd.ws(token="all")
        put(writer, "/osc/secret", 2)
        put(writer, "/osc/out/a", 3)
        assert device.hear() == ("/out/a", [3])
        crowd.leave()


def test_in_authenticated_mode_devices_may_do_nothing_by_default() -> None:
    config = '[security]\nmode = "authenticated"\n[[security.token]]\ntoken = "all"\nscopes = ["admin:/**"]\n'
    with Daemon(osc=True, config=config) as daemon, Device(daemon.osc_address) as device:
        assert "OSC devices may do nothing" in daemon.stderr
        device.say("/a", 1)
        eventually(lambda: "a write to /osc/a was refused (NO_SCOPE)" in daemon.stderr)
        crowd = Crowd(daemon)
        assert get(crowd.ws(token="all"), "/osc/a") is None
        crowd.leave()


def test_a_locked_param_stays_and_the_device_is_told_so(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    put(client, f"/osc{base}/a", 1, lock=True)
    device.say("/clasp/subscribe", f"{base}/**")
    assert device.hear_all(2)[1] == (f"{base}/a", [1])
    device.say(f"{base}/a", 5)
    assert device.hear() == (f"{base}/a", [1])
    param = get(client, f"/osc{base}/a")
    assert param is not None
    assert param.value == 1


def test_an_address_clasp_does_not_have_is_refused(daemon: Daemon, clients: Crowd, device: Device) -> None:
    device.send(b"/\xff\xff\0,i\0\0" + struct.pack(">i", 1))
    eventually(lambda: "not valid UTF-8" in daemon.stderr)
    device.say(fresh(), 1)


def test_two_slashes_stand_for_any_number_of_parts(clients: Crowd, device: Device, base: str) -> None:
    client = clients.ws()
    for name in ("mute", "ch/1/mute", "ch/1/level"):
        put(client, f"/osc{base}/{name}", 0)
    subscribe(client, f"/osc{base}/**")
    device.say(f"{base}//mute", 1)
    assert {client.recv_type(wire.Set).address for _ in range(2)} == {f"/osc{base}/mute", f"/osc{base}/ch/1/mute"}
    assert client.sync() == []


def test_wildcards_that_match_nothing_are_named(daemon: Daemon, device: Device, base: str) -> None:
    device.say(f"{base}/nothing/*", 1)
    eventually(lambda: f"{base}/nothing/* has wildcards and matches no param" in daemon.stderr)


def test_osc_is_off_and_not_imported_when_the_configuration_says_so() -> None:
    with Daemon() as daemon:
        assert "osc://" not in daemon.stdout
        assert "devices/osc" not in Path(f"/proc/{daemon.pid}/maps").read_text()


def test_a_port_that_is_taken_stops_the_start() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = Daemon(sets={"osc.listen": listen})
        with pytest.raises(DaemonFailed):
            daemon.start()
        assert f"cannot listen on {listen}" in daemon.stderr
        daemon.close()


def test_on_a_socket_for_both_families_ipv4_devices_are_served() -> None:
    with Daemon(sets={"osc.listen": ":0"}) as daemon:
        address = ("127.0.0.1", int(daemon.stdout.rpartition("osc://")[2].split()[0].rpartition(":")[2]))
        with Device(address) as device:
            device.say("/clasp/subscribe", "/**")
            assert device.hear()[0] == "/clasp/subscribed"
            crowd = Crowd(daemon)
            client = crowd.ws()
            subscribe(client, "/osc/**")
            device.say("/a", 1)
            assert client.recv_type(wire.Set).value == 1
            put(crowd.ws(), "/osc/b", 2)
            assert device.hear() == ("/b", [2])
            param = get(crowd.ws(), "/osc/a")
            assert param is not None
            assert param.writer == f"osc:127.0.0.1:{device.port}"
            crowd.leave()
