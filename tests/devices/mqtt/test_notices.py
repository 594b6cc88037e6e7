"""Lines about bad input: one per source and minute."""

from __future__ import annotations

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V311, Ack

from clasp_edge.clock import Clock
from clasp_edge.devices.mqtt.notices import MAX_SOURCES, PERIOD_S, Notices


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
