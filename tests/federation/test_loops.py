"""Routers in a ring, two links to one hub, a chain: each write and each event arrives everywhere once, then silence."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest
from support.client import WsClient
from support.federation_net import Net, why_not
from support.live import eventually, get, of_type, put, subscribe

from clasp_edge import wire

ALL = ["/r/**"]
SETTLE_S = 0.3
QUIET_PACKETS = 100
"""In `SETTLE_S`, of three hosts with a link or two each: pings and heartbeats, no more."""


@pytest.fixture(autouse=True)
def needs_namespaces() -> None:
    if reason := why_not():
        pytest.skip(reason)


def await_links(net: Net, **uplinks: tuple[str, ...]) -> None:
    """Wait until each of these hosts says that each of these uplinks is up."""
    for host, names in uplinks.items():
        for name in names:
            address = f"/clasp-edge/uplinks/{name}/state"
            eventually(lambda host=host, address=address: net[host].values(address) == {address: "up"})  # type: ignore[misc]


def check_once_everywhere(net: Net, writers: tuple[str, ...], prefix: str) -> None:
    """Write and publish below the prefix at each of the writers in turn: everybody hears it once, and that is all."""
    with ExitStack() as stack:
        listeners: dict[str, WsClient] = {}
        for host in net:
            listeners[host.name] = stack.enter_context(host.client("listener"))
            subscribe(listeners[host.name], f"{prefix}/**")
        for number, name in enumerate(writers, start=1):
            with net[name].client("writer") as writer:
                put(writer, f"{prefix}/param", number)
                cue = wire.Publish(address=f"{prefix}/cue", signal=wire.SignalType.EVENT, value=number)
                writer.send(cue)
                writer.sync()
            time.sleep(SETTLE_S)
            before = net.packets()
            time.sleep(SETTLE_S)
            packets = net.packets() - before
            assert packets < QUIET_PACKETS, f"{packets} packets in {SETTLE_S:g} s after a write at {name}"
            for where, listener in listeners.items():
                heard = listener.sync()
                assert [message.value for message in of_type(heard, wire.Set)] == [number], f"at {where}: {heard}"
                assert [message.value for message in of_type(heard, wire.Publish)] == [number], f"at {where}: {heard}"
        revisions = []
        for _ in range(2):
            params = {where: get(listener, f"{prefix}/param") for where, listener in listeners.items()}
            revisions.append({where: param.revision if param is not None else 0 for where, param in params.items()})
        assert revisions[0] == revisions[1]


def test_a_ring_with_overlapping_namespaces() -> None:
    with Net("x", "y", "z") as net:
        net.serve("x", uplink_to="y", owns=ALL)
        net.serve("y", uplink_to="z", owns=[*ALL, "/r/y/**"])
        net.serve("z", uplink_to="x", owns=["/r/z/**"], wants=ALL)
        await_links(net, x=("up",), y=("up",), z=("up",))
        check_once_everywhere(net, ("x", "y", "z"), "/r/ring")
        check_once_everywhere(net, ("z",), "/r/y")


def test_two_links_to_the_same_hub() -> None:
    with Net("hub", "a") as net:
        net.serve("hub")
        second = f'\n[uplink.second]\nurl = "{net["hub"].url}"\nowns = ["/r/a/**"]\nwants = ["/r/**"]\n'
        net.serve("a", uplink_to="hub", owns=["/r/a/**"], wants=ALL, config=second)
        await_links(net, a=("up", "second"))
        check_once_everywhere(net, ("a", "hub"), "/r/a")
        check_once_everywhere(net, ("hub",), "/r/elsewhere")


def test_a_chain() -> None:
    with Net("top", "middle", "bottom") as net:
        net.serve("top")
        net.serve("middle", uplink_to="top", owns=["/r/middle/**"], wants=ALL)
        net.serve("bottom", uplink_to="middle", owns=["/r/bottom/**"], wants=ALL)
        await_links(net, middle=("up",), bottom=("up",))
        check_once_everywhere(net, ("bottom", "top", "middle"), "/r/bottom")
