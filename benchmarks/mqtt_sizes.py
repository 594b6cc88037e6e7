"""MQTT messages of several sizes and kinds, one at a time, in one run: this daemon, Mosquitto, and other trees of it.

    nice -n 5 python -m benchmarks.mqtt_sizes [--messages N] [--rounds N] [--retain] [--beside TREE] [--journal MODE]
                                                  [--set KEY=VALUE]

One client publishes, another one is subscribed, with the same quality of service; the next message goes when the last
one has been heard and acknowledged. What is told is CPU time of the server per message, the least of all rounds: the
client is Python. `--beside` names the directory of another working copy, built, with the same dependencies.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.processes import Peer, Running, mosquitto, mosquitto_stored, ours, running
from benchmarks.streams import Tcp, cpu_s, rss_kib, until_end

CONNECT = bytes.fromhex("100d00044d5154540402000000") + b"\x01"
TOPIC = b"bench/large"
WARM_UP = 50


def payloads() -> dict[str, bytes]:
    """By name: JSON as devices say it, text, and bytes that are no text."""
    pick = random.Random(1)

    def of_json(size: int) -> bytes:
        devices: list[dict[str, object]] = []
        while True:
            device = {
                "id": f"0x{pick.getrandbits(64):016x}",
                "on": pick.random() < 0.5,
                "level": round(pick.random(), 3),
                "n": 7,
            }
            if len(json.dumps([*devices, device])) > size:
                return json.dumps(devices).encode()
            devices.append(device)

    def of_text(size: int) -> bytes:
        return (b"The quick brown fox jumps over the lazy dog. " * (size // 45)).strip()

    def of_bytes(size: int) -> bytes:
        return b"\xff\xd8" + pick.randbytes(size - 3) + b"\xd9"

    kinds = {"json": of_json, "text": of_text, "bytes": of_bytes}
    found = {"json-200": of_json(200)}
    for size in (16_000, 59_000):
        found |= {f"{name}-{size // 1000}k": make(size) for name, make in kinds.items()}
    return found


def publish(topic: bytes, payload: bytes, qos: int, retain: bool) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + (b"\x00\x01" if qos else b"") + payload
    size, rest = b"", len(body)
    while True:
        rest, low = rest >> 7, rest & 0x7F
        size += bytes([low | 0x80 if rest else low])
        if not rest:
            return bytes([0x30 | qos << 1 | retain]) + size + body


@contextmanager
def connected(at: Running, name: bytes, pattern: bytes = b"", qos: int = 0) -> Iterator[Tcp]:
    stream = Tcp(("127.0.0.1", at.mqtt_port))
    try:
        stream.send(CONNECT + name)
        until_end(stream, b"\x20\x02\x00\x00")
        if pattern:
            body = b"\x00\x01" + len(pattern).to_bytes(2, "big") + pattern + bytes([qos])
            stream.send(b"\x82" + bytes([len(body)]) + body)
            until_end(stream, b"\x90\x03\x00\x01" + bytes([qos]))
        yield stream
    finally:
        stream.close()


def exactly(stream: Tcp, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += stream.receive()
    return got


def cost_us(at: Running, payload: bytes, qos: int, retain: bool, messages: int) -> float:
    """CPU time of the server for each message."""
    packet = publish(TOPIC, payload, qos, retain)
    with connected(at, b"s", TOPIC, qos) as subscriber, connected(at, b"p") as publisher:
        before = 0.0
        for number in range(messages + WARM_UP):
            if number == WARM_UP:
                before = cpu_s(at.pid)
            publisher.send(packet)
            got = exactly(subscriber, len(packet))
            if qos:
                at_id = len(packet) - len(payload) - 2
                subscriber.send(b"\x40\x02" + got[at_id : at_id + 2])
                exactly(publisher, 4)
        return (cpu_s(at.pid) - before) / messages * 1e6


def of_tree(peer: Peer, path: str) -> Peer:
    command = ("env", "-C", path, os.path.join(path, ".venv/bin/python"), *peer.command[1:])
    return dataclasses.replace(peer, name=os.path.basename(path), command=command)


def kib_per_param(at: Running, payload: bytes, count: int) -> float:
    """Resident memory for each of so many params that were retained twice."""
    before = rss_kib(at.pid)
    with connected(at, b"p") as publisher:
        for number in range(2 * count):
            publisher.send(publish(b"bench/%d" % (number % count), payload, 1, True))
            exactly(publisher, 4)
    return (rss_kib(at.pid) - before) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--retain", action="store_true")
    parser.add_argument("--only", default="", help="a part of the names of payloads")
    parser.add_argument("--beside", action="append", default=[], metavar="TREE")
    parser.add_argument("--journal", default="volatile", metavar="MODE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of this daemon, in every tree")
    args = parser.parse_args()
    base = ours()
    settings = [part for one in (f"journal.mode={args.journal}", *args.set) for part in ("--set", one)]
    mine = dataclasses.replace(base, command=(*base.command, *base.mqtt, *settings))
    peers = [mine, *(of_tree(mine, path) for path in args.beside)]
    if mosquitto().missing:
        print(mosquitto().missing)
    else:
        peers += [mosquitto(), *([mosquitto_stored()] if args.journal not in ("off", "volatile") else [])]
    found: dict[tuple[str, int, str], list[float]] = {}
    chosen = {name: payload for name, payload in payloads().items() if args.only in name}
    with ExitStack() as stack:
        at = {peer.name: stack.enter_context(running(peer)) for peer in peers}
        for _ in range(args.rounds):
            for name, payload in chosen.items():
                for qos in (0, 1):
                    for peer in peers:
                        cost = cost_us(at[peer.name], payload, qos, args.retain, args.messages)
                        found.setdefault((name, qos, peer.name), []).append(cost)
    print(f"{'payload, quality':20}" + "".join(f"{peer.name:>12} µs" for peer in peers))
    for name in chosen:
        for qos in (0, 1):
            costs = [min(found[name, qos, peer.name]) for peer in peers]
            ratios = " ".join(f"{costs[0] / cost:6.2f}" for cost in costs[1:])
            print(f"{name + ', ' + str(qos):20}" + "".join(f"{cost:15.1f}" for cost in costs) + f"   ours/... {ratios}")
    for name, payload in chosen.items():
        sizes = []
        for peer in peers:
            with running(peer) as fresh:
                sizes.append(kib_per_param(fresh, payload, 500))
        print(f"{name + ', KiB/param':20}" + "".join(f"{size:15.1f}" for size in sizes), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
