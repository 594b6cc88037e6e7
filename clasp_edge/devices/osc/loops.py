"""Loops between devices: recognised by hops per second, whatever the values, and broken at the newest hand-made value.

A hop is what a device says, and that is no echo, within half a second of being told the same address. A hand makes hops
too where two move the same fader at once, but no more than a few times as many as the other hand; and the one that
moved first is a hand for as long as it goes on. Whether it goes on, or answers too, shows when it is told none of the
answers to what it says: a hand says more, and is told when it rests. A loop makes more hops, and goes on when no hand
does. Then what the devices that
hop say at this address is ignored until they are silent, and the value that came from a hand last is written again.
Values from other routers count as hand-made only where no hand here has made one, and say themselves whether they are
hops there, or end a loop (federation/shared/extensions.py, ROUTE). Knows no sockets; times are seconds of one clock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable

from clasp_edge.devices.osc.echo import ANSWER_S, ORDINARY_BYTES, Known

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

WITHHELD_AFTER = 8
"""So many hops within the short window, and the one that moved first is told no more of them until it rests."""

REST_S = 0.3
"""A hand on a device that has said nothing for so long rests."""

SUSPECT_HOPS = 3
"""After that, so many hops within a second are a loop: what was taken for a hand had answered as well."""

CLAIM_S = 10.0
"""So often a router says that another one has ended a loop at a value that is not the hand's last."""

KEEP_S = 60.0
"""An address at which nothing happens for so long is forgotten."""

MAX_RECORDS = 4096
MAX_TIMES = 1024


