"""What comes back from the store is what was there at the last commit, whatever happened in between."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.journal_rig import Kept
from support.plane_rig import EXPIRED_AT_ONCE, publish_payload, set_payload

from clasp_edge.journal.format import check, params
from clasp_edge.journal.salvage import salvage_state
from clasp_edge.journal.store import DATA_FILE

ADDRESSES = [b"/a", b"/a/b", b"/max/x", b"/merge/y", b"/" + b"l" * 300]
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=400),
    st.booleans(),
    st.none(),
    st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=3),
    st.just(b"x" * 3_000),
)

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("set"), st.sampled_from(ADDRESSES), VALUES, st.sampled_from([None, None, 0, 500, 0x8000_0E10])
        ),
        st.tuples(st.just("end"), st.sampled_from(ADDRESSES)),
        st.just(("commit",)),
        st.just(("rewrite",)),
        st.just(("lose",)),
        st.just(("restart",)),
        st.just(("crash",)),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_last_commit_comes_back(steps: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "store"
        kept = Kept(directory)
        line = kept.rig.line(b"writer-1")
        committed = kept.params()
        for step in steps:
            match step:
                case ("set", bytes(address), value, ttl):
                    assert ttl is None or isinstance(ttl, int)
                    line.feed([set_payload(address, value, ttl=ttl)])
                case ("end", bytes(address)):
                    line.feed([set_payload(address, 0, ttl=EXPIRED_AT_ONCE)])
                    kept.rig.plane.expire()
                case ("commit",):
                    kept.commit_all()
                    committed = kept.params()
                case ("rewrite",):
                    kept.tap.rewrite()
                case ("lose",):
                    # A commit that failed: nothing of it may be missing from the next one that does not.
                    if kept.tap.collect() is not None:
                        kept.tap.release(False)
                case ("restart",) | ("crash",):
                    if step == ("restart",):
                        kept.commit_all()
                        committed = kept.params()
                    kept.close()
                    kept = Kept(directory)
                    line = kept.rig.line(b"writer-1")
                    assert repr(kept.params()) == repr(committed)
        kept.commit_all()
        final = kept.params()
        kept.close()
        again = Kept(directory)
        # By their text: a NaN is not equal to itself.
        assert repr(again.params()) == repr(final)
        again.close()
        # The same from the bare file, without LMDB.
        saved: dict[bytes, int] = {}
        for block in salvage_state(directory / DATA_FILE):
            check(block)
            for param in params(block):
                if param.revision:
                    saved[param.address] = param.revision
                else:
                    saved.pop(param.address, None)
        assert saved == {address.encode(): param.revision for address, param in final.items()}


def test_revisions_writers_and_times_are_the_same(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    first, second = kept.rig.line(b"one"), kept.rig.line(b"two")
    for number in range(50):
        (first, second)[number % 2].feed([set_payload(b"/a/%d" % (number % 7), number)])
    kept.commit()
    before = kept.params()
    kept.close()
    again = Kept(tmp_path)
    assert again.params() == before
    # A name lasts as long as a param carries it, and its place is free again afterwards.
    third = again.rig.line(b"three")
    for number in range(7):
        third.feed([set_payload(b"/a/%d" % number, 0)])
    assert {param.writer for param in again.params().values()} == {"three"}
    assert all(param.revision == before[address].revision + 1 for address, param in again.params().items())
    again.close()


def test_an_id_used_again_between_two_commits(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line()
    line.feed([set_payload(b"/old", 1)])
    kept.commit()
    line.feed([set_payload(b"/old", 0, ttl=EXPIRED_AT_ONCE)])
    kept.rig.plane.expire()
    line.feed([set_payload(b"/new", 2), set_payload(b"/old", 3)])
    kept.commit()
    kept.close()
    again = Kept(tmp_path)
    assert {a: (p.value, p.revision) for a, p in again.params().items()} == {"/new": (2, 1), "/old": (3, 1)}
    again.close()


def test_nothing_to_store_is_nothing_written(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert not kept.commit()
    assert kept.keeper.wakes == 0
    kept.close()


def test_a_rewriting_drops_what_it_replaces(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line()
    for number in range(200):
        line.feed([set_payload(b"/a", number)])
        kept.commit()
    assert kept.tap.state.number == 201
    kept.tap.rewrite()
    kept.commit_all()
    kept.close()
    again = Kept(tmp_path)
    assert again.found.state_bytes < 300
    assert again.params()["/a"].revision == 200
    again.close()


def test_a_new_selection_loses_no_change_that_waits(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line()
    line.feed([set_payload(b"/a", 1)])
    kept.tap.reselect()
    line.feed([publish_payload(b"/a")])
    kept.commit()
    kept.close()
    again = Kept(tmp_path)
    assert again.params()["/a"].value == 1
    again.close()


def test_a_rewriting_may_end_with_nothing_to_write(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line()
    # One piece of a rewriting is full with these; behind them lie only addresses that are no params.
    for number in range(5):
        line.feed([set_payload(b"/a/%d" % number, b"x" * 60_000)])
    line.feed([publish_payload(b"/b/%d" % number) for number in range(10)])
    kept.commit_all()
    kept.tap.rewrite()
    kept.commit_all()
    kept.close()
    again = Kept(tmp_path)
    assert len(again.params()) == 5
    again.close()


def test_numbers_go_on_when_nothing_is_left(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line()
    for number in range(20):
        line.feed([set_payload(b"/a", number)])
        kept.commit()
    line.feed([set_payload(b"/a", 0, ttl=EXPIRED_AT_ONCE)])
    kept.rig.plane.expire()
    kept.tap.mark_incomplete()
    kept.commit_all()
    number = kept.tap.state.number
    kept.close()
    again = Kept(tmp_path)
    assert again.params() == {}
    assert again.tap.state.number > number - 1
    again.close()
