"""What an address means to the rules: one trie of everything that their triggers and conditions look at.

Knows which rules there are and nothing of what they do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from clasp_edge.dataplane import Adapter, Subscription, Trie
from clasp_edge.rules.model import Rule, Trigger
from clasp_edge.rules.state import Bounded, RuleState
from clasp_edge.wire.pattern import Pattern

MAX_ROUTES = 10_000
"""Addresses for which the matching rules are remembered."""

MAX_ROUTED = 200_000
"""Rules in them, one for each address: with many that look at everything they are what takes the room."""

Due = tuple[RuleState, Trigger]
Members = Bounded[str, Any]
"""Addresses that match a condition's pattern, with what was told of them."""


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


class Index:
    """Of one engine. `build` again when there are other rules."""

    def __init__(self, sink: Adapter | None) -> None:
        """`sink` is whose the subscriptions in the trie are; they are delivered to nobody."""
        self._sink = sink
        self._trie = Trie()
        self._entries: list[tuple[str, Any]] = []
        self._patterns: dict[bytes, Pattern] = {}
        self._routes: OrderedDict[str, Route] = OrderedDict()
        self._routed = 0
        self._by_kind: dict[str, list[Due]] = {}
        self.members: dict[bytes, Members] = {}

    def build(self, states: Iterable[RuleState], scanned: Callable[[Pattern], Members]) -> None:
        """Take these rules in their order. `scanned` finds the addresses below a pattern that was not there before."""
        self._trie = Trie()
        self._routes.clear()
        self._routed = 0
        self._entries = []
        self._patterns = {}
        self._by_kind = {}
        known, self.members = self.members, {}
        for state in states:
            rule = state.rule
            for trigger in rule.triggers:
                if trigger.pattern is not None:
                    self._enter(trigger.pattern, "due", (state, trigger))
                elif trigger.kind in ("session", "start"):
                    self._by_kind.setdefault(trigger.kind, []).append((state, trigger))
                for bound in (trigger.above, trigger.below):
                    if isinstance(bound, str):
                        self._enter(Pattern(bound.encode()), "bounds", (state, trigger))
            for pattern in (*rule.watched, *rule.aged, *(rule.tracked if rule.for_s else ())):
                self._enter(pattern, *(("holds", state) if rule.for_s else ("others", None)))
            for pattern in rule.watched:
                if not pattern.literal and pattern.text not in self.members:
                    self.members[pattern.text] = members = known.get(pattern.text) or scanned(pattern)
                    self._enter(pattern, "members", members)

    def _enter(self, pattern: Pattern, kind: str, what: Any) -> None:
        assert self._sink is not None
        self._trie.add(Subscription(self._sink, len(self._entries), pattern, 0xFF))
        self._entries.append((kind, what))
        self._patterns[pattern.text] = pattern

    def patterns(self) -> list[Pattern]:
        """All that the rules have to be told of, each pattern once."""
        return list(self._patterns.values())

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
            self._routed += known.size()
            while len(self._routes) > MAX_ROUTES or (self._routed > MAX_ROUTED and len(self._routes) > 1):
                _, dropped = self._routes.popitem(last=False)
                self._routed -= dropped.size()
        return known


def looks_at(rule: Rule, address: bytes) -> bool:
    """Whether a trigger or a condition of the rule is about an address."""
    for trigger in rule.triggers:
        if trigger.pattern is not None and trigger.pattern.matches(address):
            return True
        if address.decode("utf-8", "replace") in (trigger.above, trigger.below):
            return True
    return any(pattern.matches(address) for pattern in (*rule.watched, *rule.tracked, *rule.aged))
