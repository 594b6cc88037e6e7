"""The reference's leaf with our hub: it dials in, declares its part, and its clients see what happens in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually, put, subscribe
from support.rust_router import RustRouter, why_not

from clasp_edge import wire


@pytest.fixture
def leaf(daemon: Daemon) -> Iterator[RustRouter]:
    """A reference router whose hub is our daemon; it owns /site/**."""
    if reason := why_not():
        pytest.skip(reason)
    with RustRouter(leaf_of=daemon.ws_url, name="rust-1", owns=["/site/**"]) as running:
        eventually(lambda: "'rust-1' declares 1 namespaces" in daemon.stderr)
        yield running


def test_what_is_written_at_the_hub_is_there(daemon: Daemon, leaf: RustRouter) -> None:
    with leaf.client("listener") as listener:
        assert subscribe(listener, "/site/**") == []
        with WsClient(daemon.ws_url).hello("writer") as writer:
            put(writer, "/site/a", 1)
            assert listener.recv_type(wire.Set).value == 1
            writer.send(wire.Publish(address="/site/cue", signal=wire.SignalType.EVENT, value=7))
            assert listener.recv_type(wire.Publish).value == 7
            put(writer, "/elsewhere/a", 2)
            put(writer, "/site/b", 3)
            assert listener.recv_type(wire.Set).value == 3
    with leaf.client() as reader:
        assert {param.address for param in reader.snapshot} == {"/site/a", "/site/b"}
