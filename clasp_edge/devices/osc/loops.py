"""Loops between devices: recognised by hops per second, whatever the values, and broken at the newest hand-made value.

A hop is what a device says, and that is no echo, within half a second of being told the same address. A hand makes hops
too where two move the same fader at once, but no more than a few times as many as the other hand; and the one that
moved
first is a hand for as long as it goes on. A loop makes more, and goes on when no hand does. Then what the devices that
hop say at this address is ignored until they are silent, and the value that came from a hand last is written again.
Values from other routers count as hand-made only where no hand here has made one. Knows no sockets; times are seconds
of one clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from clasp_edge.devices.osc.echo import ANSWER_S, Known

SHORT_S = 1.0
LONG_S = 2.0

HOPS_PER_HAND = 2.5
MORE_HOPS = 12
"""Within the short window: more hops than this, and than so many for each hand-made value at the rate of the last half
second, are a loop."""

HOPS_ALONE = 16
"""Within the long window, in which no hand made anything: two devices that answer each other after 100 ms make 20."""

EVENT_HOPS = 500
"""Of events within the long window: two people at two encoders make 80, a loop of events runs as fast as the
network."""

HOLD_S = 1.0
"""A device that hopped is ignored until it has said nothing in answer for so long."""

HAND_S = 2.0
"""What came from a hand here within this time counts before what came from elsewhere."""

MOST_TURNS = 100
"""A hand that says something whenever it was answered, and never twice in between, is none: it answers as well."""

MAX_RECORDS = 4096
MAX_TIMES = 1024


class _Times:
    """How often something happened within the last so many seconds."""

    __slots__ = ("_times", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=MAX_TIMES)

    def add(self, now_s: float) -> None:
        self._times.append(now_s)

    def count(self, now_s: float) -> int:
        while self._times and self._times[0] < now_s - self._window_s:
            self._times.popleft()
        return len(self._times)

    def clear(self) -> None:
        self._times.clear()


class _Record:
    __slots__ = (
        "events",
        "hand",
        "hand_party",
        "hand_s",
        "hands",
        "hands_lately",
        "hop_s",
        "hoppers",
        "hops",
        "hops_lately",
        "ignored",
        "local_s",
        "newest",
        "turns",
    )  # fmt: skip

    def __init__(self) -> None:
        self.hops_lately = _Times(SHORT_S)
        self.hops = _Times(LONG_S)
        self.events = _Times(LONG_S)
        self.hands_lately = _Times(SHORT_S / 2)
        self.hands = _Times(LONG_S)
        self.hoppers: dict[object, None] = {}
        self.ignored: dict[object, float] = {}
        self.hand: Known | None = None
        self.hand_party: object = None
        self.hand_s = self.local_s = self.hop_s = -1e9
        self.turns = 0
        self.newest = b""


class Loops:
    """All devices of one server. `on_loop(address, party, hand)` is called when a loop is broken at a device: `hand` is
    the newest hand-made value, None where none is known or the loop is one of events."""

    def __init__(self, on_loop: Callable[[bytes, object, Known | None], None]) -> None:
        self._on_loop = on_loop
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def said(
        self, address: bytes, party: object, known: Known | None, now_s: float, *, answer: bool
    ) -> tuple[bool, bool]:
        """A device said this (None: an event); `answer`: it was told something at this address a moment before. Returns
        whether it is to be ignored, and whether it is a hop."""
        record = self._record(address)
        until_s = record.ignored.get(party)
        if until_s is not None:
            if answer and now_s < until_s:
                record.ignored[party] = now_s + HOLD_S
                return True, True
            del record.ignored[party]
        if not answer:
            self._hand(record, party, known, now_s)
            return False, False
        if record.hand_party is party and now_s - record.hand_s < ANSWER_S:
            record.turns = record.turns + 1 if record.hop_s > record.hand_s else 0
            if record.turns < MOST_TURNS:
                self._hand(record, party, known, now_s)
                return False, False
            # It was none.
            record.hand_party = None
            record.hands.clear()
            record.hands_lately.clear()
        if not record.hops.count(now_s) and not record.events.count(now_s):
            record.hoppers.clear()
        record.hoppers[party] = None
        record.hop_s = now_s
        if known is None:
            record.events.add(now_s)
            looping = record.events.count(now_s) >= EVENT_HOPS
        else:
            record.hops.add(now_s)
            record.hops_lately.add(now_s)
            by_hand = 2 * record.hands_lately.count(now_s)
            looping = record.hops_lately.count(now_s) > HOPS_PER_HAND * by_hand + MORE_HOPS or (
                record.hops.count(now_s) >= HOPS_ALONE and not record.hands.count(now_s)
            )
        if not looping:
            return False, True
        for times in (record.hops, record.hops_lately, record.events):
            times.clear()
        for hopper in record.hoppers:
            record.ignored[hopper] = now_s + HOLD_S
        record.hoppers.clear()
        self._on_loop(address, party, record.hand if known is not None else None)
        return True, True

    def written(self, address: bytes, known: Known, frame: bytes, now_s: float, *, remote: bool) -> None:
        """Somebody else wrote this, a client or another router. Every device that is told it says so, with the
        frame."""
        record = self._record(address)
        if frame == record.newest:
            return
        record.newest = frame
        record.hands_lately.add(now_s)
        record.hands.add(now_s)
        if remote and now_s - record.local_s < HAND_S:
            return
        record.hand = known
        record.hand_party = None
        if not remote:
            record.local_s = now_s

    def is_ignored(self, address: bytes, party: object, now_s: float) -> bool:
        """Whether what this device says at the address is ignored now."""
        record = self._records.get(address)
        return record is not None and record.ignored.get(party, now_s) > now_s

    def gone(self, party: object) -> None:
        """The device is no longer there."""
        for record in self._records.values():
            record.hoppers.pop(party, None)
            record.ignored.pop(party, None)
            if record.hand_party is party:
                record.hand_party = None

    def _hand(self, record: _Record, party: object, known: Known | None, now_s: float) -> None:
        record.hand_party = party
        record.hand_s = record.local_s = now_s
        record.hands_lately.add(now_s)
        record.hands.add(now_s)
        if known is not None:
            record.hand = known

    def _record(self, address: bytes) -> _Record:
        record = self._records.get(address)
        if record is None:
            if len(self._records) >= MAX_RECORDS:
                self._records.popitem(last=False)
            record = self._records[address] = _Record()
        else:
            self._records.move_to_end(address)
        return record
