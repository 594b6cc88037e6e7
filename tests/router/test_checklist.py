"""What clients and their tests rely on, line by line as in router.md 13, over both transports."""

from __future__ import annotations

import http.client
import re
import uuid
from collections.abc import Callable, Iterator

import pytest
from support.client import Client, Closed
from support.daemon import Daemon
from support.live import Crowd, get, of_type, params_of, put, refused, subscribe

from clasp_edge import wire
from clasp_edge.wire import Qos, SignalType

Join = Callable[[str], Client]


@pytest.fixture(params=["ws", "tcp"])
def join(request: pytest.FixtureRequest, clients: Crowd) -> Join:
    return clients.ws if request.param == "ws" else clients.tcp


@pytest.fixture(params=["ws", "tcp"])
def stranger(request: pytest.FixtureRequest, clients: Crowd) -> Client:
    """A connection that has not said HELLO."""
    return clients.ws(greet=False) if request.param == "ws" else clients.tcp(greet=False)


@pytest.mark.parametrize("version", [0, 1, 2, 99, 255])
def test_line_1_any_hello_gets_welcome_and_a_snapshot(stranger: Client, version: int) -> None:
    stranger.send(wire.Hello(version=version, name="x"))
    welcome = stranger.recv_type(wire.Welcome)
    assert welcome.version == 1
    assert str(uuid.UUID(welcome.session)) == welcome.session
    assert stranger.recv_type(wire.Snapshot) is not None


def test_line_1_the_first_snapshot_of_an_empty_router_is_empty() -> None:
    with Daemon() as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        assert client.snapshot == []
        assert client.sync() == []
        crowd.leave()


@pytest.mark.parametrize(
    "message",
    [wire.Ping(), wire.Set("/a", 1), wire.Get("/a"), wire.Subscribe(1, "/**"), wire.Sync(1), wire.Query("/**")],
    ids=lambda message: message.type.name,
)
def test_line_2_silence_and_a_close_for_who_has_not_said_hello(stranger: Client, message: wire.Message) -> None:
    stranger.send(message)
    with pytest.raises(Closed) as caught:
        stranger.recv()
    assert caught.value.code in (1002, None)


@pytest.mark.parametrize(
    "message",
    [
        wire.Welcome(1, "s", "n", (), 0),
        wire.Snapshot([wire.ParamValue("/wrong/way", 1, 1)]),
        wire.Pong(),
        wire.Ack(address="/a", revision=1),
        wire.Error(400, "no"),
        wire.Result([wire.Signal("/a", SignalType.PARAM)]),
    ],
    ids=lambda message: message.type.name,
)
def test_line_2_messages_of_the_wrong_direction_are_ignored(join: Join, message: wire.Message) -> None:
    client = join("odd")
    client.send(message)
    assert client.sync() == []
    assert get(client, "/wrong/way") is None


def test_line_2_garbage_after_the_handshake_does_not_end_the_connection(join: Join) -> None:
    client = join("odd")
    client.send_raw(b"\x00garbage")
    answers = client.sync()
    assert [type(answer) for answer in answers] == [wire.Error]
    assert of_type(answers, wire.Error)[0].code in (100, 101)


def test_line_3_set_is_acknowledged_and_echoed_before_the_ack(join: Join, base: str) -> None:
    client = join("writer")
    subscribe(client, f"{base}/**")
    client.send(wire.Set(f"{base}/a", 5))
    assert client.recv() == wire.Set(f"{base}/a", 5, revision=1)
    assert client.recv() == wire.Ack(address=f"{base}/a", revision=1)


@pytest.mark.parametrize("qos", list(Qos))
def test_line_3_the_frames_qos_decides_about_the_ack(join: Join, base: str, qos: Qos) -> None:
    client = join("writer")
    client.send(wire.Set(f"{base}/a", 5), qos)
    client.send(wire.Bundle([wire.Set(f"{base}/b", 6)]), qos)
    expected = [] if qos is Qos.FIRE else [wire.Ack(address=f"{base}/a", revision=1), wire.Ack(revision=1)]
    assert client.sync() == expected
    assert get(client, f"{base}/b").value == 6


