"""A daemon that serves OSC for each file of tests; clients and devices for each test.

`base` is what goes before OSC addresses; below `/osc` for CLASP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.daemon import Daemon
from support.fixtures import base, clients
from support.osc import Device

__all__ = ["base", "clients", "daemon", "device", "devices"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(osc=True, sets={"osc.messages_per_second": 0}) as running:
        yield running


@pytest.fixture
def device(daemon: Daemon) -> Iterator[Device]:
    with Device(daemon.osc_address) as one:
        yield one


@pytest.fixture
def devices(daemon: Daemon) -> Iterator[Callable[[], Device]]:
    """As many devices as a test asks for."""
    made: list[Device] = []

    def make() -> Device:
        made.append(Device(daemon.osc_address))
        return made[-1]

    yield make
    for one in made:
        one.close()
