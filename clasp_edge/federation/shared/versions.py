"""Versions of params in Python: the rule that the compiled half goes by (dataplane/state.pxd), for those who compare
one by one. The model (tests/model) is explored with this code.
"""

from __future__ import annotations

from typing import NamedTuple

EPOCH_SHIFT = 48
LAST_EPOCH = 0xFFFE
"""An owner that has overruled others so often goes on with the clock alone."""


class Version(NamedTuple):
    """When and where a state of a param was assigned. The order of the fields is the order of versions. `hlc` is odd
    for a tombstone."""

    epoch: int
    hlc: int
    tag: int

    @property
    def rank(self) -> int:
        """Epoch and tag, as they stand beside the hlc on the wire."""
        return self.epoch << EPOCH_SHIFT | self.tag


def read_version(hlc: int, rank: int) -> Version:
    """As `Relay.version` and the wire have it."""
    return Version(rank >> EPOCH_SHIFT, hlc, rank & ((1 << EPOCH_SHIFT) - 1))


def next_hlc(clock_us: int, last: int) -> int:
    """For a version assigned now: by the clock, and later than all that was heard of; even."""
    now = clock_us & ~1
    return now if now > last else (last | 1) + 1


def over(version: Version) -> Version:
    """Of the tombstone that every router comes to by itself when the param's time is over."""
    return version._replace(hlc=version.hlc | 1)


def overruling(ours: Version, theirs: Version, clock_us: int, last: int, tag: int, *, raise_epoch: bool) -> Version:
    """What is here gets this version to stand against `theirs`; `raise_epoch`: as its owner."""
    epoch = max(ours.epoch, theirs.epoch)
    if raise_epoch and epoch < LAST_EPOCH:
        epoch += 1
    return Version(epoch, next_hlc(clock_us, max(last, ours.hlc, theirs.hlc)) | ours.hlc & 1, tag)
