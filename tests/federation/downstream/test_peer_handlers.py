"""FEDERATION_SYNC against a running daemon (router.md 8.6)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import msgpack
import pytest
from support.client import Client, WsClient
from support.daemon import Daemon
from support.leaves import ALL_FEATURES, Connect, compare, connecting, declare, put, refused, request

from clasp_edge import wire
from clasp_edge.wire import (
    Ack,
    Announce,
    Bundle,
    Error,
    FederationOp,
    FederationSync,
    Get,
    ParamValue,
    Phase,
    Publish,
    Set,
    Signal,
    SignalType,
    Snapshot,
    Subscribe,
    Unsubscribe,
)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(sets={"name": "The Hub"}) as running:
        yield running


@pytest.fixture
def own() -> Iterator[Daemon]:
    """One whose state no other test has to receive after its HELLO."""
    with Daemon() as running:
        yield running


@pytest.fixture
def connect(daemon: Daemon) -> Iterator[Connect]:
    yield from connecting(daemon)


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """An address prefix of the test's own."""
    return f"/{request.node.name.translate(str.maketrans('[]{}*/', '______'))}"


def lines(params: list[ParamValue]) -> dict[str, tuple[wire.Value, int]]:
    return {param.address: (param.value, param.revision) for param in params}


# ---- who may ----


@pytest.mark.parametrize("op", FederationOp)
def test_only_sessions_with_the_feature_are_peers(connect: Connect, op: FederationOp) -> None:
    client = connect(peer=False)
    expected = (403, "FederationSync requires federation feature", None)
    assert refused(client, FederationSync(op, patterns=("/a/**",))) == expected


def test_sync_complete_gets_no_reply(connect: Connect) -> None:
    client = connect()
    client.send(FederationSync(FederationOp.SYNC_COMPLETE, patterns=("/a/**",), origin="x\ny"))
    assert client.sync() == []


# ---- DeclareNamespaces ----


def test_declaration_is_answered_by_a_bare_ack_and_nothing_else(connect: Connect, root: str) -> None:
    client = connect()
    put(client, f"{root}/x", 1)
    client.send(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=(f"{root}/**",), origin="site-a"))
    assert wire.decode_frame(client.recv_raw())[1] == b"\x50\x00"
    assert client.sync() == []


def test_declaration_subscribes_to_every_signal_type(connect: Connect, root: str) -> None:
    peer, other = connect(), connect(peer=False)
    declare(peer, f"{root}/**")
    other.send(Set(f"{root}/set", 1), qos=0)
    for signal in SignalType:
        other.send(Publish(f"{root}/{signal.label}", signal=signal, value=1, phase=Phase.START))
    other.send(Publish(f"{root}x/outside", signal=SignalType.EVENT, value=1))
    other.sync()
    got = peer.sync()
    assert [message.address for message in got if isinstance(message, Set | Publish)] == [
        f"{root}/set",
        *(f"{root}/{signal.label}" for signal in SignalType),
    ]


def test_a_peer_gets_back_what_it_sets_but_not_what_it_publishes(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, f"{root}/**")
    peer.send(Set(f"{root}/x", 1), qos=0)
    peer.send(Publish(f"{root}/e", signal=SignalType.EVENT, value=1))
    assert peer.sync() == [Set(f"{root}/x", 1, revision=1)]


def test_subscription_ids_count_from_50000_and_skip_what_is_no_pattern(connect: Connect, root: str) -> None:
    peer, other = connect(), connect(peer=False)
    declare(peer, f"{root}/a/**", "no/pattern", f"{root}/b/**")
    for number, expected in ((50001, ["a", "b"]), (50002, ["a"]), (50000, [])):
        peer.send(Unsubscribe(number))
        peer.sync()
        for place in ("a", "b"):
            put(other, f"{root}/{place}/x", number)
        assert [message.address for message in peer.sync() if isinstance(message, Set)] == [
            f"{root}/{place}/x" for place in expected
        ]


def test_a_new_declaration_replaces_the_old_one(connect: Connect, root: str) -> None:
    peer, other = connect(), connect(peer=False)
    declare(peer, f"{root}/a/**", f"{root}/b/**")
    declare(peer, f"{root}/c/**")
    for place in "abc":
        put(other, f"{root}/{place}/x", 1)
    assert peer.sync() == [Set(f"{root}/c/x", 1, revision=1)]
    assert refused(peer, Set(f"{root}/a/x", 2))[0] == 403


