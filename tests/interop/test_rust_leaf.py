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
            # Each of them, not only the first: it takes a revision for the one it should have itself.
            for number in range(10, 20):
                put(writer, "/site/a", number)
                assert listener.recv_type(wire.Set).value == number
    with leaf.client() as reader:
        assert {param.address for param in reader.snapshot} == {"/site/a", "/site/b"}


def test_what_has_changed_while_it_was_away_is_there_when_it_is_back(daemon: Daemon, leaf: RustRouter) -> None:
    with WsClient(daemon.ws_url).hello("writer") as writer, leaf.client("listener") as listener:
        subscribe(listener, "/site/**")
        for number in range(3):
            put(writer, "/site/a", number)
            assert listener.recv_type(wire.Set).value == number
        daemon.restart()  # it keeps nothing here: the leaf has a value, and the hub a younger param
        with WsClient(daemon.ws_url).hello("writer again") as again:
            put(again, "/site/a", 100)
            put(again, "/site/b", 200)
        heard = {message.address: message.value for message in (listener.recv_until(wire.Set, 15.0) for _ in range(2))}
        assert heard == {"/site/a": 100, "/site/b": 200}


def test_it_hears_of_its_siblings(daemon: Daemon, leaf: RustRouter) -> None:
    with (
        RustRouter(leaf_of=daemon.ws_url, name="rust-2", owns=["/elsewhere/**"]) as sibling,
        WsClient(daemon.ws_url).hello("writer") as writer,
        leaf.client("listener") as here,
        sibling.client("listener") as there,
    ):
        subscribe(here, "/elsewhere/**")
        subscribe(there, "/site/**")
        put(writer, "/elsewhere/before", 1)
        put(writer, "/site/before", 2)
        assert heard_until(here, "/elsewhere/before", 1) == [1]
        assert heard_until(there, "/site/before", 2) == [2]
        for number in range(5):
            put(writer, "/elsewhere/a", number)
            put(writer, "/site/a", -number)
        assert heard_until(here, "/elsewhere/a", 4) == [0, 1, 2, 3, 4]
        assert heard_until(there, "/site/a", -4) == [0, -1, -2, -3, -4]


def heard_until(client: WsClient, address: str, value: int) -> list[wire.Value]:
    """The values of the address, up to and with this one; what is only said again counts once."""
    found: list[wire.Value] = []
    while value not in found:
        message = client.recv_until(wire.Set)
        if message.address == address and found[-1:] != [message.value]:
            found.append(message.value)
    return found
