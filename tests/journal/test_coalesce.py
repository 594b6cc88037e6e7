"""Small blocks of the log become large ones, and every record stays what and where it was."""

from __future__ import annotations

import tempfile
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.journal_rig import Kept
from support.plane_rig import publish_payload, set_payload

from clasp_edge.journal import coalesce
from clasp_edge.journal.format import BadBlock, Record, check, log_key, records
from clasp_edge.journal.store import Retention
from clasp_edge.wire import Publish, decode

FOREVER = (1 << 63) - 1

# A commit: the writers of its records, and how long each is.
COMMITS = st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 900)), min_size=1, max_size=4), max_size=40)


def blocks(kept: Kept) -> list[bytes]:
    return kept.store.read_log(0, FOREVER, 0, FOREVER, 0x1F, FOREVER).blocks


def stored(kept: Kept) -> list[Record]:
    return [record for block in blocks(kept) for record in records(block)]


def told(record: Record) -> tuple[int, str, str, int, int]:
    message = decode(record.frame)[1]
    assert isinstance(message, Publish)
    assert isinstance(message.value, bytes)
    return record.number, record.writer, message.address, len(message.value), record.run


@settings(max_examples=examples(40), deadline=None)
@given(COMMITS, st.integers(200, 4_000), st.integers(0, 30))
def test_nothing_changes_but_the_blocks(
    commits: list[list[tuple[int, int]]], joined_bytes: int, restart_after: int
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(coalesce, "JOINED_BYTES", joined_bytes)
        patch.setattr(coalesce, "SMALL_BYTES", joined_bytes // 2)
        kept = Kept(Path(name) / "store")
        lines = [kept.rig.line(b"w" * (writer + 1)) for writer in range(3)]
        expected: list[tuple[int, str, str, int, int]] = []
        for number, commit in enumerate(commits):
            if number == restart_after:
                kept.close()
                kept = Kept(Path(name) / "store")
                lines = [kept.rig.line(b"w" * (writer + 1)) for writer in range(3)]
            for writer, size in commit:
                lines[writer].feed([publish_payload(b"/a/%d" % size, b"v" * size)])
                expected.append(
                    (len(expected) + 1, "w" * (writer + 1), f"/a/{size}", size, kept.journal_buffer.log.run)
                )
            kept.commit()
        found = stored(kept)
        assert [told(record) for record in found] == expected
        for block in blocks(kept):
            header = check(block)
            assert header.records == len(list(records(block)))
            times = [record.wall_us for record in records(block)]
            assert (header.min_us, header.max_us) == (min(times), max(times))
        for first in range(0, len(expected) + 2, 5):
            piece = kept.store.read_log(first, FOREVER, 0, FOREVER, 0x1F, 1)
            if first <= len(expected) and expected:
                assert check(piece.blocks[0]).number <= max(first, 1) <= check(piece.blocks[0]).last
        kept.close()


def test_a_quiet_router_has_few_blocks_in_the_end(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line(b"somebody-with-a-long-name-12345")
    for number in range(1_000):
        line.feed([set_payload(b"/a/%d" % (number % 10), number)])
        kept.commit()
    found = blocks(kept)
    assert sum(check(block).records for block in found) == 1_000
    joined = [block for block in found if check(block).records > 1]
    assert kept.store.joined == len(joined) >= 2
    # A header and a writer's name were said with each record.
    assert sum(map(len, joined)) / sum(check(block).records for block in joined) < 60
    assert len(found) < 450
    kept.close()


def test_a_lost_number_and_a_damaged_block_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "JOINED_BYTES", 1_000)
    monkeypatch.setattr(coalesce, "SMALL_BYTES", 500)
    kept = Kept(tmp_path)
    line = kept.rig.line()
    for number in range(3):
        line.feed([set_payload(b"/a/%d" % number, number)])
        kept.commit()
    kept.store.close()
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        block = bytearray(txn.get(log_key(2)) or b"")
        block[-1] ^= 1
        txn.put(log_key(2), bytes(block))
    for number in range(3, 30):
        line.feed([set_payload(b"/a/%d" % number, number)])
        kept.commit()
    piece = kept.store.read_log(0, FOREVER, 0, FOREVER, 0x1F, FOREVER)
    assert piece.damaged == [2]
    assert [r.number for block in piece.blocks for r in records(block)] == [1, *range(3, 31)]
    assert kept.store.joined
    with pytest.raises(BadBlock, match="follow"):
        coalesce.join([memoryview(piece.blocks[0]), memoryview(piece.blocks[-1])])
    kept.close()


def test_retention_counts_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "JOINED_BYTES", 4_000)
    monkeypatch.setattr(coalesce, "SMALL_BYTES", 2_000)
    kept = Kept(tmp_path, retention=Retention(max_bytes=20_000))
    line = kept.rig.line(b"somebody-with-a-long-name-12345")
    for number in range(1_000):
        line.feed([set_payload(b"/a/%d" % (number % 10), number)])
        kept.commit()
    size = sum(map(len, blocks(kept)))
    assert 16_000 < size < 30_000
    kept.close()
