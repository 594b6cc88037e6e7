"""A debt of the rate limiter outlives the connection: who was over the rate gets no fresh one by connecting again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.live import Crowd
from support.mqtt_client import Broker
from support.mqtt_packets import V5, V311

from clasp_edge import wire
from clasp_edge.clock import Clock
from clasp_edge.router.debts import LONGEST_S, MAX_EACH, MAX_PRINCIPALS, Debts
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
    for number in range(2 * MAX_EACH):
        debts.leave("host a", number / 10)
    debts.leave("host a", 1e9)
    assert debts.take("host a") == LONGEST_S
    rest = [debts.take("host a") for _ in range(MAX_EACH)]
    assert rest[-1] == 0
    assert min(rest[:-1]) > MAX_EACH / 10
    for number in range(MAX_PRINCIPALS + 10):
        debts.leave(f"host {number}", 1)
    assert len(debts) == MAX_PRINCIPALS


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


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_bursts_of_mqtt_clients_that_come_and_go_take_as_long_as_those_of_one(mqtt: Broker, version: int) -> None:
    """Each connection may have half of a second's worth more, and the first one all of it."""
    burst = [packets.publish(version, "burst", b"x", qos=1, packet_id=number + 1) for number in range(RATE)]
    began_s = time.monotonic()
    for _ in range(4):
        client = mqtt.client(version)
        client.send(*burst)
        for number in range(RATE):
            assert client.recv(20) == packets.Ack(packets.PUBACK, number + 1)
        client.socket.close()
    assert time.monotonic() - began_s >= 1.4
