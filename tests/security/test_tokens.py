"""Static tokens: who gets in, and what those are told who do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.security.scope import Action, ScopeError
from clasp_edge.security.tokens import Identity, StaticToken, TokenStore, Unauthorized

CPSK = "cpsk_00112233445566778899aabbccddeeff"
DESK = StaticToken(CPSK, "lighting desk", ["read:/**", "write:/lights/**"])
GUEST = StaticToken("open sesame", "", ["read:/{a,b}*"], expires=1000.0)


def refusal(store: TokenStore, token: str, now_s: float = 0.0) -> tuple[int, str]:
    with pytest.raises(Unauthorized) as caught:
        store.validate(token, now_s)
    return int(caught.value.code), caught.value.text


def test_a_known_token_gives_its_identity() -> None:
    store = TokenStore([DESK, GUEST])
    identity = store.validate(CPSK, 1e12)
    assert len(store) == 2
    assert (identity.subject, identity.token_id, identity.expires) == ("lighting desk", "token[0]", None)
    assert str(identity.scopes) == "read:/**, write:/lights/**"
    guest = store.validate("open sesame", 0.0)
    assert guest.token_id == "token[1]"
    assert guest.scopes.allows(Action.READ, b"/bb")  # each scope is an entry of its own: commas belong to the pattern


@pytest.mark.parametrize(
    ("token", "code", "text"),
    [
        ("", 300, "Authentication required"),
        ("cpsk_ffffffffffffffffffffffffffffffff", 300, "Invalid token: token not found"),
        ("cpsk_", 300, "Invalid token: token not found"),
        (CPSK[:-1], 300, "Invalid token: token not found"),
        (CPSK + " ", 300, "Invalid token: token not found"),
        (CPSK.upper(), 300, "Invalid token: token not found"),
        ("ext_abc", 300, "Invalid token: token not found"),
        ("x" * 65535, 300, "Invalid token: token not found"),
        ("\ud800", 300, "Invalid token: token not found"),
    ],
)
def test_refusals(token: str, code: int, text: str) -> None:
    assert refusal(TokenStore([DESK, GUEST]), token) == (code, text)
    assert refusal(TokenStore(), token) == (code, text)


def test_a_token_ends_after_its_last_second() -> None:
    store = TokenStore([GUEST])
    identity = store.validate("open sesame", 1000.0)
    assert not identity.expired(1000.0)
    assert identity.expired(1000.001)
    assert refusal(store, "open sesame", 1000.001) == (302, "Token has expired")


def test_a_running_session_is_looked_at_again() -> None:
    before = TokenStore([DESK, GUEST])
    desk, guest = before.validate(CPSK, 0.0), before.validate("open sesame", 0.0)
    after = TokenStore([GUEST, StaticToken(CPSK, "lighting desk", ["read:/lights/**"])])
    assert str(after.revalidate(desk, 0.0).scopes) == "read:/lights/**"
    assert after.revalidate(guest, 0.0).token_id == "token[0]"
    with pytest.raises(Unauthorized) as expired:
        after.revalidate(guest, 1001.0)
    assert expired.value.code == 302
    with pytest.raises(Unauthorized) as revoked:
        TokenStore([GUEST]).revalidate(desk, 0.0)
    assert (revoked.value.code, revoked.value.text) == (300, "Token has been revoked")


def test_nothing_that_can_be_printed_holds_the_token() -> None:
    store = TokenStore([DESK])
    identity = store.validate(CPSK, 0.0)
    with pytest.raises(Unauthorized) as caught:
        TokenStore([GUEST]).validate(CPSK, 0.0)
    printed = [repr(DESK), repr(identity), str(identity), repr(store), repr(caught.value), str(caught.value)]
    assert not [text for text in printed if CPSK[5:] in text or identity.digest.hex()[:8] in text]


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ([StaticToken("", "x", ["read:/**"])], r"token\[0\]\.token is empty"),
        ([GUEST, DESK, GUEST], r"token\[2\]\.token is the same as that of token\[0\]"),
    ],
)
def test_refuses_a_list_that_cannot_be_meant(tokens: list[StaticToken], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        TokenStore(tokens)
    assert "sesame" not in str(caught.value)


def test_a_bad_scope_is_named_by_its_place() -> None:
    with pytest.raises(ScopeError, match=r'^token\[1\]\.scopes\[1\]: scope "own:/x": unknown action'):
        TokenStore([DESK, StaticToken("t", "x", ["read:/**", "own:/x"])])


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=4), max_size=5), st.text(max_size=8))
def test_exactly_the_listed_tokens_get_in(listed: dict[str, str], presented: str) -> None:
    store = TokenStore(StaticToken(token, subject, ["read:/**"]) for token, subject in listed.items())
    result: Identity | None
    try:
        result = store.validate(presented, 0.0)
    except Unauthorized:
        result = None
    assert (result.subject if result else None) == listed.get(presented)
