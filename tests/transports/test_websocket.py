"""The WebSocket listener: handshakes, framing, and what peers do wrong below CLASP (router.md 1.1, wire.md 6.1)."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.client import Closed, WsClient
from support.daemon import Daemon
from support.live import Crowd, Witness, eventually, params_of, put, subscribe

from clasp_edge import wire

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455, 1.3."""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


PING_FRAME = wire.encode(wire.Ping())


class RawWebSocket:
    """A client that can break every rule: builds frames itself."""

    def __init__(self, address: tuple[str, int], *, head: str = "", after: bytes = b"") -> None:
        self.socket = socket.create_connection(address, 5)
        self.socket.settimeout(5)
        self.received = b""
        request = (
            f"GET /clasp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{head}\r\n"
        )
        self.socket.sendall(request.encode() + after)
        self.response = self._until(b"\r\n\r\n").decode()

    def _fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise Closed
        self.received += data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.received:
            self._fill()
        head, _, self.received = self.received.partition(mark)
        return head

    def take(self, count: int) -> bytes:
        while len(self.received) < count:
            self._fill()
        data, self.received = self.received[:count], self.received[count:]
        return data

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True) -> None:
        self.socket.sendall(frame(opcode, payload, fin=fin, mask=mask))

    def recv(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, second = self.take(2)
        assert first & 0x80, "the router never fragments"
        assert not second & 0x80, "the router never masks"
        size = second
        if second == 126:
            (size,) = struct.unpack(">H", self.take(2))
        elif second == 127:
            (size,) = struct.unpack(">Q", self.take(8))
        return first & 0x0F, self.take(size)

    def message(self) -> wire.Message:
        opcode, payload = self.recv()
        assert opcode == BINARY
        return wire.decode(payload)[1]

    def hello(self) -> None:
        self.send(BINARY, wire.encode(wire.Hello(1, "raw")))
        assert isinstance(self.message(), wire.Welcome)
        self.send(BINARY, PING_FRAME)
        while isinstance(self.message(), wire.Snapshot):
            pass

    def wait_end(self) -> list[tuple[int, bytes]]:
        """Frames until the connection is closed."""
        frames = []
        try:
            while True:
                frames.append(self.recv())
        except (Closed, ConnectionError):
            return frames


def frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    size = len(payload)
    head = bytes((opcode | (0x80 if fin else 0),))
    bit = 0x80 if mask else 0
    if size < 126:
        head += bytes((bit | size,))
    elif size < 65536:
        head += bytes((bit | 126,)) + struct.pack(">H", size)
    else:
        head += bytes((bit | 127,)) + struct.pack(">Q", size)
    if not mask:
        return head + payload
    key = b"\x01\x02\x03\x04"
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


RawFactory = Callable[..., RawWebSocket]


@pytest.fixture
def raw_ws() -> Iterator[RawFactory]:
    """Raw clients that are gone after the test."""
    opened: list[RawWebSocket] = []

    def connect(address: tuple[str, int], **kwargs: Any) -> RawWebSocket:
        opened.append(RawWebSocket(address, **kwargs))
        return opened[-1]

    yield connect
    for raw in opened:
        raw.socket.close()


@pytest.fixture
def witness(clients: Crowd) -> Iterator[Witness]:
    """Nobody else notices anything, whatever the test does."""
    bystander = Witness(clients)
    yield bystander
    bystander.assert_undisturbed()


# ---- handshake ----


@pytest.mark.parametrize("path", ["", "/", "/clasp", "/any/other?with=query"])
def test_any_path_will_do(daemon: Daemon, path: str) -> None:
    with WsClient(daemon.ws_url, path=path).hello() as client:
        assert client.sync() == []


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("clasp", "clasp"),
        ("mqtt, clasp", "clasp"),
        ("clasp,other", "clasp"),
        ("mqtt", None),
        ("claspy", None),
        (None, None),
    ],
)
def test_the_subprotocol_is_chosen_when_offered(
    daemon: Daemon, raw_ws: RawFactory, offered: str | None, chosen: str | None
) -> None:
    raw = raw_ws(daemon.ws_address, head=f"Sec-WebSocket-Protocol: {offered}\r\n" if offered else "")
    status, *headers = raw.response.split("\r\n")
    assert status.startswith("HTTP/1.1 101")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in headers)}
    assert fields["sec-websocket-accept"] == ACCEPT
    assert fields.get("sec-websocket-protocol") == chosen
    raw.hello()


def test_a_long_request_head(daemon: Daemon, raw_ws: RawFactory) -> None:
    raw = raw_ws(daemon.ws_address, head=f"Cookie: {'c' * 6000}\r\n")
    assert raw.response.startswith("HTTP/1.1 101")
    raw.hello()


