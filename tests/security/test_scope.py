"""What scopes mean: their text, what they imply, and that a pattern cannot talk its way out of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.security.scope import Action, Scope, ScopeError, Scopes
from clasp_edge.wire.pattern import Pattern

READ, WRITE, ADMIN = Action.READ, Action.WRITE, Action.ADMIN


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("read:/a", "read:/a"),
        ("r:/a/**", "read:/a/**"),
        ("WRITE:/a", "write:/a"),
        ("w:/A", "write:/A"),
        ("Admin:/**", "admin:/**"),
        ("a:/**", "admin:/**"),
        ("*:/x/*", "admin:/x/*"),
        ("w!:/sensors/*", "write!:/sensors/*"),
        ("Write!:/a", "write!:/a"),
        ("  read : /a ", "read:/a"),
        ("read:/a:b", "read:/a:b"),
        ("read:/ü", "read:/ü"),
    ],
)
def test_parse(text: str, canonical: str) -> None:
    scope = Scope.parse(text)
    assert str(scope) == canonical
    assert Scope.parse(canonical) == scope


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'no ":"'),
        ("/lights/**", 'no ":"'),
        ("read", 'no ":"'),
        (":/a", 'unknown action ""'),
        ("own:/a", 'unknown action "own"'),
        ("read!:/a", 'unknown action "read!"'),
        ("admin!:/a", "unknown action"),
        ("read:", "invalid address"),
        ("read:a", "must start with '/'"),
        ("read:/a//b", "empty segment"),
        ("read:/a[*", "invalid pattern"),
        ("read:/\ud800", "surrogates"),
    ],
)
def test_refuses_with_the_text_and_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ScopeError, match=reason) as caught:
        Scope.parse(text)
    assert str(caught.value).startswith(f'scope "{text}": ')


def test_only_a_write_scope_can_be_write_only() -> None:
    with pytest.raises(ScopeError):
        Scope(READ, Pattern(b"/a"), write_only=True)


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("read:/a", {READ}),
        ("write:/a", {READ, WRITE}),
        ("write!:/a", {WRITE}),
        ("admin:/a", {READ, WRITE, ADMIN}),
    ],
)
def test_implication(scope: str, granted: set[Action]) -> None:
    scopes = Scopes.parse(scope)
    for action in Action:
        assert scopes.allows(action, b"/a") == (action in granted)
        assert scopes.covers(action, Pattern(b"/a")) == (action in granted)
        assert len(scopes.patterns(action)) == (action in granted)
        assert not scopes.allows(action, b"/b")


def test_lists_are_joined_by_or_and_trimmed() -> None:
    scopes = Scopes.parse(" read:/** ,write:/lights/**,  w:/lights/**  ")
    assert str(scopes) == "read:/**, write:/lights/**"
    assert len(scopes) == 2
    assert [scope.action for scope in scopes] == [READ, WRITE]
    assert scopes.allows(READ, b"/secret")
    assert scopes.allows(WRITE, b"/lights")
    assert not scopes.allows(WRITE, b"/secret")
    assert scopes == Scopes.parse("write:/lights/**,read:/**")
    assert hash(scopes) == hash(Scopes.parse("write:/lights/**,read:/**"))


@pytest.mark.parametrize("text", ["", "   "])
def test_no_scopes_allow_nothing(text: str) -> None:
    scopes = Scopes.parse(text)
    assert scopes == Scopes()
    assert not any(scopes.allows(action, b"/a") or scopes.covers(action, Pattern(b"/a")) for action in Action)


@pytest.mark.parametrize("text", ["read:/a,", ",", "read:/a,,read:/b"])
def test_an_empty_entry_is_an_error(text: str) -> None:
    with pytest.raises(ScopeError):
        Scopes.parse(text)


@pytest.mark.parametrize(
    ("scopes", "requested", "covered"),
    [
        # security.md 10.3: the escapes by the text of a pattern
        ("read:/lights/*", b"/lights/**", False),
        ("read:/a/*/b", b"/a/**/b", False),
        ("read:/lights/*", b"/lights/*", True),
        ("read:/lights/**", b"/lights", True),
        ("read:/lights/**", b"/lights/*/level", True),
        ("read:/lights/**", b"/**", False),
        # security.md 10.4: write and admin imply reading
        ("admin:/**", b"/**", True),
        ("write:/x/**", b"/x/y*", True),
        ("write!:/x/**", b"/x/y", False),
        ("read:/a, read:/b", b"/b", True),
        ("read:/a, read:/b", b"/*", False),
    ],
)
def test_covers_for_subscribing(scopes: str, requested: bytes, covered: bool) -> None:
    assert Scopes.parse(scopes).covers(READ, Pattern(requested)) == covered


SEGMENTS = st.sampled_from(["a", "b", "*", "**", "a*"])
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
ADDRESSES = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map(
    lambda parts: ("/" + "/".join(parts)).encode()
)


@given(
    st.lists(st.tuples(st.sampled_from(["read", "write", "write!", "admin"]), PATTERNS), max_size=3),
    st.sampled_from(list(Action)),
    PATTERNS,
    ADDRESSES,
)
def test_a_covered_pattern_reaches_only_allowed_addresses(
    granted: list[tuple[str, str]], action: Action, requested: str, address: bytes
) -> None:
    scopes = Scopes.parse(",".join(f"{word}:{pattern}" for word, pattern in granted))
    pattern = Pattern(requested.encode())
    if scopes.covers(action, pattern) and pattern.matches(address):
        assert scopes.allows(action, address)
