"""Whose value stands after two routers were apart: decided alike whoever looks, from what both know of a param.

Pure rules (docs/federation.md states them for users). Knows no messages.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    """Tell ours to the neighbour, take over theirs, or leave both."""

    PUSH = "push"
    ADOPT = "adopt"
    KEEP = "keep"


class Held(NamedTuple):
    """A param as one side has it. `written_us`: Unix time by that side's clock."""

    value_type: int
    value: bytes
    writer: bytes
    written_us: int


class Terms(NamedTuple):
    """What holds for one state sync. `link`: what the neighbour's writes are signed with here; `ours`: what ours are
    signed with there; `clocks_agree`: whether times of both may be compared; `edge_wins`: who wins where not."""

    link: bytes
    ours: frozenset[bytes]
    clocks_agree: bool
    edge_wins: bool


def settle(ours: Held, theirs: Held, owned: bool, terms: Terms) -> Verdict:
    """The verdict on a param that both have."""
    if (ours.value_type, ours.value) == (theirs.value_type, theirs.value):
        return Verdict.KEEP
    if owned:
        return Verdict.PUSH
    if ours.writer == terms.link:
        # Nobody here has touched it since it came from there.
        return Verdict.ADOPT
    if theirs.writer in terms.ours:
        return Verdict.PUSH
    return _later(ours.written_us, theirs.written_us, terms)


def settle_cleared(cleared_us: int, theirs: Held, owned: bool, terms: Terms) -> Verdict:
    """The verdict on a param that was cleared here at `cleared_us` and is still there: PUSH means that it goes."""
    if owned or theirs.writer in terms.ours:
        return Verdict.PUSH
    return _later(cleared_us, theirs.written_us, terms)


def settle_missing(ours: Held, owned: bool, terms: Terms, *, same_life: bool) -> Verdict:
    """The verdict on a param that only we have. `same_life`: the neighbour has not been started anew since, so what it
    had and has no more was cleared there; ADOPT then means that it goes here too."""
    if not owned and same_life and ours.writer == terms.link:
        return Verdict.ADOPT
    return Verdict.PUSH


def _later(ours_us: int, theirs_us: int, terms: Terms) -> Verdict:
    if terms.clocks_agree:
        # The same microsecond is theirs: both ends look from here.
        return Verdict.PUSH if ours_us > theirs_us else Verdict.ADOPT
    return Verdict.PUSH if terms.edge_wins else Verdict.ADOPT
