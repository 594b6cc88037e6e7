"""MQTT 5.0 chapter 4.7: which topics a filter matches, and the topics of the server itself."""

from __future__ import annotations

import pytest
from support import mqtt_packets as mqtt
from support.mqtt_client import Broker, fresh

# Relative to a base topic B: filter, topics that match, topics that do not. From the examples of section 4.7.
CASES = [
    ("B/tennis/player1/#", ["B/tennis/player1", "B/tennis/player1/r", "B/tennis/player1/r/w"], ["B/tennis/player2"]),
    ("B/#", ["B", "B/", "B/a", "B/a/b", "B//"], ["Bx", "Bx/a"]),
    ("B/+", ["B/a", "B/", "B/$a"], ["B", "B/a/b", "B/a/"]),
    ("B/+/", ["B/a/", "B//"], ["B/a", "B/a/b"]),
    ("B/+/+", ["B/a/b", "B//", "B/a/"], ["B/a", "B/a/b/c"]),
    ("B/+/c", ["B/b/c", "B//c"], ["B/c", "B/b/b/c", "B/b/c/"]),
    ("B/a", ["B/a"], ["B/A", "B/a/", "B/a ", "/B/a"]),
    ("B/ ", ["B/ "], ["B/", "B"]),
    ("/B", ["/B"], ["B", "B/"]),
    ("+/B", ["/B", "x/B"], ["B", "B/B/B"]),
    ("/+/B", ["/x/B", "//B"], ["x/B", "/x/y/B"]),
    ("B/+/#", ["B/a", "B/a/b", "B/"], ["B"]),
    ("B/*", ["B/*"], ["B/a"]),
    ("B/**", ["B/**"], ["B/a", "B/a/b"]),
    ("B/[ab]/?{x}", ["B/[ab]/?{x}"], ["B/a/?{x}"]),
    ("B/ä/ö", ["B/ä/ö"], ["B/a\u0308/ö"]),
]


@pytest.mark.parametrize(("pattern", "matching", "other"), CASES, ids=[case[0].replace(" ", "_") for case in CASES])
def test_mqtt_4_7_1_filters(broker: Broker, version: int, pattern: str, matching: list[str], other: list[str]) -> None:
    """[MQTT-4.7.3-4], [MQTT-3.3.2-3]."""
    base = fresh()
    client, sender = broker.client(version), broker.client(version)
    assert client.subscribe(pattern.replace("B", base)).codes == [0]
    for topic in [*other, *matching]:
        sender.send(mqtt.publish(version, topic.replace("B", base), topic.encode()))
    assert sender.sync() == []
    got = client.publishes()
    assert [found.topic for found in got] == [topic.replace("B", base) for topic in matching]
    assert [found.payload.decode() for found in got] == matching


@pytest.mark.parametrize("pattern", ["#", "+/#", "+/+/#", "+/broker/#"])
def test_mqtt_4_7_2_1_wildcards_do_not_match_dollar_topics(broker: Broker, version: int, pattern: str) -> None:
    client = broker.client(version)
    _, retained = client.subscribe_with_retained(pattern)
    assert not [found.topic for found in retained if found.topic.startswith("$")]


def test_mqtt_4_7_2_sys_topics(broker: Broker, version: int) -> None:
    """`$SYS/#` tells about the server, retained; and goes on doing so."""
    client = broker.client(version)
    _, retained = client.subscribe_with_retained("$SYS/#")
    if not retained:  # it publishes at intervals
        retained = [client.expect(mqtt.Publish, timeout=12.0)]
    assert retained
    assert all(found.topic.startswith("$SYS/") for found in retained)


def test_mqtt_4_7_2_clients_cannot_write_sys_topics(broker: Broker, version: int) -> None:
    topic = f"$SYS/{fresh()}"
    watcher, client = broker.client(version), broker.client(version)
    watcher.subscribe_with_retained(topic)
    client.send(mqtt.publish(version, topic, b"x", retain=True, qos=1, packet_id=1))
    try:
        client.sync()
    except Exception:
        client.vanish()
    assert [found for found in watcher.publishes() if found.topic == topic] == []
