"""Clients that others have written find their sessions, and what waited for them, after the router was killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import mosquitto_tools
from support.daemon import Daemon
from support.mqtt_packets import V5, V311
from support.paho_client import PahoClient

RETURN_TIMEOUT_S = 15.0


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}) as running:
        yield running


@pytest.fixture(params=[V311, V5], ids=["v311", "v5"])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.mark.parametrize("qos", [1, 2])
def test_paho_gets_all_that_was_acknowledged(daemon: Daemon, version: int, qos: int) -> None:
    """The publisher goes on while the router is killed; paho repeats what was not acknowledged."""
    with PahoClient(daemon.mqtt_address, version, "away", expiry_s=3600) as subscriber:
        subscriber.subscribe("a/#", qos)
    count = 300
    with PahoClient(daemon.mqtt_address, version, "publisher", expiry_s=3600) as publisher:
        sent = [publisher.client.publish("a/b", b"%d" % number, qos) for number in range(count // 3)]
        publisher.published.wait(count // 6)
        daemon.kill()
        sent += [publisher.client.publish("a/b", b"%d" % number, qos) for number in range(len(sent), 2 * count // 3)]
        daemon.start()
        publisher.connected.wait(2, RETURN_TIMEOUT_S)
        sent += [publisher.client.publish("a/b", b"%d" % number, qos) for number in range(len(sent), count)]
        publisher.published.wait_until(lambda done: {one.mid for one in sent} <= set(done), RETURN_TIMEOUT_S)
    daemon.restart()
    wanted = [b"%d" % number for number in range(count)]
    with PahoClient(daemon.mqtt_address, version, "away", expiry_s=3600) as subscriber:
        assert subscriber.connected.items == [(0, True)]
        had = subscriber.received.wait_until(lambda had: {message.payload for message in had} >= set(wanted))
        found = [message.payload for message in had]
        # With QoS 1 the publisher may have had to repeat some.
        assert (list(dict.fromkeys(found)) if qos == 1 else found) == wanted


def test_mosquitto_sub_gets_what_it_missed(daemon: Daemon, version: int) -> None:
    words = ["-i", "away", "-c", "-q", "2", "-t", "a/#"]
    if version == V5:
        words += ["-x", "3600"]
    with mosquitto_tools.Subscriber(daemon.mqtt_address, version, *words):
        pass
    mosquitto_tools.publish(daemon.mqtt_address, version, "a/1", b" 1.50 ", "-q", "1")
    daemon.restart()
    mosquitto_tools.publish(daemon.mqtt_address, version, "a/2", b'{"b": 2}', "-q", "2")
    with mosquitto_tools.Subscriber(daemon.mqtt_address, version, *words) as subscriber:
        assert subscriber.lines.wait(2) == [("a/1", 1, False, b" 1.50 "), ("a/2", 2, False, b'{"b": 2}')]