def test_a_subscription_of_the_peers_own_survives_a_new_declaration(connect: Connect, root: str) -> None:
    peer, other = connect(), connect(peer=False)
    declare(peer, f"{root}/a/**")
    peer.send(Subscribe(7, f"{root}/b/**"))
    declare(peer, f"{root}/c/**")
    put(other, f"{root}/b/x", 1)
    assert peer.sync() == [Set(f"{root}/b/x", 1, revision=1)]


def test_an_empty_declaration_lifts_everything(connect: Connect, root: str) -> None:
    peer, other = connect(), connect(peer=False)
    declare(peer, f"{root}/a/**")
    declare(peer)
    put(other, f"{root}/a/x", 1)
    assert peer.sync() == []
    peer.send(Set(f"{root}/anywhere", 1))
    assert peer.recv() == Ack(address=f"{root}/anywhere", revision=1)


def test_at_most_1000_patterns_can_be_declared(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, *(f"{root}/{number}" for number in range(1000)))
    patterns = tuple(f"{root}/{number}/**" for number in range(1001))
    too_many = FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=patterns)
    assert refused(peer, too_many) == (400, "too many namespace patterns: 1001 (max 1000)", None)
    # The declaration before it still stands.
    assert refused(peer, Set(f"{root}/5/x", 1))[0] == 403
    put(peer, f"{root}/999", 1)
    assert lines(request(peer, f"{root}/999")[0]) == {f"{root}/999": (1, 1)}


def test_at_most_100_declared_patterns_have_a_wildcard_inside_a_segment(connect: Connect, root: str) -> None:
    """The limit of SUBSCRIBE, for the same reason."""
    peer = connect()
    patterns = tuple(f"{root}/{number}*" for number in range(101))
    declare(peer, *patterns[:100], f"{root}/*", f"{root}/**")
    too_many = FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=patterns)
    text = "too many namespace patterns: 101 with a wildcard inside a segment (max 100)"
    assert refused(peer, too_many) == (400, text, None)


def test_declared_patterns_count_among_all_subscriptions() -> None:
    with Daemon(sets={"limits.max_subscriptions": 4}) as daemon, ExitStack() as stack:
        peer, client = (stack.enter_context(WsClient(daemon.ws_url)).hello(features=ALL_FEATURES) for _ in range(2))
        client.send(Subscribe(1, "/z/**"))
        client.sync()
        declare(peer, "/a", "/b", "/c")
        too_many = FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/d", "/e", "/f", "/g"))
        text = "too many namespace patterns: 4 more subscriptions (max 4 of all clients together)"
        assert refused(peer, too_many) == (400, text, None)
        # The declaration before it still stands, and another of its size can take its place.
        assert refused(peer, Set("/d", 1))[0] == 403
        declare(peer, "/d", "/e", "/f")
        client.send(Subscribe(2, "/x"))
        assert client.recv_type(Error).code == 429


# ---- the confinement ----


def test_before_a_declaration_a_peer_writes_anywhere(connect: Connect, root: str) -> None:
    peer = connect()
    peer.send(Set(f"{root}/x", 1))
    assert peer.recv() == Ack(address=f"{root}/x", revision=1)


def test_set_outside_is_refused(connect: Connect, root: str) -> None:
    peer, other = connect(), connect(peer=False)
    put(peer, f"{root}/out", "before")
    declare(peer, f"{root}/in/**")
    expected = (403, "SET outside declared federation namespace", f"{root}/out")
    assert refused(peer, Set(f"{root}/out", "after")) == expected
    other.send(Get(f"{root}/out"))
    assert lines(list(other.recv_type(Snapshot).params)) == {f"{root}/out": ("before", 1)}


@pytest.mark.parametrize("signal", SignalType)
def test_publish_outside_is_refused(connect: Connect, root: str, signal: SignalType) -> None:
    peer, other = connect(), connect(peer=False)
    other.send(Subscribe(1, f"{root}/**"))
    other.sync()
    declare(peer, f"{root}/in/**")
    expected = (403, "PUBLISH outside declared federation namespace", f"{root}/out")
    assert refused(peer, Publish(f"{root}/out", signal=signal, value=1, phase=Phase.START)) == expected
    assert other.sync() == []


