"""A running daemon for each test, and the published clients connected to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.daemon import Daemon
from support.javascript import JavaScriptClient, JavaScriptCodec
from support.python_client import PythonClient


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients look for a proxy in the environment, also on the way to this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon with the defaults, but no message rate limit."""
    with Daemon(tcp=True) as running:
        yield running


@pytest.fixture
def js(daemon: Daemon) -> Iterator[JavaScriptClient]:
    """A connected `@clasp-to/core` client."""
    with JavaScriptClient(daemon.ws_url) as client:
        yield client.connect()


@pytest.fixture
def codec(daemon: Daemon) -> Iterator[JavaScriptCodec]:
    """The codec of `@clasp-to/core` on a bare WebSocket, past its HELLO."""
    with JavaScriptCodec(daemon.ws_url) as client:
        client.connect().hello()
        yield client


@pytest.fixture
def py(daemon: Daemon) -> Iterator[PythonClient]:
    """A connected `clasp-to` client."""
    with PythonClient(daemon.ws_url) as client:
        yield client.connect()
