"""A debt of the rate limiter outlives the connection: who was over the rate gets no fresh one by connecting again."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import mqtt_packets as packets
from support.client import Client, Closed
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, of_type
from support.mqtt_client import Broker
from support.mqtt_packets import V5, V311
from support.osc import packet
from support.plane_rig import Rig

from clasp_edge import wire
from clasp_edge.clock import Clock
from clasp_edge.router.debts import LONGEST_S, MAX_DEBTS, Debts
from clasp_edge.wire import Qos

RATE = 100


class Still(Clock):
    """Time that passes when told."""

    now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Still:
    return Still()


def test_one_debt_for_each_newcomer_the_longest_first(clock: Still) -> None:
    debts = Debts(clock)
    for seconds in (2.0, 9.0, 0.0, 4.0):
        debts.leave("host a", seconds)
    assert [debts.take("host a") for _ in range(4)] == [9.0, 4.0, 2.0, 0.0]
    assert debts.take("host b") == 0
    assert len(debts) == 0


def test_debts_are_paid_by_waiting(clock: Still) -> None:
    debts = Debts(clock)
    debts.leave("host a", 5.0)
    clock.now_s += 3
    assert debts.take("host a") == 2
    debts.leave("host a", 2.0)
    clock.now_s += 3
    assert debts.take("host a") == 0
    assert len(debts) == 0


def test_what_is_remembered_is_bounded(clock: Still) -> None:
    debts = Debts(clock)
    for number in range(3 * MAX_DEBTS):
        debts.leave(f"host {number % 5}", 1 + number / MAX_DEBTS)
        assert len(debts) <= MAX_DEBTS
    debts.leave("host 1", 1e9)
    assert debts.take("host 1") == LONGEST_S
    # The shortest have gone.
    assert min(debts.take(f"host {number % 5}") for number in range(1000)) > 2
    clock.now_s += LONGEST_S
    for number in range(2 * MAX_DEBTS):
        debts.leave(f"guest {number}", 0.001)
        clock.now_s += 0.002
    debts.leave("host 2", 1.0)
    assert debts.take("host 2") == 1.0
    assert len(debts) <= MAX_DEBTS


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True, mqtt=True, messages_per_second=RATE) as running:
        yield running


@pytest.fixture
def mqtt(daemon: Daemon) -> Iterator[Broker]:
    broker = Broker(daemon.mqtt_address)
    yield broker
    broker.leave()


def test_a_bundle_beyond_the_rate_is_paid_for_after_a_reconnect(clients: Crowd) -> None:
    first = clients.tcp()
    first.send(wire.Bundle(tuple(wire.Set("/x", None) for _ in range(60 * RATE))), Qos.CONFIRM)
    first.recv_type(wire.Ack)
    first.close()
    # One newcomer takes the debt over, and only one: nobody else pays for it.
    answered = []
    for _ in range(2):
        again = clients.tcp(greet=False)
        again.hello("again")
        again.send(wire.Set("/x", 1), Qos.CONFIRM)
        while isinstance(answer := again.recv(20), wire.Snapshot):
            pass
        answered.append(type(answer))
    assert answered == [wire.Error, wire.Ack]


def test_a_ping_is_answered_whatever_is_owed(clients: Crowd) -> None:
    first = clients.tcp()
    first.send(wire.Bundle(tuple(wire.Set("/x", None) for _ in range(60 * RATE))), Qos.CONFIRM)
    first.recv_type(wire.Ack)
    first.close()
    again = clients.tcp(greet=False)
    again.hello("again")
    again.send(wire.Ping())
    again.send(wire.Set("/x", 1), Qos.CONFIRM)
    assert isinstance(again.recv_until(wire.Pong, 20), wire.Pong)
    assert again.recv(20).code == wire.ErrorCode.RATE_LIMITED  # type: ignore[attr-defined]


def test_pings_are_no_way_around_the_rate(clients: Crowd) -> None:
    client = clients.tcp()
    client.send(wire.Bundle(tuple(wire.Set("/x", None) for _ in range(9 * RATE))), Qos.CONFIRM)
    client.recv_type(wire.Ack)
    began_s = time.monotonic()
    for _ in range(20 * RATE):
        client.send(wire.Ping())
    client.socket.shutdown(socket.SHUT_WR)
    pongs = 0
    with suppress(Closed):
        while True:
            pongs += isinstance(client.recv(20), wire.Pong)
    assert 1 <= pongs <= 2 + (time.monotonic() - began_s) * (10 + RATE)


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_a_pingreq_is_answered_whatever_is_owed(clients: Crowd, mqtt: Broker, version: int) -> None:
    first = clients.tcp()
    first.send(wire.Bundle(tuple(wire.Set("/x", None) for _ in range(60 * RATE))), Qos.CONFIRM)
    first.recv_type(wire.Ack)
    first.close()
    client = mqtt.client(version)
    client.send(packets.publish(version, "x", b"x", qos=1, packet_id=1), packets.pingreq())
    client.expect(packets.Pingresp)
    client.socket.close()


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_single_messages_of_clients_that_come_and_go_are_no_more_than_those_of_one(
    clients: Crowd, transport: str
) -> None:
    began_s = time.monotonic()
    accepted = 0
    for _ in range(8):
        client = getattr(clients, transport)(greet=False)
        client.hello("again")
        for number in range(RATE):
            client.send(wire.Set("/x", number), Qos.CONFIRM)
        accepted += acknowledged(client)
        client.close()
    assert accepted <= RATE * (1 + time.monotonic() - began_s) + 8


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_bursts_of_mqtt_clients_that_come_and_go_take_as_long_as_those_of_one(mqtt: Broker, version: int) -> None:
    burst = [packets.publish(version, "burst", b"x", qos=1, packet_id=number + 1) for number in range(RATE)]
    began_s = time.monotonic()
    for _ in range(3):
        client = mqtt.client(version)
        client.send(*burst)
        for number in range(RATE):
            assert client.recv(20) == packets.Ack(packets.PUBACK, number + 1)
        client.socket.close()
    assert RATE * (1 + time.monotonic() - began_s) + 3 >= 3 * RATE


def test_what_one_protocol_has_used_the_others_have_not(clients: Crowd, mqtt: Broker) -> None:
    """The rate that a host has used is not there again by another protocol."""
    began_s = time.monotonic()
    accepted = 0
    for _ in range(3):
        client = clients.tcp(greet=False)
        client.hello("again")
        for number in range(RATE):
            client.send(wire.Set("/x", number), Qos.CONFIRM)
        accepted += acknowledged(client)
        client.close()
        device = mqtt.client(V5)
        device.send(*(packets.publish(V5, "x", b"x", qos=1, packet_id=number + 1) for number in range(RATE)))
        for _ in range(RATE):
            device.expect(packets.Ack)
            accepted += 1
        device.socket.close()
    assert accepted <= RATE * (1 + time.monotonic() - began_s) + 6


def test_osc_connections_that_come_and_go_have_one_rate() -> None:
    rounds = 4
    message = packet("/fader", 1)
    framed = (len(message).to_bytes(4, "big") + message) * RATE
    config = f'[osc]\ntcp_listen = "127.0.0.1:0"\nmessages_per_second = {RATE}\n'
    with Daemon(osc=True, config=config) as daemon:

        def all_gone(packets: int) -> bool:
            osc = ask(daemon.control_path, request="status")["result"]["osc"]
            return osc["packets"] == packets and not osc["connections"]

        began_s = time.monotonic()
        for number in range(1, rounds + 1):
            with socket.create_connection(daemon.osc_tcp_address, 20) as device:
                device.sendall(framed)
            assert eventually(lambda number=number: all_gone(number * RATE), 30)
        at_once = rounds * RATE - ask(daemon.control_path, request="status")["result"]["osc"]["over_rate"]
        assert at_once <= RATE * (1 + time.monotonic() - began_s) + rounds


def test_sessions_of_a_token_that_come_and_go_share_one_rate() -> None:
    """With each of them the others' share changes; that gives nobody anything."""
    config = f"""
    [security]
    mode = "authenticated"
    [[security.token]]
    token = "shared-token-of-the-test"
    scopes = ["write:/x/**"]
    messages_per_second = {RATE}
    """
    with Daemon(tcp=True, config=config) as daemon:
        clients = Crowd(daemon)
        began_s = time.monotonic()
        accepted = 0
        stays = clients.tcp(token="shared-token-of-the-test", greet=False)
        stays.hello(token="shared-token-of-the-test")
        for _ in range(4):
            comes = clients.tcp(greet=False)
            comes.hello(token="shared-token-of-the-test")
            for client in (stays, comes):
                for number in range(RATE):
                    client.send(wire.Set("/x/1", number), Qos.CONFIRM)
                accepted += acknowledged(client)
            comes.close()
        clients.leave()
        assert accepted <= RATE * (1 + time.monotonic() - began_s) + 16


