"""Who comes back while what it sent above its rate still waits: how long it waits for that, and who may wait at all."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from support import mqtt_packets as packets
from support.daemon import Daemon
from support.mqtt_client import Broker, Closed, MqttClient, fresh
from support.mqtt_packets import V5, V311, Connack, Pingresp

HANDSHAKE_S = 6
"""Half of it is the longest wait."""

RATE = 500
COUNT = 12_000
"""Three times what the rate lets through in that time, and less than is read ahead."""

OWNERS = ("one", "two", "three", "four", "five", "six", "seven", "stranger")
"""Each for one test: who has been above its rate owes the next of its sessions something."""

CONFIG = '[security]\nmode = "authenticated"\n' + "".join(
    f'[[security.token]]\ntoken = "{owner}"\nscopes = ["admin:/**"]\n' for owner in OWNERS
)

_owners = iter(OWNERS)


@pytest.fixture
def owner() -> str:
    return next(_owners)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    sets: dict[str, object] = {"mqtt.events": ["burst/#"], "limits.handshake_timeout_s": HANDSHAKE_S}
    with Daemon(mqtt=True, messages_per_second=RATE, config=CONFIG, sets=sets) as running:
        yield running


def _connect(client_id: str, token: str, version: int = V311) -> bytes:
    return packets.connect(client_id, version, username="device", password=token)


def _burst(topic: str) -> bytes:
    return b"".join(packets.publish(V311, topic, b"%d" % number) for number in range(COUNT))


def _watcher(mqtt: Broker, topic: str) -> MqttClient:
    client = mqtt.client(V5, username="device", password="stranger")
    client.subscribe(f"{topic}/#")
    return client


def _numbers(client: MqttClient, count: int) -> list[int]:
    return [int(client.receive().payload) for _ in range(count)]


def _sends(mqtt: Broker, owner: str, client_id: str, burst: bytes) -> MqttClient:
    """Somebody who has sent so much, all of which has been read."""
    client = mqtt.open(V311)
    client.send(_connect(client_id, owner))
    client.expect(Connack)
    client.send(burst, packets.pingreq())
    client.expect(Pingresp)
    return client


def _back(mqtt: Broker, owner: str, client_id: str) -> MqttClient:
    client = mqtt.open(V311)
    client.send(_connect(client_id, owner))
    assert client.expect(Connack).code == 0
    return client


def _cut_short(daemon: Daemon) -> int:
    host, port = daemon.ws_address
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("clasp_edge_mqtt_cut_short_total "))


def test_a_long_burst_is_acted_upon_at_once_when_its_client_has_waited(
    daemon: Daemon, mqtt: Broker, owner: str
) -> None:
    """In order, and nothing is lost. Who does so again and again loses what waits, which is counted."""
    topic, client_id = fresh("burst/"), fresh("c")
    watcher = _watcher(mqtt, topic)
    _sends(mqtt, owner, client_id, _burst(f"{topic}/value")).reset()
    client = _back(mqtt, owner, client_id)
    assert _numbers(watcher, COUNT) == list(range(COUNT))
    assert _cut_short(daemon) == 0
    client.send(_burst(f"{topic}/again"), packets.pingreq())
    client.expect(Pingresp)
    client.reset()
    _back(mqtt, owner, client_id)
    assert _cut_short(daemon) == 1


def test_an_earlier_connection_that_is_still_there_is_acted_upon_and_ended(mqtt: Broker, owner: str) -> None:
    topic, client_id = fresh("burst/"), fresh("c")
    watcher = _watcher(mqtt, topic)
    first = _sends(mqtt, owner, client_id, _burst(f"{topic}/value"))
    _back(mqtt, owner, client_id)
    assert _numbers(watcher, COUNT) == list(range(COUNT))
    with pytest.raises(Closed):
        first.recv()


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
@pytest.mark.parametrize("token", ["stranger", "unknown"])
def test_a_stranger_with_a_clients_name_is_refused_before_it_could_wait(
    mqtt: Broker, owner: str, version: int, token: str
) -> None:
    """And the client goes on: its reading goes on, what it sent arrives at its rate, and so does what follows."""
    topic, client_id = fresh("burst/"), fresh("c")
    watcher = _watcher(mqtt, topic)
    few = [packets.publish(V311, f"{topic}/value", b"%d" % number) for number in range(3 * RATE)]
    client = _sends(mqtt, owner, client_id, b"".join(few))
    stranger = mqtt.open(version)
    stranger.send(_connect(client_id, token, version))
    refused = (2, 4, 5) if version == V311 else (0x85, 0x86, 0x87)
    assert stranger.expect_refused(*refused) is not None
    client.send(packets.publish(V311, f"{topic}/last", b"7"), packets.pingreq())
    client.expect(Pingresp)
    assert _numbers(watcher, 3 * RATE + 1) == [*range(3 * RATE), 7]


def test_many_that_come_back_at_once_are_greeted_in_turn(mqtt: Broker, owner: str) -> None:
    """The last one stays; the others have given up, or are taken over."""
    topic, client_id = fresh("burst/"), fresh("c")
    watcher = _watcher(mqtt, topic)
    few = [packets.publish(V311, f"{topic}/value", b"%d" % number) for number in range(3 * RATE)]
    _sends(mqtt, owner, client_id, b"".join(few)).reset()
    for _ in range(50):
        mqtt.open(V311).send(_connect(client_id, owner))
    last = _back(mqtt, owner, client_id)
    last.send(packets.publish(V311, f"{topic}/last", b"7"), packets.pingreq())
    last.expect(Pingresp)
    assert _numbers(watcher, 3 * RATE + 1) == [*range(3 * RATE), 7]
