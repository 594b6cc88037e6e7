"""Messages that are sent again after an outage, by whichever way: known by where they first came from, taken once."""

from __future__ import annotations

import time

from support.client import WsClient
from support.daemon import Daemon
from support.federated import JOURNAL, await_down, await_stored, await_up, box, client, state, uplink
from support.live import eventually, of_type, subscribe

from clasp_edge.wire import FederationOp, FederationSync, Publish, SignalType

QUIET_S = 0.3
"""So long nothing is heard that should not be."""

EVERYTHING = ["/r/**"]


def cue(writer: WsClient, *numbers: int) -> None:
    for number in numbers:
        writer.send(Publish("/r/cue", signal=SignalType.EVENT, value=number))
    writer.sync()


def a_box(hub: Daemon) -> WsClient:
    """A connection that says it is the router `box`."""
    joined = WsClient(hub.ws_url).hello("box", features=("param", "event", "federation"))
    joined.sync()
    joined.send(FederationSync(FederationOp.PEER, patterns=("/r/**",), origin="box", since_revision=1))
    answer = joined.recv_until(FederationSync)
    assert isinstance(answer, FederationSync)
    assert answer.op is FederationOp.PEER
    return joined


def tell(joined: WsClient, first: int, *numbers: int) -> None:
    """Events as they are told by the router at which they were first published."""
    told = {"count": len(numbers), "epoch": 7, "hops": 1}
    joined.send(FederationSync(FederationOp.ROUTE, revisions=told, since_revision=first, origin="desk"))
    cue(joined, *numbers)


def heard_by(listener: WsClient) -> list[object]:
    return [message.value for message in of_type(listener.sync(), Publish)]


def test_a_hub_that_was_killed_knows_what_it_has_stored() -> None:
    hub = Daemon(sets=JOURNAL)
    try:
        hub.start()
        with a_box(hub) as joined:
            tell(joined, 11, *range(11, 61))
            tell(joined, 101, 101)
        await_stored(hub, "/r/cue", 51)
        hub.restart()
        with a_box(hub) as joined, client(hub) as listener:
            subscribe(listener, "/r/cue")
            tell(joined, 21, *range(21, 71))
            tell(joined, 100, 100, 101, 102)
            assert heard_by(listener) == [*range(61, 71), 100, 102]
    finally:
        hub.close()


def test_a_run_that_was_broken_off_goes_on_by_another_connection() -> None:
    """What was announced and did not come before the connection was lost is no repetition when it does."""
    with Daemon(sets=JOURNAL) as hub, client(hub) as listener:
        subscribe(listener, "/r/cue")
        told = {"count": 10, "epoch": 7, "hops": 1}
        announced = FederationSync(FederationOp.ROUTE, revisions=told, since_revision=1, origin="desk")
        with a_box(hub) as joined:
            joined.send(announced)
            cue(joined, 1, 2, 3)
            joined.abort()
        with a_box(hub) as joined:
            joined.send(announced)
            cue(joined, *range(1, 11))
            assert heard_by(listener) == list(range(1, 11))
            tell(joined, 1, *range(1, 13))
            assert heard_by(listener) == [11, 12]


def test_two_ways_to_one_hub_after_a_restart() -> None:
    """One of them, by a router that is away for a while, gets everything from the journal of the box below, when the
    hub has long heard it by the other one."""
    hub, between = Daemon(sets=JOURNAL), Daemon(sets=JOURNAL)
    try:
        hub.start()
        between = box(uplink(hub.ws_url, owns=EVERYTHING), sets=JOURNAL)
        between.start()
        middle = box(
            uplink(hub.ws_url, owns=EVERYTHING), uplink(between.ws_url, "other", owns=EVERYTHING), sets=JOURNAL
        )
        with middle, box(uplink(middle.ws_url, owns=EVERYTHING), sets=JOURNAL) as below, client(hub) as listener:
            await_up(middle, "hub", "other")
            await_up(below)
            subscribe(listener, "/r/cue")
            between.kill()
            await_down(middle, "other")
            with client(below) as here:
                cue(here, *range(50))
            assert [listener.recv_until(Publish).value for _ in range(50)] == list(range(50))
            eventually(lambda: state(middle, "other", "queue") == 50)
            await_stored(middle, "/r/cue", 50)
            middle.restart()
            between.start()
            await_up(between)
            await_up(middle, "hub", "other")
            eventually(lambda: state(middle, "other", "queue") == 0)
            await_up(below)
            with client(below) as here:
                cue(here, 50)
            assert listener.recv_until(Publish).value == 50
            time.sleep(QUIET_S)
            assert heard_by(listener) == []
    finally:
        between.close()
        hub.close()
