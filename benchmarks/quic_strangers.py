"""What strangers' datagrams cost the QUIC listener, and an honest client beside them.

    nice -n 5 python -m benchmarks.quic_strangers [--seconds 30] [--rate 5000] [--only initials]

For each kind of datagram, sent at that rate from one process: CPU time of the daemon for each, its memory before and
after, what it has counted, and how long an honest client over TCP waits for the answers to its PINGs, a hundred a
second. `nothing` is the same without a stranger: what the machine does meanwhile is in both.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.streams import Tcp, cpu_s, framed, greet, rss_kib, until_end
from clasp_edge import wire

PINGS_PER_S = 100
READY_TIMEOUT_S = 20.0
MADE = 512
"""Different datagrams of a kind, sent in turn."""


def initial(token: bytes = b"", version: int = 1, size: int = 1200) -> bytes:
    """A datagram with the header of an Initial, and noise."""
    head = bytes([0xC3]) + version.to_bytes(4, "big") + b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
    head += (0x4000 | len(token)).to_bytes(2, "big") + token + b"\x44\x80"
    return head + os.urandom(size - len(head))


KINDS: dict[str, Callable[[], bytes] | None] = {
    "nothing": None,
    "initials": initial,
    "versions": lambda: initial(version=0x6B3343CF),
    "tokens": lambda: initial(token=os.urandom(34)),
    "handshakes": lambda: b"\xe3" + initial()[1:],
    "short": lambda: b"\x43" + os.urandom(60),
    "one byte": lambda: os.urandom(1),
}


def _send(address: tuple[str, int], kind: str, rate: int, seconds: float, sent: Any) -> None:
    make = KINDS[kind]
    assert make is not None
    datagrams = [make() for _ in range(MADE)]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    began_s = time.monotonic()
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        due = int(elapsed_s * rate) if rate else sent.value + 64
        for number in range(sent.value, due):
            sock.sendto(datagrams[number % MADE], address)
        sent.value = max(sent.value, due)
        if rate:
            time.sleep(0.001)


def _numbers(control: Path) -> dict[str, int]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(control))
        sock.sendall(b'{"request": "status"}\n')
        text = b""
        while not text.endswith(b"\n"):
            text += sock.recv(1 << 16)
    numbers: dict[str, int] = json.loads(text)["result"]["quic"]
    return numbers


def _waits_ms(stream: Tcp, until_s: float) -> list[float]:
    """Of the honest client."""
    ping, pong = framed(stream, wire.encode(wire.Ping())), framed(stream, wire.encode(wire.Pong()))
    waits = []
    next_s = time.monotonic()
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        stream.send(ping)
        until_end(stream, pong)
        waits.append((time.monotonic() - began_s) * 1000)
        next_s = max(next_s + 1 / PINGS_PER_S, time.monotonic())
        time.sleep(max(0.0, next_s - time.monotonic()))
    return sorted(waits)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=5000, help="a second; 0: as fast as one process sends")
    parser.add_argument("--only", action="append", choices=KINDS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clasp-quic-") as directory:
        control = Path(directory) / "control"
        command = [sys.executable, "-m", "clasp_edge", "run"]
        for key, value in {
            "websocket.listen": "off", "tcp.listen": "127.0.0.1:0", "quic.listen": "127.0.0.1:0",
            "mqtt.listen": "off", "osc.listen": "off", "data_dir": directory, "console.socket": str(control),
            "log.level": "warning",
        }.items():  # fmt: skip
            command += ["--set", f"{key}={value}"]
        daemon = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            addresses: dict[str, tuple[str, int]] = {}
            assert daemon.stdout is not None
            for word in next(line for line in daemon.stdout if line.startswith("ready ")).split()[1:]:
                scheme, _, at = word.partition("://")
                addresses[scheme] = at.rpartition(":")[0], int(at.rpartition(":")[2])
            stream = Tcp(addresses["tcp"])
            greet(stream)
            titles = "sent/s", "µs each", "KiB before", "KiB after", "p50 ms", "p99 ms", "max ms"
            print(f"{'':12}" + "".join(f"{title:>11}" for title in titles))
            for kind in args.only or KINDS:
                _measure(daemon.pid, control, addresses["quic"], stream, kind, args.rate, args.seconds)
        finally:
            daemon.terminate()
            daemon.wait()
    return 0


def _measure(
    pid: int, control: Path, address: tuple[str, int], stream: Tcp, kind: str, rate: int, seconds: float
) -> None:
    before, rss, began_cpu_s, began_s = _numbers(control), rss_kib(pid), cpu_s(pid), time.monotonic()
    sent = multiprocessing.Value("q", 0, lock=False)
    sender = None
    if KINDS[kind] is not None:
        sender = multiprocessing.Process(target=_send, args=(address, kind, rate, seconds, sent))
        sender.start()
    waits = _waits_ms(stream, began_s + seconds)
    if sender is not None:
        sender.join()
    took_s, took_cpu_s = time.monotonic() - began_s, cpu_s(pid) - began_cpu_s
    after = _numbers(control)
    counted = {name: count - before[name] for name, count in after.items() if count != before[name]}
    # What the PINGs take is in it, a few µs of each in a thousand.
    each = f"{took_cpu_s / sent.value * 1e6:11.1f}" if sent.value else f"{'':11}"
    print(
        f"{kind:12}{sent.value / took_s:11,.0f}{each}{rss:11,}{rss_kib(pid):11,}{waits[len(waits) // 2]:11.1f}"
        f"{waits[int(len(waits) * 0.99)]:11.1f}{waits[-1]:11.1f}  {counted}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
