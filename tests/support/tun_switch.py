"""The network between namespaces, as a program: every IP packet passes through it, and may be lost, late or dropped.

Run as a process of its own: `tun_switch.py NAMESPACE=ADDRESS...`. It makes an interface `wire0` in each namespace and
carries packets between them by their destination. Orders come as JSON lines on standard input, one word of
confirmation goes out for each: how many packets have come that way, or with `"count": "bytes"` how many bytes. With
`"address"` the namespace has a further one. Not every kernel has `netem`, and this one knows more: each direction has
rules of its own, and counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import ipaddress
import itertools
import json
import os
import random
import selectors
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
INTERFACE = "wire0"
MTU_BYTES = 1500
PACKETS_PER_TURN = 64
MAX_UNDER_WAY = 20_000
"""Packets that are late; more are lost, as in any queue."""

QUEUE_S = 0.1
"""How long a packet may wait where a direction has a rate; what would wait longer is lost."""


def _enter(path: str) -> None:
    """Move the calling thread there."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    finally:
        os.close(fd)


class inside:  # used like a function
    """What this thread opens within the `with` block belongs to that namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def __enter__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _enter(f"/run/netns/{self._namespace}")

    def __exit__(self, *_: object) -> None:
        _enter(f"/proc/self/fd/{self._home}")
        os.close(self._home)


@dataclass
class Rule:
    """What happens to the packets of one direction between two hosts."""

    drop: bool = False
    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    rate_kb: float = 0.0
    """Kilobytes a second; 0 for as many as come."""
    free_s: float = 0.0
    packets: int = 0
    bytes: int = 0


def open_tun(namespace: str) -> int:
    """A new TUN interface in the namespace, as a descriptor that outlives our being in it."""
    with inside(namespace):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", INTERFACE.encode(), IFF_TUN | IFF_NO_PI))
    return fd


class Switch:
    """`hosts` maps the name of a namespace to its IPv4 address."""

    def __init__(self, hosts: dict[str, str]) -> None:
        self._fds = {name: open_tun(name) for name in hosts}
        self._by_address = {ipaddress.IPv4Address(address).packed: name for name, address in hosts.items()}
        self._rules = {pair: Rule() for pair in itertools.permutations(hosts, 2)}
        self._late: list[tuple[float, int, int, bytes]] = []
        self._numbers = itertools.count()
        self._random = random.Random(1)
        self._orders = b""

    def run(self) -> None:
        selector = selectors.DefaultSelector()
        for name, fd in self._fds.items():
            selector.register(fd, selectors.EVENT_READ, name)
        os.set_blocking(0, False)
        selector.register(0, selectors.EVENT_READ, "")
        print("ready", flush=True)
        while True:
            timeout = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            for key, _ in selector.select(timeout):
                if key.data:
                    self._carry(key.data, key.fd)
                elif not self._obey():
                    return
            now = time.monotonic()
            while self._late and self._late[0][0] <= now:
                _, _, fd, packet = heapq.heappop(self._late)
                _deliver(fd, packet)

    def _carry(self, source: str, fd: int) -> None:
        for _ in range(PACKETS_PER_TURN):
            try:
                packet = os.read(fd, 65536)
            except (BlockingIOError, OSError):
                return  # none left, or the interface is down
            if len(packet) < 20 or packet[0] >> 4 != 4:
                continue
            target = self._by_address.get(packet[16:20])
            if target is None or target == source:
                continue
            rule = self._rules[source, target]
            rule.packets += 1
            rule.bytes += len(packet)
            if rule.drop or (rule.loss and self._random.random() < rule.loss):
                continue
            delay_ms = rule.delay_ms + (self._random.uniform(0, rule.jitter_ms) if rule.jitter_ms else 0.0)
            if rule.rate_kb:
                now_s = time.monotonic()
                if rule.free_s > now_s + QUEUE_S:
                    continue
                rule.free_s = max(rule.free_s, now_s) + len(packet) / (rule.rate_kb * 1000)
                delay_ms += (rule.free_s - now_s) * 1000
            if not delay_ms:
                _deliver(self._fds[target], packet)
            elif len(self._late) < MAX_UNDER_WAY:
                due_s = time.monotonic() + delay_ms / 1000
                heapq.heappush(self._late, (due_s, next(self._numbers), self._fds[target], packet))

    def _obey(self) -> bool:
        data = os.read(0, 65536)
        if not data:
            return False
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            print(json.dumps(self._order(json.loads(line))), flush=True)
        return True

    def _order(self, order: dict[str, Any]) -> int:
        if (address := order.pop("address", None)) is not None:
            self._by_address[ipaddress.IPv4Address(address).packed] = order["from"]
            return 0
        if order.pop("count", "") == "bytes":
            return self._rules[order["from"], order["to"]].bytes
        rule = self._rules[order.pop("from"), order.pop("to")]
        for key, value in order.items():
            setattr(rule, key, value)
        return rule.packets


def _deliver(fd: int, packet: bytes) -> None:
    with contextlib.suppress(OSError):  # the interface is down, or its queue is full
        os.write(fd, packet)


if __name__ == "__main__":
    Switch(dict(argument.split("=") for argument in sys.argv[1:])).run()
