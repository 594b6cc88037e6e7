"""The QUIC listener with a real client: frames at any split, one stream, moves, and how a connection ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.live import eventually
from support.quic_client import Closed, QuicClient

from clasp_edge import wire
from clasp_edge.wire.frame import encode_frame

LISTEN = {"quic.listen": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(sets=LISTEN) as daemon:
        yield daemon


def certificate_of(daemon: Daemon) -> Path:
    return daemon.data_dir / "tls" / "certificate.pem"


def client_of(daemon: Daemon, **options: object) -> QuicClient:
    return QuicClient(daemon.quic_address, certificate_of(daemon), **options)  # type: ignore[arg-type]


def test_a_client_sets_and_is_acknowledged_and_others_hear_of_it(daemon: Daemon) -> None:
    with client_of(daemon) as client, WsClient(daemon.ws_url) as other:
        assert client.alpn == "clasp/2"
        other.hello("other")
        other.send(wire.Subscribe(1, "/a/**"))
        client.hello("quic")
        client.send(wire.Subscribe(1, "/b/**"))
        client.write(wire.encode(wire.Set("/a/b", 1.5), qos=1))
        assert client.until(wire.Ack).address == "/a/b"
        while not isinstance(message := other.recv(), wire.Set):
            pass
        assert (message.address, message.value) == ("/a/b", 1.5)
        other.send(wire.Set("/b/c", "back"))
        heard = client.until(wire.Set)
        assert (heard.address, heard.value) == ("/b/c", "back")


def test_frames_are_taken_at_any_split_and_several_at_once(daemon: Daemon) -> None:
    with client_of(daemon) as client:
        client.hello()
        frames = b"".join(wire.encode(wire.Set(f"/split/{n}", n), qos=1) for n in range(5))
        client.write(frames)
        for size in (1, 2, 3, 4, 7, 11):
            for at in range(0, len(frames), size):
                client.write(frames[at : at + size])
        got = [client.until(wire.Ack).address for _ in range(5 * 7)]
        assert got == [f"/split/{n}" for n in range(5)] * 7


def test_the_largest_frame_with_a_timestamp_arrives(daemon: Daemon) -> None:
    with client_of(daemon) as client:
        client.hello()
        value = "x" * 60_000
        client.write(encode_frame(wire.encode_payload(wire.Set("/large", value)), 1, 1))
        client.until(wire.Ack)
        client.send(wire.Get("/large"))
        assert client.until(wire.Snapshot).params[0].value == value


def test_a_client_beside_silent_ones_is_served_at_once(daemon: Daemon) -> None:
    with client_of(daemon), client_of(daemon) as without_hello:
        without_hello.write(b"\x53")
        with client_of(daemon) as client:
            client.hello()


def test_a_client_that_moves_goes_on(daemon: Daemon) -> None:
    with client_of(daemon) as client, WsClient(daemon.ws_url) as other:
        client.hello("mover")
        client.send(wire.Subscribe(1, "/move/**"))
        other.hello("other")
        for number in range(3):
            client.move()
            client.write(wire.encode(wire.Set(f"/moved/{number}", number), qos=1))
            assert client.until(wire.Ack).address == f"/moved/{number}"
            other.send(wire.Set("/move/here", number))
            assert client.until(wire.Set).value == number
        # The engine follows three times; then the client is told to begin anew, where it is now.
        client.move()
        client.send(wire.Ping())
        assert "connect again" in client.closing().reason


def test_further_streams_are_reset_and_too_many_end_the_connection(daemon: Daemon) -> None:
    with client_of(daemon) as client:
        client.hello()
        client.write(wire.encode(wire.Set("/surplus", 1)), stream=4)
        client.write(wire.encode(wire.Set("/surplus", 1)), stream=2)
        client.pump(lambda: 4 in client.reset_streams)
        client.write(wire.encode(wire.Set("/one", 1), qos=1))
        client.until(wire.Ack)
        client.send(wire.Get("/surplus"))
        assert isinstance(client.recv(), wire.Error | wire.Snapshot)
    with client_of(daemon) as client:
        client.hello()
        for stream in range(4, 4 * 101, 4):
            client.write(b"x", stream=stream)
            client.pump(lambda: stream in client.reset_streams)  # noqa: B023
        client.write(b"x", stream=4 * 101)
        assert "one stream" in client.closing().reason


@pytest.mark.parametrize("alpn", [("h3",), ("clasp/1",)])
def test_another_alpn_is_refused_named_and_counted(daemon: Daemon, alpn: tuple[str, ...]) -> None:
    def counted() -> int:
        count: int = ask(daemon.control_path, request="status")["result"]["quic"]["alpn_refused"]
        return count

    before = counted()
    with pytest.raises(Closed) as closed, client_of(daemon, alpn=alpn):
        pass
    assert "ALPN" in closed.value.reason
    eventually(lambda: counted() > before)
    eventually(lambda: 'the client has to offer "clasp/2"' in daemon.stderr)


def test_an_edge_is_given_its_own_alpn(daemon: Daemon) -> None:
    with client_of(daemon, alpn=("clasp-edge/1", "clasp/2")) as client:
        assert client.alpn == "clasp-edge/1"


def test_what_is_no_frame_ends_the_connection_with_a_reason(daemon: Daemon) -> None:
    with client_of(daemon) as client:
        client.hello()
        client.write(b'{"type": "SET"}')
        end = client.closing()
        assert end.code == 1002
        assert "begins with 0x53" in end.reason


def test_a_first_message_that_is_no_hello_ends_the_connection(daemon: Daemon) -> None:
    with client_of(daemon) as client:
        client.send(wire.Set("/early", 1))
        assert "HELLO" in client.closing().reason


def test_the_log_says_why_a_client_has_gone() -> None:
    with Daemon(sets=LISTEN) as daemon:  # of its own: of what many clients do, a few are logged
        with client_of(daemon) as client:
            client.hello()
            client.quic.close(error_code=77, reason_phrase="off to\nlunch")
            client.flush()
            eventually(lambda: "the client has closed the connection, error 0x4d: off to?lunch\n" in daemon.stderr)
        with client_of(daemon) as client:
            client.hello()
        eventually(lambda: "the client has closed the connection\n" in daemon.stderr)


def test_a_client_that_ends_its_stream_is_let_go(daemon: Daemon) -> None:
    with client_of(daemon) as client:
        client.hello()
        client.write(b"", end=True)
        assert client.closing().code == 0
