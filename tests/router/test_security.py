"""Mode `authenticated`: tokens at the door, scopes at every write, read, subscription, delivery and query.

router.md 1.4, 4.1.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import Client
from support.clock_shim import ByClock, ShiftedClock
from support.daemon import Daemon
from support.live import Crowd, of_type, params_of, put, refused, subscribe

from clasp_edge import wire
from clasp_edge.wire import SignalType

CONFIG = """
[security]
mode = "authenticated"
[[security.token]]
token = "all"
subject = "engineer"
scopes = ["admin:/**"]
[[security.token]]
token = "reader"
scopes = ["read:/pub/**"]
[[security.token]]
token = "one level"
scopes = ["read:/pub/*"]
[[security.token]]
token = "writer"
scopes = ["write:/pub/**"]
[[security.token]]
token = "cpsk_0123456789abcdef0123456789abcdef"
scopes = ["r:/pub/a", "w:/own/**"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(tcp=True, config=CONFIG) as running:
        yield running


def test_the_snapshot_at_the_door_shows_what_may_be_read(clients: Crowd, base: str) -> None:
    admin = clients.ws(token="all")
    for address in (f"/pub{base}", f"/secret{base}", f"/pub{base}/deep"):
        put(admin, address, 1)

    def seen(token: str) -> set[str]:
        return {param.address for param in clients.tcp(token=token).snapshot if base in param.address}

    assert seen("all") == {f"/pub{base}", f"/secret{base}", f"/pub{base}/deep"}
    assert seen("reader") == seen("writer") == {f"/pub{base}", f"/pub{base}/deep"}
    assert seen("one level") == {f"/pub{base}"}
    assert seen("cpsk_0123456789abcdef0123456789abcdef") == set()


def test_there_is_a_snapshot_also_where_nothing_may_be_read(clients: Crowd, base: str) -> None:
    put(clients.ws(token="all"), f"/secret{base}", 1)
    client = clients.ws(greet=False)
    client.send(wire.Hello(1, "x", token="cpsk_0123456789abcdef0123456789abcdef"))
    client.recv_type(wire.Welcome)
    assert [param for param in client.recv_type(wire.Snapshot).params if base in param.address] == []


@pytest.mark.parametrize(
    ("token", "pattern", "allowed"),
    [
        ("all", "/**", True),
        ("reader", "/pub/**", True),
        ("reader", "/pub/a/*", True),
        ("reader", "/**", False),
        ("reader", "/*/a", False),
        ("reader", "/pub*/**", False),
        ("reader", "/**/pub", False),
        ("writer", "/pub/**", True),
        ("one level", "/pub/*", True),
        ("one level", "/pub/a*", True),
        ("one level", "/pub/**", False),
        ("one level", "/pub/*/b", False),
        ("cpsk_0123456789abcdef0123456789abcdef", "/pub/a", True),
        ("cpsk_0123456789abcdef0123456789abcdef", "/pub/*", False),
        ("cpsk_0123456789abcdef0123456789abcdef", "/own/x/**", True),
    ],
)
def test_a_subscription_must_lie_within_the_scope(clients: Crowd, token: str, pattern: str, allowed: bool) -> None:
    client = clients.ws(token=token)
    errors = of_type(subscribe(client, pattern), wire.Error)
    expected = [] if allowed else [wire.Error(301, "Insufficient scope for subscription", pattern)]
    assert errors == expected
    client.send(wire.Replay(pattern))
    assert client.recv_type(wire.Error).code == (501 if allowed else 301)


def test_deliveries_respect_the_scope(clients: Crowd, base: str) -> None:
    admin, reader = clients.ws(token="all"), clients.ws(token="one level")
    subscribe(reader, "/pub/*")
    put(admin, "/pub/x", 1)
    put(admin, f"/pub/x{base}", 1)
    admin.send(wire.Publish("/pub/e", SignalType.EVENT))
    admin.send(wire.Publish("/pub/e/e", SignalType.EVENT))
    admin.sync()
    assert {message.address for message in reader.sync()} == {"/pub/x", "/pub/e"}


def test_get_and_get_of_a_pattern(clients: Crowd, base: str) -> None:
    admin, reader = clients.ws(token="all"), clients.ws(token="one level")
    put(admin, f"/secret{base}", 1)
    put(admin, "/pub/g", 1)
    put(admin, f"/pub/g{base}", 1)
    reader.send(wire.Get(f"/secret{base}"))
    assert reader.recv() == wire.Error(301, "Insufficient scope for read operation", f"/secret{base}")
    reader.send(wire.Get("/pub/g"))
    assert len(params_of([reader.recv()])) == 1
    reader.send(wire.Get("/**"))
    assert all(param.address.count("/") == 2 for param in params_of(reader.sync()))


@pytest.mark.parametrize("token", ["reader", "writer", "cpsk_0123456789abcdef0123456789abcdef"])
def test_writes_are_for_writers(clients: Crowd, base: str, token: str) -> None:
    client = clients.ws(token=token)
    may = token == "writer"
    address = f"/pub{base}"
    client.send(wire.Set(address, 1))
    client.send(wire.Publish(address, SignalType.EVENT))
    client.send(wire.Publish(address, SignalType.GESTURE, id=1, phase=wire.Phase.START))
    client.send(wire.Bundle([wire.Set(address, 2)]))
    client.send(wire.Announce("/pub", [wire.Signal(address, SignalType.PARAM)]))
    answers = client.sync()
    if may:
        assert [type(answer) for answer in answers] == [wire.Ack] * 3
        return
    assert answers == [
        wire.Error(301, "Insufficient scope for write operation", address),
        wire.Error(301, "Insufficient scope for publish operation", address),
        wire.Error(301, "Insufficient scope for publish operation", address),
        wire.Error(403, f"Bundle rejected: insufficient scope for SET to {address}", address),
        wire.Error(301, "Insufficient scope for announce", address),
    ]


def test_a_bundle_with_one_message_beyond_the_scope_does_nothing(clients: Crowd, base: str) -> None:
    client, admin = clients.ws(token="writer"), clients.ws(token="all")
    client.send(wire.Bundle([wire.Set(f"/pub{base}", 1), wire.Publish(f"/secret{base}", SignalType.EVENT)]))
    error = client.recv_type(wire.Error)
    assert (error.code, error.address) == (403, f"/secret{base}")
    assert error.message == f"Bundle rejected: insufficient scope for PUBLISH to /secret{base}"
    admin.send(wire.Get(f"/pub{base}"))
    assert admin.recv_type(wire.Error).code == 201


def test_the_gate_remembers_nobody_elses_rights(clients: Crowd, base: str) -> None:
    admin, reader = clients.ws(token="all"), clients.ws(token="reader")
    address = f"/pub{base}"
    for _ in range(3):
        put(admin, address, 1)
        assert refused(reader, address, 2).code == 301
    admin.close()
    successor = clients.ws(token="reader")
    assert refused(successor, address, 2).code == 301


def test_queries_show_what_may_be_read(clients: Crowd, base: str) -> None:
    admin, reader = clients.ws(token="all"), clients.ws(token="reader")
    signals = [wire.Signal(f"/{where}{base}", SignalType.PARAM) for where in ("pub", "secret")]
    admin.send(wire.Announce("/", signals))
    admin.recv_type(wire.Ack)
    for client, expected in ((admin, signals), (reader, signals[:1])):
        client.send(wire.Query(f"/*{base}"))
        assert list(client.recv_type(wire.Result).signals) == expected


def test_announcing_needs_the_right_to_write_there(clients: Crowd, base: str) -> None:
    admin, reader = clients.ws(token="all"), clients.ws(token="reader")
    told = wire.Signal(f"/pub{base}", SignalType.PARAM)
    admin.send(wire.Announce("/", [told]))
    admin.recv_type(wire.Ack)
    reader.send(wire.Announce("/", [wire.Signal(f"/pub{base}", SignalType.EVENT)]))
    assert reader.recv_type(wire.Error).code == wire.ErrorCode.FORBIDDEN
    reader.send(wire.Query(f"/pub{base}"))
    assert list(reader.recv_type(wire.Result).signals) == [told]


def test_history_shows_what_may_be_read(clients: Crowd, base: str) -> None:
    admin, reader = clients.ws(token="all"), clients.ws(token="one level")
    put(admin, "/pub/h", 1)
    put(admin, f"/pub/h{base}", 1)
    answers = subscribe(reader, "/pub/*", history=100)
    assert all(message.address.count("/") == 2 for message in of_type(answers, wire.Set))


def test_signalling_needs_the_right_to_write_there(clients: Crowd) -> None:
    admin, reader = clients.ws(token="all"), clients.ws(token="reader")
    address = f"/clasp/p2p/signal/{admin.welcome.session}"
    reader.send(wire.Publish(address, SignalType.EVENT, value=1))
    assert reader.recv() == wire.Error(301, "Insufficient scope for publish operation", address)
    assert admin.sync() == []


def test_a_second_hello_changes_the_rights(clients: Crowd, base: str) -> None:
    client, admin = clients.ws(token="all"), clients.ws(token="all")
    subscribe(client, "/**")
    client.send(wire.Hello(1, "again", token="reader"))
    client.recv_type(wire.Welcome)
    client.sync()
    put(admin, f"/secret{base}", 1)
    put(admin, f"/pub{base}", 1)
    assert [message.address for message in of_type(client.sync(), wire.Set)] == [f"/pub{base}"]
    assert refused(client, f"/pub{base}", 2).code == 301


def test_a_second_hello_with_a_bad_token_ends_it(clients: Crowd) -> None:
    client = clients.ws(token="all")
    client.send(wire.Hello(1, "again", token="wrong"))
    assert client.recv() == wire.Error(300, "Invalid token: token not found")
    assert client.wait_closed().code == 1008


def test_a_token_that_expires_closes_its_sessions(tmp_path: Path) -> None:
    clock = ShiftedClock(tmp_path)
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    extra = f'[[security.token]]\ntoken = "brief"\nscopes = ["admin:/**"]\nexpires = {expires.isoformat()}\n'
    with Daemon(config=CONFIG + extra, manager=ByClock(clock)) as daemon:
        crowd = Crowd(daemon)
        brief, lasting = crowd.ws(token="brief"), crowd.ws(token="all")
        put(brief, "/a", 1)
        clock.shift(3601)
        assert _until_error(brief) == wire.Error(302, "Token has expired")
        assert brief.wait_closed().code == 1008
        late = crowd.ws(greet=False)
        late.send(wire.Hello(1, "x", token="brief"))
        assert late.recv() == wire.Error(302, "Token has expired")
        assert lasting.sync() == []
        crowd.leave()
    clock.close()


def _until_error(client: Client) -> wire.Error:
    return client.recv_until(wire.Error, 10)
