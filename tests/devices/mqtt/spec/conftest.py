"""The broker under test: a daemon of our own, or any other one that MQTT_TEST_BROKER=HOST:PORT names.

Test names carry the number of the normative statement in MQTT 5.0 (`test_mqtt_3_1_2_22_...` is [MQTT-3.1.2-22]); where
3.1.1 numbers it differently or says it alone, the docstring has that number. Everything is sent and compared as bytes
on a plain socket.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.mqtt_client import Broker, MqttClient
from support.mqtt_packets import V5, V311


@pytest.fixture(scope="session")
def address() -> Iterator[tuple[str, int]]:
    """Where the broker listens. An own daemon must be healthy to the end."""
    given = os.environ.get("MQTT_TEST_BROKER")
    if given:
        host, _, port = given.rpartition(":")
        yield host, int(port)
        return
    with Daemon(mqtt=True) as daemon:
        yield daemon.mqtt_address


@pytest.fixture(scope="session")
def bystander(address: tuple[str, int]) -> Iterator[MqttClient]:
    """A client that is there all the time."""
    with MqttClient(address) as client:
        client.connect()
        client.subscribe("bystander/#", options=1)
        yield client


@pytest.fixture
def broker(address: tuple[str, int], bystander: MqttClient) -> Iterator[Broker]:
    """The broker, and the test's connections to it. Whatever a test does, the bystander must not notice."""
    broker = Broker(address)
    yield broker
    broker.leave()
    assert bystander.sync() == []
    with MqttClient(address) as other:
        other.connect()
        other.publish("bystander/beat", b"still there", qos=1)
    bystander.receive(b"still there")


@pytest.fixture(params=[V311, V5], ids=["v311", "v5"])
def version(request: pytest.FixtureRequest) -> int:
    """Both protocol versions, one after the other."""
    version: int = request.param
    return version
