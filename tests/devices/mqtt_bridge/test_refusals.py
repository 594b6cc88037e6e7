"""Brokers that refuse a subscription, for now: nodes of a cluster without a leader can say nothing else."""

from __future__ import annotations

import threading

from support.bridged import Bridged, Map, bridge_config
from support.live import eventually
from support.lying_broker import CONNACK, Connection, LyingBroker, granted, published

UNSPECIFIED = 0x80
SUBSCRIBE = 0x82
PUBLISH = 3

MAPS: list[Map] = [
    {"topic": "b/#", "address": "/b/**", "arrives_as": "param"},
    {"topic": "a/#", "address": "/a/**", "arrives_as": "param"},
]


class Choosy:
    """Grants what is asked for, but for the topics that it `refuses`, and says then what it has of it."""

    def __init__(self, *refuses: bytes) -> None:
        self.refuses = set(refuses)
        self.has = {b"a/#": published("a/x", b"1", retain=True), b"b/#": published("b/y", b"2", retain=True)}
        self.refusals = 0
        self.was_told = threading.Event()
        """Once it has been told something."""

    def __call__(self, connection: Connection) -> None:
        connection.say(CONNACK)
        for first, body in connection.packets():
            if first == SUBSCRIBE:
                topic = body[5:-1]
                if topic in self.refuses:
                    self.refusals += 1
                    connection.say(granted(body[:2], UNSPECIFIED))
                else:
                    connection.say(granted(body[:2], 1), self.has[topic])
            elif first >> 4 == PUBLISH:
                size = 2 + int.from_bytes(body[:2])
                if first & 6:
                    connection.say(b"\x40\x02" + body[size : size + 2])
                self.was_told.set()


def test_a_subscription_that_was_refused_is_asked_for_again_until_it_is_granted() -> None:
    choosy = Choosy(b"a/#", b"b/#")
    with LyingBroker(choosy) as broker:
        with Bridged(bridge_config([broker.url], MAPS, keep_alive_s=60)) as bridged:
            eventually(lambda: choosy.refusals >= 4, 20.0)
            assert str(bridged.status("last_error")).startswith("the broker refused the subscription to ")
            choosy.refuses = {b"b/#"}
            bridged.wait_value("/a/x", 1)
            assert bridged.value("/b/y") is None
            choosy.refuses = set()
            bridged.wait_value("/b/y", 2)
        assert len(broker.connections) == 1


def test_what_a_broker_did_not_name_because_it_refused_is_not_taken_for_cleared() -> None:
    choosy = Choosy()
    with LyingBroker(choosy) as broker:
        config = bridge_config([broker.url], MAPS, keep_alive_s=60)
        with Bridged(config, sets={"journal.mode": "strict"}) as bridged:
            bridged.wait_value("/b/y", 2)
            bridged.put("/a/own", 3)
            eventually(choosy.was_told.is_set)
            bridged.daemon.kill()
            choosy.was_told.clear()
            choosy.refuses = {b"b/#"}
            bridged.daemon.start()
            bridged.client = bridged.crowd.ws("asker")
            # What the broker has not named is said to it when all has been compared, of the other map before this one.
            eventually(choosy.was_told.is_set)
            assert bridged.value("/b/y") == 2
