"""QUIC beside TCP at one daemon, in one run: SET 1→1, one at a time, handshakes, idle connections. CPU of the daemon.

    nice -n 5 python -m benchmarks.quic [--messages N] [--idle N]

The client is qh3 in Python and slower than the daemon, so a rate is what the client gets at least; CPU time per message
of the daemon says more.
Both transports get the same frames by a client of the same kind, in turns.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived

from benchmarks.streams import Stream, Tcp, cpu_s, greet, rss_kib, windowed

WINDOW = 500
ROUNDS = 3


class Quic:
    def __init__(self, address: tuple[str, int]) -> None:
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=["clasp/2"], server_name="localhost", verify_mode=ssl.CERT_NONE
        )
        self._address = address
        self.prefixed = False
        self._quic = QuicConnection(configuration=configuration)
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.connect(address)
        self._quic.connect(address, time.monotonic())
        self._ready = False
        deadline_s = time.monotonic() + 20
        while not self._ready:
            self.receive()
            if time.monotonic() > deadline_s:
                raise TimeoutError("no QUIC handshake")

    def send(self, data: bytes) -> None:
        self._quic.send_stream_data(0, data)
        self._flush()

    def _flush(self) -> None:
        for datagram, _ in self._quic.datagrams_to_send(time.monotonic()):
            self._sock.send(datagram)

    def receive(self) -> bytes:
        self._flush()
        due_s = self._quic.get_timer()
        wait_s = 0.05 if due_s is None else min(0.05, max(0.0005, due_s - time.monotonic()))
        datagrams = []
        self._sock.settimeout(wait_s)
        try:
            datagrams.append(self._sock.recv(65536))
            self._sock.setblocking(False)
            while len(datagrams) < 64:
                datagrams.append(self._sock.recv(65536))
        except (TimeoutError, BlockingIOError):
            pass
        now_s = time.monotonic()
        if datagrams:
            self._quic.receive_many_datagrams(datagrams, self._address, now_s)
        if due_s is not None and due_s <= now_s:
            self._quic.handle_timer(now_s)
        data = []
        while (event := self._quic.next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                data.append(event.data)
            elif isinstance(event, HandshakeCompleted):
                self._ready = True
            elif isinstance(event, ConnectionTerminated):
                raise ConnectionError(event.reason_phrase)
        self._sock.settimeout(10)
        self._flush()
        return b"".join(data)

    def close(self) -> None:
        self._quic.close()
        self._flush()
        self._sock.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--idle", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "clasp_edge", "run"]
        for key, value in {
            "websocket.listen": "127.0.0.1:0", "tcp.listen": "127.0.0.1:0", "quic.listen": "127.0.0.1:0",
            "mqtt.listen": "off", "osc.listen": "off", "data_dir": directory, "journal.mode": "off",
            "limits.messages_per_second": 0, "limits.memory_mib": 0, "log.level": "warning",
        }.items():  # fmt: skip
            command += ["--set", f"{key}={value}"]
        daemon = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            return measured(daemon, args.messages, args.idle)
        finally:
            daemon.terminate()
            daemon.wait()


def measured(daemon: subprocess.Popen[str], messages: int, idle: int) -> int:
    addresses: dict[str, tuple[str, int]] = {}
    assert daemon.stdout is not None
    for line in daemon.stdout:
        if line.startswith("ready "):
            for word in line.split()[1:]:
                scheme, _, at = word.partition("://")
                host, _, port = at.rpartition(":")
                addresses[scheme] = host, int(port)
            break
    kinds: dict[str, Callable[[], Stream]] = {
        "tcp": lambda: Tcp(addresses["tcp"]),
        "quic": lambda: Quic(addresses["quic"]),
    }
    pid = daemon.pid
    print(f"{'':24}{'TCP µs':>9}{'QUIC µs':>9}{'ratio':>7}{'QUIC /s':>10}")
    for title, count, window in (("SET 1→1, window 500", messages, WINDOW), ("one at a time", messages // 50, 1)):
        cost: dict[str, list[float]] = {kind: [] for kind in kinds}
        rates: list[float] = []
        for _ in range(ROUNDS):
            for kind, open_stream in kinds.items():
                cpu_us, rate = windowed([pid], open_stream, count, window)
                cost[kind].append(cpu_us)
                if kind == "quic":
                    rates.append(rate)
        tcp, quic = (statistics.median(cost[kind]) for kind in ("tcp", "quic"))
        print(f"{title:24}{tcp:9.2f}{quic:9.2f}{quic / tcp:7.1f}{statistics.median(rates):10,.0f}")
    began_s, before = cpu_s(pid), rss_kib(pid)
    clients: list[Stream] = []
    for _ in range(idle):
        for _ in range(5):
            try:
                clients.append(kinds["quic"]())
                break
            except TimeoutError:
                pass
        greet(clients[-1])
    handshakes_s = cpu_s(pid) - began_s
    print(
        f"handshake and HELLO: {handshakes_s / idle * 1000:.2f} ms CPU; {(rss_kib(pid) - before) / idle:.1f} KiB each"
    )
    began_s, ends_s = cpu_s(pid), time.monotonic() + 10
    while time.monotonic() < ends_s:
        for client in clients:  # each answers what it is asked, as a client does
            client.receive()
    print(f"{idle} idle: {(cpu_s(pid) - began_s) * 10:.2f} % CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