def test_signalling_to_a_session_is_outside_too(connect: Connect, root: str) -> None:
    peer, other = connect(), connect(peer=False)
    declare(peer, f"{root}/**")
    message = Publish(f"/clasp/p2p/signal/{other.welcome.session}", signal=SignalType.EVENT, value={"offer": 1})
    assert refused(peer, message)[:2] == (403, "PUBLISH outside declared federation namespace")
    assert other.sync() == []


@pytest.mark.parametrize(
    ("message", "kind"), [(Set("{}/out", 1), "SET"), (Publish("{}/out", signal=SignalType.EVENT, value=1), "PUBLISH")]
)
@pytest.mark.parametrize("ahead_s", [0, 60])
def test_a_bundle_is_no_way_out(connect: Connect, root: str, message: Set | Publish, kind: str, ahead_s: int) -> None:
    peer, other = connect(), connect(peer=False)
    other.send(Subscribe(1, f"{root}/**"))
    other.sync()
    declare(peer, f"{root}/in/**")
    inner = type(message)(**{**_fields(message), "address": message.address.format(root)})
    due_us = int((time.time() + ahead_s) * 1e6) if ahead_s else None
    bundle = Bundle([Set(f"{root}/in/x", 1), inner], timestamp=due_us)
    expected = (403, f"Bundle rejected: {kind} outside declared federation namespace", f"{root}/out")
    assert refused(peer, bundle) == expected
    assert other.sync() == []  # nor was the part inside applied


def _fields(message: Set | Publish) -> dict[str, object]:
    return {name: getattr(message, name) for name in message.__dataclass_fields__ if name != "type"}


def test_a_bundle_scheduled_before_the_declaration_is_checked_when_it_is_due(connect: Connect, root: str) -> None:
    peer = connect()
    peer.send(Bundle([Set(f"{root}/out", 1)], timestamp=int((time.time() + 0.5) * 1e6)))
    declare(peer, f"{root}/in/**")
    error = peer.recv_type(Error)
    assert (error.code, error.address) == (403, f"{root}/out")
    assert error.message.startswith("Scheduled bundle cancelled: ")


def test_the_legacy_encoding_is_no_way_out(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, f"{root}/in/**")
    payload = msgpack.packb({"type": "SET", "address": f"{root}/out", "value": 1})
    peer.send_raw(wire.encode_frame(payload))
    (error,) = peer.sync()
    assert isinstance(error, Error)
    assert (error.code, error.message) == (403, "SET outside declared federation namespace")


def test_a_second_hello_is_no_way_out(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, f"{root}/in/**")
    peer.hello("leaf", features=("param",))
    assert refused(peer, Set(f"{root}/out", 1))[0] == 403


def test_a_declaration_without_any_valid_pattern_admits_nothing(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, "no/slash/**")
    assert refused(peer, Set(f"{root}/x", 1))[0] == 403


def test_a_subtree_admits_its_root(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, f"{root}/**")
    peer.send(Set(root, 1))
    assert peer.recv_until(Ack) == Ack(address=root, revision=1)


def test_reading_and_announcing_are_not_confined(connect: Connect, root: str) -> None:
    peer, other = connect(), connect(peer=False)
    put(other, f"{root}/out", 1)
    declare(peer, f"{root}/in/**")
    peer.send(Get(f"{root}/out"))
    assert lines(list(peer.recv_type(Snapshot).params)) == {f"{root}/out": (1, 1)}
    peer.send(Announce(root, [Signal(f"{root}/out", SignalType.PARAM)]))
    assert peer.recv() == Ack(address=root)
    peer.send(Subscribe(1, f"{root}/out"))
    assert lines(list(peer.recv_type(Snapshot).params)) == {f"{root}/out": (1, 1)}


def test_others_write_into_a_declared_namespace(connect: Connect, root: str) -> None:
    peers = connect(), connect()
    for peer in peers:
        declare(peer, f"{root}/**")
    put(connect(peer=False), f"{root}/x", 1)
    for peer in peers:
        assert peer.sync() == [Set(f"{root}/x", 1, revision=1)]


