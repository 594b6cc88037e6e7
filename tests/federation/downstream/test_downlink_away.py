"""A box that is away for a while: what must arrive as a whole and was said at the hub meanwhile has, once, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest
from support.client import WsClient
from support.daemon import Daemon
from support.federated import JOURNAL, await_down, await_up, await_value, box, client, uplink
from support.live import eventually, of_type, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import FederationOp, FederationSync, Publish, Set, SignalType

STORED_S = 0.3
"""A journal that commits every 20 ms has stored what is older, on a busy machine too."""

NOWHERE = "ws://127.0.0.1:9"


@pytest.fixture
def hub() -> Iterator[Daemon]:
    running = Daemon(sets=JOURNAL)
    try:
        yield running.start()
        assert "Traceback" not in running.stderr
    finally:
        running.close()


def boxed(hub: Daemon, **settings: object) -> Daemon:
    return box(text_of(hub.ws_url, **settings), sets=JOURNAL)


def text_of(url: str, **settings: object) -> str:
    return uplink(url, **{"owns": ["/own/**"], "wants": ["/show/**"], **settings})


def connect(edge: Daemon, url: str, **settings: object) -> None:
    """Have the box dial another address, as the same uplink."""
    (edge.directory / "clasp-edge.toml").write_text(text_of(url, **settings))
    edge.hangup()


def cue(writer: WsClient, numbers: Sequence[int], address: str = "/show/cue") -> None:
    for number in numbers:
        writer.send(Publish(address, signal=SignalType.EVENT, value=number))
    writer.sync()


def cues_of(listener: WsClient, count: int) -> list[object]:
    """So many, and whatever comes right after them."""
    heard = [listener.recv_until(Publish, 20).value for _ in range(count)]
    return heard + [message.value for message in of_type([*listener.sync(), *listener.drain()], Publish)]


def recorded(daemon: Daemon, pattern: str) -> list[object]:
    """The events of the pattern in the daemon's journal."""
    with client(daemon) as auditor:
        auditor.send(wire.Replay(pattern=pattern, types=(SignalType.EVENT,)), wire.Qos.CONFIRM)
        found: list[object] = []
        while not isinstance(message := auditor.recv(), wire.Ack):
            assert isinstance(message, Publish), message
            found.append(message.value)
        return found


def test_a_box_that_was_cut_off_hears_everything_in_order(hub: Daemon) -> None:
    """What it said itself before and meanwhile does not come back to it; its own params are as they are at home."""
    policy = {"/show/log/**": "log", "/own/log/**": "log", "/show/drop/**": "drop"}
    with (
        boxed(hub, policy=policy) as edge,
        box(uplink(hub.ws_url, owns=["/show/other/**"]), sets=JOURNAL) as other,
        client(edge) as here,
        client(edge) as mine,
        client(hub) as there,
        client(other) as elsewhere,
    ):
        await_up(edge)
        await_up(other)
        subscribe(here, "/show/**")
        subscribe(here, "/own/**", id=2)
        cue(mine, range(5))
        cue(there, range(5, 10))
        assert cues_of(here, 10) == list(range(10))
        connect(edge, NOWHERE, policy=policy)
        await_down(edge)
        put(mine, "/own/log/x", "at home")
        cue(mine, range(1000, 1010), "/show/mine")
        cue(there, range(10, 300))
        cue(elsewhere, range(50), "/show/other/cue")
        cue(there, [0], "/show/drop/cue")
        cue(there, [0], "/elsewhere/cue")
        for number in range(20):
            put(there, "/show/log/x", number)
            put(there, "/own/log/x", number)
        eventually(lambda: len(recorded(hub, "/show/other/cue")) == 50)
        here.drain()
        connect(edge, hub.ws_url, policy=policy)
        heard: list[object] = []
        while len(of_type(heard, Publish)) < 340 or Set("/show/log/x", 19).value not in sets_of(heard, "/show/log/x"):
            heard.append(here.recv(20))
        await_up(edge)
        heard += here.drain()
        events = of_type(heard, Publish)
        assert [event.value for event in events if event.address == "/show/cue"] == list(range(10, 300))
        assert [event.value for event in events if event.address == "/show/other/cue"] == list(range(50))
        assert len(events) == 340, {event.address for event in events}
        # First as it is now, then how it came to be that.
        assert sets_of(heard, "/show/log/x") == [19, *range(20)]
        assert sets_of(heard, "/own/log/x") == []
        for daemon in (hub, edge):
            await_value(daemon, "/show/log/x", 19)
            await_value(daemon, "/own/log/x", "at home")
        assert recorded(hub, "/show/mine") == list(range(1000, 1010))
        cue(there, [300])
        assert cues_of(here, 1) == [300]


def sets_of(heard: list[object], address: str) -> list[object]:
    return [message.value for message in of_type(heard, Set) if message.address == address]


