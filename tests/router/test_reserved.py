"""What the router says of itself, below /clasp-edge/: everybody may read it, nobody else may say it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import Crowd, get, put, refused
from support.mqtt_client import MqttClient
from support.osc import packet

from clasp_edge import wire
from clasp_edge.wire import Publish, Set, SignalType

JOURNAL: dict[str, object] = {"journal.mode": "group"}
STATE = "/clasp-edge/journal/state"
CONFIG = """
[security]
mode = "authenticated"
[[security.token]]
token = "all"
scopes = ["admin:/**"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, osc=True, sets={**JOURNAL, "mqtt.namespace": "/clasp-edge", "osc.namespace": ""}) as running:
        yield running


def state(client: WsClient) -> wire.Value:
    found = get(client, STATE)
    assert found is not None
    return found.value


def test_a_client_cannot_say_how_the_router_is(clients: Crowd) -> None:
    client = clients.ws()
    assert state(client) == "ok"
    said = "/clasp-edge/ is the router's own: only it writes there"
    for address in (STATE, "/clasp-edge/board/problems"):
        error = refused(client, address, "gone")
        assert (error.code, error.message, error.address) == (301, said, address)
    client.send(Publish("/clasp-edge/alarm", SignalType.EVENT, value=1))
    assert client.recv_type(wire.Error).message == said
    client.send(wire.Bundle([Set(STATE, "gone")]))
    assert client.recv_type(wire.Error).code == 403
    assert state(client) == "ok"


def test_what_only_resembles_it_is_anybodys(clients: Crowd) -> None:
    client = clients.ws()
    for address in ("/clasp-edge", "/clasp-edgy/x", "/a/clasp-edge/x"):
        put(client, address, 1)
        assert get(client, address) is not None


def test_a_device_cannot_either(daemon: Daemon, clients: Crowd) -> None:
    with MqttClient(daemon.mqtt_address) as device:
        device.connect("device")
        device.publish("journal/state", b"gone", retain=True, qos=1)
        device.sync()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as desk:
        desk.sendto(packet(STATE, "gone"), daemon.osc_address)
        desk.sendto(packet("/desk/done", 1), daemon.osc_address)
    client = clients.ws()
    client.sync()
    assert state(client) == "ok"


def test_no_token_allows_it() -> None:
    with Daemon(config=CONFIG, sets=JOURNAL) as daemon, WsClient(daemon.ws_url).hello(token="all") as client:
        client.sync()
        assert refused(client, STATE, "gone").code == 301
        assert state(client) == "ok"