@pytest.mark.parametrize("signal", list(SignalType), ids=lambda signal: signal.name)
@pytest.mark.parametrize("qos", list(Qos))
def test_line_3_publish_is_neither_acknowledged_nor_echoed(join: Join, base: str, signal: SignalType, qos: Qos) -> None:
    sender, receiver = join("sender"), join("receiver")
    for client in (sender, receiver):
        subscribe(client, f"{base}/**")
    sender.send(wire.Publish(f"{base}/a", signal, value=1), qos)
    assert sender.sync() == []
    (received,) = receiver.sync()
    assert isinstance(received, wire.Publish)
    assert (received.address, received.signal, received.value) == (f"{base}/a", signal, 1)


def test_line_3_an_announcement_in_messagepack_is_not_acknowledged(join: Join, base: str) -> None:
    msgpack = pytest.importorskip("msgpack")
    client = join("python")
    fields = {"type": "ANNOUNCE", "namespace": base, "signals": [{"address": f"{base}/x", "type": "param"}]}
    client.send_raw(wire.encode_frame(msgpack.packb(fields)))
    assert client.sync() == []
    client.send(wire.Query(f"{base}/**"))
    assert [signal.address for signal in client.recv_type(wire.Result).signals] == [f"{base}/x"]


def test_line_4_subscribe_gives_the_matching_state_and_nothing_else(join: Join, base: str) -> None:
    client = join("late")
    assert subscribe(client, f"{base}/**") == []
    put(join("writer"), f"{base}/a", 1)
    assert len(client.sync()) == 1
    answers = subscribe(client, f"{base}/*", id=2)
    assert [type(answer) for answer in answers] == [wire.Snapshot]
    assert [(param.address, param.value) for param in params_of(answers)] == [(f"{base}/a", 1)]


@pytest.mark.parametrize("number", [1, 77])
def test_line_4_unsubscribe_is_silent(join: Join, base: str, number: int) -> None:
    client = join("leaver")
    subscribe(client, f"{base}/**", id=1)
    client.send(wire.Unsubscribe(number))
    assert client.sync() == []
    put(join("writer"), f"{base}/a", 1)
    assert len(client.sync()) == (0 if number == 1 else 1)


def test_line_5_get_answers_with_a_snapshot_of_one(join: Join, base: str) -> None:
    writer = join("writer")
    put(writer, f"{base}/a", {"x": [1, 2.5, "y", None, True, b"\x00\xff"]})
    put(writer, f"{base}/b", 2)
    param = get(join("reader"), f"{base}/a")
    assert param is not None
    assert (param.value, param.revision) == ({"x": [1, 2.5, "y", None, True, b"\x00\xff"]}, 1)
    assert param.writer == writer.welcome.session
    assert param.timestamp is not None
    assert abs(param.timestamp - writer.welcome.time) < 60_000_000


def test_line_5_ping_sync_announce_query(join: Join, base: str) -> None:
    client = join("asker")
    client.send(wire.Ping())
    assert client.recv() == wire.Pong()
    client.send(wire.Sync(t1=123))
    sync = client.recv_type(wire.Sync)
    assert sync.t1 == 123
    assert sync.t2 is not None
    assert sync.t3 is not None
    assert sync.t2 <= sync.t3
    client.send(wire.Announce(base, [wire.Signal(f"{base}/s", SignalType.STREAM, datatype="f32", access="r")]))
    assert client.recv() == wire.Ack(address=base)
    client.send(wire.Query(f"{base}/*"))
    assert client.recv() == wire.Result((wire.Signal(f"{base}/s", SignalType.STREAM, datatype="f32", access="r"),))
    client.send(wire.Query("/nobody/announced/this"))
    assert client.recv() == wire.Result(())


