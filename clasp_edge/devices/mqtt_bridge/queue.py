"""What waits to go to the broker, and what is under way: the policies `latest`, `log` and `drop` of a bridge's maps.

Runs on the event loop and knows no connection: it is told when there is one. Params under `latest` are only marked here
and read when their turn comes, so the newest value goes and the memory is that of their addresses.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from clasp_edge.devices.mqtt_bridge.mapping import Mapping

RECORD_BYTES = 256
"""What a record takes beside the frame it carries; counted so that small frames are bounded as well."""


class Record:
    """One message on its way out. `frame` is None for a param under `latest`: its value is read when it is sent."""

    __slots__ = ("address", "again", "born_s", "frame", "is_param", "mapping", "qos", "topic", "via")

    def __init__(
        self, mapping: Mapping, topic: str, address: bytes, frame: bytes | None, is_param: bool, born_s: float
    ) -> None:
        self.mapping = mapping
        self.topic = topic
        self.address = address
        self.frame = frame
        self.is_param = is_param
        self.born_s = born_s
        self.qos: int = mapping.config.qos
        self.via: tuple[str, ...] = ()
        self.again = False  # repeats a value the broker seems to lack

    @property
    def size(self) -> int:
        """Bytes of the queue's bound that it takes."""
        return RECORD_BYTES + len(self.frame) if self.frame is not None else 0


class _Latest:
    """At most one record per address waiting and one under way. A newer one takes the waiting one's place."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[bytes, bool], Record] = {}
        self.held: dict[tuple[bytes, bool], Record] = {}  # its predecessor is under way
        self.flying: dict[tuple[bytes, bool], Record] = {}

    def offer(self, record: Record) -> Record | None:
        """Add it; returns the one it replaces."""
        key = (record.address, record.is_param)
        line = self.held if key in self.flying else self.waiting
        old = line.get(key)
        line[key] = record
        return old

    def next(self) -> Record | None:
        for key, record in self.waiting.items():
            del self.waiting[key]
            self.flying[key] = record
            return record
        return None

    def done(self, record: Record) -> bool:
        key = (record.address, record.is_param)
        if self.flying.get(key) is not record:
            return False
        del self.flying[key]
        if (newer := self.held.pop(key, None)) is not None:
            self.waiting[key] = newer
        return True

    def recall(self, which: Callable[[Record], bool]) -> list[Record]:
        """Put what is under way back in front, unless something newer waits; returns what that replaced."""
        back = {key: record for key, record in self.flying.items() if which(record)}
        for key in back:
            del self.flying[key]
        obsolete = [record for key, record in back.items() if key in self.held]
        self.waiting = back | {key: self.held.pop(key) for key in back if key in self.held} | self.waiting
        return obsolete

    def busy(self, address: bytes) -> bool:
        key = (address, True)
        return key in self.waiting or key in self.flying or key in self.held

    def __len__(self) -> int:
        return len(self.waiting) + len(self.held) + len(self.flying)


class _Line:
    """First in, first out, several under way."""

    def __init__(self) -> None:
        self.waiting: deque[Record] = deque()
        self.flying: dict[int, Record] = {}
        self.params: Counter[bytes] = Counter()

    def offer(self, record: Record) -> None:
        self.waiting.append(record)
        if record.is_param:
            self.params[record.address] += 1

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
            self.params[record.address] -= 1
            if not self.params[record.address]:
                del self.params[record.address]

    def recall(self, which: Callable[[Record], bool]) -> None:
        """Put what is under way back in front, in its order."""
        back = [record for record in self.flying.values() if which(record)]
        for record in back:
            del self.flying[id(record)]
        self.waiting.extendleft(reversed(back))

    def __len__(self) -> int:
        return len(self.waiting) + len(self.flying)


class OutQueue:
    """All that one bridge has to send. `max_bytes` bounds what carries frames, `max_age_s` (0: any) the log's age."""

    def __init__(self, max_bytes: int, max_age_s: float) -> None:
        self.online = False
        self.dropped: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._bytes = 0
        self._latest = _Latest()
        self._log = _Line()
        self._passing = _Line()
        self._turn = 0

    # ---- what comes in ----

    def offer(self, record: Record) -> None:
        """Take a message, as its map's policy says."""
        policy = record.mapping.config.policy
        if policy == "drop" and not self.online:
            self.dropped["away"] += 1
            return
        self.expire(record.born_s)
        if policy == "log":
            self._make_room(record.size)
        if record.size and self._bytes + record.size > self._max_bytes:
            self.dropped["full"] += 1
            return
        self._bytes += record.size
        if policy == "latest":
            replaced = self._latest.offer(record)
            self._bytes -= replaced.size if replaced is not None else 0
        else:
            (self._log if policy == "log" else self._passing).offer(record)

    def _make_room(self, size: int) -> None:
        """The oldest records of the log give way to a newer one, which says more about how things stand."""
        while self._bytes + size > self._max_bytes and self._log.waiting:
            self._drop_oldest("full")

    def _drop_oldest(self, cause: str) -> None:
        record = self._log.waiting.popleft()
        self._log.left(record)
        self._bytes -= record.size
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
            self._turn = (self._turn + 1) % 3
            record = (self._log, self._latest, self._passing)[self._turn].next()
            if record is not None:
                return record
        return None

    def done(self, record: Record, refused: bool = False) -> None:
        """The broker has it, or will not have it (`refused`). Said twice, the second time counts for nothing."""
        policy = record.mapping.config.policy
        line = self._passing if policy == "drop" else self._log
        if self._latest.done(record) if policy == "latest" else line.done(record):
            self._bytes -= record.size
            self.dropped["refused"] += refused

    # ---- the connection ----

    def link_lost(self) -> None:
        """There is no connection. What is under way with QoS 0 is gone with it, the rest the link will finish."""
        self.online = False
        self._recall(lambda record: record.qos == 0)
        while self._passing.waiting:
            record = self._passing.waiting.popleft()
            self._passing.left(record)
            self._bytes -= record.size
            self.dropped["away"] += 1

    def start_over(self) -> None:
        """The link has forgotten what was under way."""
        self._recall(lambda record: True)

    def _recall(self, which: Callable[[Record], bool]) -> None:
        for record in self._latest.recall(which):
            self._bytes -= record.size
        self._log.recall(which)
        self._passing.recall(which)

    # ---- how things stand ----

    @property
    def flying(self) -> int:
        """Records under way."""
        return len(self._latest.flying) + len(self._log.flying) + len(self._passing.flying)

    def busy(self, address: bytes) -> bool:
        """Whether a value of this param is still to reach the broker."""
        return self._latest.busy(address) or address in self._log.params or address in self._passing.params

    def __len__(self) -> int:
        return len(self._latest) + len(self._log) + len(self._passing)
