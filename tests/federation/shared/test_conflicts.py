"""Whose value stands: the same one whoever looks, and by the rules that users are told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clasp_edge.federation.shared.conflicts import Held, Terms, Verdict, settle, settle_cleared, settle_missing

LINK, SESSION, CLIENT = b"uplink:hub", b"a-former-session", b"somebody"

sides = st.sampled_from([LINK, CLIENT]), st.sampled_from([SESSION, CLIENT])
values = st.sampled_from([(2, b"\0"), (2, b"\1"), (7, b"\1")])
times = st.integers(0, 3)


def terms(clocks_agree: bool = True, edge_wins: bool = True) -> Terms:
    return Terms(LINK, frozenset({SESSION}), clocks_agree, edge_wins)


def seen_from_the_hub(seen: Terms) -> Terms:
    return Terms(SESSION, frozenset({LINK}), seen.clocks_agree, not seen.edge_wins)


MIRRORED = {Verdict.PUSH: Verdict.ADOPT, Verdict.ADOPT: Verdict.PUSH, Verdict.KEEP: Verdict.KEEP}


@given(values, values, *sides, times, times, st.booleans(), st.booleans())
def test_both_ends_would_decide_alike(
    mine: tuple[int, bytes], yours: tuple[int, bytes], author_here: bytes, author_there: bytes,
    here_us: int, there_us: int, agree: bool, edge_wins: bool,
) -> None:  # fmt: skip
    ours, theirs = Held(*mine, author_here, here_us), Held(*yours, author_there, there_us)
    verdict = settle(ours, theirs, False, terms(agree, edge_wins))
    if (here_us == there_us and agree) or (author_here, author_there) == (LINK, SESSION):
        return  # then it is the edge's word that counts: only edges look
    assert settle(theirs, ours, False, seen_from_the_hub(terms(agree, edge_wins))) is MIRRORED[verdict]


@given(values, values, *sides, times, times, st.booleans(), st.booleans(), st.booleans())
def test_after_it_both_have_one_value_and_looking_again_changes_nothing(
    mine: tuple[int, bytes], yours: tuple[int, bytes], author_here: bytes, author_there: bytes,
    here_us: int, there_us: int, owned: bool, agree: bool, edge_wins: bool,
) -> None:  # fmt: skip
    ours, theirs = Held(*mine, author_here, here_us), Held(*yours, author_there, there_us)
    verdict = settle(ours, theirs, owned, terms(agree, edge_wins))
    if verdict is Verdict.PUSH:
        theirs = Held(ours.value_type, ours.value, SESSION, there_us + 1)
    elif verdict is Verdict.ADOPT:
        ours = Held(theirs.value_type, theirs.value, LINK, here_us + 1)
    assert ours[:2] == theirs[:2]
    assert settle(ours, theirs, owned, terms(agree, edge_wins)) is Verdict.KEEP


@given(values, values, *sides, times, times, st.booleans(), st.booleans())
def test_what_is_owned_here_is_as_it_is_here(
    mine: tuple[int, bytes], yours: tuple[int, bytes], author_here: bytes, author_there: bytes,
    here_us: int, there_us: int, agree: bool, edge_wins: bool,
) -> None:  # fmt: skip
    ours, theirs = Held(*mine, author_here, here_us), Held(*yours, author_there, there_us)
    wanted = Verdict.KEEP if mine == yours else Verdict.PUSH
    assert settle(ours, theirs, True, terms(agree, edge_wins)) is wanted
    assert settle_cleared(here_us, theirs, True, terms(agree, edge_wins)) is Verdict.PUSH
    assert settle_missing(ours, True, terms(agree, edge_wins), same_life=True) is Verdict.PUSH


def test_who_was_not_touched_since_gives_way() -> None:
    """Times do not matter where only one end has written."""
    for here_us, there_us in ((1, 2), (2, 1)):
        untouched_here = settle(Held(2, b"\0", LINK, here_us), Held(2, b"\1", CLIENT, there_us), False, terms())
        untouched_there = settle(Held(2, b"\0", CLIENT, here_us), Held(2, b"\1", SESSION, there_us), False, terms())
        assert (untouched_here, untouched_there) == (Verdict.ADOPT, Verdict.PUSH)


def test_the_later_one_stands_where_both_were_touched() -> None:
    def verdict(here_us: int, there_us: int, *how: bool) -> Verdict:
        ours, theirs = Held(2, b"\0", CLIENT, here_us), Held(2, b"\1", CLIENT, there_us)
        kept = settle(ours, theirs, False, terms(*how))
        assert settle_cleared(here_us, theirs, False, terms(*how)) is kept
        return kept

    assert verdict(5, 4) is Verdict.PUSH
    assert verdict(4, 5) is Verdict.ADOPT
    for here_us, there_us in ((1, 2), (2, 1), (1, 1)):
        assert verdict(here_us, there_us, False, True) is Verdict.PUSH
        assert verdict(here_us, there_us, False, False) is Verdict.ADOPT


def test_what_only_we_have_goes_only_if_it_was_cleared_there() -> None:
    for author, same_life, wanted in (
        (LINK, True, Verdict.ADOPT), (LINK, False, Verdict.PUSH),
        (CLIENT, True, Verdict.PUSH), (CLIENT, False, Verdict.PUSH),
    ):  # fmt: skip
        assert settle_missing(Held(2, b"\0", author, 1), False, terms(), same_life=same_life) is wanted


def test_a_param_that_we_told_last_and_have_cleared_is_cleared_there() -> None:
    assert settle_cleared(1, Held(2, b"\1", SESSION, 2), False, terms(False, False)) is Verdict.PUSH