def test_line_5_a_bundle_gets_one_ack_and_its_messages_arrive_one_by_one(join: Join, base: str) -> None:
    sender, receiver = join("sender"), join("receiver")
    subscribe(receiver, f"{base}/**")
    sender.send(
        wire.Bundle([wire.Set(f"{base}/a", 1), wire.Publish(f"{base}/go", SignalType.EVENT), wire.Set(f"{base}/a", 2)])
    )
    assert sender.sync() == [wire.Ack(revision=2)]
    first, event, second = receiver.sync()
    assert first == wire.Set(f"{base}/a", 1, revision=1)
    assert isinstance(event, wire.Publish)
    assert event.address == f"{base}/go"
    assert second == wire.Set(f"{base}/a", 2, revision=2)


def test_line_6_revisions(join: Join, base: str) -> None:
    client = join("writer")
    assert put(client, f"{base}/a", "x").revision == 1
    assert put(client, f"{base}/a", "x").revision == 2
    assert put(client, f"{base}/a", "y", revision=2).revision == 3
    error = refused(client, f"{base}/a", "z", revision=2)
    assert (error.code, error.address, error.correlation_id) == (400, f"{base}/a", None)
    assert error.message.startswith("RevisionConflict")
    assert put(client, f"{base}/new", 1, revision=99).revision == 1


def test_line_7_locks(join: Join, base: str) -> None:
    owner, other = join("owner"), join("other")
    ack = put(owner, f"{base}/a", 1, lock=True)
    assert (ack.revision, ack.locked, ack.holder) == (1, True, owner.welcome.session)
    other.send(wire.Set(f"{base}/a", 2))
    (error,) = of_type(other.sync(), wire.Error)
    assert (error.code, error.address) == (400, f"{base}/a")
    assert error.message.startswith("LockHeld")
    assert get(other, f"{base}/a").value == 1
    assert put(owner, f"{base}/a", 3).revision == 2
    assert put(owner, f"{base}/a", 4, unlock=True).revision == 3
    assert put(other, f"{base}/a", 5).revision == 4


def test_line_7_the_code_for_a_lock_can_be_the_documents(base: str) -> None:
    with Daemon(sets={"security.lock_error_code": 401}) as daemon:
        crowd = Crowd(daemon)
        put(crowd.ws(), f"{base}/a", 1, lock=True)
        error = refused(crowd.ws(), f"{base}/a", 2)
        assert error.code == 401
        assert error.message.startswith("LockHeld")
        crowd.leave()


def test_line_8_signalling_reaches_the_session_it_names(join: Join) -> None:
    caller, callee, bystander = join("caller"), join("callee"), join("bystander")
    signal = wire.Publish(f"/clasp/p2p/signal/{callee.welcome.session}", SignalType.EVENT, value={"type": "offer"})
    caller.send(signal)
    assert caller.sync() == []
    (received,) = callee.sync()
    assert isinstance(received, wire.Publish)
    assert (received.address, received.value) == (signal.address, {"type": "offer"})
    assert bystander.sync() == []
    caller.send(wire.Publish("/clasp/p2p/signal/nobody", SignalType.EVENT, value=1))
    (error,) = of_type(caller.sync(), wire.Error)
    assert (error.code, error.address) == (404, "/clasp/p2p/signal/nobody")
    assert error.message == "Target session not found: nobody"


def test_line_9_one_copy_per_session_and_no_echo_by_session(join: Join, base: str) -> None:
    one, two = join("same name"), join("same name")
    for number, pattern in enumerate((f"{base}/**", f"{base}/*", f"{base}/a")):
        subscribe(one, pattern, id=number)
        subscribe(two, pattern, id=number)
    one.send(wire.Publish(f"{base}/a", SignalType.EVENT, value=1))
    assert one.sync() == []
    assert len(two.sync()) == 1
    one.send(wire.Set(f"{base}/a", 1))
    assert len(of_type(one.sync(), wire.Set)) == 1
    assert len(two.sync()) == 1


