"""A daemon for each file of tests, and clients for each test.

A file that needs another configuration has its own `daemon`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, fresh


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True) as running:
        yield running


@pytest.fixture
def clients(daemon: Daemon) -> Iterator[Crowd]:
    crowd = Crowd(daemon)
    yield crowd
    crowd.leave()


@pytest.fixture
def base() -> str:
    """An address prefix that no other test uses."""
    return fresh()
