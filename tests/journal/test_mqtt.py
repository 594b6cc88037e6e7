"""MQTT and the journal: acknowledgements wait in strict mode, retained messages come back byte for byte."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import mqtt_packets as mqtt
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually, get, put
from support.mqtt_client import Broker, MqttClient
from support.mqtt_packets import PUBACK, PUBCOMP, PUBREC, PUBREL, V5, V311, Ack
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from clasp_edge.journal import tools
from clasp_edge.journal.format import Param, Raw, check, make_state_block, params
from clasp_edge.journal.import_export import export_params
from clasp_edge.wire import Ack as ClaspAck
from clasp_edge.wire import Publish as ClaspPublish
from clasp_edge.wire import Qos, Replay, Set

PROPERTIES = {
    "payload_format_indicator": 1,
    "content_type": "text/plain",
    "response_topic": "answers/here",
    "correlation_data": b"\x00\xff",
    "user_property": [("a", "1"), ("a", "2")],
}


@contextmanager
def full_disk(daemon: Daemon) -> Iterator[None]:
    """A limit on the size of files stands in for a disk that takes nothing more."""
    size = (daemon.data_dir / "journal" / "data.mdb").stat().st_size
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    yield
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture
def strict() -> Iterator[Daemon]:
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}) as daemon:
        yield daemon


@pytest.fixture
def broker(strict: Daemon) -> Iterator[Broker]:
    broker = Broker(strict.mqtt_address)
    yield broker
    broker.leave()


def memory_only(daemon: Daemon) -> bool:
    """Whether the journal says that nothing is stored: then the writes before this were not."""
    with WsClient(daemon.ws_url).hello() as client:
        client.sync()
        found = get(client, "/clasp-edge/journal/state")
        return found is not None and found.value == "memory"


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
@pytest.mark.parametrize("retain", [True, False], ids=["retained", "event"])
def test_acknowledgements_wait_for_the_disk(strict: Daemon, broker: Broker, version: int, retain: bool) -> None:
    client = broker.client(version)
    with full_disk(strict):
        for number in range(1, 4):
            client.send(
                mqtt.publish(version, f"t/{number}", b"x" * 9_000, qos=number % 2 + 1, retain=retain, packet_id=number)
            )
        assert eventually(lambda: memory_only(strict))
        assert client.sync() == []
    kinds = [PUBREC if number % 2 else PUBACK for number in range(1, 4)]
    assert [client.expect(Ack) for _ in range(3)] == [Ack(kind, n) for n, kind in enumerate(kinds, 1)]
    client.send(mqtt.ack(PUBREL, 1))
    client.expect_ack(PUBCOMP, 1)
    client.publish("t/last", b"1", qos=1)


def test_a_connection_that_came_back_is_not_told_too_early(strict: Daemon, broker: Broker) -> None:
    client = broker.client(V5, "again", props={"session_expiry_interval": 60})
    with full_disk(strict):
        client.send(mqtt.publish(V5, "t/a", b"x" * 9_000, qos=2, retain=True, packet_id=7))
        assert eventually(lambda: memory_only(strict))
        client.vanish()
        client = broker.client(V5, "again", clean=False, props={"session_expiry_interval": 60})
        client.send(mqtt.publish(V5, "t/a", b"x" * 9_000, qos=2, retain=True, packet_id=7, dup=True))
        assert client.sync() == []
    client.expect_ack(PUBREC, 7)
    client.publish("t/b", b"1", qos=1)


def test_over_websocket_too(strict: Daemon) -> None:
    with connect(
        strict.ws_url + "/mqtt", subprotocols=[Subprotocol("mqtt")], compression=None, proxy=None, close_timeout=2
    ) as ws:
        ws.send(mqtt.connect("w", V5))
        ws.recv(timeout=5)
        with full_disk(strict):
            ws.send(mqtt.publish(V5, "t/a", b"x" * 9_000, qos=1, retain=True, packet_id=3))
            assert eventually(lambda: memory_only(strict))
            with pytest.raises(TimeoutError):
                ws.recv(timeout=0.1)
        assert ws.recv(timeout=10) == mqtt.ack(PUBACK, 3)


@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_acknowledged_survives_a_kill(strict: Daemon, broker: Broker, qos: int) -> None:
    client = broker.client()
    for number in range(20):
        client.publish(f"t/{number}", b"%d" % number, qos=qos, retain=True)
    strict.kill()
    strict.start()
    late = Broker(strict.mqtt_address)
    try:
        _, found = late.client().subscribe_with_retained("t/#", at_least=20)
        assert {message.topic: message.payload for message in found} == {f"t/{n}": b"%d" % n for n in range(20)}
    finally:
        late.leave()


def retained(client: MqttClient, at_least: int) -> dict[str, tuple[bytes, int, dict[str, object]]]:
    _, found = client.subscribe_with_retained("t/#", options=2, at_least=at_least)
    for message in found:
        client.acknowledge(message)
    return {message.topic: (message.payload, message.qos, message.properties) for message in found}


@pytest.mark.parametrize("rewritten", [False, True], ids=["log", "rewritten"])
def test_retained_messages_come_back_as_they_were(rewritten: bool) -> None:
    with Daemon(mqtt=True, sets={"journal.mode": "group"}) as daemon:
        broker = Broker(daemon.mqtt_address)
        client = broker.client()
        client.publish("t/all", b"text", qos=2, retain=True, props=PROPERTIES)
        # Payloads that the value made of them does not give back.
        client.publish("t/spelled", b" 1.50 ", qos=1, retain=True)
        client.publish("t/binary", bytes(range(256)), qos=0, retain=True)
        client.publish("t/large", b"y" * 50_000, qos=1, retain=True, props={"content_type": "z" * 5_000})
        # What no longer has bytes of its own must not get them back.
        client.publish("t/overwritten", b" 2 ", qos=2, retain=True, props=PROPERTIES)
        with WsClient(daemon.ws_url).hello() as clasp:
            put(clasp, "/mqtt/t/overwritten", 5)
        before = retained(broker.client(), 5)
        assert before["t/all"] == (b"text", 2, PROPERTIES)
        assert before["t/spelled"][:2] == (b" 1.50 ", 1)
        assert before["t/overwritten"] == (b"5", 1, {})
        broker.leave()
        daemon.stop()
        if rewritten:  # a damaged store: what is salvaged is written to a new one
            path = daemon.data_dir / "journal" / "data.mdb"
            path.write_bytes(bytes(4096) + path.read_bytes()[4096:])
            daemon.start()
            daemon.stop()
            assert list(daemon.data_dir.glob("journal.damaged-*"))
        daemon.start()
        broker = Broker(daemon.mqtt_address)
        assert retained(broker.client(), len(before)) == before
        broker.leave()


DEVICES = [{"id": "0x00158d0001", "on": True, "level": number / 4} for number in range(400)]
LARGE = json.dumps(DEVICES).encode()
TEXT = b"2026-11-29 04:00 " + b"nothing has happened\n" * 300 + b"."


def replayed(daemon: Daemon) -> list[tuple[str, object]]:
    with WsClient(daemon.ws_url).hello() as client:
        client.send(Replay(pattern="/mqtt/**"), Qos.CONFIRM)
        found: list[tuple[str, object]] = []
        while not isinstance(message := client.recv(), ClaspAck):
            assert isinstance(message, Set | ClaspPublish)
            found.append((message.address.removeprefix("/mqtt/t/"), message.value))
        return found


def test_what_is_stored_as_it_came_is_read_without_an_mqtt_server(tmp_path: Path) -> None:
    """By the command line, and by a router whose server was turned off since."""
    twice = b'{"a": 1, "a": 2, "b": "' + b"x" * 2000 + b'"}'
    huge = b"[" + b"1," * 32_750 + b"1]"
    values = {"/mqtt/t/twice": {"a": 2, "b": "x" * 2000}, "/mqtt/t/huge": {"too_large": len(huge)}}
    sets = {"journal.mode": "group", "data_dir": tmp_path}
    with Daemon(mqtt=True, sets=sets) as daemon:
        broker = Broker(daemon.mqtt_address)
        client = broker.client()
        client.publish("t/twice", twice, qos=1, retain=True)
        client.publish("t/huge", huge, qos=1, retain=True)
        broker.leave()
    for what in (["export"], ["dump", "--json"]):
        command = [sys.executable, "-m", "clasp_edge", "journal", *what, "--set", f"data_dir={tmp_path}"]
        said = subprocess.run(command, capture_output=True, check=True)
        assert {one["address"]: one["value"] for one in map(json.loads, said.stdout.splitlines())} == values
        assert not said.stderr
    with Daemon(sets=sets) as later, WsClient(later.ws_url).hello() as clasp:
        for address, value in values.items():
            param = get(clasp, address)
            assert param is not None
            assert param.value == value


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_large_messages_that_nobody_has_read_are_stored_once_and_read_later(killed: bool) -> None:
    kept = {"client_id": "kept", "clean": False, "props": {"session_expiry_interval": 600}}
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}, config='[mqtt]\nevents = ["t/go"]\n') as daemon:
        broker = Broker(daemon.mqtt_address)
        away = broker.client(**kept)
        away.subscribe("t/#", options=2)
        away.vanish()
        client = broker.client()
        said = [("json", LARGE, True), ("text", TEXT, True), ("said", LARGE, False), ("go", LARGE, False)]
        for name, payload, retain in said:
            client.publish(f"t/{name}", payload, qos=1, retain=retain, props={"content_type": "any"})
        broker.leave()
        found = tools.statistics(daemon.data_dir / "journal")
        assert found["log_bytes"] < sum(len(payload) for _, payload, _ in said) + 1500
        (daemon.kill if killed else daemon.stop)()
        directory = daemon.data_dir / "journal"
        told = [(record.signal, tools.describe(record)) for record in tools.log_records(directory)]
        assert [one["value"] for _, one in told] == [DEVICES, TEXT.decode(), DEVICES, DEVICES]
        exported = {one["address"]: one["value"] for one in map(json.loads, export_params(directory))}
        assert exported == {"/mqtt/t/json": DEVICES, "/mqtt/t/text": TEXT.decode(), "/mqtt/t/said": DEVICES}
        daemon.start()
        broker = Broker(daemon.mqtt_address)
        values = [("json", DEVICES), ("text", TEXT.decode()), ("said", DEVICES), ("go", DEVICES)]
        assert replayed(daemon) == values
        with WsClient(daemon.ws_url).hello() as clasp:
            for name, value in values[:3]:
                param = get(clasp, f"/mqtt/t/{name}")
                assert param is not None
                assert param.value == value
        there = retained(broker.client(), 2)
        assert {name: one[0] for name, one in there.items()} == {"t/json": LARGE, "t/text": TEXT}
        back = broker.client(**kept)
        for name, payload, _ in said:
            message = back.receive()
            assert (message.topic, message.payload) == (f"t/{name}", payload)
            assert message.properties["content_type"] == "any"
            back.acknowledge(message)
        broker.leave()


def test_images_with_a_messages_own_bytes_are_read_and_written_alike() -> None:
    items = [
        Param(b"/a", 7, "me", 5, 0, 0, 0, 5, bytes(8), 2, Raw(b"prop", b"payload")),
        Param(b"/b", 1, "", 6, 0, 0, 0, 0, b"", 0, Raw(b"", b"")),
        Param(b"/c", 1, "", 6, 0, 0, 0, 0, b""),
    ]
    block = make_state_block(items, number=3, run=1, base=1, before=0, wall_us=9)
    check(block)
    assert list(params(block)) == items
