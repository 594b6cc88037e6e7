"""The messages of a link that must all arrive, in order: from the journal's log where it has them, else from memory.

A message is done with when the neighbour has acknowledged it; until then the journal's cursor, or memory, holds it. The
newest ones are also in memory, so that a link that keeps up never reads the log. Knows no protocol and no connection.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from clasp_edge.federation.shared.batches import (
    FIXED_BYTES,
    RECORD_HEAD_BYTES,
    Item,
    add_all,
    frame_bytes,
    take_queued,
    take_read,
    unlogged_of,
)
from clasp_edge.journal.cursors import Logged
from clasp_edge.journal.followed_log import READ_BYTES, READ_RECORDS, RETRY_S, Log

log = logging.getLogger("clasp_edge.federation")

RECENT = 4096
"""Messages kept in memory that the log has too."""

KEPT_PLACES = 16
"""Places of the last so many seconds of a link, for a neighbour that may have lost what it has acknowledged."""


class Part(NamedTuple):
    """What a link carries of a stretch of the log, in order; `end` is the number of the last record that was looked at.
    Where that is what was asked for, there are no more."""

    items: list[Item]
    end: int


Source = Callable[[int, Callable[["Part | Exception"], None]], None]
"""`source(at, then)`: read the log above the number `at`; `then` gets a part of it, at once or later."""


class _Flight(NamedTuple):
    checkpoint: int
    position: int
    messages: int
    size: int
    items: list[Item]  # those that no log holds


class LinkQueue:
    """`take` what is to be sent next, say it was `sent`, and `done` when it has been acknowledged.

    `place` is the name of its cursor in the journal. `item_of(record)` turns a record of the log into what the link
    carries, or None; `source`, if given, reads the log instead. `wake()` is called when `take` may have something after
    it had nothing; `retry(delay_s, callback)` calls back later.
    """

    def __init__(
        self, place: str, journal: Log | None, max_bytes: int, max_age_s: float,
        item_of: Callable[[Logged], Item | None], wake: Callable[[], None],
        wall_s: Callable[[], float], retry: Callable[[float, Callable[[], None]], object],
        begins_at: int | None = None, source: Source | None = None,
    ) -> None:  # fmt: skip
        self.depth = 0
        self.flying = 0  # of them, messages under way
        self.bytes = 0
        self.dropped = 0
        self.oldest_s = 0.0
        self.moved: Callable[[], None] | None = None
        """Called when the neighbour has acknowledged something."""
        self._cursor_name = place
        self._journal = journal
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._item_of = item_of
        self._source = source or self._read_log
        self._wake = wake
        self._wall_s = wall_s
        self._retry = retry
        self._queue: deque[Item] = deque()
        self._queue_bytes = 0
        self._read: deque[Item] = deque()  # read from the log, before everything in the queue
        self._flying: deque[_Flight] = deque()
        self._following = True  # all that is not in the queue has been taken
        self._reading = False
        self._read_up_to = 0  # where `_read` ends in the log
        self._position = 0  # the last number that was taken or passed over
        self._given_up: list[tuple[int, int]] = []  # stretches of numbers above the cursor that were dropped
        self._giving_up = False  # nothing was taken after the last of them
        self._closed = False
        self._places: deque[int] = deque(maxlen=KEPT_PLACES)
        self._again_up_to = 0  # these have been acknowledged before, and are not counted
        self._rested_at = 0
        if journal is not None:
            self._position = journal.cursor(self._cursor_name)
            if self._cursor_name not in journal.cursors():
                # Nobody has followed the log under this name: what was before the link was configured is not for it.
                self._position = journal.last_sequence if begins_at is None else min(begins_at, journal.last_sequence)
                journal.set_cursor(self._cursor_name, self._position)
            self._following = self._position >= journal.last_sequence
            self.keep_place()  # what is acknowledged within the first second is told again as well

    def scan(self, on_record: Callable[[Logged], None], then: Callable[[], None]) -> None:
        """Read what an earlier life has left in the log, to know how much it is; `then` is called at the end."""
        journal = self._journal
        if journal is None or self._following:
            then()
            return
        last = journal.last_sequence
        at = self._position

        def have(result: list[Logged] | Exception) -> None:
            nonlocal at
            if self._closed:
                return
            if isinstance(result, Exception):
                log.error("the queue %s cannot be read from the journal: %s", self._cursor_name, result)
                then()
                return
            for record in result:
                if record.number > last:
                    break
                on_record(record)
                item = self._item(record)
                if item is not None:
                    self._more(item)
            if not result or result[-1].number >= last:
                then()
                return
            at = result[-1].number
            self._retry(0.0, lambda: journal.fetch_after(at, READ_RECORDS, READ_BYTES, have))

        journal.fetch_after(at, READ_RECORDS, READ_BYTES, have)

    @property
    def position(self) -> int:
        """The number of the last record that was taken or passed over."""
        return self._position

    def count(self, messages: int, size: int, since_s: float) -> None:
        """So many messages of so many bytes together wait in the log, the first since `since_s`: in place of `scan`,
        where others read it."""
        self.depth += messages
        self.bytes += size
        if not self.oldest_s:
            self.oldest_s = since_s

    # ---- what comes ----

    def offer(self, item: Item) -> None:
        """A new message."""
        self.offer_all([item])

    def offer_all(self, items: list[Item]) -> None:
        """New messages, in order; one at least."""
        size = add_all(self._queue, items)
        self.depth += len(items)
        self.bytes += size
        if not self.oldest_s:
            self.oldest_s = items[0].since_s
        self._queue_bytes += size + len(items) * FIXED_BYTES
        logged = items[-1].logged
        while self._queue_bytes > self._max_bytes or (logged and len(self._queue) > RECENT):
            oldest = self._queue.popleft()
            self._queue_bytes -= len(oldest.frame) + FIXED_BYTES
            if oldest.logged:
                self._following = False  # it will be read from the log
            else:
                self._lose(oldest)

    def _item(self, record: Logged) -> Item | None:
        """What the link carries of a record; one that cannot be told costs the link nothing but itself."""
        try:
            return self._item_of(record)
        except Exception as error:
            log.error("the queue %s passes over record %d of the log: %s", self._cursor_name, record.number, error)
            return None

    def _more(self, item: Item) -> None:
        self.depth += 1
        self.bytes += len(item.frame)
        if not self.oldest_s:
            self.oldest_s = item.since_s

    def _lose(self, item: Item) -> None:
        if not 0 < item.logged <= self._again_up_to:
            self.dropped += 1
        self._less(1, len(item.frame))

    def _less(self, count: int, size: int) -> None:
        self.depth = max(0, self.depth - count)
        self.bytes = max(0, self.bytes - size) if self.depth else 0
        if not self.depth:
            self.oldest_s = 0.0

    # ---- what goes ----

    def take(self, limit: int, limit_bytes: int) -> list[Item]:
        """The next messages, oldest first. Empty: there are none, or the log is being read and `wake` follows."""
        taken: list[Item] = []
        now_s = self._wall_s()
        size = self._take_usual(taken, limit, limit_bytes, now_s - self._max_age_s if self._max_age_s else 0.0)
        while len(taken) < limit:
            if self._read:
                item = self._read[0]
                if taken and size + len(item.frame) + RECORD_HEAD_BYTES > limit_bytes:
                    break
                self._read.popleft()
                self._position = item.logged if self._read else max(item.logged, self._read_up_to)
                if item.logged <= self._again_up_to:
                    self._more(item)
            elif not self._following:
                if not taken:
                    self._fetch()
                break
            elif self._queue:
                item = self._queue[0]
                if taken and size + len(item.frame) + RECORD_HEAD_BYTES > limit_bytes:
                    break
                self._queue.popleft()
                self._queue_bytes -= len(item.frame) + FIXED_BYTES
                if item.logged:
                    if item.logged <= self._position:
                        continue  # was read from the log meanwhile
                    self._position = item.logged
            else:
                break
            if (self._max_age_s and now_s - item.since_s > self._max_age_s) or self.bytes > self._max_bytes:
                self._give_up(item)
                continue
            self._giving_up = False
            taken.append(item)
            size += len(item.frame) + RECORD_HEAD_BYTES
        if not taken and self.idle:
            self._settle()
        return taken

    def _take_usual(self, taken: list[Item], limit: int, limit_bytes: int, too_old_s: float) -> int:
        """Of what `take` takes, the first that are neither given up nor told again; their bytes."""
        if self.bytes > self._max_bytes:
            return 0
        size = 0
        if self._read:
            size, position = take_read(self._read, taken, limit, limit_bytes, too_old_s, self._again_up_to)
            if position:
                self._position = position if self._read else max(position, self._read_up_to)
        elif self._following and self._queue:
            size, self._position, freed = take_queued(
                self._queue, taken, limit, limit_bytes, too_old_s, self._position
            )  # fmt: skip
            self._queue_bytes -= freed
        if taken:
            self._giving_up = False
        return size

    def _settle(self) -> None:
        """Nothing waits any more."""
        if self.depth:
            # The log has let go of them: it was too large, or damaged.
            self.dropped += self.depth
            self._less(self.depth, self.bytes)
        if self._given_up:
            self._acknowledge(self._position)

    def _give_up(self, item: Item) -> None:
        """Drop a message whose turn has come. It is not counted again where the link is lost and the log read anew."""
        self._lose(item)
        if item.logged:
            first = self._given_up.pop()[0] if self._giving_up else item.logged
            self._given_up.append((first, item.logged))
            self._giving_up = True

    def _fetch(self) -> None:
        if self._journal is not None and not self._reading:
            self._reading = True
            at = self._position
            self._source(at, lambda part: self._have(at, part))

    def _read_log(self, at: int, then: Callable[[Part | Exception], None]) -> None:
        def have(result: list[Logged] | Exception) -> None:
            if isinstance(result, Exception):
                then(result)
            else:
                items = [item for record in result if (item := self._item(record)) is not None]
                then(Part(items, result[-1].number if result else at))

        assert self._journal is not None
        self._journal.fetch_after(at, READ_RECORDS, READ_BYTES, have)

    def _have(self, at: int, part: Part | Exception) -> None:
        self._reading = False
        if self._following or self._closed:
            return
        if at != self._position:
            # The link was lost meanwhile: what was under way comes first.
            self._wake()
            return
        if isinstance(part, Exception):
            log.error("the queue %s cannot be read from the journal: %s", self._cursor_name, part)
            self._reading = True
            self._retry(RETRY_S, self._again)
            return
        first_queued = next((item.logged for item in self._queue if item.logged), 0)
        end = part.end
        if end <= at or (first_queued and end >= first_queued):
            self._following = True
            end = first_queued - 1 if first_queued else end
        items = part.items
        if items and items[-1].logged > end:
            items = [item for item in items if item.logged <= end]
        for first, last in self._given_up:
            items = [item for item in items if not first <= item.logged <= last]
        self._read.extend(items)
        self._read_up_to = end
        if not self._read:
            self._position = max(at, end)
        self._wake()

    def _again(self) -> None:
        self._reading = False
        self._wake()

    def sent(self, items: list[Item], checkpoint: int) -> None:
        """These were taken and are under way; all of them have arrived when `done` hears of the checkpoint."""
        self.flying += len(items)
        self._flying.append(_Flight(checkpoint, self._position, len(items), frame_bytes(items), unlogged_of(items)))

    def done(self, checkpoint: int) -> None:
        """The neighbour has acknowledged everything up to this checkpoint."""
        position = 0
        while self._flying and self._flying[0].checkpoint <= checkpoint:
            flight = self._flying.popleft()
            self.flying -= flight.messages
            self._less(flight.messages, flight.size)
            position = flight.position
        if position:
            self._acknowledge(position)
        following = self._read[0] if self._read else self._queue[0] if self._queue and self._following else None
        if following is not None and not self._flying:
            self.oldest_s = following.since_s
        elif position and self.idle:
            self._settle()
        if self.moved is not None:
            self.moved()

    @property
    def acknowledged(self) -> int:
        """The number in the log up to which the neighbour has everything."""
        return self._journal.cursor(self._cursor_name) if self._journal is not None else 0

    def has(self, up_to: int) -> bool:
        """Whether the neighbour has all that the link carries of the log up to this number."""
        return self.idle or (self._journal is not None and self._journal.cursor(self._cursor_name) >= up_to)

    def _acknowledge(self, position: int) -> None:
        self._given_up = [stretch for stretch in self._given_up if stretch[1] > position]
        self._giving_up = self._giving_up and bool(self._given_up)
        if self._journal is not None:
            self._journal.set_cursor(self._cursor_name, position)

    @property
    def flights(self) -> int:
        """How many checkpoints are awaited."""
        return len(self._flying)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return self.drained and not self._flying

    @property
    def drained(self) -> bool:
        """Nothing waits; something may be under way."""
        return self._following and not self._queue and not self._read

    def unlogged(self) -> list[Item]:
        """What waits that only memory has."""
        return [item for item in self._queue if not item.logged]

    def rest(self) -> None:
        """Called now and then while the link is up. Where there is nothing to do, what others have logged before the
        last time need not be kept or read for us; what has come from there since may not be stored there yet."""
        if self.idle and self._journal is not None:
            if self._rested_at > self._journal.cursor(self._cursor_name):
                self._journal.set_cursor(self._cursor_name, self._rested_at)
            self._position = max(self._position, self._journal.last_sequence)
            self._rested_at = self._position

    def keep_place(self) -> None:
        """Called once a second while the link is up, for `rewind`."""
        if self._journal is not None:
            self._places.append(self._journal.cursor(self._cursor_name))

    def rewind(self, heard_up_to: int | None = None) -> None:
        """The neighbour may lack what was acknowledged in the last seconds, and all after `heard_up_to`, if that is
        earlier: it is told once more. Before anything is taken."""
        if self._journal is None or not self._places:
            return
        self.go_back(self._places[0] if heard_up_to is None else min(self._places[0], heard_up_to))

    def go_back(self, place: int) -> None:
        """Tell again what follows this number in the log. Before anything is taken."""
        if self._journal is None:
            return
        at = self._journal.cursor(self._cursor_name)
        if place <= at and place < self._journal.last_sequence:
            # Also where nothing has been acknowledged since: what has come from there may be told again as well.
            self._again_up_to = at
            self._position = place
            self._journal.set_cursor(self._cursor_name, self._position)
            self._following = False
            # What waits in memory lacks what had come from the neighbour in between: the log has both in order.
            self._queue = deque(item for item in self._queue if not item.logged)
            self._queue_bytes = sum(len(item.frame) + FIXED_BYTES for item in self._queue)
        self._places.clear()
        self.keep_place()

    def close(self) -> None:
        """Nobody takes from it any more; another one may go on at its place."""
        self._closed = True

    def link_lost(self) -> None:
        """What was under way may not have arrived: it is sent again."""
        for flight in reversed(self._flying):
            for item in reversed(flight.items):
                self._queue.appendleft(item)
                self._queue_bytes += len(item.frame) + FIXED_BYTES
        self._flying.clear()
        self.flying = 0
        was_read = bool(self._read)
        self._read.clear()
        self._giving_up = False
        if self._journal is not None:
            acknowledged = self._journal.cursor(self._cursor_name)
            if acknowledged < self._position or was_read:
                self._position = acknowledged
                self._following = False
