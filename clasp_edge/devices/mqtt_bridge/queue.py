"""What waits to go to the broker, and what is under way: the policies `latest`, `log` and `drop` of a bridge's maps.

Runs on the event loop and knows no connection: it is told when there is one. Under `latest` a param that waits while
there is none is replaced by its newer value; without room it is only marked, and read when its turn comes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable

from msgspec import Struct

from clasp_edge.devices.mqtt_bridge.journal_place import JournalPlace
from clasp_edge.devices.mqtt_bridge.mapping import Mapping

Message = tuple[bytes, bytes, int, int, bool]
"""Payload, encoded properties, seconds to live or `events.NO_EXPIRY`, qos, retain."""

RECORD_BYTES = 256
"""What a record takes beside the frame it carries; counted so that small frames are bounded as well."""

MARK_BYTES = 512
MOST_MARKED_BYTES = 8 << 20
"""What a param that is only marked takes beside its address and its topic, and how much of that there may be: some
15,000 params. Of what is beyond that the queue only knows that there was something."""


class Record(Struct, eq=False):
    """One message on its way out: a CLASP frame, or `message` as an MQTT client published it. With neither, a param's
    value is read when it is sent."""

    mapping: Mapping
    topic: str
    address: bytes
    frame: bytes | None
    is_param: bool
    born_s: float
    message: Message | None = None
    qos: int = 1  # of what is under way; until then its map's counts
    via: tuple[str, ...] = ()
    again: bool = False  # repeats a value the broker seems to lack
    number: int = 0  # as sent in an envelope: where it is sent again it is the same
    version: int = 0  # the same for a param's
    logged: int = 0  # its number in the journal's log, if that keeps it until the broker has it
    written_us: int = 0  # and when that was written, Unix time
    packet: bytes | None = None  # while it is under way and the broker has not had it
    is_mark: bool = False  # a clear for which there was no room: it takes none beside its mark

    @property
    def is_clear(self) -> bool:
        """Whether it has a broker forget the param."""
        return self.is_param and self.message is not None and self.message[4] and not self.message[0]

    @property
    def size(self) -> int:
        """Bytes of the queue's bound that it takes."""
        if self.is_mark:
            return 0
        if self.message is not None:
            return RECORD_BYTES + len(self.message[0]) + len(self.message[1])
        return RECORD_BYTES + len(self.frame) if self.frame is not None else 0

    @property
    def mark_size(self) -> int:
        """Bytes of the bound for marks that it takes."""
        return 0 if self.size else MARK_BYTES + len(self.address) + len(self.topic)


class _Line:
    """First in, first out, several under way."""

    def __init__(self) -> None:
        self.waiting: deque[Record] = deque()
        self.flying: dict[int, Record] = {}
        self.params: dict[bytes, int] = {}  # how many records there are of each

    def offer(self, record: Record) -> None:
        self.waiting.append(record)
        if record.is_param:
            self.params[record.address] = self.params.get(record.address, 0) + 1

    def next(self) -> Record | None:
        if not self.waiting:
            return None
        record = self.waiting.popleft()
        self.flying[id(record)] = record
        return record

    def done(self, record: Record) -> bool:
        if self.flying.pop(id(record), None) is None:
            return False
        self.left(record)
        return True

    def left(self, record: Record) -> None:
        """The record is out of the line."""
        if record.is_param:
            left = self.params[record.address] - 1
            if left:
                self.params[record.address] = left
            else:
                del self.params[record.address]

    def recall(self, which: Callable[[Record], bool]) -> None:
        """Put what is under way back in front, in its order."""
        back = [record for record in self.flying.values() if which(record)]
        for record in back:
            del self.flying[id(record)]
        self.waiting.extendleft(reversed(back))

    def __len__(self) -> int:
        return len(self.waiting) + len(self.flying)


class _Log(_Line):
    """Like a line, and the journal is told what waits in it."""

    def __init__(self, place: JournalPlace | None) -> None:
        super().__init__()
        self._place = place

    def offer(self, record: Record) -> None:
        super().offer(record)
        if record.logged and self._place is not None:
            self._place.waits(record.logged)

    def left(self, record: Record) -> None:
        super().left(record)
        if record.logged and self._place is not None:
            self._place.done(record.logged)

    def settle(self) -> None:
        if self._place is not None:
            self._place.settle()