def test_the_gate_forgets_what_an_earlier_declaration_allowed(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, f"{root}/**")
    put(peer, f"{root}/out", 1, 2)  # the second write is remembered as allowed
    declare(peer, f"{root}/in/**")
    assert refused(peer, Set(f"{root}/out", 3))[0] == 403


# ---- RequestSync ----


def test_one_snapshot_for_each_pattern_then_sync_complete(connect: Connect, root: str) -> None:
    peer = connect()
    put(peer, f"{root}/a/x", 1)
    put(peer, f"{root}/b/x", 2, 3)
    declare(peer, f"{root}/**", "/elsewhere/**")
    snapshots = request(peer, f"{root}/a/**", "/elsewhere/**", f"{root}/b/x", f"{root}/none")
    assert [lines(params) for params in snapshots] == [
        {f"{root}/a/x": (1, 1)},
        {},
        {f"{root}/b/x": (3, 2)},
        {},
    ]


def test_sync_complete_names_the_router_and_the_patterns(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, f"{root}/**")
    peer.send(FederationSync(FederationOp.REQUEST_SYNC, patterns=(f"{root}/**",), since_revision=4, origin="leaf"))
    assert peer.recv() == Snapshot(params=())
    expected = FederationSync(FederationOp.SYNC_COMPLETE, patterns=(f"{root}/**",), origin="The Hub")
    assert peer.recv() == expected


def test_since_revision_leaves_out_what_is_not_above_it(connect: Connect, root: str) -> None:
    peer = connect()
    put(peer, f"{root}/once", 1)
    put(peer, f"{root}/thrice", 1, 2, 3)
    declare(peer, f"{root}/**")
    assert [lines(params) for params in request(peer, f"{root}/**", since=1)] == [{f"{root}/thrice": (3, 3)}]
    assert request(peer, f"{root}/**", since=3) == [[]]
    assert len(request(peer, f"{root}/**", since=0)[0]) == 2


def test_a_large_state_arrives_whole_and_before_sync_complete(connect: Connect, own: Daemon, root: str) -> None:
    peer = connect(to=own)
    expected = {f"{root}/{number:04}": "v" * 200 for number in range(1500)}
    for address, value in expected.items():
        peer.send(Set(address, value), qos=0)
    peer.sync()
    declare(peer, f"{root}/**")
    snapshots = request(peer, f"{root}/**")
    assert len(snapshots) > 5
    assert {param.address: param.value for params in snapshots for param in params} == expected


@pytest.mark.parametrize(
    ("declared", "asked"),
    [
        ("/**", "/a/*/b"),
        ("/a/**", "/a/**"),
        ("/a/**", "/a"),
        ("/a/*", "/a/b"),
        ("/a/**", "/a/[a-f]*/**"),
        ("no/slash", "no/slash"),
    ],
)
def test_what_a_declaration_covers_may_be_asked_for(connect: Connect, root: str, declared: str, asked: str) -> None:
    peer = connect()
    prefix = root if declared.startswith("/a") else ""
    declare(peer, prefix + declared)
    peer.send(FederationSync(FederationOp.REQUEST_SYNC, patterns=(prefix + asked,)))
    peer.recv_type(Snapshot)
    assert peer.recv_until(FederationSync).op is FederationOp.SYNC_COMPLETE


@pytest.mark.parametrize(
    ("declared", "asked"),
    [
        ("/a/*", "/a/**"),
        ("/a/**", "/**"),
        ("/a/**", "/b/c"),
        ("/a/b", "/a/*"),
        ("/a/**", "no/slash"),
        (None, "/a/b"),
    ],
)
def test_what_no_declaration_covers_is_refused(connect: Connect, declared: str | None, asked: str) -> None:
    peer = connect()
    if declared is not None:
        declare(peer, declared)
    message = FederationSync(FederationOp.REQUEST_SYNC, patterns=(asked,))
    assert refused(peer, message) == (403, f"pattern '{asked}' not covered by declared namespaces", None)


def test_one_uncovered_pattern_refuses_the_whole_request(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, f"{root}/a/**")
    message = FederationSync(FederationOp.REQUEST_SYNC, patterns=(f"{root}/a/**", f"{root}/b"))
    assert refused(peer, message)[0] == 403


