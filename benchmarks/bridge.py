"""A bridge to an MQTT broker: CPU of the router and messages per second with QoS 1, one direction at a time.

Responsible for: a Mosquitto, a router bridged to it, a flood into the one and its end at the other. Trees take turns in
one run: `python -m benchmarks.bridge [--count N] [--rounds N] [TREE ...]`, each a built checkout, this one by default.
"""

from __future__ import annotations

import argparse
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks import build
from benchmarks.footprint import _cpu_s, _status
from benchmarks.processes import Running, mosquitto, ours, running
from clasp_edge.wire import Hello, MessageType, Publish, SignalType, Subscribe, encode

TIMEOUT_S = 300.0
CHUNK = 200
FEATURES = ("param", "event")
WAYS = ("out", "in")
CONFIG = """
[bridge.site]
brokers = ["mqtt://127.0.0.1:{port}"]
queue_kib = 262144
[[bridge.site.map]]
topic = "ev/#"
address = "/ev/**"
policy = "{policy}"
payload = "{payload}"
"""


class _Mqtt:
    """A client in version 3.1.1, as raw as can be."""

    def __init__(self, port: int, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        body = b"\0\4MQTT\4\2\0\0" + struct.pack(">H", len(name)) + name.encode()
        self.socket.sendall(bytes((0x10, len(body))) + body)
        assert self.socket.recv(4) == b"\x20\2\0\0"

    def subscribe(self, topic: str) -> None:
        body = b"\0\1" + struct.pack(">H", len(topic)) + topic.encode() + b"\0"
        self.socket.sendall(bytes((0x82, len(body))) + body)
        assert self.socket.recv(5) == b"\x90\3\0\1\0"

    @staticmethod
    def packet(topic: str, payload: bytes, number: int) -> bytes:
        body = struct.pack(">H", len(topic)) + topic.encode() + struct.pack(">H", number % 65535 + 1) + payload
        return bytes((0x32, len(body))) + body


class _Clasp:
    """A client over TCP."""

    def __init__(self, port: int, name: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.send(encode(Hello(1, name, FEATURES)))

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))

    def wait_for_event(self) -> None:
        data = b""
        while True:
            found = self.socket.recv(1 << 16)
            assert found, "the router has closed the connection"
            data += found
            while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[:4], "big")):
                if data[8] == MessageType.PUBLISH:
                    return
                data = data[end:]


@contextmanager
def _bridged(tree: Path, policy: str, payload: str, journal: str) -> Iterator[tuple[Running, Running]]:
    router = replace(ours(), command=(str(tree / ".venv/bin/clasp-edge"), *ours().command[3:]), environment={
        "PYTHONPATH": str(tree)})  # fmt: skip
    with running(mosquitto()) as broker:
        config = CONFIG.format(port=broker.mqtt_port, policy=policy, payload=payload)
        sets = ("--set", "tcp.listen=127.0.0.1:{mqtt_port}", "--set", f"journal.mode={journal}")
        with running(router, *sets, rules=config) as box:
            time.sleep(2.5)  # connected and compared
            yield broker, box


def _out(broker: Running, box: Running, count: int) -> tuple[float, float]:
    """CPU seconds of the router, and seconds."""
    hears, says = _Mqtt(broker.mqtt_port, "hears"), _Clasp(box.mqtt_port, "says")
    hears.subscribe("ev/end")
    frames = [encode(Publish(f"/ev/{n % 10}", signal=SignalType.EVENT, value=n)) for n in range(CHUNK)]
    cpu_s, began_s = _cpu_s(box.pid), time.monotonic()
    for _ in range(count // CHUNK):
        says.send(*frames)
    says.send(encode(Publish("/ev/end", signal=SignalType.EVENT, value=1)))
    assert hears.socket.recv(100)
    return _cpu_s(box.pid) - cpu_s, time.monotonic() - began_s


def _in(broker: Running, box: Running, count: int) -> tuple[float, float]:
    hears, says = _Clasp(box.mqtt_port, "hears"), _Mqtt(broker.mqtt_port, "says")
    hears.send(encode(Subscribe(1, "/ev/end")))
    time.sleep(0.2)
    packets = b"".join(_Mqtt.packet(f"ev/{n % 10}", b"%d" % n, n) for n in range(CHUNK))
    cpu_s, began_s = _cpu_s(box.pid), time.monotonic()
    for _ in range(count // CHUNK):
        says.socket.sendall(packets)
        got = 0
        while got < 4 * CHUNK:
            got += len(says.socket.recv(4 * CHUNK - got))
    says.socket.sendall(_Mqtt.packet("ev/end", b"1", 1))
    hears.wait_for_event()
    return _cpu_s(box.pid) - cpu_s, time.monotonic() - began_s


def main() -> None:
    """A row for each tree and way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trees", nargs="*", type=Path, default=[build.ROOT])
    parser.add_argument("--count", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policy", default="log")
    parser.add_argument("--payload", default="value")
    parser.add_argument("--journal", default="volatile")
    parser.add_argument("--ways", default=",".join(WAYS))
    options = parser.parse_args()
    found: dict[tuple[str, Path], list[tuple[float, float, float]]] = {}
    for _ in range(options.rounds):
        for way in options.ways.split(","):
            if way == "in" and options.payload == "clasp":
                continue  # nobody but a clasp-edge sends it
            for tree in options.trees:
                with _bridged(tree.resolve(), options.policy, options.payload, options.journal) as (broker, box):
                    cpu_s, took_s = {"out": _out, "in": _in}[way](broker, box, options.count)
                    peak_mb = _status(Path(f"/proc/{box.pid}"), "VmHWM") / 1024
                    found.setdefault((way, tree), []).append((cpu_s, took_s, peak_mb))
    print(f"\n| way, {options.count:,} messages, QoS 1, {options.policy}, {options.payload} | tree | CPU µs each "
          "| messages/s | peak MB |")  # fmt: skip
    print("|---|---|---|---|---|")
    for (way, tree), rows in found.items():
        cpu_s, took_s, peak_mb = (median(row[at] for row in rows) for at in range(3))
        rate = options.count / took_s
        print(f"| {way} | {tree.name} | {cpu_s * 1e6 / options.count:.1f} | {rate:,.0f} | {peak_mb:.0f} |", flush=True)


if __name__ == "__main__":
    main()
