"""A real broker for each test that asks for one; skipped, saying so, where Mosquitto cannot be had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.mosquitto import Mosquitto, find_mosquitto


@pytest.fixture(scope="session")
def needs_mosquitto() -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed (.ci/need mqtt)")


@pytest.fixture
def broker(needs_mosquitto: None) -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


@pytest.fixture(scope="module")
def shared_broker(needs_mosquitto: None) -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running
