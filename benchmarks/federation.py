"""What federation costs: `python -m benchmarks.federation` prints it as tables.

Responsible for: a box and a hub as two processes, load on one and ears on the other, the draining of a queue beside
live traffic, and a hub with many leaves. Latencies are compared with those of one router in the same rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import build, load
from benchmarks.footprint import _cpu_s, _status
from benchmarks.processes import OURS_ALONE, OURS_SETTINGS, Peer, Running, ours, running
from clasp_edge.federation.shared.extensions import peer_frame
from clasp_edge.wire import (
    FederationOp,
    FederationSync,
    Get,
    Hello,
    Publish,
    SignalType,
    Snapshot,
    Value,
    decode,
    encode,
)

ROUNDS = 3
QUEUED = 1_000_000
EVENTS_AT_ONCE = 1000
LEAVES = 200
LIVE_RATE = 1000
DRAIN_TIMEOUT_S = 300.0


def box(hub_port: int, data: Path | None = None, *extra: str) -> Peer:
    """A box with an uplink that owns /bench."""
    settings = {"websocket.listen": "127.0.0.1:{port}", "data_dir": str(data or "{dir}"), **OURS_SETTINGS, **OURS_ALONE}
    settings |= {
        "name": "box",
        "uplink.hub.url": f"ws://127.0.0.1:{hub_port}",
        "uplink.hub.owns": '["/bench/**", "/queue/**"]',
        "uplink.hub.queue_mib": "1024",
    }
    if data is not None:
        settings |= {"journal.mode": "group", "journal.retention_mib": "4096"}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return Peer("box", "box", (sys.executable, "-m", "clasp_edge", "run", *sets, *extra))


class Client:
    """A client over raw TCP (wire.md 6.2)."""

    def __init__(self, port: int, features: tuple[str, ...] = ("param",)) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.send(encode(Hello(1, "bench", features)))

    def send(self, *frames: bytes) -> None:
        self._socket.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))

    def frame(self) -> bytes:
        size = struct.unpack(">I", self._exactly(4))[0]
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._socket.recv(size - len(data))
        return data

    def get(self, address: str) -> Value:
        """The value of a param, None where there is none yet."""
        self.send(encode(Get(address)))
        while True:
            message = decode(self.frame())[1]
            if isinstance(message, Snapshot) and [param.address for param in message.params] == [address]:
                return message.params[0].value
            if message.type == 0x51:
                return None

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def pair() -> Iterator[tuple[Running, Running]]:
    """A box and its hub, linked."""
    with running(ours()) as hub, running(box(hub.port)) as edge:
        time.sleep(1.5)
        yield edge, hub


def throughput(program: Path, rounds: int) -> None:
    print("| workload | messages/s | box CPU µs | hub CPU µs | lost % |\n|---|---|---|---|---|")
    for title, way, args in (
        ("SET box → hub", "up", "--window 500 --duration 3 --warmup 5000"),
        ("SET hub → box", "down", "--window 500 --duration 3 --warmup 5000"),
        ("SET 100,000 addresses box → hub", "up", "--window 500 --addresses 100000 --duration 3 --warmup 100000"),
        ("events box → hub", "up", "--kind event --window 500 --duration 3 --warmup 5000"),
        ("streams box → hub", "up", "--kind stream --window 500 --duration 3 --warmup 5000"),
    ):
        found: list[tuple[float, float, float, float]] = []
        for _ in range(rounds):
            with pair() as (edge, hub):
                say, hear = (edge, hub) if way == "up" else (hub, edge)
                before = _cpu_s(edge.pid), _cpu_s(hub.pid)
                by = "" if "window-by" in args else " --window-by delivery"
                result = load.run(program, say.port, say.pid, [*(args + by).split(), "--hear-port", str(hear.port)])
                sent = result.raw["sent"] + 5000
                cost = [(_cpu_s(p.pid) - start) * 1e6 / sent for p, start in zip((edge, hub), before, strict=True)]
                found.append((result.handled_per_s, *cost, result.lost_percent))
        row = [statistics.median(column) for column in zip(*found, strict=True)]
        print(f"| {title} | {row[0]:,.0f} | {row[1]:.2f} | {row[2]:.2f} | {row[3]:.2f} |", flush=True)


def latency(program: Path, rounds: int) -> None:
    print("\n| one at a time | p50 µs | p99 µs |\n|---|---|---|")
    direct: list[load.LoadResult] = []
    linked: list[load.LoadResult] = []
    args = ["--window", "1", "--window-by", "delivery", "--duration", "2", "--warmup", "500"]
    with pair() as (edge, hub):
        for _ in range(rounds):
            direct.append(load.run(program, hub.port, hub.pid, args))
            linked.append(load.run(program, edge.port, edge.pid, [*args, "--hear-port", str(hub.port)]))
    p50 = {}
    for title, results in (("one router", direct), ("box → hub", linked)):
        p50[title] = statistics.median(r.p50_us for r in results)
        print(f"| {title} | {p50[title]:.0f} | {statistics.median(r.p99_us for r in results):.0f} |", flush=True)
    print(f"added by the link: p50 {p50['box → hub'] - p50['one router']:.0f} µs", flush=True)


def drain(program: Path, queued: int) -> None:
    """Events are queued while there is no hub; then it comes, and both kinds of traffic go on."""
    data = Path(tempfile.mkdtemp(prefix="clasp-bench-federation-"))
    try:
        with running(ours()) as reserved:
            port = reserved.port
        kept = box(port, data, "--set", "tcp.listen=127.0.0.1:{mqtt_port}")
        with running(kept) as edge:
            client = Client(edge.mqtt_port)
            for begin in range(0, queued, EVENTS_AT_ONCE):
                events = range(begin, min(begin + EVENTS_AT_ONCE, queued))
                client.send(
                    *(encode(Publish("/queue/cue", signal=SignalType.EVENT, value=number)) for number in events)
                )
            time.sleep(1)
            waiting = client.get("/clasp-edge/uplinks/hub/queue")
            hub_peer = ours()
            command = tuple(part.replace("{port}", str(port)) for part in hub_peer.command)
            live: list[load.LoadResult] = []
            with running(Peer("hub", "hub", command)) as hub:
                begun = time.monotonic()
                seconds = queued / 50_000 + 5

                def traffic() -> None:
                    args = ["--rate", str(LIVE_RATE), "--duration", str(seconds), "--warmup", "0"]
                    live.append(load.run(program, port, hub.pid, args))

                state, first, left, drained = "", 0.0, queued, 0.0
                while not drained and time.monotonic() - begun < DRAIN_TIMEOUT_S:
                    time.sleep(0.05)
                    state = str(client.get("/clasp-edge/uplinks/hub/state"))
                    if state == "up" and not first:
                        first = time.monotonic()
                        thread = threading.Thread(target=traffic)
                        thread.start()
                    count = client.get("/clasp-edge/uplinks/hub/queue")
                    left = count if isinstance(count, int) else left
                    if first and left == 0:
                        drained = time.monotonic()
                took_s = (drained or time.monotonic()) - first
                thread.join()
                dropped = client.get("/clasp-edge/uplinks/hub/drops")
                rss = _status(Path(f"/proc/{edge.pid}"), "VmHWM") / 1024
                print(
                    f"| queued | drained per s | left | dropped | live p99 at the hub, {LIVE_RATE}/s | box's peak MB |"
                )
                print("|---|---|---|---|---|---|")
                p99_ms = live[0].p99_us / 1000
                print(f"| {waiting:,} | {queued / took_s:,.0f} | {left} | {dropped} | {p99_ms:.2f} ms | {rss:.0f} |")
            client.close()
    finally:
        shutil.rmtree(data, ignore_errors=True)


def leaves(count: int) -> None:
    """A hub and many routers that have declared a namespace each; then one of them writes."""
    with running(ours(), "--set", "tcp.listen=127.0.0.1:{mqtt_port}") as hub:
        before_mb = _status(Path(f"/proc/{hub.pid}"), "VmRSS") / 1024
        clients = []
        for number in range(count):
            client = Client(hub.mqtt_port, ("param", "event", "stream", "gesture", "timeline", "federation"))
            patterns = (f"/site/{number}", f"/site/{number}/**", "/show/**")
            client.send(
                peer_frame(f"leaf-{number}", 1, patterns[:2]),
                encode(FederationSync(FederationOp.DECLARE_NAMESPACES, patterns=patterns, origin=f"leaf-{number}")),
            )
            clients.append(client)
        for client in clients:
            while client.frame()[4] != 0x50:
                pass
        after_mb = _status(Path(f"/proc/{hub.pid}"), "VmRSS") / 1024
        start_s, started = _cpu_s(hub.pid), time.monotonic()
        time.sleep(5)
        idle = 100 * (_cpu_s(hub.pid) - start_s) / (time.monotonic() - started)
        print(f"\n| {count} leaves at one hub | MB more | CPU % while idle |\n|---|---|---|")
        print(f"| | {after_mb - before_mb:.1f} | {idle:.2f} |", flush=True)
        for client in clients:
            client.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.federation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--queued", type=int, default=QUEUED)
    parser.add_argument("--only", choices=("throughput", "latency", "drain", "leaves"), action="append")
    options = parser.parse_args()
    chosen = options.only or ["throughput", "latency", "drain", "leaves"]
    program = build.load_generator()
    if "throughput" in chosen:
        throughput(program, options.rounds)
    if "latency" in chosen:
        latency(program, options.rounds)
    if "drain" in chosen:
        drain(program, options.queued)
    if "leaves" in chosen:
        leaves(LEAVES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
