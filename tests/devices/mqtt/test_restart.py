"""The daemon is killed and comes back on the same ports: clients find it again by their own means."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.mqtt_client import fresh
from support.mqtt_packets import V5, V311
from support.paho_client import PahoClient

RECONNECT_TIMEOUT_S = 15.0


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True) as running:
        yield running


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
def test_paho_comes_back(daemon: Daemon, version: int, websocket: bool) -> None:
    topic = fresh()
    address = daemon.ws_address if websocket else daemon.mqtt_address
    with PahoClient(address, version, fresh("c"), expiry_s=60, websocket=websocket) as client:
        client.subscribe(topic, 1)
        daemon.restart()
        client.connected.wait(2, RECONNECT_TIMEOUT_S)
        code, session = client.connected.items[1]
        assert code == 0
        if not session:  # it was in memory
            client.subscribe(topic, 1)
        client.publish(topic, b"again", 1)
        assert client.received.wait()[0].payload == b"again"


def test_what_a_client_has_in_flight_is_sent_again(daemon: Daemon) -> None:
    """paho keeps what was not acknowledged; after the restart it arrives."""
    topic = fresh()
    with PahoClient(daemon.mqtt_address, V5, fresh("c"), expiry_s=60) as sender:
        daemon.kill()
        sent = [sender.client.publish(topic, b"%d" % number, 1, retain=True) for number in range(10)]
        daemon.start()
        sender.published.wait_until(lambda done: {one.mid for one in sent} <= set(done), RECONNECT_TIMEOUT_S)
        with PahoClient(daemon.mqtt_address, V5) as late:
            late.subscribe(topic, 1)
            assert late.received.wait()[0].payload == b"9"


def test_a_polite_stop_says_so(daemon: Daemon) -> None:
    """5.0: DISCONNECT with 0x8B (server shutting down); both versions: the connection ends."""
    with PahoClient(daemon.mqtt_address, V5) as new, PahoClient(daemon.mqtt_address, V311) as old:
        daemon.stop()
        assert new.disconnected.wait()[0] == 0x8B
        old.disconnected.wait()
        new.client.disconnect()
        old.client.disconnect()
        daemon.start()
