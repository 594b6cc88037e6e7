"""Sessions outlive the router: killed and started again, it has them, and what waits for their clients (5.0, 4.1)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest
from support import mqtt_packets as mqtt
from support.client import WsClient
from support.clock_shim import ByClock, ShiftedClock
from support.daemon import Daemon
from support.live import put
from support.mqtt_client import Broker, MqttClient
from support.mqtt_packets import PUBCOMP, PUBREC, PUBREL, V5, V311, Publish
from support.paho_client import PahoClient

from clasp_edge import wire
from clasp_edge.journal.documents import sealed
from clasp_edge.journal.format import NOTE_PREFIX, note_key
from clasp_edge.journal.tools import log_records

HOUR = {"session_expiry_interval": 3600}

VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])


@pytest.fixture
def strict() -> Iterator[Daemon]:
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}) as daemon:
        yield daemon


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[tuple[Daemon, ShiftedClock]]:
    """A daemon with a wall clock of its own, which the kernel says is right."""
    clock = ShiftedClock(tmp_path)
    clock.claim_synchronised(True)
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}, manager=ByClock(clock)) as daemon:
        yield daemon, clock


@pytest.fixture
def broker(strict: Daemon) -> Iterator[Broker]:
    """Its address stays the same when the daemon starts again."""
    broker = Broker(strict.mqtt_address)
    yield broker
    broker.leave()


def keeper(broker: Broker, version: int = V5, client_id: str = "keeper", **options: object) -> MqttClient:
    """A client that wants its session kept."""
    if version == V5:
        options.setdefault("props", HOUR)
    return broker.client(version, client_id, clean=False, **options)


def crash(daemon: Daemon) -> None:
    daemon.restart()


def taken(client: MqttClient, count: int) -> list[Publish]:
    """The next messages, each acknowledged."""
    found = []
    for _ in range(count):
        message = client.expect(Publish)
        client.acknowledge(message)
        found.append(message)
    return found


def payloads(messages: list[Publish]) -> list[bytes]:
    return [message.payload for message in messages]


# ---- the session ----


@VERSIONS
def test_a_session_is_present_after_a_crash_and_its_subscriptions_live(
    strict: Daemon, broker: Broker, version: int
) -> None:
    client = keeper(broker, version)
    assert not client.connack.session_present
    client.subscribe("a/#", options=1)
    client.subscribe("b", options=2)
    client.subscribe("gone", options=1)
    client.unsubscribe("gone")
    crash(strict)
    client = keeper(broker, version)
    assert client.connack.session_present
    sender = broker.client()
    for topic in ("a/1", "gone", "b"):
        sender.publish(topic, topic.encode(), qos=2)
    found = taken(client, 2)
    assert [(message.topic, message.qos) for message in found] == [("a/1", 1), ("b", 2)]
    assert client.publishes() == []


def test_options_and_identifiers_are_what_they_were(strict: Daemon, broker: Broker) -> None:
    client = keeper(broker)
    client.subscribe("own", options=1 | 4, props={"subscription_identifier": [7]})  # no-local
    client.subscribe("flag/#", options=1 | 8, props={"subscription_identifier": [300]})  # retain as published
    client.subscribe("+/x", options=1)
    crash(strict)
    client = keeper(broker)
    client.publish("own", b"mine", qos=1)
    sender = broker.client()
    sender.publish("own", b"yours", qos=1)
    sender.publish("flag/x", b"kept", qos=1, retain=True)
    own, flag = taken(client, 2)
    assert (own.payload, own.properties["subscription_identifier"]) == (b"yours", [7])
    assert (flag.payload, flag.retain, flag.properties["subscription_identifier"]) == (b"kept", True, [300])


def test_a_share_of_a_group_is_taken_again(strict: Daemon, broker: Broker) -> None:
    client = keeper(broker)
    client.subscribe("$share/pool/work/#", options=1)
    crash(strict)
    client = keeper(broker)
    broker.client().publish("work/1", b"w", qos=1)
    assert payloads(taken(client, 1)) == [b"w"]


@VERSIONS
def test_clean_sessions_are_not_kept(strict: Daemon, broker: Broker, version: int) -> None:
    kept = keeper(broker, version)
    kept.subscribe("a", options=1)
    kept.disconnect()
    clean = broker.client(version, "keeper")  # ends the kept one
    clean.subscribe("b", options=1)
    broker.client().publish("t", b"1", qos=1)  # stored: so is what was before
    crash(strict)
    assert not keeper(broker, version).connack.session_present


def test_without_kept_sessions_nothing_is_stored_for_them(strict: Daemon, broker: Broker) -> None:
    client = broker.client()
    client.subscribe("a", options=2)
    broker.client().publish("a", b" 1 ", qos=2)
    taken(client, 1)
    strict.stop()
    assert own_bytes(strict) == [None]
    strict.start()
    kept = keeper(broker)
    broker.client().publish("a", b" 2 ", qos=2)
    kept.disconnect(props={"session_expiry_interval": 0})
    broker.client().publish("a", b" 3 ", qos=2)
    strict.stop()
    assert own_bytes(strict) == [None, b" 2 ", None]
    with lmdb.open(str(strict.data_dir / "journal"), max_dbs=0, readonly=True, lock=False) as env, env.begin() as txn:
        assert [bytes(key) for key, _ in txn.cursor() if bytes(key)[:1] == NOTE_PREFIX] == []
    strict.start()


def own_bytes(daemon: Daemon) -> list[bytes | None]:
    """Of every logged message, the payload that is kept beside its value."""
    found = log_records(daemon.data_dir / "journal", 1)
    return [record.own.payload if record.own is not None else None for record in found]


def test_a_session_that_was_given_up_is_gone(strict: Daemon, broker: Broker) -> None:
    client = keeper(broker)
    client.subscribe("a", options=1)
    client.disconnect(props={"session_expiry_interval": 0})
    broker.client().publish("t", b"1", qos=1)
    crash(strict)
    assert not keeper(broker).connack.session_present


def test_a_stop_keeps_sessions_too(strict: Daemon, broker: Broker) -> None:
    client = keeper(broker)
    client.subscribe("a", options=1)
    client.disconnect()
    broker.client().publish("a", b"1", qos=1)
    strict.stop()
    strict.start()
    client = keeper(broker)
    assert client.connack.session_present
    assert payloads(taken(client, 1)) == [b"1"]


# ---- the queue ----


@VERSIONS
@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_published_while_a_client_was_away_comes_in_order(
    strict: Daemon, broker: Broker, version: int, qos: int
) -> None:
    client = keeper(broker, version)
    client.subscribe("a/#", options=qos)
    client.disconnect()
    sender = broker.client()
    for number in range(50):
        sender.publish(f"a/{number % 3}", b"%d" % number, qos=qos, retain=number % 2 == 0)
        sender.publish("other", b"x", qos=qos)
    crash(strict)
    sender = broker.client()
    for number in range(50, 100):
        sender.publish(f"a/{number % 3}", b"%d" % number, qos=qos)
    crash(strict)
    sender = broker.client()
    sender.publish("a/1", b"100", qos=qos)
    client = keeper(broker, version)
    assert payloads(taken(client, 101)) == [b"%d" % number for number in range(101)]
    sender.publish("a/1", b"live", qos=qos)
    assert payloads(taken(client, 1)) == [b"live"]
    assert client.publishes() == []


def test_an_event_without_a_value_comes_too_and_what_is_forgotten_is_empty(strict: Daemon, broker: Broker) -> None:
    client = keeper(broker)
    client.subscribe("a/#", options=9)
    client.disconnect()
    with WsClient(strict.ws_url) as desk:
        desk.hello()
        desk.send(wire.Publish(address="/mqtt/a/go", signal=wire.SignalType.EVENT))
        put(desk, "/mqtt/a/level", 7, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 600))
        put(desk, "/mqtt/a/level", None, ttl=wire.Ttl(wire.TtlMode.ABSOLUTE, 0))
    crash(strict)
    came = taken(keeper(broker), 3)
    assert [(m.topic, m.payload, m.retain) for m in came] == [
        ("a/go", b"", False), ("a/level", b"7", True), ("a/level", b"", True),
    ]  # fmt: skip
    assert [m.properties.get("message_expiry_interval", 0) > 0 for m in came] == [False, True, False]


def test_messages_come_as_they_were_published(strict: Daemon, broker: Broker) -> None:
    properties = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "answers/here",
        "correlation_data": b"\x00\xff",
        "user_property": [("a", "1"), ("a", "2")],
    }
    client = keeper(broker)
    client.subscribe("t/#", options=2 | 8)
    client.disconnect()
    sender = broker.client()
    sender.publish("t/spelled", b" 1.50 ", qos=1)
    sender.publish("t/json", b'{"b": 1,  "a": 2}', qos=2, retain=True)
    sender.publish("t/binary", bytes(range(256)), qos=1)
    sender.publish("t/all", b"text", qos=1, retain=True, props=properties)
    sender.publish("t/number", b"17", qos=1, retain=True)
    sender.publish("t//odd*%", b"", qos=1)
    sender.publish("t/number", b"", qos=1, retain=True)
    sender.publish("t/unacknowledged", b"0", qos=0)
    crash(strict)
    found = taken(keeper(broker), 7)
    assert [(message.topic, message.payload, message.qos, message.retain) for message in found] == [
        ("t/spelled", b" 1.50 ", 1, False),
        ("t/json", b'{"b": 1,  "a": 2}', 2, True),
        ("t/binary", bytes(range(256)), 1, False),
        ("t/all", b"text", 1, True),
        ("t/number", b"17", 1, True),
        ("t//odd*%", b"", 1, False),
        ("t/number", b"", 1, True),
    ]
    assert found[3].properties == properties


def test_what_was_acknowledged_does_not_come_again(strict: Daemon, broker: Broker) -> None:
    client = keeper(broker)
    client.subscribe("a", options=2)
    sender = broker.client()
    for number in range(20):
        sender.publish("a", b"%d" % number, qos=2)
    taken(client, 20)
    client.sync()
    client.vanish()
    sender.publish("a", b"20", qos=2)
    crash(strict)
    client = keeper(broker)
    assert payloads(taken(client, 1)) == [b"20"]
    assert client.publishes() == []


# ---- exactly once ----


def test_a_message_in_flight_keeps_its_identifier(strict: Daemon, broker: Broker) -> None:
    """4.3.3: sent again as the same message, the receiver knows that it has it."""
    client = keeper(broker)
    client.subscribe("a", options=2)
    sender = broker.client()
    for number in range(3):
        sender.publish("a", b"%d" % number, qos=2)
    first = [client.expect(Publish) for _ in range(3)]
    crash(strict)
    client = keeper(broker)
    again = [client.expect(Publish) for _ in range(3)]
    assert [(m.packet_id, m.payload, m.dup) for m in again] == [(m.packet_id, m.payload, True) for m in first]


def test_what_was_received_is_only_released(strict: Daemon, broker: Broker) -> None:
    """4.3.3: after PUBREC the message is not sent again, only PUBREL."""
    client = keeper(broker)
    client.subscribe("a", options=2)
    sender = broker.client()
    sender.publish("a", b"1", qos=2)
    sender.publish("a", b"2", qos=2)
    first, second = client.expect(Publish), client.expect(Publish)
    client.send(mqtt.ack(PUBREC, first.packet_id))
    client.expect_ack(PUBREL, first.packet_id)
    crash(strict)
    client = keeper(broker)
    client.expect_ack(PUBREL, first.packet_id)
    again = client.expect(Publish)
    assert (again.packet_id, again.payload, again.dup) == (second.packet_id, b"2", True)
    client.send(mqtt.ack(PUBCOMP, first.packet_id))
    client.acknowledge(again)
    sender = broker.client()
    sender.publish("a", b"3", qos=2)
    third = client.expect(Publish)
    assert third.payload == b"3"
    assert third.packet_id not in (first.packet_id, second.packet_id)


@VERSIONS
def test_what_a_client_sends_again_is_taken_once(strict: Daemon, broker: Broker, version: int) -> None:
    watcher = keeper(broker, client_id="watcher")
    watcher.subscribe("a", options=1)
    watcher.disconnect()
    client = keeper(broker, version)
    client.send(mqtt.publish(version, "a", b"once", qos=2, packet_id=9))
    client.expect_ack(PUBREC, 9)
    crash(strict)
    client = keeper(broker, version)
    client.send(mqtt.publish(version, "a", b"once", qos=2, packet_id=9, dup=True))
    client.expect_ack(PUBREC, 9)
    client.send(mqtt.ack(PUBREL, 9))
    client.expect_ack(PUBCOMP, 9)
    client.publish("a", b"next", qos=2)
    watcher = keeper(broker, client_id="watcher")
    assert payloads(taken(watcher, 2)) == [b"once", b"next"]
    assert watcher.publishes() == []


def test_an_identifier_that_is_used_anew_is_a_new_message(strict: Daemon, broker: Broker) -> None:
    """What was not released before the crash must not swallow another message, which comes without DUP."""
    client = keeper(broker)
    client.send(mqtt.publish(V5, "a", b"1", qos=2, packet_id=9))
    client.expect_ack(PUBREC, 9)
    watcher = keeper(broker, client_id="watcher")
    watcher.subscribe("a", options=1)
    crash(strict)
    client = keeper(broker)
    client.send(mqtt.publish(V5, "a", b"2", qos=2, packet_id=9))
    client.expect_ack(PUBREC, 9)
    assert payloads(taken(keeper(broker, client_id="watcher"), 1)) == [b"2"]


# ---- limits and times ----


def test_a_long_queue_comes_through_a_small_window(broker: Broker, strict: Daemon) -> None:
    """More than the queue in memory holds is read as the client takes it."""
    client = keeper(broker)
    client.subscribe("a", options=1)
    client.disconnect()
    sender = broker.client()
    for number in range(200):
        sender.publish("a", b"%d" % number + b"x" * 5_000, qos=1)
    crash(strict)
    client = keeper(broker, props={**HOUR, "receive_maximum": 3})
    for number in range(200):
        (message,) = taken(client, 1)
        assert message.payload.rstrip(b"x") == b"%d" % number
    assert client.publishes() == []


def test_what_comes_while_the_log_is_read_comes_after_it(strict: Daemon, broker: Broker) -> None:
    client = keeper(broker)
    client.subscribe("a/#", options=1)
    client.disconnect()
    sender = broker.client()
    sender.send(*(mqtt.publish(V5, "a/b", b"%d" % number, qos=1, packet_id=number + 1) for number in range(3_000)))
    for number in range(3_000):
        sender.expect_ack(mqtt.PUBACK, number + 1)
    crash(strict)
    sender = broker.client()
    client = keeper(broker, props={**HOUR, "receive_maximum": 20})
    client.subscribe("new/#", options=1)
    for number in range(3_000, 3_100):
        sender.publish("a/b", b"%d" % number, qos=1)
        sender.publish("new/b", b"%d" % number, qos=1)
    found = taken(client, 3_200)
    assert payloads([m for m in found if m.topic == "a/b"]) == [b"%d" % number for number in range(3_100)]
    assert payloads([m for m in found if m.topic == "new/b"]) == [b"%d" % number for number in range(3_000, 3_100)]


def test_a_new_subscription_has_no_past(strict: Daemon, broker: Broker) -> None:
    client = keeper(broker)
    client.subscribe("a", options=1)
    client.disconnect()
    sender = broker.client()
    sender.publish("a", b"1", qos=1)
    sender.publish("b", b"before", qos=1)
    crash(strict)
    client = keeper(broker, props={**HOUR, "receive_maximum": 1})
    client.subscribe("b", options=1)
    broker.client().publish("b", b"after", qos=1)
    assert payloads(taken(client, 2)) == [b"1", b"after"]
    assert client.publishes() == []


def test_an_expired_message_does_not_come(clocked: tuple[Daemon, ShiftedClock]) -> None:
    daemon, clock = clocked
    broker = Broker(daemon.mqtt_address)
    client = keeper(broker)
    client.subscribe("a", options=1)
    client.disconnect()
    sender = broker.client()
    sender.publish("a", b"short", qos=1, props={"message_expiry_interval": 60})
    sender.publish("a", b"long", qos=1, props={"message_expiry_interval": 600})
    daemon.kill()
    clock.shift(100)
    daemon.start()
    (message,) = taken(keeper(broker), 1)
    assert message.payload == b"long"
    assert 480 < message.properties["message_expiry_interval"] <= 500
    broker.leave()


def test_a_session_expires_while_the_router_is_off(clocked: tuple[Daemon, ShiftedClock]) -> None:
    daemon, clock = clocked
    broker = Broker(daemon.mqtt_address)
    for client_id, expiry_s in (("short", 60), ("long", 86_400)):
        client = broker.client(V5, client_id, clean=False, props={"session_expiry_interval": expiry_s})
        client.disconnect()
    broker.client().publish("t", b"1", qos=1)
    daemon.kill()
    clock.shift(3_600)
    daemon.start()
    assert not keeper(broker, client_id="short").connack.session_present
    assert keeper(broker, client_id="long").connack.session_present
    broker.leave()
    daemon.kill()
    # A clock that nobody has set says nothing about how long it was.
    clock.claim_synchronised(False)
    clock.shift(100 * 86_400)
    daemon.start()
    assert keeper(broker, client_id="long").connack.session_present
    broker.leave()


def test_no_more_sessions_than_are_allowed_come_back() -> None:
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}) as daemon:
        broker = Broker(daemon.mqtt_address)
        for number in range(5):
            client = keeper(broker, client_id=f"c{number}")
            client.subscribe("a", options=1)
            client.disconnect()
        daemon.stop()
        daemon.sets["mqtt.max_kept_sessions"] = 2
        daemon.start()
        present = [keeper(broker, client_id=f"c{number}").connack.session_present for number in range(5)]
        assert present == [False, False, False, True, True]
        broker.leave()


def test_a_delayed_will_is_published_after_a_crash(strict: Daemon, broker: Broker) -> None:
    will = mqtt.Will("wills/x", b"gone", qos=1, properties={"will_delay_interval": 1})
    keeper(broker, client_id="mortal", will=will)
    watcher = keeper(broker)
    watcher.subscribe("wills/#", options=1)
    crash(strict)
    watcher = keeper(broker)
    assert payloads(taken(watcher, 1)) == [b"gone"]


# ---- what goes wrong ----


def test_damaged_records_cost_their_sessions_only(strict: Daemon, broker: Broker) -> None:
    for client_id in ("whole", "flipped", "foreign", "placeless"):
        client = keeper(broker, client_id=client_id)
        client.subscribe("a", options=1)
        client.disconnect()
    broker.client().publish("a", b"1", qos=1)
    strict.stop()
    with lmdb.open(str(strict.data_dir / "journal"), max_dbs=0) as env, env.begin(write=True) as txn:
        stored = txn.get(note_key("mqtt-session:flipped"))
        assert stored is not None
        txn.put(note_key("mqtt-session:flipped"), stored[:-1] + bytes((stored[-1] ^ 1,)))
        txn.put(note_key("mqtt-session:foreign"), sealed(b"\x93\x01\x02\x03"))
        txn.put(note_key("mqtt-place:placeless"), sealed(b"?"))
        txn.put(note_key("mqtt-place:nobody"), sealed(b"?"))
    strict.start()
    present = {name: keeper(broker, client_id=name) for name in ("whole", "flipped", "foreign", "placeless")}
    assert {name: client.connack.session_present for name, client in present.items()} == {
        "whole": True,
        "flipped": False,
        "foreign": False,
        "placeless": True,
    }
    assert payloads(taken(present["whole"], 1)) == [b"1"]
    broker.client().publish("a", b"2", qos=1)
    assert payloads(taken(present["placeless"], 1)) == [b"2"]
    crash(strict)
    with lmdb.open(str(strict.data_dir / "journal"), max_dbs=0, readonly=True, lock=False) as env, env.begin() as txn:
        assert txn.get(note_key("mqtt-place:nobody")) is None


def test_the_mode_volatile_forgets_sessions(strict: Daemon, broker: Broker) -> None:
    keeper(broker).subscribe("a", options=1)
    strict.stop()
    for mode in ("volatile", "strict"):
        strict.sets["journal.mode"] = mode
        strict.start()
        if mode == "strict":
            assert not keeper(broker).connack.session_present
        strict.stop()
    strict.start()


CONFIG = """
[security]
mode = "authenticated"

