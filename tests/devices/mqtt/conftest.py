"""A daemon with an MQTT listener for each file of tests; the clients of a test, of both kinds, closed together.

A file that needs another configuration has its own `daemon`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.fixtures import clients
from support.live import Crowd
from support.mqtt_client import Broker

__all__ = ["clasp", "clients", "daemon", "mqtt"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True) as running:
        yield running


@pytest.fixture
def clasp(clients: Crowd) -> Crowd:
    """CLASP clients."""
    return clients


@pytest.fixture
def mqtt(daemon: Daemon) -> Iterator[Broker]:
    """MQTT clients."""
    broker = Broker(daemon.mqtt_address)
    yield broker
    broker.leave()
