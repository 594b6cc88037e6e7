"""One reading of the log for all routers that are behind: each part is read, taken apart and made into messages once,
and handed to those that carry them.

Routers that come back at the same time go through the log side by side, so a hub's work grows with what is told and
not with the number of routers times the log. Knows no sessions; what a router carries is its `Link`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from clasp_edge.federation.downstream.log_records import Records, Waiting
from clasp_edge.federation.shared.batches import Item, frame_bytes
from clasp_edge.federation.shared.dedup import Route
from clasp_edge.federation.shared.queue import Part
from clasp_edge.journal.followed_log import READ_BYTES, Log

if TYPE_CHECKING:
    from clasp_edge.journal.cursors import Logged

log = logging.getLogger("clasp_edge.federation")

RECORDS_AT_ONCE = 2048
"""Of the log in one reading: two milliseconds of ours at most. Blocks have about as many small ones, and are read
whole."""

PARTS = 16
"""Kept at a time, up to 400 KB each with what Python needs for it: so far apart routers may be that go side by side."""

UNUSED_S = 2.0
"""After so long without a reader the parts are let go of."""

GATHER_S = 0.02
GATHER_LONGEST_S = 0.3
"""Routers that come with no longer pauses between them, and within this time, are counted and begin together; those
that come during a pass, with the next one."""

ENOUGH = 256
"""Messages that a router gets of the log at once, if there are so many: one that carries a hundredth of what is said is
not woken for five of them."""

MAX_INTEREST_BYTES = 8 << 20
"""Of what is remembered of addresses and who carries them: 20,000 ordinary ones."""

INTEREST_BYTES = 250
LINK_BYTES = 8
"""What an address takes, and each of the routers that carry it, beside its bytes."""


class Link(Protocol):
    """One router that follows (`downlink.Downlink`)."""

    tells_mqtt: bool
    neighbour: str

    def wants(self, address: bytes, signal: int) -> bool:
        """Whether it is to be told, in order, all that is said there."""
        ...

    def is_back(self, route: Route, number: int, logged: int) -> bool:
        """Whether that is not for it, because it has come from there."""
        ...

    def item_of(self, record: Logged, route: Route, number: int) -> Item | None:
        """The message of a SET, or of what an MQTT client has published, for this router and all with the same
        `tells_mqtt`; None: its time is over. May raise. Others are told as they are."""
        ...


class Counter(Protocol):
    """What waits for one router (`queue.LinkQueue`)."""

    @property
    def position(self) -> int: ...
    def count(self, messages: int, size: int, since_s: float) -> None: ...


class _Read:
    """A part of the log: the records above `begin` up to `end`, and what each link is told of them that was there at
    `stamp`, when it was made."""

    __slots__ = ("begin", "end", "stamp", "told")

    def __init__(self, begin: int, end: int, stamp: int) -> None:
        self.begin = begin
        self.end = end
        self.stamp = stamp
        self.told: dict[Link, list[Item]] = {}

    def of(self, link: Link, at: int) -> list[Item]:
        """What is above `at`."""
        told = self.told.get(link, [])
        if told and told[0].logged <= at:
            told = [item for item in told if item.logged > at]
        return told


_Counting = tuple[Link, int, Counter, Callable[[], None]]
"""A link, since when it is attached, what waits for it, and who is told in the end."""


class LogPass:
    """`attach` a link before it reads, `detach` it in the end.

    `linked(address)` are those whose patterns match an address, in any order, each once or more often, and others
    beside them; `generation()` changes when that does. `of_run`: the route of what was first written here in a run of
    the router. `later_s(seconds, callback)` calls back.
    """

    def __init__(
        self, journal: Log, linked: Callable[[bytes], list[object]], generation: Callable[[], int],
        of_run: Callable[[int], Route], later_s: Callable[[float, Callable[[], None]], object],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._linked = linked
        self._generation = generation
        self._of_run = of_run
        self._later_s = later_s
        self._links: dict[Link, int] = {}  # and since when
        self._stamp = 0
        self._parts: list[_Read] = []
        self._asking: dict[int, list[Callable[[_Read | Exception | None], None]]] = {}
        self._interest: dict[tuple[bytes, int], list[Link]] = {}
        self._interest_bytes = 0
        self._records = Records(self._carried_by, self._interest, self._route_of)
        self._as_of = -1
        self._runs: dict[int, Route] = {}
        self._used = False
        self._looking = False
        self._to_count: list[_Counting] = []
        self._counting: list[_Counting] = []

    def attach(self, link: Link) -> None:
        """It may read from now on."""
        self._stamp += 1
        self._links[link] = self._stamp
        self._forget_interests()

    def detach(self, link: Link) -> None:
        """It reads no more. What it has asked for is not answered, also if it is attached again meanwhile."""
        self._links.pop(link, None)
        self._forget_interests()
        for part in self._parts:
            part.told.pop(link, None)

    # ---- parts ----

    def read(self, link: Link, at: int, then: Callable[[Part | Exception], None]) -> None:
        """What the link is told of the records above `at`: some of it. `then` is called at once or later."""
        items: list[Item] = []
        size = 0
        since = self._links.get(link)

        def have(part: _Read | Exception | None) -> None:
            if self._links.get(link) != since:
                return
            if isinstance(part, _Read):
                go_on(part)
            elif part is None or items:
                then(Part(items, at))
            else:
                then(part)

        def go_on(part: _Read | None) -> None:
            nonlocal at, size
            while part is not None:
                told = part.of(link, at)
                at = part.end
                if told:
                    items.extend(told)
                    size += frame_bytes(told)
                    if len(items) >= ENOUGH or size >= READ_BYTES:
                        then(Part(items, at))
                        return
                part = self._kept(link, at)
            self._ask(link, at, have)

        self._used = True
        go_on(self._kept(link, at))

    def _kept(self, link: Link, at: int) -> _Read | None:
        since = self._links.get(link, 0)
        for part in reversed(self._parts):
            if part.begin <= at < part.end and part.stamp >= since:
                return part
        return None

    def _ask(self, link: Link, at: int, then: Callable[[_Read | Exception | None], None]) -> None:
        """The part above `at`, from the log; None at its end. All who ask for it meanwhile get the same."""

        since = self._links.get(link)

        def again(part: _Read | Exception | None) -> None:
            if self._links.get(link) != since:
                return
            if isinstance(part, Exception):
                then(part)
            elif (kept := self._kept(link, at)) is not None:
                then(kept)
            else:
                self._ask(link, at, then)

        for begin, waiting in self._asking.items():
            if begin <= at < begin + RECORDS_AT_ONCE:
                # Perhaps it is in there: so those that begin side by side go on together.
                waiting.append(then if begin == at else again)
                return
        self._asking[at] = [then]
        # Others get their turn between two parts.
        self._later_s(
            0.0,
            lambda: self._journal.fetch_after(at, RECORDS_AT_ONCE, READ_BYTES, lambda result: self._have(at, result)),
        )

    def _have(self, at: int, result: list[Logged] | Exception) -> None:
        part: _Read | Exception | None = None
        if isinstance(result, Exception):
            part = result
        elif result:
            part = self._made(at, result)
            self._parts.append(part)
            del self._parts[:-PARTS]
            if not self._looking:
                self._looking = True
                self._later_s(UNUSED_S, self._look)
        for then in self._asking.pop(at, []):
            try:
                then(part)
            except Exception:
                # What one router cannot be told, the others are.
                log.exception("records of the log above %d could not be passed on", at)

    def _look(self) -> None:
        if self._used:
            self._used = False
            self._later_s(UNUSED_S, self._look)
        else:
            self._looking = False
            self._parts.clear()

    def _made(self, at: int, records: list[Logged]) -> _Read:
        part = _Read(at, records[-1].number, self._stamp)
        self._check_interests()
        self._records.tell(records, part.told, _cannot_be_told)
        return part

    def _route_of(self, run: int) -> Route:
        route = self._runs.get(run)
        if route is None:
            route = self._runs[run] = self._of_run(run)
        return route

    def _carried_by(self, address: bytes, signal: int) -> list[Link]:
        """Found anew, and remembered."""
        found = set(self._linked(address))
        links = [link for link in self._links if link in found and link.wants(address, signal)]
        self._interest_bytes += INTEREST_BYTES + len(address) + LINK_BYTES * len(links)
        if self._interest_bytes > MAX_INTEREST_BYTES:
            self._forget_interests()
        self._interest[(address, signal)] = links
        return links

    def _forget_interests(self) -> None:
        self._interest.clear()
        self._interest_bytes = 0
        self._records = Records(self._carried_by, self._interest, self._route_of)

    def _check_interests(self) -> None:
        """Forget who carries what, where that may have changed."""
        generation = self._generation()
        if self._as_of != generation:
            self._as_of = generation
            self._forget_interests()

    # ---- counting ----

    def count(self, link: Link, counter: Counter, then: Callable[[], None]) -> None:
        """Find out how much waits for an attached link. `then` is called at the end, unless it has left meanwhile."""
        self._to_count.append((link, self._links.get(link, 0), counter, then))
        if not self._counting and len(self._to_count) == 1:
            self._later_s(GATHER_S, lambda: self._gather(1, GATHER_S))

    def _gather(self, known: int, waited_s: float) -> None:
        if len(self._to_count) > known and waited_s < GATHER_LONGEST_S:
            known = len(self._to_count)
            self._later_s(GATHER_S, lambda: self._gather(known, waited_s + GATHER_S))
        else:
            self._begin_count()

    def _begin_count(self) -> None:
        self._counting, self._to_count = self._still_here(self._to_count), []
        if self._counting:
            begin = min(counter.position for _, _, counter, _ in self._counting)
            self._count_from(begin, self._journal.last_sequence)

    def _still_here(self, counting: list[_Counting]) -> list[_Counting]:
        return [one for one in counting if self._links.get(one[0], 0) == one[1]]

    def _count_from(self, at: int, last: int) -> None:
        def have(result: list[Logged] | Exception) -> None:
            self._counting = self._still_here(self._counting)
            if isinstance(result, Exception):
                log.error("what waits for other routers cannot be read from the journal: %s", result)
            elif result and self._counting:
                self._add(result, last)
                if result[-1].number < last:
                    # Others get their turn.
                    self._later_s(0.0, lambda: self._count_from(result[-1].number, last))
                    return
            counted, self._counting = self._counting, []
            if self._to_count:
                self._later_s(0.0, self._begin_count)
            for _, _, _, then in counted:
                try:
                    then()
                except Exception:
                    log.exception("what waits for a router was counted, and it cannot go on")

        self._journal.fetch_after(at, RECORDS_AT_ONCE, READ_BYTES, have)

    def _add(self, records: list[Logged], last: int) -> None:
        """The sizes are those in the log: what is sent is as large, but for a few bytes."""
        waiting = {link: Waiting(counter.position) for link, _, counter, _ in self._counting}
        self._check_interests()
        self._records.count(records, last, waiting, _cannot_be_counted)
        for link, _, counter, _ in self._counting:
            found = waiting[link]
            if found.messages:
                counter.count(found.messages, found.size, found.since_s)


def _cannot_be_told(record: Logged, error: Exception) -> None:
    log.error("record %d of the log cannot be told to other routers: %s", record.number, error)


def _cannot_be_counted(record: Logged, error: Exception) -> None:
    log.error("record %d of the log cannot be counted for other routers: %s", record.number, error)
