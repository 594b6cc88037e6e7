"""What a router that has dialled in declares: how much of it its token lets it write, and what it takes to keep."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

from clasp_edge.dataplane.trie import subscription_bytes
from clasp_edge.federation.shared.namespace import READ_AT_ONCE, Namespaces, read_pattern
from clasp_edge.wire.pattern import Pattern

if TYPE_CHECKING:
    from clasp_edge.router.session import Session

PATTERN_BYTES = 400


def writable(session: Session, declared: Namespaces) -> Generator[None, None, Namespaces]:
    """What of it the session's token lets it write: of the rest it is told, but it owns none of it. Found in parts."""
    beyond = frozenset((yield from not_writable(session, declared)))
    if not beyond:
        return declared
    left = [one for one in declared.patterns if one is not None and one.text.decode() not in beyond]
    return Namespaces(declared.router_id, [one.text.decode() for one in left], left)


def not_writable(session: Session, declared: Namespaces) -> Generator[None, None, list[str]]:
    """Those of the patterns that are wholly or in part beyond what the session's token lets it write.

    `/a` beside `/a/**` is not asked about: the second stands for the first in all that owning is about.
    """
    granted = session.granted
    if granted is None:
        return []
    found = []
    for number, pattern in enumerate(declared.patterns, 1):
        if number % READ_AT_ONCE == 0:
            yield
        if pattern is None:
            continue
        text = pattern.text.decode()
        below = f"{text}/**"
        asked = read_pattern(below) if declared.declares(below) else pattern
        if asked is not None and not granted.covers("write", asked):
            found.append(text)
    return found


def pattern_bytes(patterns: Iterable[Pattern | None]) -> int:
    """What declared patterns take: as a confinement, as a policy and in the trie."""
    return sum(PATTERN_BYTES + 2 * subscription_bytes(pattern) for pattern in patterns if pattern is not None)
