"""A real broker for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.mosquitto import Mosquitto


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


@pytest.fixture(scope="module")
def shared_broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running
