"""What becomes of memory once a second: params keep to their share, and after a rush everything that nobody needs any
more goes back to the kernel, which the C library does by itself only at the heap's end.

Knows what can be made again, not what it is for.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING

from clasp_edge.dataplane.system import give_memory_back

if TYPE_CHECKING:
    from clasp_edge.router.router import Router

RUSH_BYTES = 1 << 20
"""So much let go of, or sent, between two looks is a rush. After it a walk over the heap is worth its time (some
milliseconds for 100 MB, malloc_trim)."""

EVICTED_AT_ONCE = 4096
"""Params at a look: some milliseconds."""

ROUTES_KEPT = 4096
LISTS_KEPT_BYTES = 1 << 20
"""What is always worth keeping: addresses that are only published to, and fan-out lists."""

STEP = 500
"""Entries of the table in one part of the work."""


class Memory:
    """Of one router; `look` is called once a second."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._released = self._sent = 0
        self._rush = False
        self._ended = False
        """Whether much was let go of: what has ended often holds itself in a circle."""
        self._working = False

    def look(self) -> None:
        router = self._router
        router.accounts.settle()
        router.plane.keep_within(EVICTED_AT_ONCE)
        released, sent = router.accounts.released, router.core.sent_bytes
        self._ended |= released - self._released >= RUSH_BYTES
        busy = max(released - self._released, sent - self._sent) >= RUSH_BYTES
        self._released, self._sent = released, sent
        if busy:
            self._rush = True
        elif self._rush and not self._working:
            self._rush = False
            self._working = True
            router.core.start_work(self._give_back())

    def _give_back(self) -> Iterator[None]:
        """In parts: nobody waits for it."""
        try:
            yield from self._parts()
        finally:
            self._working = False

    def _parts(self) -> Iterator[None]:
        router = self._router
        plane = router.plane
        while plane.forget_routes(ROUTES_KEPT, STEP):
            yield
        if plane.trie.fan_bytes > LISTS_KEPT_BYTES:
            at = plane.forget_outdated_lists(0, STEP)
            while at:
                yield
                at = plane.forget_outdated_lists(at, STEP)
        yield
        if self._ended:
            self._ended = False
            gc.collect()
            yield
        router.core.arena.give_memory_back()
        give_memory_back()
