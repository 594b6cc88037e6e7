"""Which of two values of a param is the newer one, where a broker says something again that may be long overtaken.

Live messages need no version: the broker's order decides. But a broker that was killed comes back with retained values
of some time ago, a spare one with those of the last fail-over, and a daemon repeats what a broker lacks. Versions are
hybrid logical clocks: milliseconds of wall time, but always more than the version before, so clocks need not agree.
"""

from __future__ import annotations

from clasp_edge.address_memory import AddressMemory

MAX_ADDRESSES = 50_000
"""Remembered at most, and no more than their room. For an address that is not, what a broker says is believed."""

FAR_MS = 100 * 365 * 86_400_000
"""A version further ahead of the clock is not believed: clocks are wrong by as much as they were never set. Whoever may
publish at the broker could else give a param one that nothing can be later than."""

STEP_MS = 1 << 20
"""Unless it is no further ahead than this of what is known: the next of one that was believed. It would take 2**43 of
them to come to the last."""


class Versions:
    """The newest version known of each param that the bridge has sent or received."""

    def __init__(self) -> None:
        self._known: AddressMemory[int] = AddressMemory(MAX_ADDRESSES)

    def known(self, address: bytes) -> int:
        """0 where nothing is known."""
        return self._known.get(address, 0)

    def is_far(self, address: bytes, version: int, wall_ms: int) -> bool:
        """Whether a version is too far ahead to be believed."""
        return version > wall_ms + FAR_MS and version > self.known(address) + STEP_MS

    def next(self, address: bytes, wall_ms: int) -> int:
        """A version for a value that is newer than anything known."""
        version = max(self.known(address) + 1, wall_ms)
        self._known.note(address, version)
        return version

    def heard(self, address: bytes, version: int, wall_ms: int) -> None:
        """A value has arrived and been taken; without a version (0), or with one too far ahead, it is newer than
        anything known."""
        if version and not self.is_far(address, version, wall_ms):
            self._known.note(address, max(version, self.known(address)))
        else:
            self.next(address, wall_ms)
