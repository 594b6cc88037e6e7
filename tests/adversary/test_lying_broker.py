"""A broker is a stranger too: whatever it says to a bridge, the router's memory, its log and its clients stay well."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import pytest
from support.bridged import Bridged, Onlooker, bridge_config
from support.console import ask
from support.live import eventually
from support.lying_broker import (
    CONNACK,
    SESSION_PRESENT,
    Connection,
    LyingBroker,
    length,
    published,
    user_property,
)
from support.mosquitto import Mosquitto
from support.process_memory import anonymous_mib

from clasp_edge import wire

MAP = {"topic": "a/#", "address": "/a/**", "arrives_as": "param"}
LONG = "x" * 900
SETTLED_S = 0.5
UNREAD_S = 5.0
"""Who reads nothing for so long reads no more."""


def greeting(then: Callable[[Connection], None], *, reads: bool = True) -> Callable[[Connection], None]:
    def behave(connection: Connection) -> None:
        connection.say(CONNACK)
        if reads:
            connection.read_on()
        then(connection)

    return behave


def grown_mib(bridged: Bridged, broker: LyingBroker) -> float:
    """How much more the process holds at its worst until the broker has said all, or is not listened to any more."""
    before = worst = anonymous_mib(bridged.daemon)
    said, unchanged_since_s = -1, time.monotonic()
    while not broker.done.wait(0.1) and time.monotonic() - unchanged_since_s < UNREAD_S:
        worst = max(worst, anonymous_mib(bridged.daemon))
        if (now := sum(connection.said_bytes for connection in broker.connections)) != said:
            said, unchanged_since_s = now, time.monotonic()
    time.sleep(SETTLED_S)
    return max(worst, anonymous_mib(bridged.daemon)) - before


def bridged_to(broker: LyingBroker, **sets: object) -> Bridged:
    return Bridged(bridge_config([broker.url], [MAP], keep_alive_s=60), wait=False, sets=sets)


def test_a_message_of_64_mib_is_read_past_and_the_next_one_is_taken() -> None:
    def behave(connection: Connection) -> None:
        body = struct.pack(">H", 3) + b"a/x" + b"\x00"
        for kind in (b"\x30", b"\x32", b"\x34"):  # of each QoS
            identifier = b"" if kind == b"\x30" else b"\x00\x07"
            start = body[:5] + identifier + body[5:]
            connection.say(kind + length(len(start) + (64 << 20)) + start)
            for _ in range(64):
                connection.say(bytes(1 << 20))
        connection.say(published("a/y", b"42", retain=True))

    with LyingBroker(greeting(behave)) as broker, bridged_to(broker) as bridged:
        assert grown_mib(bridged, broker) < 30
        bridged.wait_value("/a/y", 42)
        assert bridged.value("/a/x") is None
        assert len(broker.connections) == 1
        assert bridged.status("last_error") == "a/x: larger than is taken (mqtt.max_packet_kib)"


def test_messages_of_qos_2_that_are_never_released_are_taken_once_and_not_kept() -> None:
    def behave(connection: Connection) -> None:
        connection.flood(
            published("a/x", b"y" * 60_000, qos=2, packet_id=number, retain=True) for number in range(1, 1500)
        )
        connection.say(published("a/y", b"1", qos=2, packet_id=2000))
        connection.say(published("a/y", b"2", qos=2, packet_id=2000))  # the same once more
        connection.say(b"\x62\x02" + struct.pack(">H", 2000), published("a/z", b"3"))

    with LyingBroker(greeting(behave)) as broker, bridged_to(broker) as bridged:
        assert grown_mib(bridged, broker) < 30
        bridged.wait_value("/a/z", 3)
        assert bridged.value("/a/y") == 1


def test_an_identifier_is_a_new_one_where_the_broker_has_no_session_of_ours() -> None:
    values = iter((b"1", b"2", b"3"))
    greetings = iter((CONNACK, SESSION_PRESENT, CONNACK))

    def behave(connection: Connection) -> None:
        connection.say(next(greetings))
        connection.read_on()
        connection.say(published("a/x", next(values), qos=2, packet_id=5), published("a/end", b"0"))
        if len(broker.connections) < 3:
            time.sleep(SETTLED_S)
            connection.sock.shutdown(2)

    with LyingBroker(behave) as broker, bridged_to(broker) as bridged:
        client = bridged.listener("/a/x")
        bridged.wait_value("/a/x", 3)
        told: list[wire.Value] = []  # the first one may have been there before the client was
        while not told or told[-1] != 3:
            told.append(client.recv_until(wire.Set).value)
        assert told in ([1, 3], [3])


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (CONNACK, "a second CONNACK"),
        (b"\xc0\x00", "a PINGREQ, which only clients send"),
        (b"\x90" + length(2 << 20), "a packet of 2097152 bytes"),
    ],
)
def test_what_no_broker_says_ends_the_connection_with_a_reason(said: bytes, reason: str) -> None:
    def behave(connection: Connection) -> None:
        connection.say(said * 1000, bytes(2000))

    with LyingBroker(greeting(behave)) as broker, bridged_to(broker) as bridged:
        eventually(lambda: bridged.status("last_error") == f"the broker has sent {reason}", 20.0)
        assert "Traceback" not in bridged.daemon.stderr
        assert bridged.daemon.stderr.count("connected to") <= len(broker.connections)


def test_nothing_comes_before_connack() -> None:
    def behave(connection: Connection) -> None:
        connection.read_on()
        connection.say(published("a/x", b"1", retain=True), CONNACK)

    with LyingBroker(behave) as broker, bridged_to(broker) as bridged:
        wanted = "the broker has sent something else in place of a CONNACK"
        eventually(lambda: bridged.status("last_error") == wanted, 20.0)
        assert bridged.value("/a/x") is None


@pytest.mark.parametrize("retain", [True, False])
def test_topics_without_end_are_not_all_remembered(retain: bool) -> None:
    def behave(connection: Connection) -> None:
        via = user_property("clasp-edge-via", "v" * 500) + user_property("clasp-edge-signal", "s" * 500)
        connection.flood(
            published(f"a/{number}/{LONG}", b"1", retain=retain, properties=via) for number in range(60_000)
        )

    sets = {"state.max_mib": 4, "limits.memory_mib": 16}
    with LyingBroker(greeting(behave)) as broker, bridged_to(broker, **sets) as bridged:
        assert grown_mib(bridged, broker) < 60


def test_who_does_not_read_acknowledgements_is_not_read_either() -> None:
    def behave(connection: Connection) -> None:
        connection.flood(published("a/x", b"1", qos=1, packet_id=n % 65_535 + 1) for n in range(1_000_000))

    with LyingBroker(greeting(behave, reads=False)) as broker, bridged_to(broker) as bridged:
        assert grown_mib(bridged, broker) < 20
        assert not broker.done.is_set(), "all of it was read, and nobody reads the answers"


@pytest.mark.parametrize("asked", [b"\x13\x00\x00", b"\x13\xff\xff"])
def test_a_broker_that_wants_no_keep_alive_is_noticed_when_it_is_gone(asked: bytes) -> None:
    def behave(connection: Connection) -> None:
        connection.say(b"\x20\x06\x00\x00\x03" + asked)
        connection.sock.recv(65_536)

    with LyingBroker(behave) as broker, Bridged(bridge_config([broker.url], [MAP])) as bridged:
        bridged.wait_state("down")


def queue_of(bridged: Bridged) -> dict[str, object]:
    found: dict[str, object] = ask(bridged.daemon.control_path, request="status")["result"]["bridges"]["site"]
    return found


def write_many(bridged: Bridged, addresses: list[str], at_once: int) -> None:
    for start in range(0, len(addresses), at_once):
        few = addresses[start : start + at_once]
        bridged.client.send(wire.Bundle(tuple(wire.Set(address, 1) for address in few)))
        bridged.client.recv_until(wire.Ack)


def test_params_without_end_while_the_broker_is_away_are_not_all_queued() -> None:
    config = bridge_config(["mqtt://127.0.0.1:1"], [{"topic": "a/#", "address": "/a/**"}])
    with Bridged(config, wait=False, sets={"state.max_mib": 4}) as bridged:
        before = anonymous_mib(bridged.daemon)
        write_many(bridged, [f"/a/{number}/{LONG}" for number in range(30_000)], 60)
        assert anonymous_mib(bridged.daemon) - before < 45


def test_a_broker_that_is_back_is_told_all_params_though_not_all_were_queued() -> None:
    many = 5000
    with Mosquitto() as broker:
        broker.stop()
        config = bridge_config([broker.url], [{"topic": "a/#", "address": "/a/**"}], queue_kib=64)
        with Bridged(config, wait=False) as bridged:
            write_many(bridged, [f"/a/{number}/{LONG}" for number in range(many)], 60)
            assert 0 < int(str(queue_of(bridged)["queued"])) < many
            broker.start()
            bridged.wait_state("up")
            with Onlooker(broker.port, "a/#") as onlooker:
                eventually(lambda: len({message.topic for message in onlooker.messages}) == many, 90.0)
