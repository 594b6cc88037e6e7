"""The daemon is killed and comes back on the same ports: clients find it again by their own means."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clock_shim import ByClock, ShiftedClock
from support.daemon import Daemon
from support.mqtt_client import Broker, fresh
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


def test_large_retained_messages_are_there_after_a_restart() -> None:
    payloads = {"large": bytes(i * 7 & 0xFF for i in range(900_000)), "json": b'{"a": [' + b"1, " * 90_000 + b"1]}"}
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}) as daemon:
        broker = Broker(daemon.mqtt_address)
        device = broker.client()
        for topic, payload in payloads.items():
            device.publish(topic, payload, qos=1, retain=True)
        broker.leave()
        daemon.restart()
        broker = Broker(daemon.mqtt_address)
        late = broker.client()
        late.subscribe("#")
        found = [late.receive() for _ in payloads]
        assert {one.topic: one.payload for one in found} == payloads
        broker.leave()


@pytest.mark.parametrize("set_by_s", [0.0, 3600.0], ids=["not set", "set"])
def test_expiry_goes_on_while_the_router_is_off_unless_somebody_sets_the_clock(tmp_path: Path, set_by_s: float) -> None:
    """On a board that nothing tells the time."""
    clock = ShiftedClock(tmp_path)
    clock.claim_synchronised(False)
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}, manager=ByClock(clock)) as daemon:
        broker = Broker(daemon.mqtt_address)
        lamp = {"client_id": "lamp", "clean": False, "props": {"session_expiry_interval": 600}}
        broker.client(**lamp).subscribe("#", options=1)
        device = broker.client()
        device.publish("kept", b"1", qos=1, retain=True, props={"message_expiry_interval": 2})
        device.publish("go", b"GO", qos=1, props={"message_expiry_interval": 2})
        device.publish("end", b"end", qos=1)
        broker.leave()
        daemon.kill()
        time.sleep(2.1)
        clock.shift(set_by_s)
        daemon.start()
        broker = Broker(daemon.mqtt_address)
        again = broker.client(**lamp)
        found: list[bytes] = []
        while b"end" not in found:
            one = again.receive()
            found += [one.payload] if one.topic != "kept" else []
        late = broker.client().subscribe_with_retained("kept", at_least=1 if set_by_s else 0)[1]
        if set_by_s:  # nobody knows how long it was
            assert (found, [one.payload for one in late]) == ([b"GO", b"end"], [b"1"])
        else:
            assert (found, late) == ([b"end"], [])
        broker.leave()
    clock.close()
