"""What an address means to the rules: one trie of everything that their triggers and conditions look at.

Knows which rules there are and nothing of what they do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from sys import getsizeof
from typing import Any, NamedTuple

from clasp_edge.dataplane import Adapter, Subscription, Trie
from clasp_edge.rules.members import Members
from clasp_edge.rules.model import Rule, Trigger
from clasp_edge.rules.state import RuleState
from clasp_edge.wire.pattern import Pattern

MAX_ROUTES = 10_000
"""Addresses for which the matching rules are remembered."""

MAX_ROUTED_BYTES = 8 * 1024 * 1024
"""What they take: of long addresses, and with many rules that look at everything."""

ROUTE_BYTES = 600
"""Of one that leads to no rule, without its address."""

Due = tuple[RuleState, Trigger]
AT_ONCE = 32
"""Rules that are entered before others may have their turn."""


class Route(NamedTuple):
    """What an address means to the rules."""

    due: list[Due]
    bounds: list[Due]
    members: list[Members]
    holds: list[RuleState]
    others: list[None]
    """Conditions that ask for nothing but the value and its age."""

    def size(self) -> int:
        """Entries in it."""
        return len(self.due) + len(self.bounds) + len(self.members) + len(self.holds) + len(self.others)

    def bytes(self, address: str) -> int:
        """What it takes."""
        return ROUTE_BYTES + getsizeof(address) + 8 * self.size()


class Index:
    """Of one set of rules. Other rules get another one."""

    def __init__(self, sink: Adapter | None) -> None:
        """`sink` is whose the subscriptions in the trie are; they are delivered to nobody."""
        self._sink = sink
        self._trie = Trie()
        self._entries: list[tuple[str, Any]] = []
        self._subscriptions: list[Subscription] = []
        self._patterns: dict[bytes, Pattern] = {}
        self._routes: OrderedDict[str, Route] = OrderedDict()
        self._routed = 0
        self._by_kind: dict[str, list[Due]] = {}
        self.members: dict[bytes, Members] = {}
        self.of_day: list[tuple[str, Trigger]] = []
        """Triggers at a time of day, with the ids of their rules."""

    def building(
        self,
        states: Iterable[RuleState],
        known: Mapping[bytes, Members],
        scan: Callable[[Pattern, Members], Iterator[None]],
    ) -> Iterator[None]:
        """Take these rules in their order, in parts. `known` are the members of patterns that were there before; `scan`
        finds those of another one."""
        for count, state in enumerate(states, 1):
            if not count % AT_ONCE:
                yield
            rule = state.rule
            for trigger in rule.triggers:
                if trigger.pattern is not None:
                    self._enter(trigger.pattern, "due", (state, trigger))
                elif trigger.kind == "time":
                    self.of_day.append((rule.id, trigger))
                elif trigger.kind in ("session", "start"):
                    self._by_kind.setdefault(trigger.kind, []).append((state, trigger))
                for bound in (trigger.above, trigger.below):
                    if isinstance(bound, str):
                        self._enter(Pattern(bound.encode()), "bounds", (state, trigger))
            for pattern in (*rule.watched, *rule.aged, *(rule.tracked if rule.for_s else ())):
                self._enter(pattern, *(("holds", state) if rule.for_s else ("others", None)))
            for pattern in rule.watched:
                if not pattern.literal and pattern.text not in self.members:
                    members = known.get(pattern.text)
                    if members is None:
                        members = Members()
                        yield from scan(pattern, members)
                    else:
                        members.make_room()
                    self.members[pattern.text] = members
                    self._enter(pattern, "members", members)

    def emptying(self) -> Iterator[None]:
        """Let go of everything in parts: to give thousands back at once takes long."""
        while self._subscriptions:
            self._trie.discard(self._subscriptions.pop())
            self._entries.pop()
            if not len(self._entries) % AT_ONCE:
                yield
        for table in (self._patterns, self._routes):
            while table:
                table.popitem()
                if not len(table) % AT_ONCE:
                    yield

    def _enter(self, pattern: Pattern, kind: str, what: Any) -> None:
        assert self._sink is not None
        subscription = Subscription(self._sink, len(self._entries), pattern, 0xFF)
        self._trie.add(subscription)
        self._entries.append((kind, what))
        self._subscriptions.append(subscription)
        self._patterns[pattern.text] = pattern

    def patterns(self) -> list[Pattern]:
        """All that the rules have to be told of, each pattern once."""
        return list(self._patterns.values())

    def texts(self) -> Set[bytes]:
        """The same as they are written."""
        return self._patterns.keys()

    def of_kind(self, kind: str) -> list[Due]:
        """Triggers that no address sets off: "session", "start"."""
        return self._by_kind.get(kind, [])

    def hears(self, address: str) -> bool:
        """Whether some rule is told of it."""
        return self.route(address).size() > 0

    def route(self, address: str) -> Route:
        """What the address means to the rules, each list in their order."""
        known = self._routes.get(address)
        if known is None:
            known = self._routes[address] = Route([], [], [], [], [])
            for subscription in sorted(self._trie.matching(address.encode()), key=lambda found: found.id):
                kind, what = self._entries[subscription.id]
                getattr(known, kind).append(what)
            self._routed += known.bytes(address)
            while len(self._routes) > MAX_ROUTES or (self._routed > MAX_ROUTED_BYTES and len(self._routes) > 1):
                other, dropped = self._routes.popitem(last=False)
                self._routed -= dropped.bytes(other)
        return known


def looks_at(rule: Rule, address: bytes) -> bool:
    """Whether a trigger or a condition of the rule is about an address."""
    for trigger in rule.triggers:
        if trigger.pattern is not None and trigger.pattern.matches(address):
            return True
        if address.decode("utf-8", "replace") in (trigger.above, trigger.below):
            return True
    return any(pattern.matches(address) for pattern in (*rule.watched, *rule.tracked, *rule.aged))
