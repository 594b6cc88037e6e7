"""The log: every accepted message once and in order, as much as retention leaves, found again by time and number."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.journal_rig import Kept
from support.plane_rig import EVERYTHING, publish_payload, set_payload

from clasp_edge.journal.format import Record, records
from clasp_edge.journal.log_scan import select_records
from clasp_edge.journal.store import Retention
from clasp_edge.wire import Publish, Set, decode
from clasp_edge.wire.pattern import Pattern

FOREVER = (1 << 63) - 1


def stored(kept: Kept, first: int = 0, last: int = FOREVER) -> list[Record]:
    found: list[Record] = []
    while first <= last:
        blocks, first, _ = kept.store.read_log(first, last, 0, FOREVER, 0x1F, 1 << 16)
        found += [record for block in blocks for record in records(block)]
    return found


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3000), st.booleans()), max_size=60))
def test_everything_once_and_in_order(steps: list[tuple[int, int, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        kept = Kept(Path(name) / "store")
        lines = [kept.rig.line(b"writer-%d" % number) for number in range(4)]
        expected = []
        for number, (signal, writer, size, commit) in enumerate(steps):
            address = b"/x/%d" % number
            if signal == 0:
                lines[writer].feed([set_payload(address, b"v" * size)])
            else:
                lines[writer].feed([publish_payload(address, b"v" * size, signal)])
            if signal != 2:  # streams are not kept
                expected.append((len(expected) + 1, signal, f"writer-{writer}", address.decode(), size))
            if commit:
                kept.commit()
        kept.commit()
        found = []
        for record in stored(kept):
            message = decode(record.frame)[1]
            assert isinstance(message, Set | Publish)
            assert isinstance(message.value, bytes)
            found.append((record.number, record.signal, record.writer, message.address, len(message.value)))
        assert found == expected
        for first in range(0, len(expected) + 2, 7):
            assert [r.number for r in stored(kept, first) if r.number >= first] == list(
                range(max(first, 1), len(expected) + 1)
            )
        kept.close()


def test_what_is_only_in_memory_is_found_too(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line()
    line.feed([set_payload(b"/a", n) for n in range(10)])
    kept.commit()
    line.feed([set_payload(b"/a", n) for n in range(10, 20)])
    collected = kept.journal_buffer.collect()  # on its way to the disk
    assert collected is not None
    line.feed([set_payload(b"/a", n) for n in range(20, 30)])
    assert kept.journal_buffer.tail_begins == 11
    assert [r.number for block in kept.journal_buffer.tail(1) for r in records(block)] == list(range(11, 31))
    assert [r.number for block in kept.journal_buffer.tail(25) for r in records(block)] == list(range(21, 31))
    line.feed([set_payload(b"/a", 30)])
    assert [r.writer for block in kept.journal_buffer.tail(1) for r in records(block)] == [""] * 21
    kept.store.commit(collected[0], collected[1], 0, 0)
    kept.journal_buffer.release(True)
    assert kept.journal_buffer.tail_begins == 21
    kept.commit()
    assert [r.number for r in stored(kept)] == list(range(1, 32))
    kept.close()


def test_what_a_failed_commit_had_is_stored_with_the_next(tmp_path: Path) -> None:
    kept = Kept(tmp_path, buffer_bytes=4096)
    line = kept.rig.line(b"w")
    for _ in range(3):
        line.feed([publish_payload(b"/a/%d" % kept.journal_buffer.log.number, b"x" * 100)])
        assert kept.journal_buffer.collect() is not None
        kept.journal_buffer.release(False)
        # What is only in memory can be asked for all the while.
        numbers = [r.number for block in kept.journal_buffer.tail(1) for r in records(block)]
        assert numbers == list(range(1, kept.journal_buffer.log.number))
        assert kept.journal_buffer.tail_begins == 1
    line.feed([publish_payload(b"/a/%d" % n, b"x" * 100) for n in range(4, 100)])
    # Half of the memory is taken by what waits; what finds no room in the other half is lost, and counted.
    assert 0 < kept.journal_buffer.lost < 96
    kept.commit_all()
    found = stored(kept)
    assert [r.number for r in found] == list(range(1, kept.journal_buffer.log.number))
    assert len(found) == kept.journal_buffer.kept == 99 - kept.journal_buffer.lost
    assert [r.frame[8:].split(b"\x01\x09")[0] for r in found] == [b"/a/%d" % n for n in range(1, len(found) + 1)]
    kept.close()


def test_a_full_buffer_costs_log_records_and_no_params(tmp_path: Path) -> None:
    kept = Kept(tmp_path, buffer_bytes=4096)
    line = kept.rig.line()
    line.feed([set_payload(b"/a/%d" % n, b"x" * 100) for n in range(100)])
    assert kept.journal_buffer.lost
    assert kept.journal_buffer.kept + kept.journal_buffer.lost == 100
    assert kept.keeper.fulls == kept.journal_buffer.lost
    kept.commit()
    assert len(kept.params()) == 100
    kept.close()
    again = Kept(tmp_path)
    assert len(again.params()) == 100
    again.close()


def test_retention_by_count_and_bytes(tmp_path: Path) -> None:
    for retention, low, high in (
        (Retention(max_records=100), 90, 120),
        (Retention(max_bytes=20_000), 100, 300),
    ):
        kept = Kept(tmp_path / str(retention.max_bytes), retention=retention)
        line = kept.rig.line()
        for number in range(400):
            line.feed([set_payload(b"/a", number)])
            kept.commit()
        numbers = [record.number for record in stored(kept)]
        assert low <= len(numbers) <= high
        assert numbers == list(range(401 - len(numbers), 401))
        kept.close()


def test_selection_by_pattern_time_signal_and_scope(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    line = kept.rig.line()
    line.feed(
        [set_payload(b"/a/x", 1, ttl=60), publish_payload(b"/b/x"), set_payload(b"/a_b", 2), set_payload(b"/aXb", 3)]
    )
    kept.commit()
    ((block,), _, _) = kept.store.read_log(0, FOREVER, 0, FOREVER, 0x1F, 1 << 20)
    when = next(records(block)).wall_us

    class Scopes:
        def allows(self, action: str, address: bytes) -> bool:
            return action == "read" and address.startswith(b"/a")

    def select(
        pattern: Pattern, scopes: object = None, mask: int = 0x1F, to_us: int = FOREVER, limit: int = 99
    ) -> list[str]:
        frames, _ = select_records(block, pattern, scopes, {}, 0, FOREVER, 0, to_us, mask, limit, {})
        return [decode(frame)[1].address for frame in frames]  # type: ignore[union-attr]

    assert select(EVERYTHING) == ["/a/x", "/b/x", "/a_b", "/aXb"]
    assert select(Pattern(b"/a_b")) == ["/a_b"]
    assert select(EVERYTHING, Scopes()) == ["/a/x", "/a_b", "/aXb"]
    assert select(EVERYTHING, mask=2) == ["/b/x"]
    assert select(EVERYTHING, limit=2) == ["/a/x", "/b/x"]
    assert select(EVERYTHING, to_us=when - 1) == []
    frames, _ = select_records(block, EVERYTHING, None, {}, 0, FOREVER, 0, FOREVER, 1, 1, {})
    message = decode(frames[0])[1]
    assert isinstance(message, Set)
    assert (message.ttl, message.revision, message.value) == (None, 1, 1)
    kept.close()