def test_a_box_that_is_killed_again_and_again_stores_everything_once(hub: Daemon) -> None:
    edge = boxed(hub)
    try:
        edge.start()
        await_up(edge)
        edge.kill()
        with client(hub) as there:
            cue(there, range(5000))
            for share in (500, 2500):
                edge.start()
                eventually(lambda share=share: len(recorded(edge, "/show/cue")) >= share)  # type: ignore[misc]
                edge.kill()
            cue(there, range(5000, 5100))
        edge.start()
        eventually(lambda: len(recorded(edge, "/show/cue")) >= 5100)
        await_up(edge)
        assert recorded(edge, "/show/cue") == list(range(5100))
    finally:
        edge.close()


def test_a_hub_that_is_killed_while_it_replays_tells_nothing_twice(hub: Daemon) -> None:
    """And what it had to tell before it was killed is told by the next one."""
    with boxed(hub) as edge, client(edge) as here:
        await_up(edge)
        subscribe(here, "/show/cue")
        connect(edge, NOWHERE)
        await_down(edge)
        with client(hub) as there:
            cue(there, range(20_000))
        time.sleep(STORED_S)
        hub.restart()
        connect(edge, hub.ws_url)
        heard = [here.recv_until(Publish, 20).value for _ in range(2000)]
        hub.restart()
        heard += cues_of(here, 18_000)
        assert heard == list(range(20_000))


def test_what_lives_does_not_wait_for_what_is_replayed(hub: Daemon) -> None:
    with boxed(hub) as edge, client(edge) as here, client(hub) as there:
        await_up(edge)
        subscribe(here, "/show/**")
        connect(edge, NOWHERE)
        await_down(edge)
        cue(there, range(30_000))
        connect(edge, hub.ws_url)
        here.recv_until(Publish, 20)
        put(there, "/show/live", 1)
        before = 1
        while not isinstance(here.recv(20), Set):
            before += 1
        assert before < 25_000
        assert len(cues_of(here, 30_000 - before)) == 30_000 - before


def test_no_more_is_kept_than_there_is_room_for() -> None:
    with (
        Daemon(sets={**JOURNAL, "federation.keep_mib": 1}) as hub,
        boxed(hub) as edge,
        client(edge) as here,
        client(hub) as there,
    ):
        await_up(edge)
        subscribe(here, "/show/cue")
        connect(edge, NOWHERE)
        await_down(edge)
        for number in range(100):
            there.send(Publish("/show/cue", signal=SignalType.EVENT, value=f"{number:20000}"))
        there.sync()
        connect(edge, hub.ws_url)
        heard = [int(str(here.recv_until(Publish, 20).value))]
        assert 40 < heard[0] < 60
        heard += [int(str(value)) for value in cues_of(here, 99 - heard[0])]
        assert heard == list(range(heard[0], 100))


def test_what_is_too_old_is_not_told() -> None:
    with (
        Daemon(sets={**JOURNAL, "federation.keep_s": 1}) as hub,
        boxed(hub) as edge,
        client(edge) as here,
        client(hub) as there,
    ):
        await_up(edge)
        subscribe(here, "/show/cue")
        connect(edge, NOWHERE)
        await_down(edge)
        cue(there, range(10))
        time.sleep(1.2)
        cue(there, range(10, 20))
        connect(edge, hub.ws_url)
        assert cues_of(here, 10) == list(range(10, 20))


def test_a_router_that_does_not_ask_for_it_is_told_what_lives(hub: Daemon) -> None:
    """As those were that knew nothing of following."""
    for number in range(2):
        with WsClient(hub.ws_url).hello("old", features=("param", "event", "federation")) as leaf, client(hub) as there:
            leaf.sync()
            leaf.send(FederationSync(FederationOp.PEER, origin="old", since_revision=1))
            leaf.recv_until(FederationSync)
            leaf.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/show/**",), origin="old"))
            leaf.recv_until(wire.Ack)
            cue(there, [number])
            told = [leaf.recv(), leaf.recv()]
            assert isinstance(told[0], FederationSync)
            assert told[0].op is FederationOp.ROUTE
            assert isinstance(told[1], Publish)
            assert told[1].value == number
            assert leaf.sync() == []
            cue(there, [1000])  # on its way when it leaves, perhaps


@pytest.mark.parametrize("table", [{"no pattern": 1}, {"/a": 3}, {f"/{number}": 0 for number in range(1001)}])
def test_a_table_that_is_none_ends_the_connection(hub: Daemon, table: dict[str, int]) -> None:
    with WsClient(hub.ws_url).hello("bad", features=("param", "event", "federation")) as leaf:
        leaf.sync()
        leaf.send(FederationSync(FederationOp.PEER, origin="bad", since_revision=1))
        leaf.recv_until(FederationSync)
        leaf.send(FederationSync(FederationOp.FOLLOW, revisions=table))
        leaf.wait_closed()
