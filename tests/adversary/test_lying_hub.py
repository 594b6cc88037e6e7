"""A hub is a stranger too: whatever it says to a box, the box's memory, its log and its clients stay well."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.bad_hub import BadHub, Conversation
from support.console import ask
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put
from support.process_memory import anonymous_mib

from clasp_edge import wire
from clasp_edge.federation.upstream.incoming import hand_out
from clasp_edge.wire import Error, ErrorCode, FederationOp, FederationSync, ParamValue, encode

LONG = "x" * 900
HUGE = "y" * 60_000


def box(hub: BadHub, **sets: object) -> Daemon:
    config = f'[uplink.main]\nurl = "{hub.url}"\nowns = ["/a/**"]\nwants = ["/show/**"]\n'
    return Daemon(config=config, sets={"state.max_mib": 4, **sets})


def last_error(daemon: Daemon) -> str:
    found = ask(daemon.control_path, request="status")["result"]["uplinks"]["main"]["last_error"]
    return str(found)


def greeted(then: Callable[[Conversation], None], *, is_edge: bool) -> Callable[[Conversation], None]:
    def behave(hub: Conversation) -> None:
        hub.greet(is_edge=is_edge)
        hub.take_declaration()
        then(hub)

    return behave


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            (
                FederationSync(FederationOp.LIFETIMES, revisions={"/show/x": 2**64 - 1}),
                wire.Snapshot(params=(ParamValue("/show/x", 1, 1, "x", 1),)),
            ),
            "the hub sent what cannot be understood: a time to live that is no 32-bit number",
        ),
        (
            (FederationSync(FederationOp.PEER, origin="another", since_revision=1),),
            "the hub has introduced itself twice",
        ),
    ],
)
def test_what_no_hub_says_ends_the_link_with_a_reason(said: tuple[wire.Message, ...], reason: str) -> None:
    def behave(hub: Conversation) -> None:
        hub.say(*said)

    with BadHub(greeted(behave, is_edge=True)) as hub, box(hub) as running:
        eventually(lambda: last_error(running).endswith(reason), 20.0)
        assert "Traceback" not in running.stderr


def refusals(hub: Conversation) -> Iterator[None]:
    for number in range(40_000):
        hub.say(Error(code=ErrorCode.SCOPE_FAILURE, message="no", address=f"/show/{number}/{LONG}"))
        yield


def acknowledgements(hub: Conversation) -> Iterator[None]:
    for number in range(1_500):
        hub.say(wire.Ack(address=f"/a/{number}/{HUGE}", revision=number + 1))
        yield


@pytest.mark.parametrize(("says", "is_edge"), [(refusals, True), (acknowledgements, False)])
def test_addresses_without_end_are_not_all_remembered(
    says: Callable[[Conversation], Iterator[None]], is_edge: bool
) -> None:
    over: list[bool] = []

    def behave(hub: Conversation) -> None:
        try:
            for _ in says(hub):
                pass
        finally:
            over.append(True)

    with BadHub(greeted(behave, is_edge=is_edge)) as hub, box(hub) as running:
        before = anonymous_mib(running)
        eventually(lambda: bool(over), 60.0)
        assert anonymous_mib(running) - before < 35


def test_a_hub_that_says_much_at_once_is_heard_in_parts_and_in_order() -> None:
    taken: list[int] = []

    class Session:
        _ended = False

    def slow(payload: bytes) -> None:
        taken.append(sum(range(20_000)))  # a few tenths of a millisecond

    frames = [encode(wire.Ping())] * 1000
    done = hand_out(Session(), frames, {wire.MessageType.PING: slow}, 2_000_000)
    assert 0 < done < 1000, "all of them in one turn"
    assert done == len(taken)


def test_what_waits_for_its_turn_comes_all_the_same_and_in_order() -> None:
    many = 20_000

    def behave(hub: Conversation) -> None:
        hub.say(FederationSync(FederationOp.SYNC_COMPLETE))
        burst = wire.encode(wire.Ping())
        for number in range(many):
            hub.say(burst, wire.Set("/show/x", number, revision=number + 1))

    with BadHub(greeted(behave, is_edge=False)) as hub, box(hub) as running:
        crowd = Crowd(running)
        client = crowd.ws("asker")
        eventually(lambda: (found := get(client, "/show/x")) is not None and found.value == many - 1, 60.0)
        put(client, "/a/still", 1)
        crowd.leave()
