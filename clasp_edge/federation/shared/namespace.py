"""The part of the address space that a federation peer has declared to be its own business.

Responsible for reading the declared patterns and for telling what is inside them. Knows nothing of messages or
sessions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from itertools import islice

from clasp_edge.wire.pattern import Pattern, PatternError, covers
from clasp_edge.wire.pattern import overlap as patterns_overlap

MAX_COMPARED = 30_000
"""Products of numbers of segments, in one comparison of a claim with what all others own: 5 to 14 ms, measured."""


MAX_LOOKED_UP = 30_000
"""Patterns of others that are looked up in a claim; where one begins alike, some more: 18 to 36 ms, measured."""


READ_AT_ONCE = 16
"""Patterns before others get their turn: a third of a millisecond for the longest."""


COMPARED_AT_ONCE = 1000
LOOKED_UP_AT_ONCE = 64
"""Of these two before others get their turn: a third of a millisecond."""


class TooManyComparisons(Exception):
    """Patterns that begin alike, with wildcards after that, in their hundreds on both sides; or in their thousands."""


class Namespaces:
    """A peer's declaration: who it says it is, and its patterns. A `router.access.Confinement`. Immutable.

    A text that is no pattern stands for no address. It keeps its place, for the numbers of the subscriptions, and it
    counts as declared: a peer that got all its patterns wrong may write nowhere, not everywhere (router.md 8.6).
    """

    __slots__ = ("_inexact", "_literals", "_texts", "patterns", "router_id")

    def __init__(self, router_id: str, texts: Sequence[str], patterns: Sequence[Pattern | None] | None = None) -> None:
        """`patterns`: what the texts stand for, where they have been read already."""
        self.router_id = router_id
        read = map(read_pattern, texts) if patterns is None else patterns
        self.patterns: tuple[Pattern | None, ...] = tuple(read)
        self._texts = frozenset(texts)
        valid = [pattern for pattern in self.patterns if pattern is not None]
        # A leaf that lists its addresses one by one is not slower than one that declares a subtree.
        self._literals = frozenset(pattern.text for pattern in valid if pattern.literal)
        self._inexact = tuple(dict.fromkeys(pattern for pattern in valid if not pattern.literal))

    @property
    def count(self) -> int:
        """How many patterns there are."""
        return sum(pattern is not None for pattern in self.patterns)

    def first(self, count: int) -> list[str]:
        """The first patterns, as they are shown."""
        return [pattern.text.decode() for pattern in islice(filter(None, self.patterns), count)]

    @property
    def checks(self) -> int:
        """How many comparisons `admits` takes at most."""
        return 1 + len(self._inexact)

    def admits(self, address: bytes) -> bool:
        """Tell whether the address is inside."""
        if address in self._literals:
            return True
        for pattern in self._inexact:  # noqa: SIM110  (each new address comes here: a generator is five times as slow)
            if pattern.matches(address):
                return True
        return False

    def contains(self, pattern: Pattern) -> bool:
        """Tell whether everything that `pattern` stands for is inside one declared pattern (wire.pattern.covers)."""
        if pattern.literal:
            return self.admits(pattern.text)
        # What a pattern covers begins as it does; most comparisons end there, at a hundredth of the cost.
        return any(pattern.prefix.startswith(own.prefix) and covers(own, pattern) for own in self._inexact)

    def declares(self, text: str) -> bool:
        """Tell whether this very text was declared, be it a pattern or not."""
        return text in self._texts

    def refusal(self, kind: str) -> str:
        """The text of the ERROR for a SET or PUBLISH outside (router.md 2.1, 2.2)."""
        return f"{kind} outside declared federation namespace"


class Overlaps:
    """What of a claim others own as well. The work is bounded, whatever all of them have declared: 1,000 patterns
    against 1,000 are a million comparisons. Raises TooManyComparisons beyond it."""

    __slots__ = ("_by_prefix", "_lengths", "_lookups", "_prefixes", "_shorter", "_work")

    def __init__(self, claimed: Namespaces) -> None:
        self._work = MAX_COMPARED
        self._lookups = MAX_LOOKED_UP
        self._by_prefix: dict[bytes, list[Pattern]] = {}
        for pattern in claimed.patterns:
            if pattern is not None:
                self._by_prefix.setdefault(pattern.prefix, []).append(pattern)
        self._prefixes = sorted(self._by_prefix)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._shorter = _common(self._prefixes[0], self._prefixes[-1]) if self._prefixes else b""  # sorted

    def with_(self, owned: Namespaces) -> Generator[None, None, tuple[str, str] | None]:
        """A pattern of the claim and one of the others' that may stand for the same address, if there are such: found
        in parts."""
        prefixes, count = self._prefixes, len(self._prefixes)
        if not prefixes:
            return None
        for number, theirs in enumerate(owned.patterns, 1):
            if number % LOOKED_UP_AT_ONCE == 0:
                yield
            if theirs is None:
                continue
            self._look_up(1)
            # Nearly always nothing begins alike: neither a prefix that goes on as this one does, nor one it goes on as.
            at = bisect_left(prefixes, theirs.prefix)
            goes_on = at < count and prefixes[at].startswith(theirs.prefix)
            if not goes_on and not theirs.prefix.startswith(self._shorter):
                continue
            self._look_up(3 + len(self._lengths))
            for prefix in self._near(theirs.prefix):
                for mine in self._by_prefix[prefix]:
                    if self._spend(len(mine.segments) * len(theirs.segments)):
                        yield
                    if patterns_overlap(mine, theirs):
                        return mine.text.decode(), theirs.text.decode()
        return None

    def _look_up(self, work: int) -> None:
        self._lookups -= work
        if self._lookups < 0:
            raise TooManyComparisons

    def _near(self, prefix: bytes) -> Iterator[bytes]:
        """Of two patterns that meet, one begins as the other does."""
        for length in self._lengths:
            if length >= len(prefix):
                break
            if prefix[:length] in self._by_prefix:
                yield prefix[:length]
        for at in range(bisect_left(self._prefixes, prefix), len(self._prefixes)):
            if not self._prefixes[at].startswith(prefix):
                break
            yield self._prefixes[at]

    def _spend(self, work: int) -> bool:
        """Whether others should have their turn."""
        before, self._work = self._work, self._work - work
        if self._work < 0:
            raise TooManyComparisons
        return before // COMPARED_AT_ONCE != self._work // COMPARED_AT_ONCE


def _common(one: bytes, other: bytes) -> bytes:
    """What both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))]


def read_in_parts(router_id: str, texts: Sequence[str]) -> Generator[None, None, Namespaces]:
    """The `Namespaces`, made in parts."""
    patterns = []
    for number, text in enumerate(texts, 1):
        patterns.append(read_pattern(text))
        if number % READ_AT_ONCE == 0:
            yield
    return Namespaces(router_id, texts, patterns)


def read_pattern(text: str) -> Pattern | None:
    """The pattern, or None where the text is none."""
    try:
        return Pattern(text.encode())
    except PatternError:
        return None