def acknowledged(client: Client) -> int:
    """How many of the SETs that were sent have been accepted. Above the rate, one PING is answered now and then."""
    found: list[wire.Message] = []
    while not any(isinstance(message, wire.Pong) for message in found):
        client.send(wire.Ping())
        with suppress(TimeoutError):
            while not isinstance(message := client.recv(0.2), wire.Pong):
                found.append(message)
            found.append(message)
    return len(of_type(found, wire.Ack))


@given(st.lists(st.tuples(st.booleans(), st.floats(1, 1e6), st.floats(0, 3)), max_size=30))
def test_changes_of_the_rate_give_nobody_tokens(changes: list[tuple[bool, float, float]]) -> None:
    """A smaller bucket is as full as the larger one was, and a larger one has what there was."""
    rig = Rig()
    peer = rig.line().peer
    messages, rate = True, 100.0
    peer.set_rate(rate)
    for by_messages, after, owed_s in changes:
        began_s = time.monotonic()
        peer.owe(owed_s)
        used_s = peer.used_s
        peer.set_rate(after if by_messages else 0, after)
        found_s, passed_s = peer.used_s, time.monotonic() - began_s
        if used_s > 1 or after < rate or by_messages != messages:
            assert used_s - passed_s - 1e-6 <= found_s <= used_s + 1e-6
        else:
            held = max(0.0, rate * (1 - used_s))
            assert held - 1e-6 * after <= after * (1 - found_s) <= held + after * (passed_s + 1e-6)
        messages, rate = by_messages, after
    rig.close()


def test_a_rate_after_none_begins_full() -> None:
    rig = Rig()
    peer = rig.line().peer
    peer.set_rate(0)
    peer.owe(5)
    assert peer.used_s == 0
    peer.set_rate(100)
    assert peer.used_s == 0
    rig.close()