@pytest.mark.parametrize("mask", [0x00, 0xFF, 0x01, 0x02, 0x04, 0x08, 0x10, 0x1F, 0xE0, 0x05])
def test_line_9_type_masks(join: Join, base: str, mask: int) -> None:
    sender, receiver = join("sender"), join("receiver")
    subscribe_frame = bytearray(wire.encode_payload(wire.Subscribe(1, f"{base}/**")))
    assert subscribe_frame[-2] == 0xFF
    subscribe_frame[-2] = mask
    receiver.send_raw(wire.encode_frame(bytes(subscribe_frame)))
    assert receiver.sync() == []
    sender.send(wire.Set(f"{base}/a", 1), Qos.FIRE)
    for signal in SignalType:
        sender.send(wire.Publish(f"{base}/a", signal, value=1))
    sender.sync()
    wanted = mask & 0x1F or 0x1F
    expected: list[object] = [wire.Set] if wanted & 1 else []
    expected += [signal for signal in SignalType if wanted & (1 << signal)]
    assert [message.signal if isinstance(message, wire.Publish) else type(message) for message in receiver.sync()] == (
        expected
    )


TOKENS = """
[security]
mode = "authenticated"
[[security.token]]
token = "reader"
scopes = ["read:/**"]
[[security.token]]
token = "old"
scopes = ["read:/**"]
expires = 2001-01-01T00:00:00Z
"""


@pytest.mark.parametrize(
    ("token", "code", "text"),
    [
        (None, 300, "Authentication required"),
        ("", 300, "Authentication required"),
        ("cpsk_00000000000000000000000000000000", 300, "Invalid token: token not found"),
        ("nonsense", 300, "Invalid token: token not found"),
        ("old", 302, "Token has expired"),
    ],
)
def test_line_10_refused_tokens(secured: Crowd, token: str | None, code: int, text: str) -> None:
    client = secured.ws(greet=False)
    client.send(wire.Hello(1, "x", token=token))
    assert client.recv() == wire.Error(code, text)
    assert client.wait_closed().code == 1008


@pytest.fixture(scope="module")
def secured_daemon() -> Iterator[Daemon]:
    with Daemon(config=TOKENS, messages_per_second=50) as daemon:
        yield daemon


@pytest.fixture
def secured(secured_daemon: Daemon) -> Iterator[Crowd]:
    crowd = Crowd(secured_daemon)
    yield crowd
    crowd.leave()


def test_line_10_forbidden_and_too_fast(secured: Crowd) -> None:
    client = secured.ws(token="reader")
    error = refused(client, "/a", 1)
    assert (error.code, error.message, error.address) == (301, "Insufficient scope for write operation", "/a")
    client.send(wire.Publish("/a", SignalType.EVENT))
    error = client.recv_type(wire.Error)
    assert (error.code, error.message, error.address) == (301, "Insufficient scope for publish operation", "/a")
    for _ in range(100):
        client.send(wire.Ping())
    errors = of_type(client.drain(), wire.Error)
    assert [(error.code, error.message, error.address) for error in errors[:1]] == [
        (429, "Rate limit exceeded: 50 messages/second", None)
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/health", "/clasp?x=1"])
def test_line_11_plain_http_is_answered_ok(daemon: Daemon, method: str, path: str) -> None:
    connection = http.client.HTTPConnection(*daemon.ws_address, timeout=5)
    connection.request(method, path)
    response = connection.getresponse()
    assert response.status == 200
    assert re.match("text/plain", response.headers["Content-Type"])
    assert response.headers["Content-Length"] == "3"
    assert response.headers["Connection"] == "close"
    assert response.read() == (b"" if method == "HEAD" else b"ok\n")
    connection.close()
