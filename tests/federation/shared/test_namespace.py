"""What a declaration contains."""

from __future__ import annotations

import itertools
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.federation.shared.namespace import MAX_COMPARED, Namespaces, Overlaps, TooManyComparisons
from clasp_edge.wire.pattern import Pattern, covers
from clasp_edge.wire.pattern import overlap as patterns_overlap

_segments = st.sampled_from(["a", "b", "ab", "*", "**", "a*"])
_patterns = st.lists(_segments, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
_addresses = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map(
    lambda p: ("/" + "/".join(p)).encode()
)


@given(st.lists(_patterns, max_size=5), _addresses)
def test_admits_what_one_of_the_patterns_matches(texts: list[str], address: bytes) -> None:
    expected = any(Pattern(text.encode()).matches(address) for text in texts)
    assert Namespaces("id", texts).admits(address) is expected


@given(st.lists(_patterns, max_size=5), _patterns)
def test_contains_what_one_of_the_patterns_covers(texts: list[str], text: str) -> None:
    pattern = Pattern(text.encode())
    expected = any(covers(Pattern(other.encode()), pattern) for other in texts)
    assert Namespaces("id", texts).contains(pattern) is expected


@pytest.mark.parametrize("text", ["", "no/slash/**", "/a//b", "/[a*"])
def test_what_is_no_pattern_keeps_its_place_and_admits_nothing(text: str) -> None:
    namespaces = Namespaces("id", ["/a/**", text])
    assert namespaces.patterns == (Pattern(b"/a/**"), None)
    assert namespaces.declares(text)
    assert not Namespaces("id", [text]).admits(b"/a")


_short = st.lists(_segments, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
_words = [  # two patterns of at most three segments have their shortest common address among these
    b"/" + b"/".join(parts) for size in range(1, 7) for parts in itertools.product([b"a", b"b", b"ab"], repeat=size)
]


def overlap(one: Namespaces, other: Namespaces) -> tuple[str, str] | None:
    steps = Overlaps(one).with_(other)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("tuple[str, str] | None", end.value)


@given(_short, _short)
def test_patterns_overlap_that_have_an_address_in_common(one: str, other: str) -> None:
    mine, theirs = Pattern(one.encode()), Pattern(other.encode())
    common = any(mine.matches(word) and theirs.matches(word) for word in _words)
    # With a wildcard inside a segment some that have none are taken for such, but never the other way round.
    expected = (True,) if common else (False, True) if mine.partial or theirs.partial else (False,)
    assert (overlap(Namespaces("", [one]), Namespaces("", [other])) is not None) in expected
    assert (overlap(Namespaces("", [other]), Namespaces("", [one])) is not None) in expected


def test_an_overlap_names_both_patterns() -> None:
    mine, theirs = Namespaces("", ["no/pattern", "/x", "/a/**"]), Namespaces("", ["/b/**", "/*/c"])
    assert overlap(mine, theirs) == ("/a/**", "/*/c")
    assert overlap(mine, Namespaces("", ["/b/**", ""])) is None


@given(st.lists(_short, max_size=8), st.lists(_short, max_size=8))
def test_an_overlap_is_found_wherever_there_is_one(mine: list[str], theirs: list[str]) -> None:
    pairs = {
        (one, other)
        for one, other in itertools.product(mine, theirs)
        if patterns_overlap(Pattern(one.encode()), Pattern(other.encode()))
    }
    found = overlap(Namespaces("", mine), Namespaces("", theirs))
    assert found in pairs if pairs else found is None


def test_a_thousand_subtrees_are_compared_with_a_thousand() -> None:
    mine, theirs = (Namespaces("", [f"/{name}/{number}/**" for number in range(1000)]) for name in "ab")
    assert overlap(mine, theirs) is None
    assert overlap(mine, Namespaces("", [*[f"/b/{number}" for number in range(999)], "/a/999/x"])) is not None


def test_comparing_ends() -> None:
    """Whatever the patterns are: these begin alike and have wildcards after that."""
    mine, theirs = (
        Namespaces("", ["/" + "/".join(["**", name] * 8) + f"/{number}" for number in range(1000)]) for name in "ab"
    )
    with pytest.raises(TooManyComparisons):
        overlap(mine, theirs)
    assert MAX_COMPARED < 17 * 17 * 1000