def test_frames_right_behind_the_request(daemon: Daemon, raw_ws: RawFactory) -> None:
    behind = frame(BINARY, wire.encode(wire.Hello(1, "eager"))) + frame(BINARY, PING_FRAME) * 1000
    raw = raw_ws(daemon.ws_address, after=behind)
    assert isinstance(raw.message(), wire.Welcome)
    answers = [raw.message() for _ in range(1001)]
    # The state is sent in parts beside what comes meanwhile: where the loop was late, an answer is before it.
    state = [answer for answer in answers if isinstance(answer, wire.Snapshot)]
    assert len(state) == 1
    assert [answer for answer in answers if answer not in state] == [wire.Pong()] * 1000


def test_a_request_that_comes_byte_by_byte(daemon: Daemon) -> None:
    with socket.create_connection(daemon.ws_address, 5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
        request += f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        for byte in request.encode():
            sock.sendall(bytes((byte,)))
        assert sock.recv(100).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000,
        b"PUT / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500,
    ],
    ids=["zeros", "ssh", "endless head", "PUT", "no key", "bad key", "no path", "TLS"],
)
def test_what_is_no_proper_request_is_answered_or_closed(
    daemon: Daemon, witness: Witness, request_bytes: bytes
) -> None:
    with socket.create_connection(daemon.ws_address, 5) as sock:
        sock.settimeout(5)
        answer = b""
        try:
            sock.sendall(request_bytes)
            while data := sock.recv(4096):
                answer += data
        except ConnectionError:
            pass
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01x", "this is MQTT, which mqtt.listen is for"),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500,
            "this is TLS, which websocket.tls_listen is for",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "it begins with 53 53 48 2d 32 2e 30 2d"),
    ],
)
def test_who_has_come_to_the_wrong_port_is_named(daemon: Daemon, first: bytes, says: str) -> None:
    host = f"127.0.9.{1 + len(first) % 250}"  # one line for each host and minute
    for _ in range(3):
        with socket.create_connection(daemon.ws_address, 10, (host, 0)) as connection:
            connection.sendall(first)
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
    complaints = [line for line in daemon.stderr.splitlines() if f" {host}:" in line]
    assert len(complaints) == 1, complaints
    assert says in complaints[0]


UPGRADE = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def status_of(daemon: Daemon, *fields: tuple[str, str], line: str = "GET / HTTP/1.1") -> tuple[int, dict[str, str]]:
    """The status and header fields that answer a request of these fields."""
    with socket.create_connection(daemon.ws_address, 5) as sock:
        sock.sendall("".join([f"{line}\r\n", *(f"{name}: {text}\r\n" for name, text in fields), "\r\n"]).encode())
        received = b""
        while b"\r\n\r\n" not in received:
            data = sock.recv(4096)
            assert data, received
            received += data
    status, *lines = received.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 101),
        ({"Upgrade": "h2c, WebSocket"}, 101),
        ({"Connection": "keep-alive, upgrade"}, 101),
        ({"Connection": "keep-alive"}, 400),
        ({"Connection": "not-an-upgrade"}, 400),
        ({"Host": None}, 400),
        ({"Host": ""}, 400),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": "dG9vIHNob3J0"}, 400),
        ({"Sec-WebSocket-Key": "\"'*"}, 400),
        ({"Sec-WebSocket-Version": None}, 426),
        *(({"Sec-WebSocket-Version": version}, 426) for version in ("12", "8", "7", "0", "14", "13, 8", "x")),
        ({"Upgrade": "websockets"}, 200),
    ],
)
def test_the_opening_handshake(daemon: Daemon, changed: dict[str, str | None], status: int) -> None:
    """RFC 6455, 4.2.1 and 4.4: who speaks another version is told which one is spoken here."""
    fields = [(name, text) for name, text in (UPGRADE | changed).items() if text is not None]
    found, headers = status_of(daemon, *fields)
    assert found == status
    if status == 426:
        assert headers["sec-websocket-version"] == "13"


def test_the_opening_handshake_of_other_requests(daemon: Daemon) -> None:
    assert status_of(daemon, *UPGRADE.items(), line="GET / HTTP/1.0")[0] == 400
    assert status_of(daemon, *UPGRADE.items(), ("Host", "y"))[0] == 400
    assert status_of(daemon, *UPGRADE.items(), ("Sec-WebSocket-Key", KEY))[0] == 400


def test_subprotocols_in_several_headers(daemon: Daemon) -> None:
    offered = [("Sec-WebSocket-Protocol", text) for text in ("one,two", "clasp")]
    assert status_of(daemon, *UPGRADE.items(), *offered)[1]["sec-websocket-protocol"] == "clasp"


