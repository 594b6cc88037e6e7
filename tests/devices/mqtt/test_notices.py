"""Lines about bad input: one per source and minute."""

from __future__ import annotations

import socket

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V311, Ack

from clasp_edge.clock import Clock
from clasp_edge.devices.mqtt.take_overs import MANY, MAX_CLIENTS, TakeOvers
from clasp_edge.router.notices import MAX_SOURCES, PERIOD_S, Notices


class StandingClock(Clock):
    """Time that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s


def test_one_line_per_source_and_period() -> None:
    clock = StandingClock()
    notices = Notices(clock)
    assert notices.due("10.0.0.1:1000") == ""
    assert [notices.due(f"10.0.0.1:{port}") for port in range(5)] == [None] * 5
    assert notices.due("10.0.0.2:1") == ""
    clock.now_s += PERIOD_S
    assert notices.due("10.0.0.1:7") == " (5 more since the last line)"
    assert notices.due("10.0.0.2:1") == ""
    assert notices.total == 9


def test_sources_are_bounded() -> None:
    """Those heard of lately stay known, however many others there are."""
    notices = Notices(StandingClock())
    for number in range(10 * MAX_SOURCES):
        assert notices.due(f"host{number}:1") == ""
        assert notices.due("noisy:1") == ("" if number == 0 else None)


def test_a_device_that_goes_on_and_on(daemon: Daemon, mqtt: Broker) -> None:
    """Malformed packets after a good CONNECT, and CONNECTs that are refused: the log does not grow with them."""
    for _ in range(50):
        client = mqtt.client(V311, fresh("c"))
        client.send(packets.packet(0, 0))
        client.expect_closed()
        client = mqtt.open(V311)
        client.send(packets.connect(fresh("c"), 9))
        client.drain()
    complaints = [line for line in daemon.stderr.splitlines() if " WARNING " in line]
    assert len(complaints) == 1, complaints


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"\x16\x03\x01\x00\xf0\x01" + bytes(240), "this is TLS, which mqtt.tls_listen is for"),
        (b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "this is HTTP, which websocket.listen is for"),
        (packets.pingreq(), "it begins with c0 00"),
        (b"\x10\xff\xff\xff\xff\x01", "it begins with 10 ff ff ff ff 01"),
        (b"\x10\xff\xff\xff\x7f", "it begins with 10 ff ff ff 7f"),
    ],
)
def test_who_does_not_begin_with_connect_is_named(daemon: Daemon, mqtt: Broker, first: bytes, says: str) -> None:
    """A device that was set up for another port: its owner finds nothing else."""
    host = f"127.0.9.{1 + len(first) % 250}"  # one line for each host and minute
    for _ in range(3):
        with socket.create_connection(mqtt.address, 10, (host, 0)) as connection:
            connection.sendall(first)
            assert not connection.recv(100)
    complaints = [line for line in daemon.stderr.splitlines() if f" {host}:" in line]
    assert len(complaints) == 1, complaints
    assert "refused: no CONNECT that could be read; " + says in complaints[0]


def test_two_devices_with_one_name_are_named(daemon: Daemon, mqtt: Broker) -> None:
    """Both only see that their connection breaks, and come back."""
    name = fresh("twin")
    for _ in range(2 * MANY):
        mqtt.client(V311, name)
    mqtt.client(V311, fresh("twin"))
    complaints = [line for line in daemon.stderr.splitlines() if " WARNING " in line and name in line]
    assert len(complaints) == 1, complaints
    assert "by clients at 127.0.0.1: two with one client identifier end each other" in complaints[0]


def test_who_takes_over_from_whom() -> None:
    clock = StandingClock()
    seen = TakeOvers(clock)
    said = []
    for _ in range(3 * MANY):
        clock.now_s += 1
        said.append(seen.happened("x", "10.0.0.1:1000", "10.0.0.2:2000"))
        assert seen.happened(f"other{clock.now_s}", "10.0.0.3:1", "10.0.0.3:2") is None
    assert [text is not None for text in said].index(True) == MANY - 1
    assert sum(text is not None for text in said) == 1
    assert "10.0.0.1 and 10.0.0.2" in str(said[MANY - 1])
    for _ in range(20):
        clock.now_s += 30
        assert seen.happened("x", "10.0.0.1:1000", "10.0.0.2:2000") is None, "now and then is nothing"


def test_take_overs_are_bounded() -> None:
    seen = TakeOvers(StandingClock())
    for _ in range(MANY - 1):
        assert seen.happened("x", "a:1", "b:1") is None
    for number in range(MAX_CLIENTS):
        seen.happened(f"y{number}", "a:1", "b:1")
    assert seen.happened("x", "a:1", "b:1") is None, "forgotten for those"


@pytest.mark.parametrize("topic", ["$SYS/mine", "/device/" + "t" * 3000, "a//" + "/".join("b" * 70), "t" * 2000])
def test_a_message_to_a_topic_that_none_may_have_is_named(daemon: Daemon, mqtt: Broker, topic: str) -> None:
    """Who is left without an answer (3.1.1) finds it in the log, whatever the topic looks like."""
    client_id = fresh("c")
    client = mqtt.client(V311, client_id)
    client.send(packets.publish(V311, topic, b"x", qos=1, packet_id=7))
    client.expect(Ack)
    complaints = [line for line in daemon.stderr.splitlines() if " WARNING " in line and f"'{client_id}'" in line]
    assert len(complaints) == 1, daemon.stderr
    assert "message to /mqtt/" in complaints[0]
    assert "bad_address" in complaints[0]
