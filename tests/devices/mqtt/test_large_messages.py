"""Large messages go to the socket from where they were read: among small ones, to who reads slowly, byte for byte."""

from __future__ import annotations

import asyncio
import os
import random
import socket

import pytest
from support import mqtt_packets as mqtt_format
from support.mqtt_client import Broker, MqttClient, fresh
from support.mqtt_served import Served, serve

SIZES = (0, 10, 4_000, 12_287, 12_288, 12_289, 20_000, 65_000, 66_000, 200_000)


def messages(seed: int, number: int) -> list[bytes]:
    chance = random.Random(seed)
    return [os.urandom(size) for size in chance.choices(SIZES, k=number - len(SIZES)) + list(SIZES)]


def send_all(sender: MqttClient, topic: str, payloads: list[bytes], qos: int) -> None:
    """Without waiting in between, so that one read brings many."""
    sender.send(
        *(
            mqtt_format.publish(sender.version, topic, payload, qos=qos, packet_id=number)
            for number, payload in enumerate(payloads, 1)
        )
    )


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_they_come_whole_and_in_order_among_small_ones(mqtt: Broker, qos: int) -> None:
    topic = fresh()
    plain = mqtt.client(mqtt_format.V311)
    plain.subscribe(topic, options=qos)
    tagged = mqtt.client()
    tagged.subscribe(topic, options=qos, props={"subscription_identifier": [7]})
    aliased = mqtt.client(props={"topic_alias_maximum": 3})
    aliased.subscribe(topic, options=qos)
    sender = mqtt.client()
    payloads = messages(qos, 25)
    for payload in payloads:
        send_all(sender, topic, [payload], qos and 1)
        for client in (plain, tagged, aliased):
            found = client.receive(payload)
            assert found.qos == min(qos, 1)
        assert found.topic in (topic, "")
    assert qos or not sender.sync()


def test_who_does_not_read_gets_all_of_them_later(mqtt: Broker) -> None:
    topic = fresh()
    slow = mqtt.open(mqtt_format.V311)
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
    slow.connect()
    slow.subscribe(topic, options=1)
    quick = mqtt.client()
    quick.subscribe(topic, options=1)
    sender = mqtt.client()
    payloads = [os.urandom(size) for size in (*SIZES, 1_000_000, 12_288, 900_000, 1_000_000, 20_000)]
    for payload in payloads:
        send_all(sender, topic, [payload], 1)
        quick.receive(payload)
    for payload in payloads:
        slow.receive(payload)


def test_none_is_sent_that_is_larger_than_the_client_takes(mqtt: Broker) -> None:
    topic = fresh()
    client = mqtt.client(props={"maximum_packet_size": 30_000})
    client.subscribe(topic, options=1)
    sender = mqtt.client()
    payloads = [os.urandom(size) for size in (20_000, 40_000, 29_000, 30_000, 13_000)]
    for payload in payloads:
        sender.publish(topic, payload, qos=1)
    for payload in payloads:
        if len(payload) < 30_000:
            client.receive(payload)
    assert client.sync() == []


def test_one_in_pieces_of_any_size_comes_whole(mqtt: Broker) -> None:
    topic = fresh()
    client = mqtt.client()
    client.subscribe(topic)
    sender = mqtt.client()
    chance = random.Random(3)
    for size in (17_000, 70_000, 300_000):
        payload = os.urandom(size)
        packet = mqtt_format.publish(sender.version, topic, payload) * 2 + mqtt_format.pingreq()
        at = 0
        while at < len(packet):
            piece = chance.choice((1, 100, 1448, 16_384, 50_000))
            sender.send(packet[at : at + piece])
            at += piece
        client.receive(payload)
        client.receive(payload)
        assert isinstance(sender.recv(), mqtt_format.Pingresp)


@pytest.mark.parametrize("qos", [0, 1])
def test_what_the_socket_does_not_take_at_once_follows(qos: int) -> None:
    async def scenario(served: Served) -> None:
        listener, connection = await served.login("listener", send_buffer=4608)
        listener.send(mqtt_format.subscribe(mqtt_format.V311, 1, [("t", qos)]))
        await served.receive(listener, 5)
        sender, _ = await served.login("sender")
        sent = b""
        for number, size in enumerate((70_000, 3, 30_000, 12_288, 0, 40_000), 1):
            payload = os.urandom(size)
            packet = mqtt_format.publish(mqtt_format.V311, "t", payload, qos=qos, packet_id=number)
            await served.loop.sock_sendall(sender, packet)
            sent += packet
            if number in (1, 4):
                await asyncio.sleep(0)
        assert await served.receive(listener, len(sent)) == sent
        assert connection.session is not None
        assert not connection.session.queued_bytes
        listener.close()
        sender.close()
        await served.left()

    serve(scenario)
