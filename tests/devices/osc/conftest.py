"""A daemon that serves OSC for each file of tests; clients and devices for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, fresh
from support.osc import Device


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(osc=True, sets={"osc.messages_per_second": 0}) as running:
        yield running


@pytest.fixture
def clients(daemon: Daemon) -> Iterator[Crowd]:
    crowd = Crowd(daemon)
    yield crowd
    crowd.leave()


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


@pytest.fixture
def base() -> str:
    """An OSC address prefix that no other test uses; below `/osc` for CLASP."""
    return fresh()
