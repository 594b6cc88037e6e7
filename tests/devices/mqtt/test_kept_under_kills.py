"""Killed again and again in the middle of it, the router in strict mode loses no QoS 2 message and repeats none.

Publisher and subscriber do what MQTT 5.0, 4.3.3 and 4.4 ask of them, and keep their state.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from support import mqtt_packets as mqtt
from support.daemon import Daemon
from support.mqtt_client import Closed, MqttClient
from support.mqtt_packets import PUBCOMP, PUBREC, PUBREL, V5, Ack, Publish

KILLS = 6
LONGEST_LIFE_S = 0.6
SETTLE_TIMEOUT_S = 20.0
WINDOW = 8
SEED = 21


class Party(threading.Thread, ABC):
    """A client that comes back for as long as it is not told to leave."""

    def __init__(self, name: str, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.client_id = name
        self.address = address
        self.leaving = False
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.leaving:
                try:
                    with MqttClient(self.address, V5) as client:
                        client.connect(self.client_id, clean=False, props={"session_expiry_interval": 3600})
                        self.connected(client)
                        while not self.leaving:
                            self.step(client)
                except (Closed, OSError):
                    time.sleep(0.02)
        except BaseException as problem:
            self.problem = problem

    @abstractmethod
    def connected(self, client: MqttClient) -> None:
        """With every connection."""

    @abstractmethod
    def step(self, client: MqttClient) -> None:
        """Again and again while it lasts."""


def incoming(client: MqttClient) -> mqtt.Packet | None:
    try:
        return client.recv(0.05)
    except TimeoutError:
        return None


class Publisher(Party):
    """Numbers its messages; `done` is how many went all the way."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__("publisher", address)
        self.publishing = True
        self.made = 0
        self.done = 0
        self._open: dict[int, tuple[bytes, bool]] = {}  # by identifier: payload, whether PUBREC came

    def connected(self, client: MqttClient) -> None:
        for packet_id, (payload, received) in self._open.items():
            if received:
                client.send(mqtt.ack(PUBREL, packet_id))
            else:
                client.send(mqtt.publish(V5, "a/b", payload, qos=2, packet_id=packet_id, dup=True))

    def step(self, client: MqttClient) -> None:
        while self.publishing and len(self._open) < WINDOW:
            packet_id = self.made % 100 + 1
            if packet_id in self._open:
                break
            self._open[packet_id] = b"%d" % self.made, False
            self.made += 1
            client.send(mqtt.publish(V5, "a/b", self._open[packet_id][0], qos=2, packet_id=packet_id))
        match incoming(client):
            case Ack(kind=mqtt.PUBREC, packet_id=packet_id, reason=reason):
                if packet_id in self._open:
                    assert reason < 0x80, reason
                    self._open[packet_id] = self._open[packet_id][0], True
                client.send(mqtt.ack(PUBREL, packet_id))
            case Ack(kind=mqtt.PUBCOMP, packet_id=packet_id):
                self.done += self._open.pop(packet_id, None) is not None


class Subscriber(Party):
    """Takes each message when its identifier is new to it."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__("subscriber", address)
        self.received: list[bytes] = []
        self._known: set[int] = set()

    def connected(self, client: MqttClient) -> None:
        assert client.connack.session_present

    def step(self, client: MqttClient) -> None:
        match incoming(client):
            case Publish() as message:
                if message.packet_id not in self._known:
                    self._known.add(message.packet_id)
                    self.received.append(message.payload)
                client.send(mqtt.ack(PUBREC, message.packet_id))
            case Ack(kind=mqtt.PUBREL, packet_id=packet_id):
                self._known.discard(packet_id)
                client.send(mqtt.ack(PUBCOMP, packet_id))


def await_true(condition: Callable[[], bool], parties: tuple[Party, ...]) -> None:
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    while not condition() and time.monotonic() < deadline_s:
        assert all(party.problem is None for party in parties), [party.problem for party in parties]
        time.sleep(0.02)


def test_exactly_once_and_in_order_however_often_the_router_is_killed() -> None:
    chance = random.Random(SEED)
    with Daemon(mqtt=True, sets={"journal.mode": "strict"}) as daemon:
        with MqttClient(daemon.mqtt_address, V5) as first:
            first.connect("subscriber", clean=False, props={"session_expiry_interval": 3600})
            first.subscribe("a/#", options=2)
        publisher, subscriber = Publisher(daemon.mqtt_address), Subscriber(daemon.mqtt_address)
        parties = (publisher, subscriber)
        for party in parties:
            party.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, LONGEST_LIFE_S))
            daemon.kill()
            daemon.start()
        publisher.publishing = False
        await_true(lambda: publisher.done == publisher.made and len(subscriber.received) >= publisher.made, parties)
        time.sleep(0.3)  # for what should not come
        for party in parties:
            party.leaving = True
        for party in parties:
            party.join(5)
            assert party.problem is None
        assert publisher.made > WINDOW * 2
        assert publisher.done == publisher.made
        assert subscriber.received == [b"%d" % number for number in range(publisher.made)]
