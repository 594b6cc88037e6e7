"""OSC address patterns: by example, and against regular expressions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.devices.osc.pattern import OscPattern


@pytest.mark.parametrize(
    ("pattern", "address", "expected"),
    [
        (b"/a/?", b"/a/b", True),
        (b"/a/?", b"/a/bc", False),
        (b"/a/?", b"/a/", False),
        (b"/a/*", b"/a/", True),
        (b"/a/*", b"/a/b/c", False),
        (b"/*/c", b"/ab/c", True),
        (b"/a*c", b"/abbc", True),
        (b"/a*c", b"/abcd", False),
        (b"/[abc]", b"/b", True),
        (b"/[abc]", b"/d", False),
        (b"/[a-c]x", b"/bx", True),
        (b"/[c-a]x", b"/bx", True),
        (b"/[!a-c]", b"/d", True),
        (b"/[!a-c]", b"/b", False),
        (b"/[a-]", b"/-", True),
        (b"/[]", b"/a", False),
        (b"/[!]", b"/a", True),
        (b"/{one,two}/x", b"/two/x", True),
        (b"/{one,two}/x", b"/three/x", False),
        (b"/{a,ab}c", b"/abc", True),
        (b"/{,x}y", b"/y", True),
        (b"/fader[1-4]/{level,mute}?", b"/fader3/mute1", True),
        (b"/a[b", b"/a[b", True),
        (b"/a{b", b"/a{b", True),
        (b"//mute", b"/ch/01/mute", True),
        (b"//mute", b"/mute", True),
        (b"//mute", b"/mutes", False),
        (b"/ch//mute", b"/ch/mute", True),
        (b"/ch//mute", b"/ch/01/strip/mute", True),
        (b"/ch//m*", b"/ch/01/mute/x", False),
        (b"/ch///mute", b"/ch/01/mute", True),
        (b"//a//b", b"/x/a/y/b", True),
    ],
)
def test_examples(pattern: bytes, address: bytes, expected: bool) -> None:
    assert OscPattern(pattern).matches(address) is expected


def test_hostile_patterns_take_no_time_to_speak_of() -> None:
    pattern = OscPattern(b"/" + b"*a" * 300)
    assert not pattern.matches(b"/" + b"a" * 299 + b"b")
    assert pattern.matches(b"/" + b"a" * 300)


names = st.text("ab", max_size=4).map(str.encode)
words = st.lists(names, min_size=1, max_size=3)
tokens = st.one_of(
    st.just((b"?", "[^/]")),
    st.just((b"*", "[^/]*")),
    st.just((b"[a]", "[a]")),
    st.just((b"[!a]", "[^a/]")),
    words.map(lambda w: (b"{" + b",".join(w) + b"}", "(?:" + "|".join(x.decode() for x in w) + ")")),
    names.map(lambda n: (n, n.decode())),
    st.just((b"/", "/")),
)


@given(st.lists(tokens, max_size=6), st.text("ab/", max_size=8))
def test_the_same_as_a_regular_expression(parts: list[tuple[bytes, str]], rest: str) -> None:
    pattern = b"/" + b"".join(part for part, _ in parts)
    expression = "/" + "".join(part for _, part in parts)
    address = "/" + rest
    if "//" not in expression:
        assert OscPattern(pattern).matches(address.encode()) == bool(re.fullmatch(expression, address))


@given(st.lists(tokens, max_size=6), names)
def test_the_superset_has_every_match(parts: list[tuple[bytes, str]], name: bytes) -> None:
    text = b"/x" + b"".join(part for part, _ in parts)
    pattern = OscPattern(text)
    superset = pattern.superset(b"/osc")
    for address in (b"/x" + name, b"/x/" + name, b"/x" + name + b"/" + name):
        if pattern.matches(address):
            assert superset.matches(b"/osc" + address)
