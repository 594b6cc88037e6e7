"""Routers that lie: about who they are, about what others have written, and about whose it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.client import Closed, WsClient
from support.console import clasp_edge
from support.daemon import Daemon
from support.federated import JOURNAL, await_up, await_value, client, uplink
from support.leaves import ALL_FEATURES
from support.live import eventually, get, of_type, put, subscribe

from clasp_edge import wire
from clasp_edge.wire import Ack, Error, FederationOp, FederationSync, Publish, Set, SignalType

HUB = """
[security]
mode = "authenticated"
[[security.token]]
token = "admin-token-admin-token"
subject = "admin"
scopes = ["admin:/**"]
[[security.token]]
token = "box-a-token-box-a-token"
subject = "box-a"
scopes = ["read:/a/**", "write:/a/**"]
[[security.token]]
token = "liar-token-liar-token"
subject = "liar"
scopes = ["read:/a/**", "write:/x/**"]
[[security.token]]
token = "rival-token-rival-token"
subject = "rival"
scopes = ["admin:/**"]
"""
ADMIN, BOX, LIAR, RIVAL = (f"{name}-token-{name}-token" for name in ("admin", "box-a", "liar", "rival"))

STORED_S = 0.3
"""A journal that commits every 20 ms has stored what is older, on a busy machine too."""


@pytest.fixture
def hub() -> Iterator[Daemon]:
    running = Daemon(config=HUB, sets=JOURNAL)
    try:
        yield running.start()
        running.assert_healthy()
    finally:
        running.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def the_box(hub: Daemon) -> Daemon:
    text = uplink(hub.ws_url, token=BOX, owns=["/a/**"], policy={"/a/cmd/**": "log"})
    return Daemon(config='[federation]\nrouter_id = "stage-a"\n' + text, sets=JOURNAL)


def peer(hub: Daemon, stack: ExitStack, token: str | None, router_id: str, *owns: str) -> WsClient:
    """A router that has said who it is; `introduced` is what it was answered."""
    joined = stack.enter_context(WsClient(hub.ws_url)).hello(router_id, features=ALL_FEATURES, token=token)
    joined.send(FederationSync(FederationOp.PEER, patterns=owns, origin=router_id, since_revision=time.time_ns()))
    return joined


def admitted(joined: WsClient) -> bool:
    """Whether PEER was answered by PEER."""
    try:
        message = joined.recv()
        while not isinstance(message, Error | FederationSync):
            message = joined.recv()
    except Closed:
        return False
    return isinstance(message, FederationSync) and message.op is FederationOp.PEER


def refusal(joined: WsClient) -> Error:
    error = joined.recv_until(Error)
    joined.wait_closed()
    return error


def announce(joined: WsClient, first: int, count: int, epoch: int, origin: str = "stage-a") -> None:
    told = {"count": count, "epoch": epoch, "hops": 0}
    joined.send(FederationSync(FederationOp.ROUTE, revisions=told, since_revision=first, origin=origin))


# ---- forged origins ----


@pytest.mark.parametrize("forged", ["announced only", "writes of its own", "the same writes, refused"])
def test_a_forged_route_silences_nobody(hub: Daemon, stack: ExitStack, forged: str) -> None:
    """A token that may only read what box A owns learns A's numbers, and uses those that come next."""
    edge = stack.enter_context(the_box(hub))
    await_up(edge)
    writer, admin = client(edge), client(hub, token=ADMIN)
    liar = peer(hub, stack, LIAR, "liar")
    assert admitted(liar)
    liar.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/a/**",), origin="liar"))
    assert liar.recv() == Ack()
    put(writer, "/a/fader", 1)
    route = liar.recv_until(FederationSync)
    assert isinstance(route, FederationSync)
    assert route.since_revision is not None
    for turn in range(3):
        announce(liar, route.since_revision + 1 + 20 * turn, 20, route.revisions["epoch"])
        for value in range(20) if forged != "announced only" else ():
            address = "/x/mine" if forged == "writes of its own" else "/a/fader"
            liar.send(Set(address, value), 0)
            liar.send(Publish("/a/cmd/go", signal=SignalType.EVENT, value=value))
    liar.sync()
    subscribe(admin, "/a/**")
    for value in range(20):
        writer.send(Set("/a/fader", value), 0)
        writer.send(Publish("/a/cmd/go", signal=SignalType.EVENT, value=value))
    writer.sync()
    events = [admin.recv_until(Publish).value for _ in range(20)]
    assert events == list(range(20))
    await_value_as(hub, "/a/fader", 19)
    for joined in (writer, admin):
        joined.close()


def await_value_as(hub: Daemon, address: str, wanted: wire.Value) -> None:
    with client(hub, token=ADMIN) as asking:

        def there() -> bool:
            param = get(asking, address)
            return param is not None and param.value == wanted

        eventually(there)


def test_a_forged_route_with_the_writes_that_come_is_no_second_write(stack: ExitStack) -> None:
    """Open mode, in which anybody may write anything: still only what has really come is passed over."""
    hub = stack.enter_context(Daemon(sets=JOURNAL))
    listener = stack.enter_context(client(hub))
    subscribe(listener, "/a/**")
    liar, honest = peer(hub, stack, None, "liar"), peer(hub, stack, None, "honest")
    assert admitted(liar)
    assert admitted(honest)
    announce(liar, 1, 65_535, 7, "desk")
    liar.send(Publish("/a/cmd", signal=SignalType.EVENT, value="forged"))
    liar.sync()
    announce(honest, 1, 3, 7, "desk")
    for value in range(3):
        honest.send(Publish("/a/cmd", signal=SignalType.EVENT, value=value))
    honest.sync()
    assert [message.value for message in of_type(listener.sync(), Publish)] == ["forged", 0, 1, 2]


def test_what_a_router_calls_itself_is_bounded(hub: Daemon, stack: ExitStack) -> None:
    long = "x" * 60_000
    assert "longer than" in refusal(peer(hub, stack, ADMIN, long)).message
    liar = peer(hub, stack, ADMIN, "short")
    assert admitted(liar)
    announce(liar, 1, 1, 1, long)
    liar.wait_closed()


# ---- identity ----


def test_an_id_belongs_to_the_token_that_first_had_it(hub: Daemon, stack: ExitStack) -> None:
    first = peer(hub, stack, BOX, "stage-a", "/a/**")
    assert admitted(first)
    for away in (False, True):
        if away:
            first.abort()
        error = refusal(peer(hub, stack, RIVAL, "stage-a", "/x/**"))
        assert error.code == 409
        assert "'stage-a' belongs to the token of 'box-a'" in error.message
    time.sleep(STORED_S)
    hub.restart()
    assert refusal(peer(hub, stack, RIVAL, "stage-a")).code == 409
    again = stack.enter_context(WsClient(hub.ws_url)).hello("x", features=ALL_FEATURES, token=RIVAL)
    again.sync()
    again.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/x/**",), origin="stage-a"))
    assert again.recv_type(Error).code == 409
    assert admitted(peer(hub, stack, BOX, "stage-a", "/a/**"))


def test_an_operator_can_release_an_id(hub: Daemon, stack: ExitStack) -> None:
    first = peer(hub, stack, BOX, "stage-a")
    assert admitted(first)
    first.abort()
    where = "--set", f"data_dir={hub.data_dir}"
    wrong = clasp_edge("release", "stage-b", *where)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert 'ids with a token: "stage-a"' in wrong.stderr
    done = clasp_edge("release", "stage-a", *where)
    assert (done.returncode, done.stderr) == (0, "")
    assert "belonged to the token of box-a" in done.stdout
    assert admitted(peer(hub, stack, RIVAL, "stage-a"))
    time.sleep(STORED_S)
    hub.restart()
    assert refusal(peer(hub, stack, BOX, "stage-a")).code == 409


def test_a_token_that_was_replaced_under_the_same_subject_keeps_the_id(hub: Daemon, stack: ExitStack) -> None:
    first = peer(hub, stack, BOX, "stage-a")
    assert admitted(first)
    first.abort()
    replaced = HUB.replace(BOX, "box-a-second-token-box-a")
    (hub.directory / "clasp-edge.toml").write_text(replaced)
    hub.hangup()
    eventually(lambda: "reload: applied" in hub.stderr)
    assert refusal(peer(hub, stack, RIVAL, "stage-a")).code == 409
    assert admitted(peer(hub, stack, "box-a-second-token-box-a", "stage-a"))


def test_a_router_that_is_away_keeps_its_queue(hub: Daemon, stack: ExitStack) -> None:
    """Nobody else is handed what was said while it was away, and nothing of it is lost to the router itself."""
    admin = stack.enter_context(client(hub, token=ADMIN))
    edge = stack.enter_context(the_box(hub))
    await_up(edge)
    await_value(edge, "/clasp-edge/uplinks/hub/queue", 0)
    edge.stop()
    for number in range(20):
        admin.send(Publish("/a/cmd/go", signal=SignalType.EVENT, value=number))
    admin.sync()
    for token in (LIAR, RIVAL):
        assert refusal(peer(hub, stack, token, "stage-a")).code in (403, 409)
    edge.start()
    listener = stack.enter_context(client(edge))
    subscribe(listener, "/a/cmd/**")
    replay = stack.enter_context(client(edge))
    await_up(edge)
    heard: list[object] = []

    def all_there() -> bool:
        replay.send(wire.Replay(pattern="/a/cmd/**", types=(SignalType.EVENT,)), wire.Qos.CONFIRM)
        heard.clear()
        while not isinstance(message := replay.recv(), Ack):
            assert isinstance(message, Publish)
            heard.append(message.value)
        return len(heard) == 20

    eventually(all_there, 20)
    assert heard == list(range(20))


def test_scopes_come_before_every_objection(stack: ExitStack) -> None:
    """A token that may not own something is not told who does, nor whether anybody does."""
    hub = stack.enter_context(Daemon(config=HUB, sets={"federation.exclusive": "true"}))
    assert admitted(peer(hub, stack, BOX, "stage-a", "/a/**"))
    for pattern in ("/a/**", "/b/**"):
        error = refusal(peer(hub, stack, LIAR, "liar", pattern))
        assert (error.code, "stage-a" in error.message) == (403, False)
    error = refusal(peer(hub, stack, RIVAL, "rival", "/a/b/**"))
    assert (error.code, "'stage-a' owns" in error.message) == (409, True)