def test_at_most_1000_patterns_can_be_asked_for(connect: Connect, root: str) -> None:
    peer = connect()
    declare(peer, f"{root}/**")
    assert request(peer, *(f"{root}/{number}/**" for number in range(1000))) == [[]] * 1000
    patterns = tuple(f"{root}/{number}" for number in range(1001))
    too_many = FederationSync(FederationOp.REQUEST_SYNC, patterns=patterns)
    assert refused(peer, too_many) == (400, "too many sync patterns: 1001 (max 1000)", None)


def test_a_request_that_fills_its_frame_is_completed_all_the_same(connect: Connect, root: str) -> None:
    """The router's name does not fit beside such patterns."""
    peer = connect()
    declare(peer, "/**")
    patterns = [f"/{'p' * 1000}/**"] * 65
    message = FederationSync(FederationOp.REQUEST_SYNC, patterns=patterns)
    room = wire.MAX_PAYLOAD_BYTES - len(wire.encode_payload(message)) - 2
    message = FederationSync(FederationOp.REQUEST_SYNC, patterns=[*patterns, "/".ljust(room, "q")])
    assert len(wire.encode_payload(message)) == wire.MAX_PAYLOAD_BYTES
    peer.send(message)
    complete = peer.recv_until(FederationSync)
    assert complete.op is FederationOp.SYNC_COMPLETE
    assert complete.origin == "The Hub"


# ---- RevisionVector ----


def test_only_params_that_are_newer_here_are_sent(connect: Connect, root: str) -> None:
    peer = connect()
    for name in ("newer", "same", "older", "unmentioned"):
        put(peer, f"{root}/in/{name}", 1, 2)
    put(peer, f"{root}/out", 1, 2)
    declare(peer, f"{root}/in/**")
    vector = {
        f"{root}/in/newer": 1,
        f"{root}/in/same": 2,
        f"{root}/in/older": 3,
        f"{root}/in/unknown": 0,
        f"{root}/in/*": 0,
        f"{root}/out": 0,
        "no-address": 0,
    }
    (snapshot,) = compare(peer, vector)
    assert isinstance(snapshot, Snapshot)
    assert lines(list(snapshot.params)) == {f"{root}/in/newer": (2, 2)}
    assert snapshot.params[0].writer == peer.welcome.session


def test_nothing_newer_gets_no_reply(connect: Connect, root: str) -> None:
    peer = connect()
    put(peer, f"{root}/x", 1)
    declare(peer, f"{root}/**")
    assert compare(peer, {f"{root}/x": 1}) == []
    assert compare(peer, {f"{root}/x": 2**64 - 1}) == []
    assert compare(peer, {}) == []


def test_without_a_declaration_nothing_is_inside(connect: Connect, root: str) -> None:
    peer = connect()
    put(peer, f"{root}/x", 1)
    assert compare(peer, {f"{root}/x": 0}) == []


def test_many_newer_params_come_in_several_snapshots(connect: Connect, own: Daemon, root: str) -> None:
    peer = connect(to=own)
    names = [f"{root}/{number:04}" for number in range(1000)]
    for number, address in enumerate(names):
        peer.send(Set(address, "v" * (number % 300)), qos=0)
    put(peer, f"{root}/large", "L" * 60_000)
    names.insert(500, f"{root}/large")
    # Enough patterns for the comparison to be done in several turns.
    declare(peer, *(f"{root}/*{number}" for number in range(10)), f"{root}/large")
    peer.send(FederationSync(FederationOp.REVISION_VECTOR, revisions=dict.fromkeys(names, 0)))
    got: list[str] = []
    while len(got) < len(names):
        got += [param.address for param in peer.recv_type(Snapshot).params]
    assert got == names


def test_at_most_10000_revisions_can_be_compared(connect: Connect) -> None:
    peer = connect()
    declare(peer, "/**")
    # One frame holds so many only in the legacy encoding, with revisions of one byte and the shortest of names.
    assert _compare_legacy(peer, 10_000) == []
    (error,) = _compare_legacy(peer, 10_001)
    assert error == Error(400, "too many revision entries: 10001 (max 10000)")


def _compare_legacy(client: Client, count: int) -> list[wire.Message]:
    revisions = {format(number, "x"): 0 for number in range(count)}
    message = {"type": "FEDERATION_SYNC", "op": "RevisionVector", "revisions": revisions}
    client.send_raw(wire.encode_frame(msgpack.packb(message)))
    return client.sync()
