"""One connection to a router as a stream of bytes, and what a message costs the router over it.

For clients in Python, which are slower than what they measure: rates say little, CPU time of the server does.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from clasp_edge import wire


class Stream(Protocol):
    """A connection as bytes: `receive` returns what has come, b"" for nothing within its short wait."""

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes: ...

    def close(self) -> None: ...


class Tcp:
    def __init__(self, address: tuple[str, int]) -> None:
        self._sock = socket.create_connection(address)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.settimeout(0.05)
        self.prefixed = True

    def send(self, data: bytes) -> None:
        self._sock.settimeout(10)
        self._sock.sendall(data)
        self._sock.settimeout(0.05)

    def receive(self) -> bytes:
        try:
            return self._sock.recv(1 << 18)
        except TimeoutError:
            return b""

    def close(self) -> None:
        self._sock.close()


def framed(stream: Stream, frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame if stream.prefixed else frame  # type: ignore[attr-defined]


def until_end(stream: Stream, end: bytes) -> bytes:
    """Everything up to these bytes."""
    got = b""
    while not got.endswith(end):
        got += stream.receive()
    return got


def greet(stream: Stream) -> None:
    stream.send(framed(stream, wire.encode(wire.Hello(1, "bench", ("bare",)))))
    stream.send(framed(stream, wire.encode(wire.Ping())))
    until_end(stream, framed(stream, wire.encode(wire.Pong())))


def cpu_s(*pids: int) -> float:
    """Of all threads of these processes, in nanoseconds' precision."""
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def begin_clasp(stream: Stream) -> tuple[bytes, int]:
    """Subscribe to what the client will SET. The bytes of one message, and how many come back for it: ACK and SET."""
    greet(stream)
    stream.send(framed(stream, wire.encode(wire.Subscribe(1, "/bench/**"))))
    frame = framed(stream, wire.encode(wire.Set("/bench/a", 0.5), 1))
    pong = framed(stream, wire.encode(wire.Pong()))
    stream.send(framed(stream, wire.encode(wire.Ping())))
    until_end(stream, pong)  # what the subscription was answered with is through
    stream.send(frame + framed(stream, wire.encode(wire.Ping())))
    return frame, len(until_end(stream, pong)) - len(pong)


def windowed(
    pids: Sequence[int],
    open_stream: Callable[[], Stream],
    messages: int,
    window: int,
    begin: Callable[[Stream], tuple[bytes, int]] = begin_clasp,
) -> tuple[float, float]:
    """Messages of one client, heard by itself: µs of these processes each, and how many a second."""
    stream = open_stream()
    frame, answered = begin(stream)
    sent = got = 0
    began_s, began_cpu_s = time.monotonic(), cpu_s(*pids)
    while got < messages * answered:
        if sent - got // answered <= window // 2 and sent < messages:
            count = min(window - (sent - got // answered), messages - sent)
            stream.send(frame * count)
            sent += count
        got += len(stream.receive())
    took_s, took_cpu_s = time.monotonic() - began_s, cpu_s(*pids) - began_cpu_s
    stream.close()
    return took_cpu_s / messages * 1e6, messages / took_s
