"""FEDERATION_SYNC where tokens say who may do what (router.md 8.6)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.client import Closed, WsClient
from support.daemon import Daemon
from support.leaves import ALL_FEATURES, Connect, compare, connecting, declare, put, refused

from clasp_edge.wire import Ack, Bundle, FederationOp, FederationSync, Hello, Message, Set

AUTHENTICATED = """
[security]
mode = "authenticated"

[[security.token]]
token = "leaf-token-leaf-token-leaf-token"
subject = "leaf"
scopes = ["read:/site-a/**", "write:/site-a/**", "write:/shared/**"]

[[security.token]]
token = "two-token-two-token-two-token-two"
subject = "two"
scopes = ["read:/**", "write:/**"]

[[security.token]]
token = "root-token-root-token-root-token"
subject = "root"
scopes = ["admin:/**"]
"""
TWO_SITES_TOKEN = "two-token-two-token-two-token-two"
LEAF_TOKEN = "leaf-token-leaf-token-leaf-token"
ROOT_TOKEN = "root-token-root-token-root-token"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Daemon]:
    with Daemon(config=AUTHENTICATED) as running:
        yield running


@pytest.fixture
def connect(guarded: Daemon) -> Iterator[Connect]:
    yield from connecting(guarded)


def test_a_declaration_needs_read_scope_for_each_pattern(connect: Connect) -> None:
    peer = connect(token=LEAF_TOKEN)
    message = FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=("/site-a/**", "/site-b/**"))
    assert refused(peer, message) == (403, "insufficient scope for namespace: /site-b/**", None)
    # Nothing was declared.
    peer.send(Set("/shared/before", 1))
    assert peer.recv() == Ack(address="/shared/before", revision=1)


def test_the_token_is_asked_before_the_namespace(connect: Connect) -> None:
    peer = connect(token=LEAF_TOKEN)
    declare(peer, "/site-a/lights/**")
    assert refused(peer, Set("/shared/x", 1))[:2] == (403, "SET outside declared federation namespace")
    assert refused(peer, Set("/site-b/x", 1))[:2] == (301, "Insufficient scope for write operation")
    outside, unscoped = "SET outside declared federation namespace", "insufficient scope for SET to /site-b/x"
    assert refused(peer, Bundle([Set("/shared/x", 1)])) == (403, f"Bundle rejected: {outside}", "/shared/x")
    assert refused(peer, Bundle([Set("/site-b/x", 1)])) == (403, f"Bundle rejected: {unscoped}", "/site-b/x")
    peer.send(Set("/site-a/lights/x", 1))
    assert peer.recv_until(Ack) == Ack(address="/site-a/lights/x", revision=1)


def test_a_second_hello_with_a_better_token_is_no_way_out(connect: Connect) -> None:
    peer = connect(token=LEAF_TOKEN)
    declare(peer, "/site-a/**")
    peer.hello("leaf", features=ALL_FEATURES, token=ROOT_TOKEN)
    assert refused(peer, Set("/site-b/x", 1))[:2] == (403, "SET outside declared federation namespace")


def test_a_token_that_lost_its_scope_gets_nothing_from_its_declaration(connect: Connect) -> None:
    admin = connect(token=ROOT_TOKEN, peer=False)
    peer = connect(token=ROOT_TOKEN)
    put(admin, "/site-b/secret", 1)
    declare(peer, "/site-b/**", "/site-a/**")
    peer.hello("leaf", features=ALL_FEATURES, token=LEAF_TOKEN)
    message = FederationSync(FederationOp.REQUEST_SYNC, patterns=("/site-a/**", "/site-b/**"))
    assert refused(peer, message) == (403, "insufficient scope for pattern: /site-b/**", None)
    assert compare(peer, {"/site-b/secret": 0}) == []
    put(admin, "/site-b/secret", 2)
    assert peer.sync() == []


def test_a_box_that_shows_another_token_keeps_nothing_of_the_first(connect: Connect) -> None:
    """Neither what it owns nor what it is told; by a new connection it is what the new token makes of it."""
    admin = connect(token=ROOT_TOKEN, peer=False)
    box = connect(token=TWO_SITES_TOKEN)
    box.send(FederationSync(FederationOp.PEER, patterns=("/site-b/**",), origin="box", since_revision=1))
    box.recv_until(FederationSync)
    declare(box, "/site-b/**")
    box.send(Hello(1, "box", ALL_FEATURES, token=LEAF_TOKEN))
    put(admin, "/site-b/secret", 2)
    heard: list[Message] = []
    with pytest.raises(Closed):
        hear_all(box, heard)
    assert not any(isinstance(message, Set) for message in heard)


def hear_all(peer: WsClient, heard: list[Message]) -> None:
    """Until the connection ends."""
    while True:
        heard.append(peer.recv(30.0))
