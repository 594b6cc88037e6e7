"""What new subscriptions of one session are still to be told: the retained messages that were there before them.

Where the journal is strict they wait until all that was said before is stored. One commit is waited for at a time, and
an entry goes with its subscription, which is what it is charged to: a client that subscribes again and again while the
disk does not answer makes the router keep no more than its subscriptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from clasp_edge.devices.mqtt.codec import SubscribeFilter
from clasp_edge.devices.mqtt.sys_topics import SYS
from clasp_edge.router.stored import when_stored
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt.connection import Connection
    from clasp_edge.devices.mqtt.session import Session
    from clasp_edge.devices.mqtt.subscribe import Held

TOLD_AT_ONCE = 200
"""Subscriptions before others get their turn: a millisecond of work."""


class Wanted(NamedTuple):
    """The retained messages of one new subscription, for the connection that has asked. `identifier`: encoded."""

    connection: Connection | None
    entry: SubscribeFilter
    patterns: list[Pattern]
    held: Held | None
    identifier: bytes | None


def tell_retained(session: Session, wanted: Iterable[Wanted]) -> Iterator[None]:
    """Send them, as far as the client still has the subscriptions."""
    for number, (connection, entry, patterns, held, identifier) in enumerate(wanted, 1):
        if number % TOLD_AT_ONCE == 0:
            yield
        if session.ended:
            return
        if session.connection is not connection or session.subscriptions.get(entry.filter) is not held:
            continue
        for pattern in patterns:
            session.send_retained(entry.filter, pattern, entry.qos, identifier)
        if entry.filter.startswith(SYS):
            session.server.sys_topics.send_retained(session, entry, identifier)
            yield  # there may be as many topics as clients


class Unshown:
    """Of one session, from its first subscription that has to wait."""

    __slots__ = ("_next", "_now", "_session")

    def __init__(self, session: Session) -> None:
        self._session: Session | None = session
        self._now: dict[str, Wanted] | None = None  # while a commit is waited for
        self._next: dict[str, Wanted] = {}

    def add(self, wanted: Iterable[Wanted]) -> None:
        """Tell them when all that has been said by now is stored."""
        self._next.update((each.entry.filter, each) for each in wanted)
        if self._now is None:
            self._wait()

    def drop(self, text: str) -> None:
        """This subscription is no more."""
        for waiting in (self._now, self._next):
            if waiting is not None:
                waiting.pop(text, None)

    def end(self) -> None:
        """The session is over; a commit that is waited for keeps nothing of it."""
        self._session = None
        self._now, self._next = None, {}

    def _wait(self) -> None:
        if self._session is not None and self._next:
            self._now, self._next = self._next, {}
            when_stored(self._session.server.router.plane, self._stored)

    def _stored(self) -> None:
        session, now = self._session, self._now
        self._now = None
        if session is not None and now is not None:
            session.server.router.core.start_work(tell_retained(session, now.values()))
            self._wait()