class _Times:
    """When something happened within the last `LONG_S`."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: list[float] | None = None  # of most addresses nothing of the kind is ever heard

    def add(self, now_s: float) -> None:
        if self._times is None:
            self._times = [now_s]
            return
        del self._times[: bisect_left(self._times, now_s - LONG_S)]
        self._times.append(now_s)
        if len(self._times) > MAX_TIMES:
            del self._times[0]

    def count(self, now_s: float, window_s: float = LONG_S) -> int:
        """How often within the last so many seconds."""
        return len(self._times) - bisect_left(self._times, now_s - window_s) if self._times else 0

    def clear(self) -> None:
        self._times = None


class _Record:
    __slots__ = (
        "claimed_s",
        "events",
        "hand",
        "hand_party",
        "hand_s",
        "hands",
        "hop_s",
        "hoppers",
        "hops",
        "ignored",
        "local_s",
        "moved_s",
        "newest",
        "suspect_hops",
        "suspect_until_s",
        "touched_s",
        "turns",
    )  # fmt: skip

    def __init__(self) -> None:
        self.touched_s = 0.0
        self.hops = _Times()
        self.events = _Times()
        self.hands = _Times()
        self.hoppers: dict[object, None] = {}
        self.ignored: dict[object, float] = {}
        self.hand: Known | None = None
        self.hand_party: object = None
        self.hand_s = self.local_s = self.hop_s = self.moved_s = -1e9
        self.suspect_until_s = self.claimed_s = -1e9
        self.suspect_hops = 0
        self.turns = 0
        self.newest = 0


def _ordinary(known: Known) -> Known | None:
    """A value that may be set again; of a large one, which is no fader, nothing is kept."""
    return known if len(known[1]) <= ORDINARY_BYTES else None


class Loops:
    """All devices of one server. `on_loop(address, party, hand)` is called when a loop is broken at a device: `hand` is
    the newest hand-made value, None where none is known or the loop is one of events. `on_stray(address)` is called
    when another router still brings an answer while answers are ignored here."""

    def __init__(
        self,
        on_loop: Callable[[bytes, object, Known | None], None],
        on_stray: Callable[[bytes], None] = lambda address: None,
    ) -> None:
        self._on_loop = on_loop
        self._on_stray = on_stray
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def said(
        self, address: bytes, party: object, known: Known | None, now_s: float, *, answer: bool
    ) -> tuple[bool, bool]:
        """A device said this (None: an event); `answer`: it was told something at this address a moment before. Returns
        whether it is to be ignored, and whether it is a hop."""
        record = self._record(address, now_s)
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
        if not record.hops.count(now_s) and not record.events.count(now_s):
            record.hoppers.clear()
        record.hoppers[party] = None
        if known is None:
            record.hop_s = now_s
            record.events.add(now_s)
            looping = record.events.count(now_s) >= EVENT_HOPS
        else:
            self._hop(record, now_s)
            by_hand = 2 * record.hands.count(now_s, SHORT_S / 2)
            looping = (
                record.hops.count(now_s, SHORT_S) > HOPS_PER_HAND * by_hand + MORE_HOPS
                or (record.hops.count(now_s) >= HOPS_ALONE and not record.hands.count(now_s))
                or (now_s < record.suspect_until_s and record.suspect_hops >= SUSPECT_HOPS)
            )
        if not looping:
            return False, True
        record.hops.clear()
        record.events.clear()
        record.suspect_until_s = -1e9
        for hopper in record.hoppers:
            record.ignored[hopper] = now_s + HOLD_S
        record.hoppers.clear()
        self._on_loop(address, party, record.hand if known is not None else None)
        return True, True

    def written(
        self, address: bytes, known: Known, frame: bytes, now_s: float, party: object = None, *, remote: bool,
        answer: bool = False, end: bool = False,
    ) -> None:  # fmt: skip
        """Somebody else wrote this, a client or another router. Every device (`party`) that is told it says so, with
        the frame. `answer`: it is a hop there; `end`: it ends a loop, which one of the routers has found."""
        record = self._record(address, now_s)
        if end:
            record.ignored[party] = now_s + HOLD_S
        # Each device that is told it says so, and frames may be large.
        told = hash(frame)
        if told == record.newest:
            return
        record.newest = told
        if answer:
            self._hop(record, now_s)
            if any(until_s > now_s for until_s in record.ignored.values()):
                self._on_stray(address)
            return
        if end:
            if remote:
                self._ended_elsewhere(record, address, known, now_s)
            return
        record.hands.add(now_s)
        if remote and now_s - record.local_s < HAND_S:
            return
        record.hand = _ordinary(known)
        record.hand_party = None
        record.moved_s = now_s
        if not remote:
            record.local_s = now_s

    def hand_of(self, address: bytes) -> tuple[Known | None, float, bool]:
        """The newest hand-made value, when it was made, and whether the hand was one here."""
        record = self._records.get(address)
        if record is None:
            return None, -1e9, False
        return record.hand, record.moved_s, record.local_s == record.moved_s

    def withholds(self, address: bytes, party: object, now_s: float) -> bool:
        """Whether a device is not to be told an answer at this address now, because a hand moves it, or seems to."""
        record = self._records.get(address)
        return (
            record is not None
            and record.hand_party is party
            and now_s - record.hand_s < ANSWER_S
            and record.hops.count(now_s, SHORT_S) >= WITHHELD_AFTER
        )

    def rests(self, address: bytes, party: object, now_s: float) -> bool:
        """Whether the device that was not told answers is to be told now. From then on it is a hand no more."""
        record = self._records.get(address)
        if record is None or record.hand_party is not party:
            return True
        if now_s - record.hand_s < REST_S:
            return False
        record.hand_party = None
        record.suspect_until_s = now_s + SHORT_S
        record.suspect_hops = 0
        return True

    def was_broken(self, address: bytes, party: object) -> bool:
        """Whether the device was part of a loop at this address, and has said nothing of its own since."""
        record = self._records.get(address)
        return record is not None and party in record.ignored

    def gone(self, party: object) -> None:
        """The device is no longer there."""
        for record in self._records.values():
            record.hoppers.pop(party, None)
            record.ignored.pop(party, None)
            if record.hand_party is party:
                record.hand_party = None

    def _ended_elsewhere(self, record: _Record, address: bytes, known: Known, now_s: float) -> None:
        """The router of the hand knows best what it set last: an answer may have overtaken that on its way. It says so
        once; where there are hands at several routers, one of them has to give in."""
        is_here = record.hand is not None and record.local_s == record.moved_s
        if is_here and record.hand != known and now_s - record.claimed_s > CLAIM_S:
            record.claimed_s = now_s
            self._on_stray(address)
            return
        record.hand = _ordinary(known)
        record.local_s = -1e9

    def _hop(self, record: _Record, now_s: float) -> None:
        record.hop_s = now_s
        record.suspect_hops += 1
        record.hops.add(now_s)

    def _hand(self, record: _Record, party: object, known: Known | None, now_s: float) -> None:
        record.hand_party = party
        record.hand_s = record.local_s = record.moved_s = now_s
        record.hands.add(now_s)
        if known is not None:
            record.hand = _ordinary(known)

    def _record(self, address: bytes, now_s: float) -> _Record:
        record = self._records.get(address)
        if record is None:
            self.forget_old(now_s)
            if len(self._records) >= MAX_RECORDS:
                self._records.popitem(last=False)
            record = self._records[address] = _Record()
        else:
            self._records.move_to_end(address)
        record.touched_s = now_s
        return record

    def forget_old(self, now_s: float) -> None:
        """Addresses at which nothing happens any more."""
        while self._records and now_s - next(iter(self._records.values())).touched_s > KEEP_S:
            self._records.popitem(last=False)