# ---- framing ----


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("fin", [False, True])
def test_a_text_message_is_told_why_nothing_happens(
    daemon: Daemon, raw_ws: RawFactory, witness: Witness, greeted: bool, fin: bool
) -> None:
    raw = raw_ws(daemon.ws_address)
    if greeted:
        raw.hello()
    raw.send(TEXT, b'{"type": "SET"}', fin=fin)
    raw.send(BINARY, PING_FRAME)
    assert code_and_reason(raw) == (1003, "CLASP messages are binary; a text message (JSON?) is not understood")


def code_and_reason(raw: RawWebSocket) -> tuple[int, str]:
    """Of the close frame that ends the connection; nothing comes beside it."""
    ((opcode, payload),) = raw.wait_end()
    assert opcode == CLOSE
    return struct.unpack(">H", payload[:2])[0], payload[2:].decode()


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(CONTINUATION, PING_FRAME)], 1002),
        ([frame(BINARY, PING_FRAME), frame(CONTINUATION, b"")], 1002),
        ([frame(BINARY, PING_FRAME[:2], fin=False), frame(BINARY, PING_FRAME)], 1002),
        ([frame(BINARY, PING_FRAME[:2], fin=False), frame(TEXT, b"x")], 1002),
        ([frame(BINARY, b"x" * 40_000, fin=False), frame(CONTINUATION, b"x" * 40_000)], 1009),
        ([frame(BINARY, b"x" * 70_000)], 1009),
    ],
    ids=["continuation first", "continuation of a whole one", "binary inside", "text inside", "too large", "the same"],
)
def test_fragments_that_do_not_add_up(
    daemon: Daemon, raw_ws: RawFactory, witness: Witness, clients: Crowd, base: str, frames: list[bytes], code: int,
    greeted: bool,
) -> None:  # fmt: skip
    """RFC 6455, 5.4: the connection fails, and nothing that comes after counts. One limit has one code."""
    raw = raw_ws(daemon.ws_address)
    if greeted:
        raw.hello()
    late = frame(BINARY, wire.encode(wire.Set(f"{base}/late", 1)))
    raw.socket.sendall(b"".join(frames) + late)
    *before, (opcode, payload) = raw.wait_end()
    assert [other for other, _ in before] in ([], [BINARY])
    assert (opcode, struct.unpack(">H", payload[:2])[0]) == (CLOSE, code)
    assert params_of(subscribe(clients.ws(), f"{base}/**")) == []


def test_a_message_in_fragments_with_a_ping_in_between(daemon: Daemon, raw_ws: RawFactory, witness: Witness) -> None:
    raw = raw_ws(daemon.ws_address)
    hello = wire.encode(wire.Hello(1, "in pieces"))
    raw.send(BINARY, hello[:3], fin=False)
    raw.send(PING, b"are you there")
    for at in range(3, len(hello)):
        raw.send(CONTINUATION, hello[at : at + 1], fin=at == len(hello) - 1)
    assert raw.recv() == (PONG, b"are you there")
    assert isinstance(raw.message(), wire.Welcome)
    assert isinstance(raw.message(), wire.Snapshot)
    raw.send(BINARY, b"", fin=False)
    raw.send(CONTINUATION, PING_FRAME)
    assert raw.message() == wire.Pong()


def test_frames_split_anywhere(daemon: Daemon, raw_ws: RawFactory) -> None:
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in frame(BINARY, PING_FRAME) * 3:
        raw.socket.sendall(bytes((byte,)))
    assert [raw.message() for _ in range(3)] == [wire.Pong()] * 3


def test_only_the_first_clasp_frame_of_a_message_counts(daemon: Daemon, raw_ws: RawFactory) -> None:
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    raw.send(BINARY, PING_FRAME + PING_FRAME)
    raw.send(BINARY, wire.encode(wire.Sync(1)))
    assert raw.message() == wire.Pong()
    assert isinstance(raw.message(), wire.Sync)


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, PING_FRAME, mask=False),
        frame(3, b"reserved"),
        frame(11, b"reserved"),
        frame(PING, b"x" * 126),
        frame(PING, b"x", fin=False),
        bytes((frame(BINARY, PING_FRAME)[0] | 0x40,)) + frame(BINARY, PING_FRAME)[1:],
        frame(BINARY, b"x" * 70_000),
        bytes((0x82, 0xFF)) + struct.pack(">Q", 2**62),
        bytes((0x82, 0xFF)) + struct.pack(">Q", 2**63),
    ],
    ids=["unmasked", "opcode 3", "opcode 11", "long ping", "ping in parts", "RSV1", "70 KB", "2^62", "2^63"],
)
def test_a_broken_frame_ends_that_connection_only(
    daemon: Daemon, raw_ws: RawFactory, witness: Witness, data: bytes, greeted: bool
) -> None:
    raw = raw_ws(daemon.ws_address)
    if greeted:
        raw.hello()
    raw.socket.sendall(data)
    frames = raw.wait_end()
    assert frames[0][0] == CLOSE
    assert struct.unpack(">H", frames[0][1][:2])[0] in (1002, 1009)


