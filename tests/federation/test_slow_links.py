"""Links through a network that is slow or renumbers: an event beside a large state, and QUIC from another address."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from outages.links import ELSEWHERE, await_up, stage
from support.client import WsClient
from support.federation_net import Net, why_not
from support.live import eventually, get, subscribe

from clasp_edge import wire

PARAMS = 20_000
SLOW_KB = 100.0
"""A second: the state takes ten."""

WAIT_S = 30.0


@pytest.fixture
def net() -> Iterator[Net]:
    if reason := why_not():
        pytest.skip(reason)
    with Net("hub", "box") as made:
        yield made


def value(client: WsClient, address: str) -> wire.Value:
    param = get(client, address)
    return param.value if param is not None else None


@pytest.mark.parametrize("kind", ["wss", "quic"])
def test_an_event_does_not_wait_for_the_state(net: Net, kind: str) -> None:
    stage(net, kind, "group")
    with net["hub"].client("writer") as writer:
        for number in range(PARAMS):
            writer.send(wire.Set(f"/hub/param/{number}", float(number)))
        writer.sync(WAIT_S)
        net["box"].daemon.stop()
        shutil.rmtree(net["box"].daemon.data_dir)  # it comes back without any state
        net.both("box", rate_kb=SLOW_KB)
        net["box"].daemon.start()
        with net["box"].client("ear") as ear:
            subscribe(ear, "/hub/**")
            heard = 0
            while True:
                message = ear.recv(WAIT_S)
                if isinstance(message, wire.Publish):
                    break
                heard += isinstance(message, wire.Set)
                if heard == 1:
                    writer.send(wire.Publish("/hub/cue", wire.SignalType.EVENT, 1.0))
            # The hub has told no more of the state than the box takes in beside events.
            assert heard < PARAMS
            while heard < PARAMS:
                heard += isinstance(ear.recv(WAIT_S), wire.Set)


@pytest.mark.parametrize("kind", ["wss", "quic"])
def test_an_event_of_a_box_does_not_wait_for_its_state(net: Net, kind: str) -> None:
    """The other way round: the hub, which keeps no journal, was started anew."""
    stage(net, kind, "off")
    with net["box"].client("writer") as writer:
        for number in range(PARAMS):
            writer.send(wire.Set(f"/box/param/{number}", float(number)))
        writer.sync(WAIT_S)
        net.both("box", rate_kb=SLOW_KB)
        net["hub"].daemon.restart()
        with net["hub"].client("ear") as ear:
            subscribe(ear, "/box/**")
            heard = 0
            while True:
                message = ear.recv(WAIT_S)
                if isinstance(message, wire.Publish):
                    break
                heard += isinstance(message, wire.Set)
                if heard == 1:
                    writer.send(wire.Publish("/box/cue", wire.SignalType.EVENT, 1.0))
            assert heard < PARAMS


def test_a_link_over_quic_goes_on_from_another_address(net: Net) -> None:
    stage(net, "quic", "group")
    with net["box"].client("writer") as writer, net["hub"].client("reader") as reader:
        writer.send(wire.Set("/box/here", 1))
        eventually(lambda: value(reader, "/box/here") == 1, WAIT_S)
        net.readdress("box", ELSEWHERE)
        writer.send(wire.Set("/box/here", 2))
        eventually(lambda: value(reader, "/box/here") == 2, WAIT_S)
    await_up(net)
    assert net["box"].log(1000).count("connected to quic://") == 1
