"""Answers to those who look for a router by UDP broadcast (discovery.md 6.2): a HELLO comes, a WELCOME goes back.

A source address can be forged, and answers must not be a way to have us send much to a victim: nobody outside the local
network is answered, at most ANSWERS_PER_SECOND go out, HOST_ANSWERS_PER_SECOND to one host, and a finder of ours is
told more than the reference's only where it has sent as many bytes. Work is done after the rates are checked.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

from clasp_edge import wire

ANSWERS_PER_SECOND = 20.0
HOST_ANSWERS_PER_SECOND = 4.0
"""Someone who looks for routers asks three times."""

BURST_S = 2.0
MAX_HOSTS = 256
"""Remembered for their rate; the one that asked first goes."""

MAX_REQUEST_BYTES = 600
FINDER = "clasp-edge discovery"
"""How a finder of ours begins its name; the reference's is called "Discovery"."""

FEATURES = ("param", "event", "stream", "gesture", "timeline")
MAX_NAME_CHARACTERS = 40
"""Of ours, in an answer to a short request."""


class Bucket:
    """A rate: `take` says whether one more is within it."""

    __slots__ = ("_at_s", "_left", "_per_s")

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s = per_s
        self._left = per_s * BURST_S
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        self._left = min(self._per_s * BURST_S, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Answerer:
    """`send(data, address)` sends a datagram; `said()` is what the router says of itself (`router.described`)."""

    def __init__(
        self,
        send: Callable[[bytes, Any], None],
        said: Callable[[], Mapping[str, str]],
        monotonic_s: Callable[[], float],
        wall_us: Callable[[], int],
    ) -> None:
        self._send = send
        self._said = said
        self._monotonic_s = monotonic_s
        self._wall_us = wall_us
        self._all = Bucket(ANSWERS_PER_SECOND, monotonic_s())
        self._hosts: OrderedDict[str, Bucket] = OrderedDict()
        self.answered = 0
        self.refused = 0

    def received(self, data: bytes, address: Any) -> None:
        """A datagram that begins like a frame."""
        if len(data) > MAX_REQUEST_BYTES or not is_near(address[0]) or not self._within_rate(address[0]):
            self.refused += 1
            return
        try:
            message = wire.decode(data)[1]
        except wire.WireError:
            message = None
        if not isinstance(message, wire.Hello):
            self.refused += 1
            return
        self.answered += 1
        self._send(self._answer(data, message), address)

    def _answer(self, data: bytes, message: wire.Hello) -> bytes:
        said = self._said()
        name = said["name"]
        if message.name.startswith(FINDER):
            told = " ".join(f"{key}={value}" for key, value in said.items() if key != "name")
            answer = self._welcome(name, told)
            if len(answer) <= len(data):
                return answer
        return self._welcome(name[:MAX_NAME_CHARACTERS], None)

    def _welcome(self, name: str, told: str | None) -> bytes:
        return wire.encode(wire.Welcome(1, str(uuid.uuid4()), name, FEATURES, self._wall_us(), token=told))

    def _within_rate(self, host: str) -> bool:
        now_s = self._monotonic_s()
        bucket = self._hosts.get(host)
        if bucket is None:
            if len(self._hosts) >= MAX_HOSTS:
                self._hosts.popitem(last=False)
            bucket = self._hosts[host] = Bucket(HOST_ANSWERS_PER_SECOND, now_s)
        return bucket.take(now_s) and self._all.take(now_s)


def is_near(host: str) -> bool:
    """Whether an address can be of this network: private, of the link or of this machine."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_private and not address.ipv4_mapped.is_unspecified
    return address.is_private and not address.is_unspecified
