"""Breaks a ring of bridges that nobody can recognise: between brokers without MQTT 5 no message says where it has been.

Only what came from another bridge of this daemon is looked at, and only where one of the two links speaks 3.1.1.
"""

from __future__ import annotations

from collections import OrderedDict

from clasp_edge.address_memory import AddressMemory

WINDOW_S = 10.0
MOST_IN_WINDOW = 50
"""One value of one address going by: a lamp that blinks five times a second still may."""

BLOCKED_S = 5.0
MAX_ADDRESSES = 4096

MAX_VALUES = 256
"""Of one address, counted in a window: with so many different ones none of them goes round."""

MAX_TRAILS = 10_000
TRAIL_BYTES = 4 << 20
NAME_BYTES = 56
"""Addresses for which a bridge remembers by which daemons their value came, for other bridges of this daemon; and what
each name takes beside its characters."""

COMES_BACK = (
    "what it has told its broker comes back by this router's own MQTT server: the broker is this router, or another "
    "clasp-edge that has a bridge to here; one bridge between two is enough"
)

ITSELF = "the broker is this router itself: there is nothing to be bridged"


class Trails:
    """The daemons by which the last value of an address came to a bridge."""

    def __init__(self) -> None:
        self._trails: AddressMemory[tuple[str, ...]] = AddressMemory(
            MAX_TRAILS, TRAIL_BYTES, lambda via: sum(NAME_BYTES + len(name) for name in via)
        )

    def of(self, address: bytes) -> tuple[str, ...]:
        """Nothing, for a value that came by none."""
        return self._trails.get(address, ())

    def remember(self, address: bytes, via: tuple[str, ...]) -> None:
        """For the value that has come now."""
        if via:
            self._trails.note(address, via)
        else:
            self._trails.drop(address)


class _Seen:
    __slots__ = ("blocked_until_s", "counts", "since_s")

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s
        self.counts: dict[int, int] = {}
        self.blocked_until_s = 0.0


class LoopBreaker:
    """Counts how often each value of an address goes by."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()

    def passes(self, address: bytes, value: bytes, now_s: float) -> bool | None:
        """True: carry it. None: it has just become too often. False: not before `BLOCKED_S` after that."""
        seen = self._seen.get(address)
        if seen is None:
            if len(self._seen) >= MAX_ADDRESSES:
                self._seen.popitem(last=False)
            seen = self._seen[address] = _Seen(now_s)
        if now_s < seen.blocked_until_s:
            return False
        if now_s - seen.since_s > WINDOW_S:
            seen.since_s = now_s
            seen.counts.clear()
        key = hash(value)
        if len(seen.counts) >= MAX_VALUES and key not in seen.counts:
            seen.counts.clear()
        seen.counts[key] = seen.counts.get(key, 0) + 1
        if seen.counts[key] <= MOST_IN_WINDOW:
            return True
        seen.blocked_until_s = now_s + BLOCKED_S
        seen.counts.clear()
        return None
