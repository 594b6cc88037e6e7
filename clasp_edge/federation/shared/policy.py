"""What a link carries, and what becomes of it while the link is down: by pattern, else by kind of signal.

Knows nothing of links.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

from clasp_edge.dataplane.reserved import RESERVED
from clasp_edge.federation.shared.namespace import Namespaces
from clasp_edge.wire import SignalType
from clasp_edge.wire.pattern import Pattern

MAX_CACHED_BYTES = 4 << 20
_CACHED_BYTES = 140
"""Of addresses whose answer is remembered, each with what it takes beside its text: some 25,000 ordinary ones. Of more
than those the answer is found anew, in microseconds."""


class Policy(IntEnum):
    """What must arrive: the newest value of a param, every message in order, or what the moment allows."""

    LATEST = 0
    LOG = 1
    DROP = 2


_BY_SIGNAL = {
    SignalType.PARAM: Policy.LATEST,
    SignalType.EVENT: Policy.LOG,
    SignalType.STREAM: Policy.DROP,
    # A stroke that comes minutes late moves a fader nobody touches.
    SignalType.GESTURE: Policy.DROP,
    SignalType.TIMELINE: Policy.LOG,
}

_DEFAULTS = tuple(_BY_SIGNAL[signal] for signal in sorted(_BY_SIGNAL))


class Policies:
    """The namespaces of a link and its policies. A `router.access.Confinement`: outside nothing is written either."""

    def __init__(self, patterns: Sequence[str] | Namespaces, table: Mapping[str, str]) -> None:
        self._namespaces = patterns if isinstance(patterns, Namespaces) else Namespaces("", patterns)
        self._table = [(Pattern(text.encode()), Policy[name.upper()]) for text, name in table.items()]
        self.known: dict[bytes, tuple[Policy, ...] | None] = {}
        """What `of` has answered, for some addresses."""
        self._cached_bytes = 0

    def of(self, address: bytes) -> tuple[Policy, ...] | None:
        """The policy of each signal, or None where the link has nothing to do with the address."""
        try:
            return self.known[address]
        except KeyError:
            pass
        self._cached_bytes += _CACHED_BYTES + len(address)
        if self._cached_bytes > MAX_CACHED_BYTES:
            self.known.clear()
            self._cached_bytes = _CACHED_BYTES + len(address)
        found = self.known[address] = self._find(address)
        return found

    def _find(self, address: bytes) -> tuple[Policy, ...] | None:
        if not self._namespaces.admits(address) or address.startswith(RESERVED):
            return None
        for pattern, policy in self._table:
            if pattern.matches(address):
                # Only of a param is the newest value all there is to know.
                other = Policy.LOG if policy is Policy.LATEST else policy
                return (policy, *(other for _ in _DEFAULTS[1:]))
        return _DEFAULTS

    # ---- router.access.Confinement ----

    def admits(self, address: bytes) -> bool:
        """Whether the link may write here."""
        return self.of(address) is not None

    def contains(self, pattern: Pattern) -> bool:
        """Whether every address of the pattern is inside."""
        return self._namespaces.contains(pattern)

    def refusal(self, kind: str) -> str:
        """For a log line."""
        return f"{kind} outside of what the link carries"


class PairPolicies(Policies):
    """Of the link between two hubs that stand in for each other. `whole`: of each param every value is carried in
    order, as where a SET is acknowledged only when both have it."""

    def __init__(self, patterns: Sequence[str], *, whole: bool) -> None:
        super().__init__(patterns, {})
        self._found = (Policy.LOG, *_DEFAULTS[1:]) if whole else _DEFAULTS

    def _find(self, address: bytes) -> tuple[Policy, ...] | None:
        return self._found if super()._find(address) is not None else None
