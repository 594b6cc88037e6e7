"""A daemon for each file of tests, with everything that can be looked at switched on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(mqtt=True, osc=True) as running:
        yield running
