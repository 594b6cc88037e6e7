"""What comes back from the store is what was there at the last commit, whatever happened in between."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.journal_rig import Kept
from support.plane_rig import EXPIRED_AT_ONCE, publish_payload, set_payload

from clasp_edge.journal.format import Param, check, make_state_block, params
from clasp_edge.journal.probe import probe
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


def salvaged(path: Path) -> dict[bytes, int]:
    """Address to revision, from the bare file."""
    saved: dict[bytes, int] = {}
    for block in salvage_state(path):
        check(block)
        for param in params(block):
            if param.revision:
                saved[param.address] = param.revision
            else:
                saved.pop(param.address, None)
    return saved


@settings(max_examples=examples(60), deadline=None)
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
                    kept.journal_buffer.rewrite()
                case ("lose",):
                    # A commit that failed: nothing of it may be missing from the next one that does not.
                    if kept.journal_buffer.collect() is not None:
                        kept.journal_buffer.release(False)
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
        assert salvaged(directory / DATA_FILE) == {address.encode(): param.revision for address, param in final.items()}


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
    assert kept.journal_buffer.state.number == 201
    kept.journal_buffer.rewrite()
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
    kept.journal_buffer.reselect()
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
    kept.journal_buffer.rewrite()
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
    kept.journal_buffer.mark_incomplete()
    kept.commit_all()
    number = kept.journal_buffer.state.number
    kept.close()
    again = Kept(tmp_path)
    assert again.params() == {}
    assert again.journal_buffer.state.number > number - 1
    again.close()


@pytest.mark.parametrize("size", [10, 3_000, 60_000])
def test_a_rewriting_of_nothing_takes_no_number_twice(tmp_path: Path, size: int) -> None:
    # Of different lengths, so that the param's block lies in a leaf, a page, pages of its own: before or behind the
    # block that says that there was nothing.
    kept = Kept(tmp_path)
    kept.journal_buffer.rewrite()
    kept.commit_all()
    kept.rig.line().feed([set_payload(b"/a", b"x" * size)])
    kept.commit_all()
    kept.close()
    assert salvaged(tmp_path / DATA_FILE) == {b"/a": 1}
    again = Kept(tmp_path)
    assert again.params()["/a"].revision == 1
    again.close()


def test_salvage_passes_over_what_a_power_cut_kept_from_counting(tmp_path: Path) -> None:
    for start in range(2):
        kept = Kept(tmp_path)
        kept.rig.line().feed([set_payload(b"/a", start)])
        kept.commit_all()
        kept.close()
    whole = probe(tmp_path)
    path = tmp_path / DATA_FILE
    # In pages that were written and never counted: the start before the last had gone on from the same block, had
    # written everything anew, and was cut off.
    unseen = [Param(b"/a", 9, "", 0, 0, 0, 0, 0, b""), Param(b"/b", 9, "", 0, 0, 0, 0, 0, b"")]
    number = whole.state_number - 1
    for later in range(3):
        block = make_state_block(
            unseen, number=number + later, run=whole.run - 1, base=number + later, before=0, wall_us=0
        )
        path.write_bytes(path.read_bytes() + block)
    assert salvaged(path) == {b"/a": 2}


def test_no_start_has_the_number_of_another_one_that_stored_nothing(tmp_path: Path) -> None:
    runs = []
    for _ in range(3):
        kept = Kept(tmp_path)
        runs.append(kept.journal_buffer.state.run)
        kept.close()
    assert runs == [1, 2, 3]


def test_salvage_takes_older_blocks_where_one_that_counts_is_gone(tmp_path: Path) -> None:
    def block(number: int, base: int, **revisions: int) -> bytes:
        items = [Param(b"/" + name.encode(), n, "", 0, 0, 0, 0, 0, b"") for name, n in revisions.items()]
        return make_state_block(items, number=number, run=1, base=base, before=0, wall_us=0)

    path = tmp_path / DATA_FILE
    blocks = [block(3, 2, c=1), block(1, 1, a=1, b=1), block(2, 2, a=2)]
    path.write_bytes(b"something else".join(blocks))
    assert salvaged(path) == {b"/a": 2, b"/c": 1}
    path.write_bytes(b"something else".join(blocks[:2]))
    assert salvaged(path) == {b"/a": 1, b"/b": 1, b"/c": 1}


def test_a_value_that_looks_like_a_block_is_a_value(tmp_path: Path) -> None:
    forged = make_state_block(
        [Param(b"/forged", 1, "", 0, 0, 0, 0, 0, b"")], number=1 << 40, run=1 << 20, base=1 << 40, before=0, wall_us=0
    )
    for padding in range(3):
        directory = tmp_path / str(padding)
        kept = Kept(directory)
        kept.rig.line().feed([set_payload(b"/a", b"x" * padding + forged)])
        kept.commit_all()
        kept.close()
        assert salvaged(directory / DATA_FILE) == {b"/a": 1}


def test_a_restore_keeps_to_the_limits_of_now(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line()
    for number in range(20):
        line.feed([set_payload(b"/a/%d" % number, b"x" * 1_000)])
        # So that the times differ, by which they are told apart after a rewriting.
        time.sleep(0.001)
        kept.commit()
    line.feed([set_payload(b"/a/3", b"x" * 1_000)])
    kept.journal_buffer.rewrite()
    kept.commit_all()
    each = kept.rig.plane.state_bytes // 20
    kept.close()
    newest = [3, *(number for number in range(19, -1, -1) if number != 3)]
    limits: list[tuple[dict[str, int], int]] = [
        ({"max_params": 5}, 5),
        ({"max_bytes": each * 11 // 2}, 5),
        ({"max_params": 5, "evict": False}, 20),
        ({}, 20),
    ]
    for limit, left in limits:
        again = Kept(tmp_path, limit)
        assert set(again.params()) == {f"/a/{number}" for number in newest[:left]}
        # And the order is that of the last write: the next one to go is the oldest.
        again.rig.plane.evict = True
        again.rig.plane.max_params = 2
        again.rig.line().feed([set_payload(b"/new", 1)])
        assert set(again.params()) == {"/new", "/a/3"}
        again.close()
