"""Fixtures that directories of tests have in common; a `conftest.py` takes over those it names in `__all__`.

A file that needs another configuration has its own `daemon`, and these then use that one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.live import Crowd, fresh


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon for each file of tests."""
    with Daemon(tcp=True) as running:
        yield running


@pytest.fixture
def clients(daemon: Daemon) -> Iterator[Crowd]:
    """CLASP clients of the daemon, closed together after each test."""
    crowd = Crowd(daemon)
    yield crowd
    crowd.leave()


@pytest.fixture
def base() -> str:
    """An address prefix that no other test uses."""
    return fresh()