[[security.token]]
token = "one"
scopes = ["admin:/**"]

[[security.token]]
token = "{other}"
scopes = ["admin:/**"]
"""


def test_a_session_stays_with_its_token() -> None:
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}, config=CONFIG.format(other="two")) as daemon:
        broker = Broker(daemon.mqtt_address)
        for token in ("one", "two"):
            client = keeper(broker, client_id=token, password=token, username="u")
            client.subscribe("a", options=1)
            client.disconnect()
        broker.client(username="u", password="one").publish("a", b"1", qos=1)
        daemon.kill()
        (daemon.directory / "clasp-edge.toml").write_text(CONFIG.format(other="three"))
        daemon.start()
        stranger = keeper(broker, client_id="one", username="u", password="three", expect=None)
        assert stranger.connack.code == 0x85  # client identifier not valid
        owner = keeper(broker, client_id="one", username="u", password="one")
        assert owner.connack.session_present
        assert payloads(taken(owner, 1)) == [b"1"]
        # The other's token is no more, and with it its session.
        assert not keeper(broker, client_id="two", username="u", password="three").connack.session_present
        broker.leave()


def test_group_mode_keeps_what_was_committed() -> None:
    with Daemon(mqtt=True, sets={"journal.mode": "group", "journal.commit_interval_ms": 20}) as daemon:
        broker = Broker(daemon.mqtt_address)
        client = keeper(broker)
        client.subscribe("a", options=2)
        client.disconnect()
        sender = broker.client()
        for number in range(20):
            sender.publish("a", b"%d" % number, qos=2)
        time.sleep(0.5)
        daemon.restart()
        assert payloads(taken(keeper(broker), 20)) == [b"%d" % number for number in range(20)]
        broker.leave()


def test_over_websocket_too(strict: Daemon, broker: Broker) -> None:
    """In strict mode SUBACK, QoS 2 and its acknowledgements wait for the commit, framed for this transport too."""
    for present in (False, True):
        with PahoClient(strict.ws_address, V5, "ws", expiry_s=3600, websocket=True) as client:
            assert client.connected.items[0] == (0, present)
            if not present:
                client.subscribe("a", 2)
            broker.client().publish("a", b"1", qos=2)
            client.publish("a", b"2", 2)
            assert [message.payload for message in client.received.wait(2)] == [b"1", b"2"]
        crash(strict)
