"""Hubs that refuse, lie, or speak something else: each is named, local clients are served, and what waits is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.bad_hub import BadHub, Conversation
from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.federated import JOURNAL, await_error, await_up, await_value, box, client, state, uplink
from support.live import eventually, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import FederationOp, FederationSync, ParamValue, Publish, Set, SignalType

TOKENS = """
[security]
mode = "authenticated"

[[security.token]]
token = "box-token-box-token-box-token-00"
subject = "box"
scopes = ["read:/own/**", "write:/own/**", "read:/own", "write:/own"]

[[security.token]]
token = "desk-token-desk-token-desk-token"
subject = "desk"
scopes = ["read:/**", "write:/desk/**"]
"""
BOX_TOKEN = "box-token-box-token-box-token-00"
DESK_TOKEN = "desk-token-desk-token-desk-token"


@pytest.fixture(scope="module")
def hub() -> Iterator[Daemon]:
    with Daemon() as running:
        yield running


def garbage_at_once(hub: Conversation) -> None:
    hub.recv()
    hub.connection.send(b"\x00\x01 this is not CLASP")


def garbage_later(hub: Conversation) -> None:
    hub.greet()
    hub.take_declaration()
    hub.connection.send(bytes.fromhex("5301000421070002"))  # a SET that ends in its address


def text_instead(hub: Conversation) -> None:
    hub.recv()
    hub.connection.send("hello?")


def nothing_at_all(hub: Conversation) -> None:
    pass


def nothing_after_the_introduction(hub: Conversation) -> None:
    hub.greet(is_edge=True)


def nothing_after_the_declaration(hub: Conversation) -> None:
    hub.greet()
    hub.take_declaration()


def a_refusal(hub: Conversation) -> None:
    hub.recv()
    hub.say(wire.Error(code=300, message="token not found"))


def many(hub: Conversation) -> None:
    hub.greet()
    hub.recv_until(FederationSync)
    hub.say(wire.Error(code=400, message="too many namespace patterns: 1001 (max 1000)"))


BAD_HUBS: list[tuple[Callable[[Conversation], None], list[str]]] = [
    (garbage_at_once, ["not CLASP"]),
    (garbage_later, ["cannot be understood", "a SET ends in its address"]),
    (text_instead, ["text"]),
    (nothing_at_all, ["no CLASP handshake within 5 s"]),
    (nothing_after_the_introduction, ["has not answered the declaration within 3 s"]),
    (nothing_after_the_declaration, ["asked for its state", "has not answered for 10 s"]),
    (a_refusal, ["the hub says 300: token not found"]),
    (many, ["the hub says 400: too many namespace patterns"]),
]


def test_bad_hubs_are_named_and_what_waits_for_them_is_kept() -> None:
    """All at one box; and when each of its links has found a hub that is well, that one hears everything once."""
    with ExitStack() as stack:
        bad = {f"bad{number}": stack.enter_context(BadHub(behave)) for number, (behave, _) in enumerate(BAD_HUBS)}

        def config(good: str = "") -> str:
            return "".join(uplink(good or hub.url, name, owns=["/own/**"]) for name, hub in bad.items())

        edge = stack.enter_context(Daemon(config=config(), sets=JOURNAL))
        here = stack.enter_context(client(edge))
        subscribe(here, "/own/param")
        for number in range(5):
            here.send(Publish("/own/cue", signal=SignalType.EVENT, value=number))
        here.send(Set("/own/param", 1), qos=0)
        assert here.recv_type(Set).value == 1
        for (name, hub), (_, words) in zip(bad.items(), BAD_HUBS, strict=True):
            assert hub.url in await_error(edge, *words, name=name, timeout=20.0)
            eventually(lambda name=name: state(edge, name, "queue") == 5)  # type: ignore[misc]
        good = stack.enter_context(Daemon())
        there = stack.enter_context(client(good))
        subscribe(there, "/own/cue")
        (edge.directory / "clasp-edge.toml").write_text(config(good.ws_url))
        edge.hangup()
        await_up(edge, bad.popitem()[0])
        assert [there.recv_until(Publish).value for _ in range(5)] == list(range(5))
        assert there.drain() == []
        await_value(good, "/own/param", 1)


def test_a_token_that_the_hub_does_not_know() -> None:
    with Daemon(config=TOKENS) as hub, box(uplink(hub.ws_url, owns=["/own/**"], token="wrong")) as edge:
        await_error(edge, "the hub says 300")
        put_here(edge)


def test_a_token_that_does_not_reach_so_far() -> None:
    token = BOX_TOKEN
    with Daemon(config=TOKENS) as hub, box(uplink(hub.ws_url, wants=["/other/**"], token=token)) as edge:
        await_error(edge, "the hub says 403: insufficient scope for namespace: /other")
        put_here(edge)
        (edge.directory / "clasp-edge.toml").write_text(uplink(hub.ws_url, owns=["/own/**"], token=token))
        edge.hangup()
        await_up(edge)


@pytest.mark.parametrize("exclusive", ["false", "true"])
def test_nobody_owns_what_the_token_does_not_let_it_write(exclusive: str) -> None:
    """Reading does not do: where owning is exclusive, the claim would lock out those who may write."""
    with (
        Daemon(config=TOKENS, sets={"federation.exclusive": exclusive}) as hub,
        box(uplink(hub.ws_url, owns=["/desk/**", "/own/**"], token=DESK_TOKEN)) as greedy,
        box(uplink(hub.ws_url, owns=["/own/**"], token=BOX_TOKEN)) as owner,
    ):
        await_error(greedy, "the hub says 403: insufficient scope to own /own:", "does not let", "write")
        await_up(owner)
        wanting = uplink(hub.ws_url, owns=["/desk/**"], wants=["/own/**"], token=DESK_TOKEN)
        (greedy.directory / "clasp-edge.toml").write_text(wanting)
        greedy.hangup()
        await_up(greedy)
        put_here(owner)
        await_value(greedy, "/own/x", 1)
        with client(greedy) as there:
            there.send(Publish("/own/cue", signal=SignalType.EVENT, value=1))
            there.sync()
        await_error(greedy, "the hub says 301", "(/own/cue)")
        with client(greedy) as there:
            there.send(Set("/own/x", 2))
            there.sync()
        eventually(lambda: "(/own/x)" in str(state(greedy, key="last_error")), 20.0)  # the log has one a second
        peers = ask(hub.control_path, request="status")["result"]["federation"]["peers"].values()
        found = [peer for peer in peers if peer["refused"]]
        assert [(sorted(peer["owns"]), peer["last_error"].split(":")[0]) for peer in found] == [
            (["/desk", "/desk/**"], "/own/x was refused here")
        ]
        assert found[0]["refused"] >= 2


def test_a_reference_leaf_owns_no_more_than_its_token_lets_it_write() -> None:
    """It declares what it listens to as it does what it owns. And it may declare again, but nothing more by that."""
    with (
        Daemon(config=TOKENS, sets={"federation.exclusive": "true"}) as hub,
        WsClient(hub.ws_url).hello("leaf", features=("param", "federation"), token=DESK_TOKEN) as leaf,
        box(uplink(hub.ws_url, owns=["/own/**"], token=BOX_TOKEN)) as owner,
        WsClient(hub.ws_url).hello("late", features=("param", "federation"), token=BOX_TOKEN) as late,
    ):
        leaf.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/own/**", "/desk/**"), origin="leaf"))
        leaf.recv_until(wire.Ack)
        await_up(owner)
        for patterns, answer in ((("/elsewhere/**",), 403), (("/own/a/**",), 409), ((), None), (("/own/b/**",), 409)):
            late.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=patterns, origin="late"))
            said = late.recv_type(wire.Ack if answer is None else wire.Error)
            assert getattr(said, "code", None) == answer, said


def put_here(edge: Daemon) -> None:
    with client(edge) as here:
        put(here, "/own/x", 1)


def test_a_hub_that_shows_other_state_than_it_acknowledged() -> None:
    """Owned here: it is told again; and the person who looks at the link is told."""
    state_there: dict[str, ParamValue] = {}

    def forgetful(hub: Conversation) -> None:
        hub.greet(session=f"session {len(bad.conversations)}")
        hub.take_declaration()
        hub.serve(state_there)

    with BadHub(forgetful) as bad, box(uplink(bad.url, owns=["/own/**"]), sets=JOURNAL) as edge, client(edge) as here:
        await_up(edge)
        put(here, "/own/x", "new")
        eventually(lambda: [m for m in bad.heard() if isinstance(m, Set) and m.address == "/own/x"])
        here.send(Publish("/own/cue", signal=SignalType.EVENT, value=1))
        eventually(lambda: [m for m in bad.heard() if isinstance(m, wire.Bundle)])
        time.sleep(0.2)  # until the ACK is read
        now_us = time.time_ns() // 1000
        state_there["/own/x"] = ParamValue("/own/x", "old", 101, writer="session 1", timestamp=now_us)
        bad.conversations[0].connection.close()
        await_error(edge, "/own/x", "another value than it has acknowledged")
        eventually(lambda: [m for m in bad.conversations[1].heard if isinstance(m, Set) and m.value == "new"])


def test_this_very_router(hub: Daemon) -> None:
    edge = box(sets={"websocket.listen": "127.0.0.1:0"})
    try:
        edge.start()
        (edge.directory / "clasp-edge.toml").write_text(uplink(edge.ws_url, owns=["/own/**"]))
        edge.hangup()
        await_error(edge, "this router's own")
    finally:
        edge.close()


# ---- one router among others ----


def test_two_routers_with_one_id(hub: Daemon) -> None:
    config = uplink(hub.ws_url, owns=["/own/**"])
    sets = {"federation.router_id": "twin"}
    with box(config, sets=sets) as first:
        await_up(first)
        with box(config, sets=sets) as second:
            await_error(second, "409", "the router id 'twin' is in use by 127.0.0.1:")
            put_here(second)
            assert state(first) == "up"
            # It may take the place of one that is gone, but not from one that is there.
            first.kill()
            await_up(second)
            first.start()
            await_error(first, "409")
        await_up(first)


def test_a_client_with_the_id_of_a_router_does_not_drive_it_out(hub: Daemon) -> None:
    with box(uplink(hub.ws_url, owns=["/own/**"]), sets={"federation.router_id": "box-a"}) as edge:
        await_up(edge)
        with client(hub) as rogue:
            rogue.hello(features=("param", "event", "federation"))
            rogue.sync()
            rogue.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/x/**",), origin="box-a"))
            error = rogue.recv_until(wire.Error)
            assert isinstance(error, wire.Error)
            assert error.code == 409
            told = {"count": 1, "epoch": 1, "hops": 0}
            rogue.send(FederationSync(FederationOp.ROUTE, revisions=told, since_revision=1, origin="box-a"))
            assert "has not said who it is" in rogue.wait_closed().reason
        assert state(edge) == "up"


def test_a_namespace_that_another_box_owns() -> None:
    with Daemon(sets={"federation.exclusive": "true"}) as hub:
        left = uplink(hub.ws_url, owns=["/left/**"], wants=["/right/**"])
        right = uplink(hub.ws_url, owns=["/right/**"], wants=["/left/**"])
        with (
            box(left, sets={"federation.router_id": "l"}) as one,
            box(right, sets={"federation.router_id": "r"}) as two,
            box(uplink(hub.ws_url, "part", owns=["/left/lights/**"]), uplink(hub.ws_url, "all", owns=["/**"])) as three,
        ):
            await_up(one)
            await_up(two)
            for name in ("part", "all"):
                error = await_error(three, "409", "overlaps with /", "which '", name=name)
                assert error.endswith(("'l' owns", "'r' owns"))
            one.stop()
            await_up(three, "part")
            one.start()
            await_error(one, "409", "overlaps with /left/lights")


def test_two_owners_of_one_namespace_are_named(hub: Daemon) -> None:
    with (
        box(uplink(hub.ws_url, owns=["/left/**"]), sets={"federation.router_id": "l"}) as one,
        box(uplink(hub.ws_url, owns=["/left/lights/**", "/mine/**"]), sets={"federation.router_id": "r"}) as two,
    ):
        await_up(one)
        await_up(two)
        assert await_error(two, "owned by another router as well").startswith("/left/lights")
        peers = ask(hub.control_path, request="status")["result"]["federation"]["peers"]
        assert peers["r"]["shares"] == "/left/lights with l"
        assert peers["l"]["shares"].endswith(" with r")
        assert "both own" in hub.stderr


def test_a_leaf_that_declares_1001_patterns_is_told(hub: Daemon) -> None:
    with client(hub) as leaf:
        leaf.hello(features=("param", "federation"))
        leaf.sync()
        patterns = tuple(f"/p/{number}" for number in range(1001))
        leaf.send(FederationSync(FederationOp.PEER, patterns=patterns, origin="many", since_revision=1))
        error = leaf.recv_until(wire.Error)
        assert isinstance(error, wire.Error)
        assert (error.code, "1001 (max 1000)" in error.message) == (400, True)
        leaf.wait_closed()


def test_everything_may_be_owned(hub: Daemon) -> None:
    with box(uplink(hub.ws_url, owns=["/**"])) as edge:
        await_up(edge)
        with client(edge) as here:
            put(here, "/any/where", 1)
        await_value(hub, "/any/where", 1)
        with client(hub) as there:
            put(there, "/some/where", 2)
        await_value(edge, "/some/where", 2)
