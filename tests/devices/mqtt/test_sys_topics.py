"""`$SYS/broker`: the numbers that dashboards made for Mosquitto ask for, under the same names."""

from __future__ import annotations

import re

import pytest
from support import mqtt_packets as packets
from support.live import eventually
from support.mqtt_client import Broker, fresh
from support.mqtt_packets import V311

from clasp_edge.devices.mqtt.sys_load import Loads


def numbers(mqtt: Broker) -> dict[str, str]:
    client = mqtt.client(V311)
    found = client.subscribe_with_retained("$SYS/#")[1]
    client.disconnect()
    assert all(one.retain for one in found)
    return {one.topic.removeprefix("$SYS/broker/"): one.payload.decode() for one in found}


def test_what_dashboards_ask_for(mqtt: Broker) -> None:
    before = numbers(mqtt)
    here = [mqtt.client(V311) for _ in range(3)]
    for client in here:
        client.publish(fresh(), b"x" * 1000)
    now = numbers(mqtt)
    assert re.fullmatch(r"\d+ seconds", now["uptime"])
    assert now["version"].startswith("clasp-edge ")
    assert int(now["clients/connected"]) >= 4
    assert now["clients/active"] == now["clients/connected"]
    assert now["clients/inactive"] == now["clients/disconnected"]
    assert int(now["clients/maximum"]) >= int(now["clients/connected"])
    assert int(now["bytes/received"]) >= int(before["bytes/received"]) + 3000
    assert int(now["bytes/sent"]) > int(before["bytes/sent"]) > 0
    for name in ("messages/received", "publish/sent", "bytes/received", "bytes/sent", "connections"):
        assert [f"load/{name}/{minutes}min" in now for minutes in (1, 5, 15)] == [True] * 3
    assert float(now["load/connections/1min"]) > 0
    most = int(now["clients/maximum"])
    for client in here:
        client.disconnect()
    eventually(lambda: int(numbers(mqtt)["clients/connected"]) < most)
    assert int(numbers(mqtt)["clients/maximum"]) >= most


def test_what_clients_that_have_gone_were_sent_still_counts(mqtt: Broker) -> None:
    client, topic = mqtt.client(V311), fresh()
    client.subscribe(topic)
    client.send(packets.publish(V311, topic, b"y" * 50_000))
    client.receive(b"y" * 50_000)
    sent = int(numbers(mqtt)["bytes/sent"])
    client.disconnect()
    assert int(numbers(mqtt)["bytes/sent"]) >= sent


def test_loads_are_means_that_fade() -> None:
    loads = Loads(0.0)
    for second in range(10, 601, 10):
        loads.note({"x": second}, second)  # one each second
    found = {name: float(text) for name, text in loads.topics().items()}
    assert found["x/1min"] == pytest.approx(60, abs=0.5)
    assert 40 < found["x/5min"] < 60
    assert 20 < found["x/15min"] < found["x/5min"]
    loads.note({"x": 600}, 600.0)  # no time has gone by
    loads.note({"x": 600}, 660.0)
    faded = {name: float(text) for name, text in loads.topics().items()}
    assert faded["x/1min"] == pytest.approx(found["x/1min"] / 2.718, rel=0.01)
    assert faded["x/15min"] < found["x/15min"]


def test_nobody_has_looked_for_long() -> None:
    loads = Loads(100.0)
    loads.note({"x": 3600}, 3700.0)
    assert loads.topics() == {"x/1min": "60.00", "x/5min": "60.00", "x/15min": "58.90"}
