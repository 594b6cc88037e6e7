"""Routers that refuse, keep silent, speak something else or send garbage: one sentence each, and on it goes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.dialing import HELLO, dialing, raw_server, run

from clasp_edge.federation.upstream import connection as link_module
from clasp_edge.federation.upstream.ws_connection import MAX_MESSAGE_BYTES
from clasp_edge.wire import Ping, encode

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Coroutine[Any, Any, None]]

PING = encode(Ping())


def says(data: bytes) -> Handler:
    """Read the request, say this, and wait for the end."""

    async def handler(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await reader.read(-1)

    return handler


async def upgrade(reader: Reader, writer: Writer, protocol: str = "clasp") -> bytes:
    """Agree to speak WebSocket; returns the request."""
    request = await reader.readuntil(b"\r\n\r\n")
    (key,) = [line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key")]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: " + protocol.encode() + b"\r\n\r\n"
    )
    return request


def upgrades_and_says(data: bytes) -> Handler:
    async def handler(reader: Reader, writer: Writer) -> None:
        await upgrade(reader, writer)
        writer.write(data)
        await reader.read(-1)

    return handler


def message(payload: bytes, opcode: int = 2, first: int = 0x80) -> bytes:
    """An unmasked WebSocket frame."""
    size = len(payload)
    head = bytes([first | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    return head + (b"\x7e" + struct.pack(">H", size) if size < 65536 else b"\x7f" + struct.pack(">Q", size)) + payload


async def refused(handler: Handler, scheme: str = "ws", **options: Any) -> str:
    """What is said about a router that does this, without its URL."""
    async with raw_server(handler) as port, dialing(f"{scheme}://127.0.0.1:{port}", **options) as got:
        reason = await got.closed()
        before, colon, after = reason.partition(f"{scheme}://127.0.0.1:{port}: ")
        assert colon
        assert not before
        assert got.dialer is not None
        assert got.dialer.status.last_error == reason
        return after


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("401 Unauthorized", "answered 401 Unauthorized to the WebSocket upgrade"),
        ("403 Forbidden", "answered 403 Forbidden to the WebSocket upgrade"),
        ("404 Not Found", "answered 404 Not Found to the WebSocket upgrade"),
        ("503 Service Unavailable", "answered 503 Service Unavailable to the WebSocket upgrade"),
        (
            "301 Moved\r\nLocation: wss://elsewhere/clasp",
            "answered 301 Moved Permanently to the WebSocket upgrade and points to wss://elsewhere/clasp: "
            "if that is right, it belongs into the configuration",
        ),
        ("200 OK", "answered 200 OK to the WebSocket upgrade"),
    ],
)
def test_an_http_answer_that_is_no_upgrade(answer: str, sentence: str) -> None:
    async def main() -> None:
        body = f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode()
        assert await refused(says(body)) == sentence

    run(main())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "no WebSocket: cannot upgrade, unknown protocol"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "no WebSocket: cannot upgrade, invalid"),
        (b"\xff\xfe\x00\r\n\r\n", "no WebSocket: cannot upgrade, invalid HTTP status line"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "no WebSocket: upgrade response headers exceed"),
    ],
)
def test_an_answer_that_is_no_http(data: bytes, sentence: str) -> None:
    async def main() -> None:
        assert (await refused(says(data))).startswith(sentence)

    run(main())


def test_another_subprotocol() -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        request = await upgrade(reader, writer, "mqtt")
        assert b"\r\nSec-WebSocket-Protocol: clasp\r\n" in request
        await reader.read(-1)

    async def main() -> None:
        assert await refused(handler) == 'it speaks "mqtt", not "clasp"'

    run(main())


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_router_that_accepts_and_says_nothing(scheme: str) -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        await reader.read(-1)

    async def main() -> None:
        doing = {"ws": "waiting for the answer to the WebSocket upgrade", "wss": "agreeing on TLS"}[scheme]
        assert await refused(silent, scheme, connect_timeout_s=0.3) == f"no answer within 0.3 s, {doing}"

    run(main())


def test_no_handshake_after_the_upgrade() -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await upgrade(reader, writer)
        while await reader.read(100):
            writer.write(message(b"", 0xA))  # pongs: alive, but no CLASP

    async def main() -> None:
        assert await refused(handler, handshake_timeout_s=0.3) == "no CLASP handshake within 0.3 s"

    run(main())


def test_no_handshake_over_tcp() -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        assert await reader.readexactly(4 + len(HELLO)) == struct.pack(">I", len(HELLO)) + HELLO
        assert await reader.read(1) == b""  # nothing before the answer to the greeting, no PING either

    async def main() -> None:
        assert await refused(silent, "tcp", handshake_timeout_s=0.5) == "no CLASP handshake within 0.5 s"

    run(main())


def test_a_connection_that_is_dropped_at_once() -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await reader.read(10)

    async def main() -> None:
        sentence = "while waiting for the answer to the WebSocket upgrade"
        assert (await refused(handler)).endswith(sentence)
        assert await refused(handler, "tcp") in (
            "the other end closed the connection",
            "connection reset by peer",
        )

    run(main())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (message(b"hello"), "not CLASP: a CLASP frame begins with 0x53, this with 0x68"),
        (message(PING + b"S"), "not CLASP: a message ends 3 bytes before its CLASP frame"),
        (message(b"\x53\x01\x00\x09x"), "not CLASP: a message ends 8 bytes before its CLASP frame"),
        (message(PING, 1), "not CLASP: a text message; CLASP is binary"),
        (message(PING, first=0xC0), "not CLASP: reserved bits are set, and no extension was agreed on"),
        (message(PING, 0), "not CLASP: the fragments of a message are out of order"),
        (message(PING, 3), "not CLASP: Received frame with invalid opcode=0x3"),
        (message(b"\x00" * 300, 9), "not CLASP: Received control frame with payload size > 125 bytes, opcode=0x9"),
        (b"\x82\x7f" + struct.pack(">Q", 1 << 40), "not CLASP: Received frame with payload size exceeding max"),
        (b"\x82\x81abcdX", "not CLASP: Received masked frame from server"),
        (
            b"".join(message(b"\x53" * 50_000, 0 if index else 2, 0) for index in range(6)),
            f"not CLASP: a message in fragments has more than {MAX_MESSAGE_BYTES} bytes",
        ),
        (message(struct.pack(">H", 1008) + b"go\taway", 8), "closed by the other end: 1008 go?away"),
        (message(b"", 8), "closed by the other end: 1005"),
    ],
)
def test_garbage_over_websocket(data: bytes, sentence: str) -> None:
    async def main() -> None:
        assert (await refused(upgrades_and_says(data), establishes=False)).startswith(sentence)

    run(main())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not CLASP: a CLASP frame begins with 0x53, this with 0x2F"),
        (b"\x00\x00\x00\x05" + PING[:4] + b"xx", "not CLASP"),
        (b"\x00\x00\x00\x00\x00\x00\x00\x00", "not CLASP: a CLASP frame begins with 0x53, this with 0x00"),
        (b"\x00\x00\x00\x02\x53\x01", "not CLASP: a CLASP frame of 4 bytes is announced with 2"),
        (b"\xff\xff\xff\xff\x53\x01\xff\xff", "not CLASP: a CLASP frame of 65539 bytes is announced with 4294967295"),
    ],
)
def test_garbage_over_tcp(data: bytes, sentence: str) -> None:
    async def handler(reader: Reader, writer: Writer) -> None:
        await reader.readexactly(4 + len(HELLO))
        writer.write(data + bytes(10))
        await reader.read(-1)

    async def main() -> None:
        assert (await refused(handler, "tcp", establishes=False)).startswith(sentence)

    run(main())


def test_what_came_before_garbage_counts_and_what_comes_after_does_not() -> None:
    async def main() -> None:
        data = message(PING + PING) + message(PING[:2], 2, 0) + message(b"", 9) + message(PING[2:], 0)
        async with (
            raw_server(upgrades_and_says(data + message(b"?") + message(PING))) as port,
            dialing(f"ws://127.0.0.1:{port}", establishes=False) as got,
        ):
            await got.closed()
            assert [frame for link, frame in got.frames if link is got.links[0]] == [PING] * 3

    run(main())


def test_a_ping_is_answered_and_our_own_end_is_said() -> None:
    heard = bytearray()

    async def handler(reader: Reader, writer: Writer) -> None:
        await upgrade(reader, writer)
        writer.write(message(PING) + message(b"are you there", 9))
        while data := await reader.read(1000):
            heard.extend(data)

    def unmasked() -> list[tuple[int, bytes]]:
        found, at = [], 0
        while at + 6 <= len(heard):
            size, mask = heard[at + 1] & 127, heard[at + 2 : at + 6]
            payload = bytes(byte ^ mask[index & 3] for index, byte in enumerate(heard[at + 6 : at + 6 + size]))
            found.append((heard[at], payload))
            at += 6 + size
        return found

    async def main() -> None:
        async with raw_server(handler) as port, dialing(f"ws://127.0.0.1:{port}") as got:
            link = await got.up()
            async with asyncio.timeout(5):
                while len(unmasked()) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            link.close("for today")
            await got.closed()
            assert unmasked()[:3] == [(0x82, HELLO), (0x8A, b"are you there"), (0x88, b"\x03\xe8for today")]

    run(main())


def test_one_who_reads_nothing_is_told_by_the_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "MAX_BACKLOG_BYTES", 8_000_000)
    reading = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:
        await upgrade(reader, writer)
        writer.write(message(PING))
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await reading.wait()
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        while await reader.read(1 << 20):
            writer.write(message(b"", 0xA))

    async def main() -> None:
        frame = b"\x53\x01\xff\xff" + bytes(65_535)
        drained = asyncio.Event()
        async with raw_server(handler) as port, dialing(f"ws://127.0.0.1:{port}", dead_after_s=30.0) as got:
            link = await got.up()
            link.on_drain = drained.set
            while link.writable:
                assert link.send([frame])
                await asyncio.sleep(0)
            assert link.backlog > link_module.HIGH_WATER_BYTES
            reading.set()
            await asyncio.wait_for(drained.wait(), 5)
            assert link.writable
            assert link.backlog <= link_module.LOW_WATER_BYTES
            # Who does not look at it is stopped.
            while link.send([frame]):
                pass
            assert (await got.closed()).endswith("bytes wait for the other end to read them")

    run(main())


def test_an_error_in_the_session_costs_the_link_only(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            raw_server(upgrades_and_says(message(PING))) as port,
            dialing(f"ws://127.0.0.1:{port}", establishes=False) as got,
        ):

            def broken(link: object, frames: list[bytes]) -> None:
                raise RuntimeError("a mistake")

            got.on_frames = broken  # type: ignore[method-assign]
            assert (await got.closed()).endswith("internal error: RuntimeError('a mistake')")
            await got.closed(2)

    run(main())
    assert "a mistake" in caplog.text


def test_a_router_that_is_down_all_night_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            raw_server(says(b"HTTP/1.1 403 Forbidden\r\n\r\n")) as port,
            dialing(f"ws://127.0.0.1:{port}") as got,
        ):
            for count in range(1, 5):
                await got.closed(count)
                assert got.dialer is not None
                await asyncio.sleep(0)
                got.dialer.retry_now()

    run(main())
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
