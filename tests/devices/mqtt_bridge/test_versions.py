"""Versions grow whatever the clocks say."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.mqtt_bridge.versions import FAR_MS, MAX_ADDRESSES, STEP_MS, Versions

TIMES = st.integers(1, 2**41)
NOW_MS = 1_800_000_000_000
TIMES_END = NOW_MS + FAR_MS + 1


@given(st.lists(TIMES, min_size=1))
def test_each_version_is_newer_than_the_one_before(clock_ms: list[int]) -> None:
    versions = Versions()
    found = [versions.next(b"/a", now_ms) for now_ms in clock_ms]
    assert all(later > earlier for earlier, later in pairwise(found))
    assert all(version >= now_ms for version, now_ms in zip(found, clock_ms, strict=True))


@given(TIMES, TIMES)
def test_an_answer_is_newer_than_what_it_answers_even_with_a_slow_clock(ours_ms: int, theirs_ms: int) -> None:
    ours, theirs = Versions(), Versions()
    said = ours.next(b"/a", ours_ms)
    theirs.heard(b"/a", said, theirs_ms)
    assert theirs.next(b"/a", theirs_ms) > said


def test_what_says_no_version_counts_as_news_and_old_news_changes_nothing() -> None:
    versions = Versions()
    assert versions.known(b"/a") == 0
    versions.heard(b"/a", 100, 1)
    versions.heard(b"/a", 0, 1)
    assert versions.known(b"/a") == 101
    versions.heard(b"/a", 50, 1)
    assert versions.known(b"/a") == 101


def test_the_memory_is_bounded_and_forgets_the_least_recent() -> None:
    versions = Versions()
    for number in range(MAX_ADDRESSES):
        versions.next(b"/%d" % number, 1)
    versions.heard(b"/0", 5, 1)
    versions.next(b"/new", 1)
    assert versions.known(b"/0") == 5
    assert versions.known(b"/1") == 0


@given(st.integers(TIMES_END, 2**63 - 1))
def test_a_version_that_nothing_could_be_later_than_is_not_believed(version: int) -> None:
    versions = Versions()
    assert versions.is_far(b"/a", version, NOW_MS)
    versions.heard(b"/a", version, NOW_MS)
    assert versions.next(b"/a", NOW_MS) == NOW_MS + 1


def test_what_follows_a_version_that_was_believed_is_believed() -> None:
    versions = Versions()
    last = NOW_MS + FAR_MS
    assert not versions.is_far(b"/a", last, NOW_MS)
    versions.heard(b"/a", last, NOW_MS)
    assert not versions.is_far(b"/a", last + STEP_MS, NOW_MS)
    assert versions.is_far(b"/a", last + STEP_MS + 1, NOW_MS)
