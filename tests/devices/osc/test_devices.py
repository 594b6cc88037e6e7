"""Devices as the configuration describes them: prefixes, keep-alives, questions, rights, TCP, and restarts."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator

import pytest
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put, subscribe
from support.osc import WAIT_S, Device, packet

from clasp_edge import wire
from clasp_edge.devices.osc.framing import Splitter, wrap


@pytest.fixture
def pair() -> Iterator[list[Device]]:
    made = [Device(("127.0.0.1", 9), host) for host in ("127.0.0.2", "127.0.0.3")]
    yield made
    for device in made:
        device.close()


def device_table(device: Device, **keys: object) -> str:
    host, port = device.socket.getsockname()
    lines = {"name": f'"{host}"', "source": f'"{host}"', "host": f'"{host}"', "port": port, **keys}
    return "[[osc.device]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def test_two_consoles_of_one_kind_have_a_prefix_each(pair: list[Device]) -> None:
    config = "".join(
        device_table(device, prefix=f'"/{name}"', patterns=f'["/osc/{name}/**"]')
        for device, name in zip(pair, ("foh", "monitor"), strict=True)
    )
    with Daemon(osc=True, config=config) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/**")
        foh, monitor = pair
        for device in pair:
            device.router = daemon.osc_address
        foh.say("/ch/01/mix/fader", 0.75)
        assert client.recv_type(wire.Set).address == "/osc/foh/ch/01/mix/fader"
        monitor.say("/ch/01/mix/fader", 0.25)
        assert client.recv_type(wire.Set).address == "/osc/monitor/ch/01/mix/fader"
        put(crowd.ws(), "/osc/foh/ch/01/mix/fader", 0.5)
        assert foh.hear() == ("/ch/01/mix/fader", [0.5])
        assert monitor.hears_nothing()
        foh.say("/ch/*/mix/fader", 1)
        assert client.recv_type(wire.Set).address == "/osc/foh/ch/01/mix/fader"  # the client's
        assert client.recv_type(wire.Set).address == "/osc/foh/ch/01/mix/fader"
        assert client.sync() == [], "wildcards reach no further"
        crowd.leave()


def test_what_a_configured_device_asks_for_once_may_be_a_forgery(pair: list[Device]) -> None:
    """It is sent without a bound, so more than it is configured for it is sent only where it asks again."""
    device = pair[0]
    with Daemon(osc=True, config=device_table(device, patterns='["/osc/own"]')) as daemon:
        crowd = Crowd(daemon)
        device.router = daemon.osc_address
        device.say("/clasp/subscribe", "/lamp/**", 60)
        assert device.hear() == ("/clasp/subscribed", ["/lamp/**", 60])
        put(crowd.ws(), "/osc/lamp/1", 0.5)
        put(crowd.ws(), "/osc/own", 1)
        assert device.hear() == ("/own", [1]), "what it is configured for"
        device.say("/clasp/renew", "/lamp/**", 60)
        while device.hear() != ("/lamp/1", [0.5]):
            pass
        put(crowd.ws(), "/osc/lamp/1", 0.75)
        while device.hear() != ("/lamp/1", [0.75]):
            pass
        crowd.leave()


def test_a_device_answers_the_address_it_was_shown(pair: list[Device]) -> None:
    config = device_table(pair[0], patterns='["/osc/**", "/show/**"]', outside='["/house/lights"]')
    with Daemon(osc=True, config=config) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        pair[0].router = daemon.osc_address
        put(crowd.ws(), "/show/level", 1)
        assert pair[0].hear() == ("/show/level", [1])
        subscribe(client, "/**")
        for said, written in (
            ("/show/level", "/show/level"),
            ("/house/lights", "/house/lights"),
            ("/house/doors", "/osc/house/doors"),
        ):
            pair[0].say(said, 2)
            assert client.recv_type(wire.Set).address == written
        crowd.leave()


def test_keep_alive_and_queries_are_sent(pair: list[Device]) -> None:
    config = device_table(
        pair[0], keep_alive='{ message = "/xremote", every_s = 0.2 }', queries='["/info", "/node ch/01 5"]'
    )
    with Daemon(osc=True, config=config):
        heard = pair[0].hear_all(6)
    assert heard.count(("/xremote", [])) >= 3
    assert ("/info", []) in heard
    assert ("/node", ["ch/01", 5]) in heard


def test_a_question_is_answered_with_the_value(pair: list[Device]) -> None:
    console, tablet = pair
    config = device_table(tablet, query='"reply"') + device_table(console, patterns='["/osc/**"]')
    with Daemon(osc=True, config=config) as daemon:
        crowd = Crowd(daemon)
        for device in pair:
            device.router = daemon.osc_address
        tablet.say("/ch/01")
        assert console.hear() == ("/ch/01", []), "nobody knows it here: the question goes on"
        console.say("/ch/01", 0.5)
        eventually(lambda: get(crowd.ws(), "/osc/ch/01"))
        tablet.say("/ch/01")
        assert tablet.hear() == ("/ch/01", [0.5])
        assert console.hears_nothing()
        console.say("/ch/02", 0.25)
        eventually(lambda: get(crowd.ws(), "/osc/ch/02"))
        tablet.say("/ch/*")
        assert sorted(tablet.hear_all(2)) == [("/ch/01", [0.5]), ("/ch/02", [0.25])]
        assert console.hears_nothing()
        crowd.leave()


def test_a_device_has_rights_a_rate_and_an_echo_time_of_its_own(pair: list[Device]) -> None:
    config = device_table(
        pair[0], patterns='["/osc/**"]', scopes='["write:/osc/mine/**"]', messages_per_second=0, echo_ms=0
    )
    with Daemon(osc=True, config=config, sets={"osc.messages_per_second": 1}) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/**")
        pair[0].router = daemon.osc_address
        pair[0].say("/other", 1)
        for number in range(50):
            pair[0].say("/mine/a", number)
        assert [client.recv_type(wire.Set).value for _ in range(50)] == list(range(50))
        assert get(crowd.ws(), "/osc/other") is None
        put(crowd.ws(), "/osc/mine/a", 7)
        assert pair[0].hear() == ("/mine/a", [7])
        pair[0].say("/mine/a", 7)
        assert [client.recv_type(wire.Set).value for _ in range(2)] == [7, 7], "no echo where nothing is one"
        crowd.leave()


def test_what_goes_out_goes_in_bundles_and_at_a_total_rate(pair: list[Device]) -> None:
    config = device_table(pair[0], patterns='["/osc/**"]', bundle="true", total_rate=1000)
    with Daemon(osc=True, config=config) as daemon, Device(daemon.osc_address) as suit:
        suit.send(
            b"#bundle\0"
            + bytes(7)
            + b"\x01"
            + b"".join(len(one).to_bytes(4, "big") + one for one in (packet(f"/{n}", n) for n in range(10)))
        )
        pair[0].socket.settimeout(WAIT_S)
        data = pair[0].socket.recv(65536)
        assert data.startswith(b"#bundle\0")
        assert b"/0\0\0" in data
        assert b"/9\0\0" in data


def test_a_device_that_is_sent_values_has_a_byte_rate(pair: list[Device]) -> None:
    """Of what is too much the newest value of each address waits, and of events what has no room is counted, and
    said."""
    config = device_table(pair[0], patterns='["/osc/**"]', events='["/go"]', kib_per_second=4)
    with Daemon(osc=True, config=config) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        for number in range(400):
            client.send(wire.Set(address=f"/osc/{number % 20}", value=number))
        told: dict[str, list[object]] = {}
        count = 0
        while told != {f"/{number}": [380 + number] for number in range(20)}:
            told |= [pair[0].hear()]
            count += 1
        assert count < 200, "values were replaced while they waited"
        for _ in range(40):
            client.send(wire.Publish("/osc/go", wire.SignalType.EVENT, "x" * 40_000))
        eventually(lambda: ask(daemon.control_path, request="status")["result"]["osc"]["lost"] > 0)
        said = re.compile(r"OSC \S+: (\d+) events lost, the first at /osc/go: more came")
        found = eventually(lambda: said.search(daemon.stderr))
        assert found is not None
        assert int(found[1]) > 0
        crowd.leave()


def test_the_router_connects_to_a_device_and_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(WAIT_S)
        port = listening.getsockname()[1]
        config = (
            f'[[osc.target]]\nname = "qlab"\nhost = "127.0.0.1"\nport = {port}\ntcp_framing = "length"\n'
            'patterns = ["/osc/**"]\ntransport = "tcp"\nqueries = ["/hello"]\n'
        )
        with Daemon(osc=True, config=config) as daemon:
            crowd = Crowd(daemon)
            client = crowd.ws()
            for number in range(2):
                connection, _ = listening.accept()
                connection.settimeout(WAIT_S)
                splitter = Splitter(lambda text: None, "length")
                waiting: list[bytes] = []

                def hear(
                    connection: socket.socket = connection,
                    splitter: Splitter = splitter,
                    waiting: list[bytes] = waiting,
                ) -> bytes:
                    while not waiting:
                        waiting.extend(splitter.feed(connection.recv(65536)))
                    return waiting.pop(0)

                assert hear() == packet("/hello")
                if number:
                    assert {hear(), hear()} == {packet("/a", 0), packet("/b", 0)}, "the state"
                put(client, "/osc/a", number + 5)
                put(client, "/osc/a", number)
                assert [hear(), hear()] == [packet("/a", number + 5), packet("/a", number)]
                connection.sendall(wrap("length", packet("/b", number)))
                eventually(lambda number=number: (p := get(client, "/osc/b")) is not None and p.value == number)
                connection.close()
            assert daemon.stderr.count("osc.target qlab: connection lost") >= 1
            crowd.leave()


def test_several_ports_each_answered_from_itself() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Daemon(osc=True, config=f'[osc]\nalso_listen = ["127.0.0.1:{port}"]\n') as daemon:
        with Device(("127.0.0.1", port)) as device:
            device.say("/clasp/subscribe", "/**")
            device.socket.settimeout(WAIT_S)
            _, sender = device.socket.recvfrom(65536)
            assert sender == ("127.0.0.1", port)
        daemon.assert_healthy()


def test_groups_are_heard_and_the_router_does_not_hear_itself() -> None:
    config = """
    [osc]
    groups = ["239.8.7.6"]
    [[osc.target]]
    name = "everybody"
    host = "239.8.7.6"
    port = PORT
    patterns = ["/osc/**"]
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    with Daemon(config=config.replace("PORT", str(port)), sets={"osc.listen": f"0.0.0.0:{port}"}) as daemon:
        if "cannot be joined" in daemon.stderr:
            pytest.skip("this machine has no interface that can join a multicast group")
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/**")
        put(crowd.ws(), "/osc/a", 1)
        assert client.recv_type(wire.Set).value == 1
        with Device(("239.8.7.6", port), "127.0.0.1") as device:
            device.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            membership = struct.pack("4s4s", socket.inet_aton("239.8.7.6"), socket.inet_aton("127.0.0.1"))
            device.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        assert client.sync() == []
        assert ask(daemon.control_path, request="status")["result"]["osc"]["messages"] == 0
        crowd.leave()


def test_subscriptions_outlive_a_restart() -> None:
    with Daemon(osc=True, sets={"journal.mode": "group"}) as daemon, Device(daemon.osc_address) as device:
        device.say("/clasp/subscribe", "/**", 3600)
        assert device.hear()[0] == "/clasp/subscribed"
        device.renew("/**", 3600)
        crowd = Crowd(daemon)
        put(crowd.ws(), "/osc/a", 1)
        assert device.hear() == ("/a", [1])
        crowd.leave()
        daemon.stop()
        daemon.start()
        assert device.hear() == ("/a", [1])
        crowd = Crowd(daemon)
        put(crowd.ws(), "/osc/a", 2)
        assert device.hear() == ("/a", [2])
        device.say("/a", 2)
        device.say("/clasp/unsubscribe")
        assert device.hear() == ("/clasp/unsubscribed", [""])
        crowd.leave()
        daemon.stop()
        daemon.start()
        assert device.hears_nothing()


def test_what_is_refused_is_said_by_kind_and_sender(pair: list[Device]) -> None:
    with Daemon(osc=True, config=device_table(pair[0], scopes='["read:/**"]')) as daemon:
        pair[0].router = daemon.osc_address
        for _ in range(3):
            pair[0].say("/a", 1)
            pair[0].send(b"nonsense")
        pair[0].say("/clasp/subscribe", "nonsense", 60, pair[1].port)
        assert pair[0].hear()[0] == "/clasp/error"

        def sender() -> dict[str, object]:
            senders: dict[str, dict[str, object]] = ask(daemon.control_path, request="status")["result"]["osc"][
                "senders"
            ]
            return senders.get(f"127.0.0.2:{pair[0].port}", {})

        wanted = {"write refused": 3, "bad packet": 3, "subscription refused": 1}
        eventually(lambda: sender().get("complaints") == wanted)
        assert sender()["device"] == "127.0.0.2"
        said = [line for line in daemon.stderr.splitlines() if f"127.0.0.2:{pair[0].port}" in line]
        assert len(said) == 3, "each kind once"


def test_a_refused_subscription_is_told_to_the_port_it_names(pair: list[Device]) -> None:
    with Daemon(osc=True) as daemon, Device(daemon.osc_address) as device, Device(daemon.osc_address) as listening:
        device.say("/clasp/subscribe", "nonsense", 60, listening.port)
        assert device.hear()[0] == listening.hear()[0] == "/clasp/error"
