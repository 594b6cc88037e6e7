"""OSC over TCP: both framings, both ways, and streams that nobody can follow."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pythonosc.osc_message import OscMessage
from support.daemon import Daemon
from support.live import Crowd, eventually, get, put, subscribe
from support.osc import WAIT_S, Device, bundle, packet

from clasp_edge import wire
from clasp_edge.devices.osc.framing import FramingName, Splitter, wrap


class Stream:
    """A TCP connection of a device."""

    def __init__(self, address: tuple[str, int], framing: FramingName) -> None:
        self.socket = socket.create_connection(address, WAIT_S)
        self._framing = framing
        self._splitter = Splitter(lambda text: None, framing)
        self._waiting: list[bytes] = []

    def send(self, *packets: bytes) -> None:
        self.socket.sendall(b"".join(wrap(self._framing, one) for one in packets))

    def hear(self) -> tuple[str, list[object]]:
        while not self._waiting:
            data = self.socket.recv(65536)
            assert data, "closed"
            self._waiting += self._splitter.feed(data)
        message = OscMessage(self._waiting.pop(0))
        return message.address, message.params

    def is_closed(self) -> bool:
        try:
            return self.socket.recv(100) == b""
        except ConnectionResetError:
            return True


@pytest.fixture(params=["slip", "length"])
def framing(request: pytest.FixtureRequest) -> FramingName:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def daemon(framing: FramingName) -> Iterator[Daemon]:
    with Daemon(osc=True, sets={"osc.tcp_listen": "127.0.0.1:0", "osc.tcp_framing": framing}) as running:
        yield running


@pytest.fixture
def stream(daemon: Daemon, framing: FramingName) -> Iterator[Stream]:
    connected = Stream(daemon.osc_tcp_address, framing)
    yield connected
    connected.socket.close()


def test_packets_arrive_however_they_are_cut(clients: Crowd, stream: Stream, framing: FramingName) -> None:
    client = clients.ws()
    subscribe(client, "/osc/**")
    whole = b"".join(
        wrap(framing, one) for one in (packet("/a", 1), bundle(0, packet("/b", 2)), packet("/c", b"\xc0\xdb"))
    )
    for at in range(0, len(whole), 5):
        stream.socket.sendall(whole[at : at + 5])
    found = [client.recv_type(wire.Set) for _ in range(3)]
    assert [(m.address, m.value) for m in found] == [("/osc/a", 1), ("/osc/b", 2), ("/osc/c", b"\xc0\xdb")]


def test_a_subscription_comes_back_on_the_connection_and_ends_with_it(
    daemon: Daemon, clients: Crowd, stream: Stream, framing: FramingName
) -> None:
    client = clients.ws()
    put(client, "/osc/a", 1)
    stream.send(packet("/clasp/subscribe", "/**", 3600))
    assert stream.hear() == ("/clasp/subscribed", ["/**", 3600])
    assert stream.hear() == ("/a", [1])
    put(client, "/osc/b", 2)
    assert stream.hear() == ("/b", [2])
    stream.send(packet("/b", 3), packet("/clasp/unsubscribe"))
    assert stream.hear() == ("/clasp/unsubscribed", [""]), "its own value does not come back"
    stream.send(packet("/clasp/subscribe", "/**"))
    stream.socket.close()
    put(client, "/osc/c", 4)
    other = Stream(daemon.osc_tcp_address, framing)
    other.send(packet("/clasp/subscribe", "/c"))
    assert other.hear()[0] == "/clasp/subscribed"
    other.socket.close()


def test_a_slow_reader_ends_on_the_newest_value(clients: Crowd, stream: Stream) -> None:
    stream.send(packet("/clasp/subscribe", "/**", 3600))
    stream.hear()
    client = clients.ws()
    text = "x" * 10_000
    for number in range(2000):
        client.send(wire.Set(address="/osc/a", value=[number, text]))
        if number % 100 == 99:
            client.sync()
    last = None
    while last != 1999:
        address, arguments = stream.hear()
        assert address == "/a"
        last = arguments[0]


def test_a_stream_that_cannot_be_followed_is_ended(daemon: Daemon, stream: Stream, framing: FramingName) -> None:
    stream.socket.sendall(b"/" * 70_000 if framing == "slip" else b"\xff\xff\xff\xff/abc")
    assert stream.is_closed()
    eventually(lambda: "bad packet" in daemon.stderr)


def test_a_packet_that_cannot_be_read_ends_nothing(clients: Crowd, stream: Stream) -> None:
    client = clients.ws()
    subscribe(client, "/osc/**")
    stream.send(b"nonsense", packet("/a", 1))
    assert client.recv_type(wire.Set).value == 1


def test_connections_count_as_sources(framing: FramingName) -> None:
    sets = {"osc.tcp_listen": "127.0.0.1:0", "osc.tcp_framing": framing, "osc.max_sources": 2}
    with Daemon(osc=True, sets=sets) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        subscribe(client, "/osc/**")
        streams = [Stream(daemon.osc_tcp_address, framing) for _ in range(3)]
        assert streams[0].is_closed()
        streams[0].socket.close()
        for number, stream in enumerate(streams[1:]):
            stream.send(packet("/a", number))
            assert client.recv_type(wire.Set).value == number
            stream.socket.close()
        crowd.leave()


def test_no_number_of_datagrams_closes_a_connection(framing: FramingName) -> None:
    sets = {"osc.tcp_listen": "127.0.0.1:0", "osc.tcp_framing": framing, "osc.max_sources": 2}
    with Daemon(osc=True, sets=sets) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        stream = Stream(daemon.osc_tcp_address, framing)
        stream.send(packet("/clasp/subscribe", "/**"))
        assert stream.hear()[0] == "/clasp/subscribed"
        subscribe(client, "/osc/a")
        for number in range(20):
            with Device(daemon.osc_address) as device:
                device.say("/a", number)
                assert client.recv_type(wire.Set).value == number
        while stream.hear() != ("/a", [19]):
            pass
        stream.socket.close()
        crowd.leave()


def test_both_framings_at_once_whatever_is_configured(daemon: Daemon, clients: Crowd) -> None:
    client = clients.ws()
    subscribe(client, "/osc/**")
    names: list[FramingName] = ["slip", "length", "length-le", "raw"]
    for framing in names:
        one = Stream(daemon.osc_tcp_address, framing)
        one.send(packet("/a", framing))
        assert client.recv_type(wire.Set).value == framing
        one.send(packet("/clasp/subscribe", "/back"))
        assert one.hear()[0] == "/clasp/subscribed"
        if framing == "raw":
            one.socket.close()  # what is sent without framing cannot be told apart here
            continue
        put(clients.ws(), "/osc/back", framing)
        while one.hear() != ("/back", [framing]):
            pass
        assert client.recv_type(wire.Set).value == framing
        one.socket.close()
    assert "little-endian" in daemon.stderr
    assert "packets without framing" in daemon.stderr


def test_after_a_packet_that_is_too_large_the_next_one_is_taken(
    clients: Crowd, daemon: Daemon, stream: Stream, framing: FramingName
) -> None:
    client = clients.ws()
    subscribe(client, "/osc/**")
    stream.socket.sendall(wrap(framing, b"/" * 300_000) + wrap(framing, packet("/a", 1)))
    assert client.recv_type(wire.Set).value == 1
    eventually(lambda: "bad packet" in daemon.stderr)


def test_what_a_device_says_above_its_rate_before_it_closes_arrives(framing: FramingName) -> None:
    sets = {"osc.tcp_listen": "127.0.0.1:0", "osc.tcp_framing": framing, "osc.messages_per_second": 100}
    with Daemon(osc=True, sets=sets) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        for round_ in range(2):  # the second time over a new connection
            stream = Stream(daemon.osc_tcp_address, framing)
            stream.send(*(packet(f"/round{round_}/{number}", number) for number in range(300)))
            stream.socket.close()
        for round_ in range(2):
            assert eventually(lambda at=f"/osc/round{round_}/299": get(client, at) is not None, 30)  # type: ignore[misc]
        crowd.leave()


def test_what_a_device_says_behind_a_wildcard_before_it_closes_arrives(framing: FramingName) -> None:
    """The message with the wildcard, what comes behind it, another one, and what comes behind that, in this order."""
    sets = {"osc.tcp_listen": "127.0.0.1:0", "osc.tcp_framing": framing, "osc.messages_per_second": 0}
    with Daemon(osc=True, sets=sets) as daemon:
        crowd = Crowd(daemon)
        client = crowd.ws()
        count = 4000
        for number in range(count):
            client.send(wire.Set(f"/osc/x/{number}", 0))
        client.sync()
        stream = Stream(daemon.osc_tcp_address, framing)
        stream.send(packet("/x/*", 1), packet("/x/7", 2), packet("/x/8", 2), packet("/x/*", 3), packet("/x/7", 4))
        stream.send(packet("/end", 1))
        stream.socket.close()
        assert eventually(lambda: get(client, "/osc/end") is not None, 30)
        params = [get(client, f"/osc/x/{number}") for number in (0, 7, 8, count - 1)]
        assert [param and param.value for param in params] == [3, 4, 3, 3]
        assert daemon.running
        crowd.leave()


def test_a_packet_without_framing_right_before_the_end_is_taken(daemon: Daemon, clients: Crowd) -> None:
    client = clients.ws()
    subscribe(client, "/osc/**")
    with socket.create_connection(daemon.osc_tcp_address, WAIT_S) as one:
        one.sendall(packet("/raw", 5))
    assert client.recv_type(wire.Set).value == 5
