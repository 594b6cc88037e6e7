"""Messages that take long, and many that end at once: done in parts, in order, and nothing of them stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.client import TcpClient, WsClient
from support.console import ask
from support.daemon import Daemon
from support.live import eventually
from support.mqtt_client import MqttClient
from support.osc import Device

from clasp_edge import wire
from clasp_edge.wire import FederationOp, FederationSync, SignalType

DEEP = [f"/x/{number}/" + "/".join("*" * 20) for number in range(400)]
"""Patterns that take long to read, to put into the trie and to take out of it."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True, mqtt=True, osc=True) as running:
        yield running


def told(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = ask(daemon.control_path, request="status")["result"]
    return found


def subscriptions(daemon: Daemon) -> int:
    return int(told(daemon)["sessions"]["subscriptions"])


def nothing_is_left(daemon: Daemon) -> None:
    eventually(lambda: subscriptions(daemon) == 0 and told(daemon)["memory"]["kept_by_kind"]["subscriptions"] == 0)


def test_what_follows_a_long_declaration_waits_for_it(daemon: Daemon) -> None:
    with TcpClient(daemon.tcp_address) as peer:
        peer.hello(features=("param", "federation"))
        peer.send(FederationSync(FederationOp.DECLARE_NAMESPACES, DEEP, origin="box"))
        peer.send(wire.Set("/elsewhere", 1))
        peer.send(FederationSync(FederationOp.REQUEST_SYNC, DEEP[:1], origin="box"))
        assert isinstance(peer.recv(), wire.Ack)
        assert getattr(peer.recv(), "address", None) == "/elsewhere"
        assert isinstance(peer.recv(), wire.Snapshot)
        assert peer.recv_type(FederationSync).op is FederationOp.SYNC_COMPLETE
        # Another declaration replaces all of it.
        peer.send(FederationSync(FederationOp.DECLARE_NAMESPACES, ("/x/1/**",), origin="box"))
        peer.recv_type(wire.Ack)
        assert subscriptions(daemon) == 1
    nothing_is_left(daemon)


def test_routers_that_claim_the_same_at_once_do_not_both_get_it(daemon: Daemon) -> None:
    """Comparing takes a while, in which the other one is not there yet."""
    with Daemon(tcp=True, sets={"federation.exclusive": "true"}) as hub:
        peers = [TcpClient(hub.tcp_address) for _ in range(2)]
        for peer in peers:
            peer.hello(features=("param", "federation"))
        for number, peer in enumerate(peers):
            owns = [*(f"/{number}/{index}/**" for index in range(900)), "/same/**"]
            peer.send(FederationSync(FederationOp.PEER, owns, origin=f"box{number}", since_revision=1))
        answers = [peer.recv() for peer in peers]
        for peer in peers:
            peer.abort()
    assert sorted(type(answer).__name__ for answer in answers) == ["Error", "FederationSync"]


def test_leaves_of_the_reference_are_offered_what_others_own_on_their_own_account(daemon: Daemon) -> None:
    owns = tuple(f"/owned/{number}/**" for number in range(900))
    with TcpClient(daemon.tcp_address) as peer:
        leaves = [TcpClient(daemon.tcp_address) for _ in range(3)]
        for number, leaf in enumerate(leaves):
            leaf.hello("clasp-federation", features=("param", "federation"))
            leaf.send(FederationSync(FederationOp.DECLARE_NAMESPACES, (f"/leaf/{number}/**",), origin=f"leaf{number}"))
        peer.hello(features=("param", "federation"))
        peer.send(FederationSync(FederationOp.PEER, owns, origin="box", since_revision=1))
        for number, leaf in enumerate(leaves):
            offered: set[str] = set()
            others = {f"/leaf/{other}/**" for other in range(3) if other != number}
            while offered != {*owns, *others}:
                offered = set(leaf.recv_until(FederationSync).patterns)
        assert told(daemon)["memory"]["kept_by_kind"]["federation"] > 3 * sum(map(len, owns))
        # What is offered may be asked for.
        leaves[0].send(FederationSync(FederationOp.REQUEST_SYNC, owns, origin="leaf0"))
        while leaves[0].recv_until(FederationSync).op is not FederationOp.SYNC_COMPLETE:
            pass
        for leaf in leaves:
            leaf.abort()
    eventually(lambda: told(daemon)["memory"]["kept_by_kind"]["federation"] == 0)


def test_an_announcement_of_thousands_is_there_before_what_follows(daemon: Daemon) -> None:
    with TcpClient(daemon.tcp_address) as client:
        client.hello()
        signals = tuple(wire.Signal(f"/s/{number}", SignalType.PARAM, None, None) for number in range(3000))
        client.send(wire.Announce("n", signals))
        client.send(wire.Query("/s/2999"))
        client.recv_type(wire.Ack)
        assert [signal.address for signal in client.recv_type(wire.Result).signals] == ["/s/2999"]


def test_a_list_that_breaks_off_is_refused_before_what_follows(daemon: Daemon) -> None:
    """What is read in parts is known to be broken when others have had their turn."""
    signals = tuple(wire.Signal("/", SignalType.PARAM) for _ in range(13_000))
    with TcpClient(daemon.tcp_address) as client:
        client.hello()
        for message in (wire.Announce("n", signals), wire.Result(signals)):
            client.send_raw(wire.encode_frame(wire.encode_payload(message)[:-1], wire.Qos.FIRE))
            client.send(wire.Get("/nothing/there"))
            client.send(wire.Set("/behind", 1))
            refused = client.recv()
            assert isinstance(refused, wire.Error)
            assert refused.code == wire.ErrorCode.INVALID_MESSAGE
            assert isinstance(client.recv(), wire.Error)
            client.recv_type(wire.Ack)
        client.send(wire.Query("/"))
        assert client.recv_type(wire.Result).signals == ()


def test_sessions_that_end_together_leave_nothing(daemon: Daemon) -> None:
    clients = [TcpClient(daemon.tcp_address) for _ in range(20)]
    for number, client in enumerate(clients):
        client.hello()
        for at in range(30):
            client.send(wire.Subscribe(at, DEEP[at] + f"/{number}"))
        client.sync()
    held = subscriptions(daemon)
    for client in clients:
        client.abort()
    assert held == 600
    nothing_is_left(daemon)


def test_long_packets_of_mqtt_are_dealt_with_in_order(daemon: Daemon) -> None:
    filters = [pattern[1:].replace("*", "+") for pattern in DEEP]
    with MqttClient(daemon.mqtt_address) as client:
        client.connect("long")
        assert set(client.subscribe(*filters).codes) == {0}
        assert subscriptions(daemon) == len(filters)
        assert set(client.unsubscribe(*filters, "none").codes) == {0, 0x11}
        assert subscriptions(daemon) == 0
        client.subscribe(*filters)
    nothing_is_left(daemon)


def test_devices_that_subscribe_in_one_burst_are_all_heard(daemon: Daemon) -> None:
    devices = [Device(daemon.osc_address) for _ in range(60)]
    for device in devices:
        device.say("/clasp/subscribe", "/lamp/**", 60)
    for device in devices:
        assert device.hear()[0] == "/clasp/subscribed"
    assert told(daemon)["osc"]["subscribers"] == 60
    for device in devices:
        device.say("/clasp/unsubscribe")
    for device in devices:
        device.hear()
        device.close()
    eventually(lambda: told(daemon)["osc"]["subscribers"] == 0)


def test_the_servers_numbers_are_told_to_thousands_of_filters() -> None:
    """Shared ones too: each group is told once, whoever else has one."""
    with (
        Daemon(mqtt=True, tcp=True, sets={"mqtt.sys_interval_s": 0.3}) as running,
        MqttClient(running.mqtt_address) as many,
        MqttClient(running.mqtt_address) as other,
        TcpClient(running.tcp_address) as honest,
    ):
        honest.hello()
        many.connect("many")
        other.connect("other")
        for number in range(0, 3000, 500):
            many.subscribe(*(f"$share/{number + each}/$SYS/+/x{each}/#" for each in range(500)))
        honest.sync()
        many.subscribe("$share/g/$SYS/#")
        other.subscribe("$share/g/$SYS/#")
        # In turn: what one of them is told is a number that has changed for the next time.
        many.receive()
        other.receive()


def test_histories_that_are_asked_for_at_once_take_memory_one_after_another() -> None:
    """Each search took 2 MB for 25,000 addresses, all of them at the same time and on nobody's account."""
    with Daemon(sets={"limits.messages_per_second": 0}) as daemon, WsClient(daemon.ws_url).hello("writer") as writer:
        for number in range(25_000):
            writer.send(wire.Publish(f"/{number}", SignalType.EVENT, value=None), wire.Qos.FIRE)
        writer.sync()
        askers = [WsClient(daemon.ws_url).hello("asker") for _ in range(20)]
        before_kib = peak_kib(daemon)
        for asker in askers:
            asker.send(wire.Subscribe(1, "/24999", (), wire.SubscribeOptions(history=1)))
        for asker in askers:
            found = [message.address for message in asker.sync() if isinstance(message, wire.Publish)]
            assert found == ["/24999"], "what is said behind it waits"
        assert peak_kib(daemon) - before_kib < 10_240
        for asker in askers:
            asker.close()


def peak_kib(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
