"""What only the reference hub asks for: its echoes, its order, its lost snapshots, its heartbeat.

federation.md 3.2, 4, 7 and 11 have the facts. Pure bookkeeping; knows no connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clasp_edge.address_memory import AddressMemory
from clasp_edge.wire import MAX_ADDRESS_BYTES, Set, Ttl, TtlMode, encode

MAX_GUARDED = 200_000
MAX_GUARDED_BYTES = 24 << 20
"""Addresses whose last revision is remembered; of others a late duplicate is not recognised."""

SAFE_PARAMS = 400
"""A snapshot of more may have had followers that the hub lost without a trace (federation.md 11.3)."""

REORDERED_S = 10.0
"""A SET that comes later than this after a newer one was not overtaken by it: the param's time to live was over, it has
begun anew, and its revisions with it."""

HEARTBEAT_TTL_S = 300

_SHARDS = ("0-9", "A-Z", "a-f", "g-m", "n-s", "t-z", "!0-9A-Za-z")
"""First characters by which a namespace is asked for in parts; "!" is glob's negation."""


class ReferenceGuard:
    """Which of the hub's SETs are news: not the echo of our own, and not one that a newer one has overtaken."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._last: AddressMemory[tuple[int, float]] = AddressMemory(MAX_GUARDED, MAX_GUARDED_BYTES)
        self._held: dict[bytes, tuple[int, int, bytes, int]] = {}
        self._beats = 0

    def snapshot(self, address: bytes, revision: int) -> bool:
        """A SNAPSHOT has told the param's revision; whether no newer one has overtaken it."""
        if revision < self._recent(address):
            return False
        self._note(address, revision)
        return True

    def passes(self, address: bytes, value_type: int, value: bytes, revision: int, ttl: int, in_flight: bool) -> bool:
        """Whether to apply it now. While a write of ours is under way the order is not known yet: the newest waits."""
        if revision and revision <= self._recent(address):
            return False
        if in_flight:
            held = self._held.get(address)
            if held is None or revision > held[0]:
                self._held[address] = (revision, value_type, value, ttl)
            return False
        self._note(address, revision)
        return True

    def acknowledged(self, address: bytes, revision: int, none_left: bool) -> tuple[int, bytes, int] | None:
        """A write of ours has this revision (0: was refused). What has been waiting and is newer, to be applied."""
        if revision > self._recent(address):
            self._note(address, revision)
        if not none_left:
            return None
        held = self._held.pop(address, None)
        if held is None or held[0] <= self._recent(address):
            return None
        self._note(address, held[0])
        return held[1:]

    def _recent(self, address: bytes) -> int:
        """The address's last revision; 0 where it came so long ago that a lower one is the first of a new series."""
        revision, at_s = self._last.get(address, (0, 0.0))
        return revision if self._monotonic_s() - at_s < REORDERED_S else 0

    def _note(self, address: bytes, revision: int) -> None:
        if len(address) <= MAX_ADDRESS_BYTES:
            self._last.note(address, (revision, self._monotonic_s()))

    def heartbeat(self, address: bytes) -> bytes:
        """The SET whose echo shows that the hub still routes to us (federation.md 7.10)."""
        self._beats += 1
        return encode(Set(address.decode(), self._beats, ttl=Ttl(TtlMode.SLIDING, HEARTBEAT_TTL_S)))


class SyncPlan:
    """In which parts the hub is asked for its state: a pattern at a time, and where that fails, by first characters."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._waiting = list(reversed(patterns))
        self._asked = ""
        self._frames = 0
        self._largest = 0
        self.failed: list[str] = []

    def next(self) -> str | None:
        """What to ask for now; None when everything has been asked for."""
        self._frames = self._largest = 0
        self._asked = self._waiting.pop() if self._waiting else ""
        return self._asked or None

    def got(self, params: int) -> None:
        """A SNAPSHOT has come."""
        self._frames += 1
        self._largest = max(self._largest, params)

    def complete(self) -> None:
        """The hub says that this was all of it. No SNAPSHOT at all: it could not encode one (federation.md 7.6)."""
        if self._frames and self._largest <= SAFE_PARAMS:
            return
        shards = _shards_of(self._asked)
        if shards:
            self._waiting += reversed(shards)
        elif not self._frames:
            self.failed.append(self._asked)

    def refused(self) -> None:
        """The hub does not answer this one."""
        self.failed.append(self._asked)


def _shards_of(pattern: str) -> list[str]:
    """Patterns that together stand for the same; none where it cannot be cut any further."""
    head, slash, last = pattern.rpartition("/")
    if last == "**":
        stem, _, shard = head.rpartition("/")
        if shard.startswith("["):
            return _finer(stem, shard, "/**")
        return [f"{head}/[{part}]*{tail}" for part in _SHARDS for tail in ("", "/**")]
    if slash and last.startswith("["):
        return _finer(head, last, "")
    return []


def _finer(stem: str, shard: str, tail: str) -> list[str]:
    """A range of characters as single ones."""
    inside = shard[1:].partition("]")[0]
    if len(inside) != 3 or inside[1] != "-":
        return []
    return [f"{stem}/[{chr(code)}]*{tail}" for code in range(ord(inside[0]), ord(inside[2]) + 1)]


def heartbeat_address(patterns: Sequence[str], router_id: str) -> bytes:
    """An address inside the first pattern that has room for one; b"" where none has."""
    for pattern in patterns:
        head = pattern.removesuffix("/**")
        if head != pattern and "*" not in head and head:
            return f"{head}/_edge/{router_id}".encode()
    return b""