def test_a_message_that_grows_too_large_in_fragments(daemon: Daemon, raw_ws: RawFactory, witness: Witness) -> None:
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    raw.send(BINARY, b"x" * 40_000, fin=False)
    raw.send(CONTINUATION, b"x" * 40_000, fin=False)
    (opcode, payload), *_ = raw.wait_end()
    assert opcode == CLOSE
    assert struct.unpack(">H", payload[:2])[0] in (1008, 1009)


def test_the_largest_frame_is_taken(clients: Crowd, base: str) -> None:
    client = clients.ws()
    payload = wire.encode_payload(wire.Set(f"{base}/a", b"x" * 65_000))
    client.send_raw(b"\x53\x61" + struct.pack(">HQ", len(payload), 5) + payload)
    assert client.recv() == wire.Ack(f"{base}/a", 1)


# ---- control frames and the end ----


def test_our_close_is_answered(daemon: Daemon, raw_ws: RawFactory) -> None:
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    raw.send(CLOSE, struct.pack(">H", 1000) + b"bye")
    assert raw.wait_end() == [(CLOSE, struct.pack(">H", 1000))]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"", b""),
        (struct.pack(">H", 1001) + "für".encode(), struct.pack(">H", 1001)),
        (struct.pack(">H", 3000), struct.pack(">H", 3000)),
        (struct.pack(">H", 4999), struct.pack(">H", 4999)),
        *((struct.pack(">H", code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
        (struct.pack(">H", 1000) + b"\xff", 1007),
        (b"\x03", 1002),
    ],
)
def test_a_close_code_that_nobody_may_send_is_not_echoed(
    daemon: Daemon, raw_ws: RawFactory, body: bytes, answer: bytes | int
) -> None:
    """RFC 6455, 7.4 and 8.1."""
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    raw.send(CLOSE, body)
    ((opcode, payload),) = raw.wait_end()
    assert opcode == CLOSE
    if isinstance(answer, int):
        assert struct.unpack(">H", payload[:2])[0] == answer
    else:
        assert payload == answer


def test_nothing_said_after_the_close_counts(daemon: Daemon, raw_ws: RawFactory, clients: Crowd, base: str) -> None:
    observer = clients.ws()
    subscribe(observer, f"{base}/**")
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    raw.socket.sendall(frame(CLOSE, struct.pack(">H", 1000)) + frame(BINARY, wire.encode(wire.Set(f"{base}/a", 1))))
    raw.wait_end()
    assert observer.drain() == []


def test_pings_without_reading_the_pongs_cost_nobody_anything(
    daemon: Daemon, raw_ws: RawFactory, witness: Witness
) -> None:
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    before = resident_kib(daemon.pid)
    pings = frame(PING, b"p" * 125) * 1000
    raw.socket.settimeout(1)
    try:
        for _ in range(300):
            raw.socket.sendall(pings)
    except TimeoutError:
        pass
    witness.assert_undisturbed()
    assert resident_kib(daemon.pid) - before < 8192


def resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def test_who_vanishes_without_a_close_is_forgotten(
    daemon: Daemon, raw_ws: RawFactory, clients: Crowd, base: str
) -> None:
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    raw.send(BINARY, wire.encode(wire.Set(f"{base}/a", 1, lock=True)))
    assert isinstance(raw.message(), wire.Ack)
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.socket.close()
    log = eventually(lambda: "disconnected" in daemon.stderr)
    assert log
    time.sleep(0.1)
    put(clients.ws(), f"{base}/b", 1)


def test_what_was_written_before_the_close_counts(
    daemon: Daemon, raw_ws: RawFactory, clients: Crowd, base: str
) -> None:
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    raw.socket.sendall(frame(BINARY, wire.encode(wire.Set(f"{base}/a", 1))) + frame(CLOSE, struct.pack(">H", 1000)))
    assert [opcode for opcode, _ in raw.wait_end()] == [BINARY, CLOSE]
    assert params_of(subscribe(clients.ws(), f"{base}/**"))[0].value == 1


def test_nothing_follows_our_close(daemon: Daemon, raw_ws: RawFactory, clients: Crowd, base: str) -> None:
    raw = raw_ws(daemon.ws_address)
    raw.hello()
    raw.send(BINARY, wire.encode(wire.Subscribe(1, f"{base}/**")))
    raw.send(BINARY, wire.encode(wire.Ping()))
    assert raw.message() == wire.Pong()
    raw.send(BINARY, b"x" * 40_000, fin=False)
    raw.send(CONTINUATION, b"x" * 40_000, fin=False)
    assert raw.recv()[0] == CLOSE
    put(clients.ws(), f"{base}/a", 1)
    assert raw.wait_end() == []
