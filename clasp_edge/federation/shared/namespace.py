"""The part of the address space that a federation peer has declared to be its own business.

Responsible for reading the declared patterns and for telling what is inside them. Knows nothing of messages or
sessions.
"""

from __future__ import annotations

from collections.abc import Sequence

from clasp_edge.wire.pattern import Pattern, PatternError, covers
from clasp_edge.wire.pattern import overlap as patterns_overlap


class Namespaces:
    """A peer's declaration: who it says it is, and its patterns. A `router.access.Confinement`. Immutable.

    A text that is no pattern stands for no address. It keeps its place, for the numbers of the subscriptions, and it
    counts as declared: a peer that got all its patterns wrong may write nowhere, not everywhere (router.md 8.6).
    """

    __slots__ = ("_inexact", "_literals", "_texts", "patterns", "router_id")

    def __init__(self, router_id: str, texts: Sequence[str]) -> None:
        self.router_id = router_id
        self.patterns: tuple[Pattern | None, ...] = tuple(read_pattern(text) for text in texts)
        self._texts = frozenset(texts)
        valid = [pattern for pattern in self.patterns if pattern is not None]
        # A leaf that lists its addresses one by one is not slower than one that declares a subtree.
        self._literals = frozenset(pattern.text for pattern in valid if pattern.literal)
        self._inexact = tuple(dict.fromkeys(pattern for pattern in valid if not pattern.literal))

    @property
    def checks(self) -> int:
        """How many comparisons `admits` takes at most."""
        return 1 + len(self._inexact)

    def admits(self, address: bytes) -> bool:
        """Tell whether the address is inside."""
        return address in self._literals or any(pattern.matches(address) for pattern in self._inexact)

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


def overlap(one: Namespaces, other: Namespaces) -> tuple[str, str] | None:
    """A pattern of each that may stand for the same address, if there are such."""
    for mine in one.patterns:
        for theirs in other.patterns:
            if mine is not None and theirs is not None and patterns_overlap(mine, theirs):
                return mine.text.decode(), theirs.text.decode()
    return None


def read_pattern(text: str) -> Pattern | None:
    """The pattern, or None where the text is none."""
    try:
        return Pattern(text.encode())
    except PatternError:
        return None
