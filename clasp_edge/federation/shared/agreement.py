"""Whether both ends of a link agree: which params differ, and which writes wait for the router that decides.

A difference is what a comparison of states finds that cannot be under way: a version that is no longer new and that the
other end has not, or has and we do not. A write is pending from the moment it was made here until the other end, which
decides about it or passes it on, has dealt with it; meanwhile it stands here (docs/federation.md, "Who is right").
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from clasp_edge.federation.shared.extensions import BUCKETS
from clasp_edge.federation.shared.relay import MOST_WRITERS

UNDER_WAY_US = 2_000_000
"""A version that was assigned less than this ago may be on its way."""

MAX_NAMED = 16
"""Params that differ are named up to this; all are counted."""

MAX_NAME_BYTES = 256

MAX_PENDING_BYTES = 131_072
"""Of pending writes, with ENTRY_BYTES for each beside its address; more are not remembered, and stand in no list."""

ENTRY_BYTES = 250

MAX_WRITERS_BYTES = 65_536
WRITERS_ENTRY_BYTES = 400
"""Of those who have written, with what each param takes beside its address; of more, the oldest are forgotten."""

RESTLESS = 20
"""Comparisons after which a part of the state is told although something happens in it all the time: a minute."""

REVISION, LOCK, STRATEGY = 1, 2, 4
"""Why a write needs a referee; as `Relay.contested` has them."""

_REASONS = {REVISION: "an expected revision", LOCK: "a lock", STRATEGY: "a strategy"}


class Comparison:
    """What the last full digests of one link were. Of buckets that differ, those count in which nothing has happened
    since: in others it may be what is under way, and telling all of a busy state again would cost more than the
    writes."""

    def __init__(self) -> None:
        self._before: array[int] | None = None
        """By bucket, of those that differed: what both ends had in it, as a hash. A hub keeps one for each box."""
        self._rounds = bytes(BUCKETS)
        """By bucket: after how many comparisons in a row it differed."""

    def settled(self, differing: Sequence[int], ours: Mapping[int, int], theirs: Mapping[int, int]) -> list[int]:
        """Those to be mended: all of them the first time, and those that never rest after so many rounds."""
        before, now = self._before, array("q", bytes(8 * BUCKETS)) if differing else _NONE_DIFFER
        for bucket in differing:
            now[bucket] = hash((ours.get(bucket), theirs.get(bucket)))
        self._before = now
        if before is None:
            return list(differing)
        rounds, found = bytearray(BUCKETS), []
        for bucket in differing:
            rounds[bucket] = self._rounds[bucket] + 1
            if before[bucket] == now[bucket] or rounds[bucket] >= RESTLESS:
                found.append(bucket)
            if rounds[bucket] >= RESTLESS:
                rounds[bucket] = 0
        self._rounds = bytes(rounds)
        return found


_NONE_DIFFER = array("q", bytes(8 * BUCKETS))


class Agreement:
    """Of one link, over all of its connections."""

    def __init__(self) -> None:
        self.mended = 0
        """Parts of the state (of 1,024) in which the ends differed when they were compared."""
        self.differs: tuple[bytes, ...] = ()
        """Addresses that the last comparison has found, the first of them."""
        self.differing = 0
        """How many it has found."""
        self._found: dict[bytes, None] = {}
        self._count = 0
        self._pending: dict[bytes, tuple[int, int]] = {}  # by address: why, and the checkpoint behind it (0: none yet)
        self._pending_bytes = 0
        self._writers: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()
        """By address: of the latest writes that needed a word. It may come from beyond the other end, which has long
        dealt with them, and when something else stands here."""
        self._writers_bytes = 0

    # ---- differences ----

    def begin(self) -> None:
        """A comparison has begun."""
        self._found = {}
        self._count = 0

    def found(self, address: bytes, hlc: int, now_hlc: int) -> None:
        """One end has a version that the other one has not."""
        if now_hlc - hlc < UNDER_WAY_US or address in self._found:
            return
        self._count += 1
        if len(self._found) < MAX_NAMED:
            self._found[address] = None

    def compared(self) -> bool:
        """The comparison is over; whether others differ than after the one before."""
        before = set(self.differs)
        self.differs, self.differing = tuple(self._found), self._count
        return not before.issuperset(self.differs)

    def equal(self) -> None:
        """The roots are the same again."""
        self.differs, self.differing = (), 0

    def told(self, names: Iterable[str]) -> None:
        """The other end has found these."""
        self.differs = tuple(text.encode()[:MAX_NAME_BYTES] for text, _ in zip(names, range(MAX_NAMED), strict=False))
        self.differing = len(self.differs)

    @property
    def names(self) -> tuple[str, ...]:
        """Those that differ, for people."""
        return tuple(address[:MAX_NAME_BYTES].decode("utf-8", "replace") for address in self.differs)

    # ---- pending writes ----

    @property
    def pending(self) -> int:
        """How many params wait for a word."""
        return len(self._pending)

    def awaits(self, contested: Mapping[bytes, tuple[int, tuple[bytes, ...]]]) -> None:
        """These were written here, by these, and somebody else decides whether they stand."""
        for address, (why, writers) in contested.items():
            self._note_writers(address, writers)
            known = self._pending.get(address)
            if known is None:
                size = ENTRY_BYTES + len(address)
                if self._pending_bytes + size > MAX_PENDING_BYTES:
                    continue
                self._pending_bytes += size
                known = (0, 0)
            self._pending[address] = (known[0] | why, 0)

    def _note_writers(self, address: bytes, writers: tuple[bytes, ...]) -> None:
        earlier = self._forget_writers(address)
        self._writers[address] = (*earlier, *writers)[-MOST_WRITERS:]
        self._writers_bytes += WRITERS_ENTRY_BYTES + len(address)
        while self._writers_bytes > MAX_WRITERS_BYTES:
            self._forget_writers(next(iter(self._writers)))

    def _forget_writers(self, address: bytes) -> tuple[bytes, ...]:
        writers = self._writers.pop(address, None)
        if writers is None:
            return ()
        self._writers_bytes -= WRITERS_ENTRY_BYTES + len(address)
        return writers

    def refused(self, address: bytes) -> bytes:
        """A write of this param that needed a word was refused: whose; b"" where that is not known. What was written
        after a write that was refused is refused as well: so of several it is the last whose turn has not come."""
        self.settled(address)
        writers = self._forget_writers(address)
        if len(writers) > 1:
            self._note_writers(address, writers[:-1])
        return writers[-1] if writers else b""

    def asked(self, checkpoint: int) -> bool:
        """All that is pending has been told before this checkpoint; whether anything was not before an earlier one."""
        waiting = [(address, why) for address, (why, at) in self._pending.items() if not at]
        for address, why in waiting:
            self._pending[address] = (why, checkpoint)
        return bool(waiting)

    @property
    def has_unasked(self) -> bool:
        """Whether a checkpoint is to be sent for something."""
        return any(not at for _, at in self._pending.values())

    def dealt_with(self, checkpoint: int) -> None:
        """The other end has dealt with everything before it."""
        for address in [address for address, (_, at) in self._pending.items() if 0 < at <= checkpoint]:
            self.settled(address)

    def settled(self, address: bytes) -> None:
        """What stands has been told, or who wrote it has."""
        if self._pending.pop(address, None) is not None:
            self._pending_bytes -= ENTRY_BYTES + len(address)

    def link_lost(self) -> None:
        """Nobody knows what has been dealt with: after the next comparison everything is asked again."""
        self._pending = {address: (why, 0) for address, (why, _) in self._pending.items()}
        self.differs, self.differing = (), 0

    def nobody_decides(self) -> None:
        """The other end is no router that decides: nothing is pending."""
        self._pending.clear()
        self._pending_bytes = 0
        self._writers.clear()
        self._writers_bytes = 0

    def why(self, address: bytes) -> str:
        """What the write needs a referee for; "" if it is not pending."""
        why = self._pending.get(address, (0, 0))[0]
        return " and ".join(text for bit, text in _REASONS.items() if why & bit)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The first of the pending ones, for people."""
        return tuple(
            address[:MAX_NAME_BYTES].decode("utf-8", "replace")
            for address, _ in zip(self._pending, range(MAX_NAMED), strict=False)
        )
