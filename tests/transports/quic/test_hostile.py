"""What strangers and bad clients can do to the QUIC listener: cost nobody else anything, and be counted."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qh3.quic.events import ConnectionTerminated
from support.client import WsClient
from support.console import ask
from support.daemon import Daemon
from support.quic_client import Closed, QuicClient

from clasp_edge import wire

LISTEN = {"quic.listen": "127.0.0.1:0"}
INITIAL_BYTES = 1200


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(sets=LISTEN) as daemon:
        yield daemon


def client_of(daemon: Daemon) -> QuicClient:
    return QuicClient(daemon.quic_address, daemon.data_dir / "tls" / "certificate.pem")


def numbers(daemon: Daemon) -> dict[str, Any]:
    quic: dict[str, Any] = ask(daemon.control_path, request="status")["result"]["quic"]
    return quic


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def initial(token: bytes = b"", version: int = 1, size: int = INITIAL_BYTES, cid: bytes | None = None) -> bytes:
    """A datagram with the header of an Initial, and noise."""
    destination = os.urandom(8) if cid is None else cid
    head = (
        bytes([0xC3]) + version.to_bytes(4, "big") + bytes([len(destination)]) + destination + b"\x08" + os.urandom(8)
    )
    head += (0x4000 | len(token)).to_bytes(2, "big") + token + b"\x44\x80"
    return head + os.urandom(max(0, size - len(head)))


def rss_kib(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def stranger(daemon: Daemon) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(10)
    sock.connect(daemon.quic_address)
    return sock


def test_forged_initials_are_asked_for_their_address_and_nothing_is_kept(daemon: Daemon) -> None:
    with client_of(daemon) as client, stranger(daemon) as sock:
        client.hello()
        before, retries = rss_kib(daemon), numbers(daemon)["retries"]
        for number in range(2000):
            sock.send(initial())
            if number % 50 == 49:  # no faster than the socket's buffer is emptied
                client.send(wire.Ping())
                client.until(wire.Pong)
        until(lambda: numbers(daemon)["retries"] >= retries + 1900)
        assert numbers(daemon)["connections"] == 1
        assert rss_kib(daemon) < before + 2048


def test_forged_tokens_begin_nothing(daemon: Daemon) -> None:
    refused = numbers(daemon)["tokens_refused"]
    with stranger(daemon) as sock, stranger(daemon) as other:
        sock.send(initial())
        retry = sock.recv(2048)
        size = retry[5]
        source_at = 6 + size
        cid = retry[source_at + 1 : source_at + 1 + retry[source_at]]
        token = retry[source_at + 1 + retry[source_at] : -16]
        for forged in (b"x", os.urandom(256), token[:-1] + bytes([token[-1] ^ 1]), token + b"x"):
            sock.send(initial(forged, cid=cid))
        other.send(initial(token, cid=cid))  # overheard: it is of another address
        sock.send(initial(token))  # of another connection id
        until(lambda: numbers(daemon)["tokens_refused"] == refused + 6)
    until(lambda: numbers(daemon)["connections"] == 0)


def test_another_version_is_told_which_ones_there_are(daemon: Daemon) -> None:
    before = numbers(daemon)["version_negotiations"]
    with stranger(daemon) as sock:
        sock.send(initial(version=0x6B3343CF))
        answer = sock.recv(2048)
        assert answer[0] & 0x80
        assert answer[1:5] == bytes(4)
        assert answer.endswith((1).to_bytes(4, "big"))
    assert numbers(daemon)["version_negotiations"] == before + 1


def test_what_begins_nothing_is_dropped_and_counted(daemon: Daemon) -> None:
    dropped = numbers(daemon)["datagrams_dropped"]
    with stranger(daemon) as sock:
        junk = [bytes([first]) for first in range(128, 256)]
        junk += [
            initial(size=600),
            initial(cid=b""),
            initial(cid=b"short"),
            initial(version=0),
            b"\xe3" + initial()[1:],
        ]
        for data in junk:
            sock.send(data)
        for first in range(128):
            sock.send(bytes([first]))
        until(lambda: numbers(daemon)["datagrams_dropped"] == dropped + len(junk))
    with client_of(daemon) as client:
        client.hello()


def test_who_opens_no_stream_or_says_no_hello_is_sent_away() -> None:
    with Daemon(sets={**LISTEN, "limits.handshake_timeout_s": 1.0}) as daemon:
        with client_of(daemon) as client:
            assert "no stream in time" in client.closing().reason
        with client_of(daemon) as client:
            client.write(b"\x53")
            assert "no HELLO in time" in client.closing().reason
        until(lambda: numbers(daemon)["connections"] == 0)


def test_half_open_connections_share_their_limit() -> None:
    with (
        Daemon(sets={**LISTEN, "limits.max_half_open": 2}) as daemon,
        client_of(daemon) as first,
        client_of(daemon),
        client_of(daemon),
        client_of(daemon) as last,
    ):
        last.hello()
        assert "max_half_open" in first.closing().reason


def test_a_reader_that_stops_ends_on_the_newest_values(daemon: Daemon) -> None:
    with client_of(daemon) as slow, WsClient(daemon.ws_url) as writer:
        slow.hello("slow")
        slow.send(wire.Subscribe(1, "/pressure/**"))
        slow.send(wire.Ping())
        slow.until(wire.Pong)
        slow.reading = False
        writer.hello("writer")
        filler = "x" * 10_000
        for number in range(600):
            writer.send(wire.Set(f"/pressure/{number % 3}", f"{number} {filler}"))
        writer.send(wire.Get("/pressure/0"))
        while not isinstance(writer.recv(timeout=30), wire.Snapshot):
            pass
        slow.reading = True
        newest: dict[str, str] = {}
        heard = 0
        while {text.partition(" ")[0] for text in newest.values()} != {"597", "598", "599"}:
            message = slow.until(wire.Set)
            heard += 1
            newest[message.address] = str(message.value)
        assert heard < 600


def test_what_is_asked_and_not_read_does_not_pile_up(daemon: Daemon) -> None:
    with WsClient(daemon.ws_url) as writer, client_of(daemon) as client:
        writer.hello("writer")
        client.hello()
        for number in range(3):
            writer.send(wire.Set(f"/piled/{number}", "x" * 30_000))
        writer.send(wire.Get("/piled/2"))
        while not isinstance(writer.recv(timeout=30), wire.Snapshot):
            pass
        before = rss_kib(daemon)
        client.reading = False
        asked = wire.encode(wire.Get("/piled/1"))
        for _ in range(400):
            client.write(asked)
        client.send(wire.Get("/piled/2"))
        writer.send(wire.Get("/piled/0"))
        while not isinstance(writer.recv(timeout=30), wire.Snapshot):
            pass
        assert rss_kib(daemon) < before + 4096
        client.reading = True
        answers = 0
        while True:
            snapshot = client.until(wire.Snapshot)
            answers += 1
            if snapshot.params and snapshot.params[0].address == "/piled/2":
                break
        assert answers >= 400


def test_early_data_is_not_taken(daemon: Daemon) -> None:
    with client_of(daemon) as client:
        client.hello()
        repeated = list(client.sent)
        assert client.quic.tls is not None
        assert not client.quic.tls.session_resumed
    until(lambda: numbers(daemon)["connections"] == 0)
    # What was overheard, said again from elsewhere: no token is of that address.
    refused = numbers(daemon)["tokens_refused"]
    with stranger(daemon) as sock:
        for data in repeated:
            sock.send(data)
        until(lambda: numbers(daemon)["tokens_refused"] > refused)
    until(lambda: numbers(daemon)["connections"] == 0)


def test_a_client_that_is_gone_without_a_word_costs_only_its_place(daemon: Daemon) -> None:
    gone = client_of(daemon)
    with gone:
        gone.hello("gone")
        gone.vanish()
    with client_of(daemon) as client:
        client.hello()


def send_without_the_first(client: QuicClient, datagrams: list[bytes]) -> None:
    for data in datagrams[1:]:
        client._sock.sendto(data, client._address)


def leave_a_gap(client: QuicClient, until: Callable[[], bool]) -> None:
    """Of each flight the first datagram is lost, and so is what would say it again."""
    client.quic.send_stream_data(0, b"x" * 60_000)
    deadline_s = time.monotonic() + 20
    while not until() and time.monotonic() < deadline_s:
        send_without_the_first(client, [data for data, _ in client.quic.datagrams_to_send(time.monotonic())])
        time.sleep(0.02)
        try:
            while True:
                client.quic.receive_datagram(client._sock.recv(65536), client._address, time.monotonic())
        except OSError:
            pass
        if (due_s := client.quic.get_timer()) is not None and due_s <= time.monotonic():
            client.quic.handle_timer(time.monotonic())
        while (event := client.quic.next_event()) is not None:
            if isinstance(event, ConnectionTerminated):
                client._closed = Closed(event.error_code, event.reason_phrase)


def test_a_stream_without_a_beginning_is_no_place_to_keep_bytes(daemon: Daemon) -> None:
    with client_of(daemon) as client:
        leave_a_gap(client, lambda: client._closed is not None)
        assert client._closed is not None
        assert client._closed.reason == "the beginning of the stream is missing"


def test_bytes_that_wait_for_those_before_them_are_charged_as_what_they_take(daemon: Daemon) -> None:
    def kept() -> int:
        memory = ask(daemon.control_path, request="status")["result"]["memory"]
        return int(memory["kept_by_kind"].get("input", 0))

    with client_of(daemon) as client:
        client.hello()
        leave_a_gap(client, lambda: kept() > 98_304 or client._closed is not None)
        assert kept() > 98_304, "no more than the bytes themselves"


def test_the_smallest_pieces_are_charged_as_what_they_take() -> None:
    """Of a stream without its beginning each byte came in a datagram of its own, as small as an acknowledgement: 93
    bytes were kept for each, and none counted."""

    with Daemon(sets=LISTEN) as own, client_of(own) as client:
        client.hello()
        client.quic.send_stream_data(0, b"S" + bytes(1199))
        client.quic.datagrams_to_send(time.monotonic())  # lost, and whatever says it again
        pieces = 0
        deadline_s = time.monotonic() + 60
        while pieces < 3000:
            assert time.monotonic() < deadline_s
            client.quic.send_stream_data(0, b"q")
            while not (datagrams := client.quic.datagrams_to_send(time.monotonic())):
                with contextlib.suppress(OSError):
                    while True:
                        client.quic.receive_datagram(client._sock.recv(65536), client._address, time.monotonic())
                if (due_s := client.quic.get_timer()) is not None and due_s <= time.monotonic():
                    client.quic.handle_timer(time.monotonic())
            for data, _ in datagrams:
                if len(data) <= 60:
                    client._sock.sendto(data, client._address)
                    pieces += 1
        status = own.control_path
        until(lambda: ask(status, request="status")["result"]["memory"]["kept_by_kind"]["input"] > 65_536)


def test_datagrams_that_the_network_repeats_are_not_charged(daemon: Daemon) -> None:
    def kept() -> int:
        memory = ask(daemon.control_path, request="status")["result"]["memory"]
        return int(memory["kept_by_kind"].get("input", 0))

    with client_of(daemon) as client:
        client.hello()
        before = kept()
        client.quic.send_stream_data(0, wire.encode(wire.Set("/repeated", "x" * 1000)))
        for data, _ in client.quic.datagrams_to_send(time.monotonic()):
            for _ in range(100):
                client._sock.sendto(data, client._address)
        client.until(wire.Ack)
        assert kept() - before <= 16_384, "more than for a probe of the path, which may be beside it"
