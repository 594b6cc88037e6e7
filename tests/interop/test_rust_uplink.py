"""Our uplink with the reference router as its hub: what happens on one side is known on the other, after outages too.

The reference keeps nothing over its death and acknowledges no PUBLISH; see also test_rust_hub.py.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.live import eventually, get, params_of, put, subscribe
from support.rust_router import RustRouter, why_not

from clasp_edge import wire
from clasp_edge.wire import Qos

CONFIG = """
[uplink.hub]
url = "{url}"
owns = ["/site/**"]
wants = ["/show/**"]
dead_after_ms = 800
"""


@pytest.fixture
def hub() -> Iterator[RustRouter]:
    if reason := why_not():
        pytest.skip(reason)
    with RustRouter() as running:
        yield running


@pytest.fixture
def box(hub: RustRouter) -> Iterator[Daemon]:
    """Ours, linked."""
    with Daemon(config=CONFIG.format(url=hub.url), sets={"journal.mode": "strict"}) as running:
        await_up(running)
        yield running


def await_up(box: Daemon) -> None:
    with greeted(box) as client:
        eventually(lambda: state(client) == "up")


def state(client: WsClient) -> object:
    param = get(client, "/clasp-edge/uplinks/hub/state")
    return param.value if param is not None else None


def greeted(box: Daemon) -> WsClient:
    client = WsClient(box.ws_url)
    client.hello()
    client.snapshot += params_of(client.sync())
    return client


def values(hub: RustRouter, prefix: str) -> dict[str, wire.Value]:
    with hub.client("reader") as reader:
        return {param.address: param.value for param in reader.snapshot if param.address.startswith(prefix)}


def publish(client: WsClient, address: str, value: int) -> None:
    """An event that is acknowledged."""
    message = wire.Publish(address=address, signal=wire.SignalType.EVENT, value=value)
    client.send(wire.Bundle(messages=[message]), Qos.CONFIRM)
    client.recv_type(wire.Ack)


def events(client: WsClient, count: int) -> list[wire.Value | wire.messages.Absent]:
    return [client.recv_until(wire.Publish).value for _ in range(count)]


def test_what_is_set_here_is_known_there_and_the_other_way_round(hub: RustRouter, box: Daemon) -> None:
    with greeted(box) as here, hub.client("there") as there, hub.client("listener") as listener:
        subscribe(listener, "/site/**")
        subscribe(here, "/show/**")
        for number in range(5):
            with greeted(box) as writer:
                put(writer, "/site/level", number)
            eventually(lambda number=number: values(hub, "/site/level") == {"/site/level": number})  # type: ignore[misc]
        with greeted(box) as writer:
            publish(writer, "/site/cue", 7)
        assert events(listener, 1) == [7]
        for number in range(5):
            put(there, "/show/scene", number)
            assert here.recv_until(wire.Set).value == number
        there.send(wire.Publish(address="/show/go", signal=wire.SignalType.EVENT, value=1))
        assert events(here, 1) == [1]


def test_what_was_there_before(hub: RustRouter) -> None:
    with hub.client("there") as there:
        put(there, "/show/scene", 3)
        put(there, "/site/level", 1)
        put(there, "/elsewhere", 1)
    with Daemon(config=CONFIG.format(url=hub.url), sets={"journal.mode": "strict"}) as box:
        await_up(box)
        with greeted(box) as here:
            eventually(lambda: (param := get(here, "/show/scene")) is not None and param.value == 3)
            assert get(here, "/elsewhere") is None
            put(here, "/site/level", 2)
        eventually(lambda: values(hub, "/site/level") == {"/site/level": 2})


def test_a_hub_that_has_forgotten_everything_is_told_again(hub: RustRouter, box: Daemon) -> None:
    with greeted(box) as here:
        for number in range(300):
            put(here, f"/site/p/{number}", number)
        eventually(lambda: len(values(hub, "/site/p/")) == 300)
        hub.kill()
        put(here, "/site/p/0", 1000)
        for number in range(3):
            publish(here, "/site/cue", number)
        eventually(lambda: state(here) != "up")
    hub.start()
    with hub.client("listener") as listener:
        subscribe(listener, "/site/cue")
        assert events(listener, 3) == [0, 1, 2]
    eventually(lambda: values(hub, "/site/p/") == {f"/site/p/{n}": n or 1000 for n in range(300)})
    await_up(box)


def test_a_hub_that_hangs(hub: RustRouter, box: Daemon) -> None:
    with hub.client("listener") as listener, greeted(box) as here:
        subscribe(listener, "/site/**")
        hub.signal(signal.SIGSTOP)
        try:
            put(here, "/site/level", 1)
            publish(here, "/site/cue", 1)
            eventually(lambda: state(here) != "up")
            publish(here, "/site/cue", 2)
        finally:
            hub.signal(signal.SIGCONT)
        await_up(box)
        found = set(events(listener, 2))
        # It does not say what it has taken of an event before it hung, so that one may come again.
        deadline_s = time.monotonic() + 10
        while 2 not in found and time.monotonic() < deadline_s:
            found |= set(events(listener, 1))
        assert found == {1, 2}
        eventually(lambda: values(hub, "/site/level") == {"/site/level": 1})


def test_a_box_that_was_killed_with_a_queue(hub: RustRouter, box: Daemon) -> None:
    hub.kill()
    with greeted(box) as here:
        eventually(lambda: state(here) != "up")
        for number in range(20):
            publish(here, "/site/cue", number)
        put(here, "/site/level", 5)
    box.restart()
    hub.start()
    with hub.client("listener") as listener:
        subscribe(listener, "/site/cue")
        await_up(box)
        assert events(listener, 20) == list(range(20))
    assert values(hub, "/site/level") == {"/site/level": 5}
