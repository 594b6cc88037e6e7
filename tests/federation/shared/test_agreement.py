"""What a link knows of differences and of pending writes: bounded, and right after a lost link."""

from __future__ import annotations

import random
import tracemalloc

from clasp_edge.federation.shared.agreement import (
    ENTRY_BYTES,
    LOCK,
    MAX_NAMED,
    MAX_PENDING_BYTES,
    MAX_WRITERS_BYTES,
    RESTLESS,
    REVISION,
    UNDER_WAY_US,
    WRITERS_ENTRY_BYTES,
    Agreement,
    Comparison,
)
from clasp_edge.federation.shared.extensions import BUCKETS
from clasp_edge.federation.shared.relay import MOST_WRITERS

NOW = 1_000_000_000


def test_what_is_under_way_does_not_differ() -> None:
    agreement = Agreement()
    agreement.begin()
    agreement.found(b"/new", NOW - UNDER_WAY_US + 2, NOW)
    agreement.found(b"/old", NOW - UNDER_WAY_US, NOW)
    agreement.found(b"/old", NOW - UNDER_WAY_US, NOW)
    assert agreement.compared()
    assert agreement.names == ("/old",)
    assert agreement.differing == 1
    agreement.begin()
    agreement.found(b"/old", NOW - UNDER_WAY_US, NOW)
    assert not agreement.compared(), "it was named before"
    agreement.equal()
    assert (agreement.names, agreement.differing) == ((), 0)


def test_all_that_differ_are_counted_and_the_first_named() -> None:
    agreement = Agreement()
    agreement.begin()
    for number in range(MAX_NAMED + 5):
        agreement.found(b"/x%d" % number, 2, NOW)
    agreement.compared()
    assert agreement.differing == MAX_NAMED + 5
    assert agreement.names == tuple(f"/x{number}" for number in range(MAX_NAMED))
    agreement.told([f"/{'y' * 5000}{number}" for number in range(1000)])
    assert len(agreement.names) == MAX_NAMED
    assert max(map(len, agreement.names)) <= 256


def test_a_pending_write_waits_for_the_checkpoint_behind_it() -> None:
    agreement = Agreement()
    agreement.awaits({b"/a": (LOCK, ())})
    assert agreement.asked(1)
    assert not agreement.asked(2), "nothing new"
    agreement.awaits({b"/b": (REVISION, ()), b"/a": (REVISION, ())})
    agreement.dealt_with(1)
    assert agreement.why(b"/a") == "an expected revision and a lock", "written again since"
    assert agreement.asked(3)
    agreement.link_lost()
    agreement.dealt_with(3)
    assert agreement.waiting == ("/a", "/b"), "nobody knows what has arrived"
    assert agreement.asked(4)
    agreement.dealt_with(4)
    assert (agreement.pending, agreement.why(b"/a")) == (0, "")


def test_whose_write_was_refused() -> None:
    agreement = Agreement()
    assert agreement.refused(b"/a") == b""
    agreement.awaits({b"/a": (REVISION, (b"one", b"two"))})
    agreement.awaits({b"/a": (REVISION, (b"three",))})
    agreement.asked(1)
    agreement.dealt_with(1)  # by the next router, which passes it on to the one that decides
    assert [agreement.refused(b"/a") for _ in range(4)] == [b"three", b"two", b"one", b""]
    assert agreement.pending == 0
    for number in range(100):
        agreement.awaits({b"/b": (LOCK, (b"%d" % number,))})
    found = iter(lambda: agreement.refused(b"/b"), b"")
    assert list(found) == [b"%d" % number for number in range(99, 99 - MOST_WRITERS, -1)]


def test_writers_are_bounded_in_bytes() -> None:
    agreement = Agreement()
    addresses = [b"/%d/" % number + b"x" * 1000 for number in range(1000)]
    for address in addresses:
        agreement.awaits({address: (LOCK, (address[:32],))})
    known = [address for address in addresses if agreement.refused(address)]
    assert 0 < len(known) * (1000 + WRITERS_ENTRY_BYTES) <= MAX_WRITERS_BYTES
    assert known == addresses[-len(known) :], "the latest"


def test_pending_writes_are_bounded_in_bytes() -> None:
    agreement = Agreement()
    for number in range(1000):
        agreement.awaits({b"/%d/" % number + b"x" * 1000: (LOCK, ())})
    assert agreement.pending * 1000 <= MAX_PENDING_BYTES
    short = Agreement()
    for number in range(10_000):
        short.awaits({b"/%d" % number: (LOCK, ())})
    assert short.pending * ENTRY_BYTES <= MAX_PENDING_BYTES, "short addresses take room too"
    agreement.settled(b"/0/" + b"x" * 1000)
    agreement.awaits({b"/new": (LOCK, ())})
    assert agreement.why(b"/new") == "a lock"
    agreement.nobody_decides()
    assert agreement.pending == 0
    agreement.awaits({b"/1": (LOCK, ())})
    assert agreement.pending == 1


def test_what_is_busy_is_not_told_again_and_what_rests_is_at_the_second_look() -> None:
    comparison = Comparison()
    assert comparison.settled([1, 2], {1: 10, 2: 20}, {}) == [1, 2], "at first everything"
    assert comparison.settled([1, 3], {1: 10, 3: 5}, {1: 11}) == [], "just changed, perhaps under way"
    assert comparison.settled([1, 3], {1: 10, 3: 6}, {1: 11}) == [1], "3 goes on"
    for look in range(RESTLESS - 3):
        assert comparison.settled([3], {3: 100 + look}, {}) == []
    assert comparison.settled([3], {3: 1}, {}) == [3], "it never rests"
    assert comparison.settled([3], {3: 2}, {}) == []


def test_what_is_kept_of_a_comparison_is_small() -> None:
    """For a hub keeps it for each of its boxes."""
    chance = random.Random(1)
    comparison = Comparison()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            ours, theirs = ({bucket: chance.getrandbits(64) for bucket in range(BUCKETS)} for _ in range(2))
            comparison.settled(range(BUCKETS), ours, theirs)
        del ours, theirs
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    comparison.settled([], {}, {})
    assert comparison.settled([5], {5: 1}, {}) == []
    assert comparison.settled([5, 6], {5: 1}, {6: 2}) == [5]