class _Latest(_Line):
    """Like a line, but while there is no connection a newer value of a param takes the place of one that waits."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: dict[int, Record] = {}
        self.newest: dict[bytes, Record] = {}  # the last value of each param that waits

    def offer(self, record: Record) -> None:
        self.queue[id(record)] = record
        if record.is_param:
            self.params[record.address] = self.params.get(record.address, 0) + 1
            self.newest[record.address] = record

    def replaced(self, record: Record) -> Record | None:
        """Take out the value that a newer one makes obsolete."""
        old = self.newest.pop(record.address, None) if record.is_param else None
        if old is not None:
            del self.queue[id(old)]
            self.left(old)
        return old

    def next(self) -> Record | None:
        for key, record in self.queue.items():
            del self.queue[key]
            if self.newest.get(record.address) is record:
                del self.newest[record.address]
            self.flying[key] = record
            return record
        return None

    def conflate(self) -> list[Record]:
        """Take out every value that waits before a newer one of its param."""
        old = [r for r in self.queue.values() if r.is_param and self.newest.get(r.address) is not r]
        for record in old:
            del self.queue[id(record)]
            self.left(record)
        return old

    def recall_conflated(self, which: Callable[[Record], bool]) -> list[Record]:
        """Put what is under way back in front; returns the values that newer ones have made obsolete."""
        back = [record for record in self.flying.values() if which(record)]
        for record in back:
            del self.flying[id(record)]
        obsolete: list[Record] = []
        kept: dict[int, Record] = {}
        newer = set(self.newest)
        for record in reversed(back):
            if record.is_param and record.address in newer:
                obsolete.append(record)
                self.left(record)
                continue
            kept[id(record)] = record
            if record.is_param:
                newer.add(record.address)
                self.newest[record.address] = record
        self.queue = dict(reversed(kept.items())) | self.queue
        return obsolete

    def __len__(self) -> int:
        return len(self.queue) + len(self.flying)


class OutQueue:
    """All that one bridge has to send. `max_bytes` bounds what carries frames, `max_age_s` (0: any) the log's age.
    `place` is told what of the journal's log waits in it."""

    def __init__(self, max_bytes: int, max_age_s: float, place: JournalPlace | None = None) -> None:
        self.online = False
        self.has_missed = False
        """Whether params have changed, since this was last set to False, that are not even marked."""
        self.dropped: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._bytes = 0
        self._marked_bytes = 0
        self._latest = _Latest()
        self._log = _Log(place)
        self._passing = _Line()
        self._beside: set[Record] = set()
        self._turns: tuple[_Line, ...] = (self._log, self._latest, self._passing)
        self._turn = 0

    # ---- what comes in ----

    def offer(self, record: Record) -> None:
        """Take a message, as its map's policy says."""
        policy = record.mapping.config.policy
        if policy == "drop" and not self.online:
            self.dropped["away"] += 1
            return
        if self._max_age_s:
            self.expire(record.born_s)
        size = record.size
        if policy == "log":
            if self._bytes + size > self._max_bytes:
                self._make_room(size)
        elif policy == "latest" and record.is_param:
            full = self._bytes + size > self._max_bytes
            if (full or not self.online) and (old := self._latest.replaced(record)) is not None:
                self._left(old)
            if self._bytes + size > self._max_bytes:
                record.is_mark = record.is_clear
                if not record.is_mark:
                    record.frame = record.message = None  # read when it is sent
                size = 0
        if size and self._bytes + size > self._max_bytes:
            self.dropped["full"] += 1
            return
        mark = 0 if size else record.mark_size
        if self._marked_bytes + mark > MOST_MARKED_BYTES:
            if policy == "latest" and record.is_param and not record.is_mark:
                self.has_missed = True
            else:
                self.dropped["full"] += 1
            return
        self._bytes += size
        self._marked_bytes += mark
        self._line_of(record).offer(record)

    def _left(self, record: Record) -> None:
        """It takes no room any more."""
        if size := record.size:
            self._bytes -= size
        else:
            self._marked_bytes -= record.mark_size

    def _make_room(self, size: int) -> None:
        """The oldest records of the log give way to a newer one, which says more about how things stand."""
        while self._bytes + size > self._max_bytes and self._log.waiting:
            self._drop_oldest("full")

    def _drop_oldest(self, cause: str) -> None:
        record = self._log.waiting.popleft()
        self._log.left(record)
        self._left(record)
        self.dropped[cause] += 1

    def expire(self, now_s: float) -> None:
        """Drop what has waited too long in the log."""
        if self._max_age_s:
            while self._log.waiting and now_s - self._log.waiting[0].born_s > self._max_age_s:
                self._drop_oldest("old")

    # ---- what goes out ----

    def next(self) -> Record | None:
        """The next to send; it is under way from now on. The policies take turns."""
        for _ in range(3):
            self._turn = turn = (self._turn + 1) % 3
            record = self._turns[turn].next()
            if record is not None:
                return record
        return None

    def _line_of(self, record: Record) -> _Line:
        policy = record.mapping.config.policy
        return self._log if policy == "log" else self._latest if policy == "latest" else self._passing

    def done(self, record: Record, refused: bool = False) -> None:
        """The broker has it, or will not have it (`refused`). Said twice, the second time counts for nothing."""
        if self._beside:
            self._beside.discard(record)
        if self._line_of(record).done(record):
            self._left(record)
            if refused:
                self.dropped["refused"] += 1

    def settle(self) -> None:
        """Have the journal know how far the broker has everything: once for many that are `done`."""
        self._log.settle()

    def beside(self, records: Iterable[Record]) -> None:
        """These are under way too, though they never were in the queue: they take room in the broker's window."""
        self._beside.update(records)

    # ---- the connection ----

    def link_lost(self) -> None:
        """There is no connection. What is under way with QoS 0 is gone with it, the rest the link will finish."""
        self.online = False
        self._beside = {record for record in self._beside if record.qos}
        self._recall(lambda record: record.qos == 0)
        for record in self._latest.conflate():
            self._left(record)
        while self._passing.waiting:
            record = self._passing.waiting.popleft()
            self._passing.left(record)
            self._left(record)
            self.dropped["away"] += 1

    def start_over(self) -> None:
        """The link has forgotten what was under way."""
        self._beside.clear()
        self._recall(lambda record: True)

    def _recall(self, which: Callable[[Record], bool]) -> None:
        for record in self._latest.recall_conflated(which):
            self._left(record)
        self._log.recall(which)
        self._passing.recall(which)

    # ---- how things stand ----

    @property
    def flying(self) -> int:
        """Records under way."""
        return len(self._latest.flying) + len(self._log.flying) + len(self._passing.flying) + len(self._beside)

    def busy(self, address: bytes) -> bool:
        """Whether a value of this param is still to reach the broker."""
        return any(address in line.params for line in (self._latest, self._log, self._passing))

    def __len__(self) -> int:
        return len(self._latest) + len(self._log) + len(self._passing)
