"""SUBSCRIBE and UNSUBSCRIBE (router.md 4): live from now on, then the matching state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clasp_edge.dataplane import Plane, Subscription
from clasp_edge.dataplane.account import Charge
from clasp_edge.dataplane.ring import RingSearch
from clasp_edge.dataplane.trie import subscription_bytes
from clasp_edge.router.long_message import carry_out_in_turn
from clasp_edge.router.quota import no_subscription
from clasp_edge.router.snapshot import snapshot_job
from clasp_edge.router.subscription_filter import SubscriptionFilter
from clasp_edge.wire import ErrorCode, Subscribe, Unsubscribe, types_to_mask
from clasp_edge.wire.pattern import Pattern, PatternError

if TYPE_CHECKING:
    from clasp_edge.router.session import Envelope, Session

ALL_TYPES = 0x1F

MAX_PARTIAL_PATTERNS = 100
"""Patterns like `zone*` that a session may have: the trie finds them by their other segments only, and each one found
costs a walk of the pattern whenever the fan-out of an address is built."""

MAX_PARTIAL_COST = 2048
"""Sum of `Pattern.cost` of a session's patterns, be they subscribed or declared: a hundred of them with twenty bytes
behind the first wildcard each, however deep they lie. The same for clients and routers: both are matched alike."""

MAX_PARTIAL_COST_OF_ALL = 8 * MAX_PARTIAL_COST
"""The same for all clients together: a new address of the longest kind is matched with them in some 20 ms."""

DROPPED_AT_ONCE = 16
"""Subscriptions that go before others get their turn: half a millisecond for the deepest."""

HISTORY_COST = 8
"""Messages that asking for history costs on top of the SUBSCRIBE: it looks through everything that is remembered."""

HISTORY_AT_ONCE = 256
"""Of what is remembered, looked at or sent before others get their turn: a tenth of a millisecond, with many addresses
and scopes half of one."""


def handle_subscribe(session: Session, message: Subscribe, envelope: Envelope) -> None:
    """Add or replace a subscription; answer with SNAPSHOTs of what matches, if anything does. No ACK."""
    try:
        pattern = Pattern(message.pattern.encode())
    except PatternError as error:
        session.error(ErrorCode.PATTERN_ERROR, str(error), message.pattern[:256])
        return
    full = _full(session, message, pattern)
    if full is not None:
        session.error(ErrorCode.RATE_LIMITED, full, message.pattern[:256])
        return
    if session.scopes is not None and not session.scopes.covers("read", pattern):
        session.error(ErrorCode.FORBIDDEN, "Insufficient scope for subscription", message.pattern)
        return
    if not session.holding.charge(subscription_bytes(pattern), Charge.SUBSCRIPTIONS):
        text = f"Subscription limit reached ({session.router.memory_full()})"
        session.error(ErrorCode.RATE_LIMITED, text, message.pattern[:256])
        return
    mask = types_to_mask(message.types) & ALL_TYPES or ALL_TYPES
    history = message.options.history if message.options is not None else None
    if history:
        session.charge(HISTORY_COST)
        steps = _subscribe_with_history(session, message, pattern, mask, history)
        # A search has up to 2 MB for each MiB of limits.history_kib while it looks.
        carry_out_in_turn(session, session.router.histories, steps)
        return
    add_subscription(session, message, pattern, mask)
    session.start_job(snapshot_job(session, pattern))


def _subscribe_with_history(
    session: Session, message: Subscribe, pattern: Pattern, mask: int, count: int
) -> Iterator[None]:
    """Recent messages before anything live: at most an outbox full of the newest ones. In parts."""
    plane = session.router.plane
    search = RingSearch(plane.ring, pattern, mask, count, session.scopes)
    more_came = True
    while more_came:
        more_came = False
        while not search.look(HISTORY_AT_ONCE):
            yield
        search.choose(plane.core.high_water)
        while True:
            for frame in search.frames(HISTORY_AT_ONCE):
                session.send(frame)
            if not search.has_more:
                break
            more_came = True
            yield
    full = _full(session, message, pattern)
    if full is not None:  # others have subscribed meanwhile
        session.router.release_subscription(session.holding, pattern)
        session.error(ErrorCode.RATE_LIMITED, full, message.pattern[:256])
        return
    add_subscription(session, message, pattern, mask)
    session.start_job(snapshot_job(session, pattern))


def _full(session: Session, message: Subscribe, pattern: Pattern) -> str | None:
    """Why no subscription like this can be had beside the session's own, those of its token, and all others'; None if
    it can. What memory it takes is another matter."""
    replaces = message.id in session.subscriptions
    if not replaces:
        limit = session.router.config.limits.max_subscriptions_per_session
        if limit and len(session.subscriptions) >= limit:
            return f"Subscription limit reached (max {limit})"
        full = no_subscription(session.router.places, session.identity)
        if full is not None:
            return f"Subscription limit reached ({full})"
    if pattern.partial and _partial_patterns(session, message.id) >= MAX_PARTIAL_PATTERNS:
        return f"Subscription limit reached (max {MAX_PARTIAL_PATTERNS} with a wildcard inside a segment)"
    if pattern.cost and (
        _partial_cost(session, message.id) + pattern.cost > MAX_PARTIAL_COST
        or session.router.plane.trie.partial_cost + pattern.cost > MAX_PARTIAL_COST_OF_ALL
    ):
        return "Subscription limit reached (patterns with a wildcard inside a segment take too much to match)"
    full = session.router.no_room_for_subscription(replaces)
    return None if full is None else f"Subscription limit reached ({full})"


def _partial_patterns(session: Session, besides: int) -> int:
    return sum(
        1 for id_, subscription in session.subscriptions.items() if subscription.pattern.partial and id_ != besides
    )


def _partial_cost(session: Session, besides: int) -> int:
    return sum(subscription.pattern.cost for id_, subscription in session.subscriptions.items() if id_ != besides)


def add_subscription(session: Session, message: Subscribe, pattern: Pattern, mask: int) -> None:
    """Put the subscription into the trie, in place of one with the same id. It has been charged."""
    trie = session.router.plane.trie
    old = session.subscriptions.get(message.id)
    thinner = SubscriptionFilter.wanted(session, message.options)
    new = Subscription(session.subscriber or session, message.id, pattern, mask, thinner)
    if old is not None:
        _discard(session, old)
    trie.add(new)
    session.subscriptions[message.id] = new


def handle_unsubscribe(session: Session, message: Unsubscribe, envelope: Envelope) -> None:
    """Silent, also for an id that does not exist (router.md 4.4)."""
    drop_subscription(session, message.id)


def drop_subscription(session: Session, number: int) -> None:
    """Drop the subscription with this id, if there is one."""
    subscription = session.subscriptions.pop(number, None)
    if subscription is not None:
        _discard(session, subscription)


def drop_all(session: Session) -> Iterator[None]:
    """The session is over, and is told nothing any more. In parts."""
    while session.subscriptions:
        _discard(session, session.subscriptions.popitem()[1])
        if len(session.subscriptions) % DROPPED_AT_ONCE == 0:
            yield


def drop_subscriptions(plane: Plane, subscriptions: list[Subscription]) -> Iterator[None]:
    """Take those out of the trie whose sink passes over what it is still told. In parts."""
    while subscriptions:
        plane.trie.discard(subscriptions.pop())
        if len(subscriptions) % DROPPED_AT_ONCE == 0:
            yield


def _discard(session: Session, subscription: Subscription) -> None:
    session.router.plane.trie.discard(subscription)
    session.router.release_subscription(session.holding, subscription.pattern)
    if subscription.filter is not None:
        subscription.filter.cancel()
