"""Writes that came from other routers: the log keeps the way of each, and its number, whatever becomes of blocks."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.journal_rig import Kept
from support.plane_rig import publish_payload

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.config.model import Journal as Settings
from clasp_edge.dataplane import Adapter
from clasp_edge.dataplane.write_run import content_of
from clasp_edge.journal import coalesce
from clasp_edge.journal.format import records
from clasp_edge.journal.journal import Journal
from clasp_edge.journal.log_scan import ways_in
from clasp_edge.router.router import Router

FOREVER = (1 << 63) - 1

WAYS = (None, b"first\x00way", b"second way")

# A commit: of each record who writes it, which way it came, and by how much its number is above the last one.
COMMITS = st.lists(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=8), max_size=30
)


@settings(max_examples=examples(60), deadline=None)
@given(COMMITS, st.integers(0, 30), st.booleans())
def test_each_record_keeps_its_way(
    commits: list[list[tuple[int, int, int]]], restart_after: int, numbered: bool
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(coalesce, "JOINED_BYTES", 1500)
        patch.setattr(coalesce, "SMALL_BYTES", 700)
        kept = Kept(Path(name) / "store")
        writers: list[Adapter] = []
        expected = []
        count = 7
        for number, commit in enumerate(commits):
            if number == restart_after:
                kept.close()
                kept = Kept(Path(name) / "store")
                writers = []
            for index in range(len(writers), 2):
                writers.append(Adapter(kept.rig.plane))
                kept.rig.plane.register(writers[index], b"w%d" % index)
            for index, way, step in commit:
                writer = writers[index]
                count += step
                writer.way = WAYS[way]
                writer.number = count if numbered else 0
                writer.publish(publish_payload(b"/a", b"value"), b"/a")
                known = (WAYS[way] or b"", writer.number) if way else (b"", 0)
                expected.append((f"w{index}", *known))
            kept.commit()
        blocks = kept.store.read_log(0, FOREVER, 0, FOREVER, 0x1F, FOREVER).blocks
        found = [(record.writer, record.way, record.way_number) for block in blocks for record in records(block)]
        runs = [
            (way, first + offset)
            for block in blocks
            for way, first, contents in ways_in(block)
            for offset in range(len(contents) // 4)
        ]
        kept.close()
    assert found == expected
    assert runs == [known[1:] for known in expected if known[2]]


def test_consecutive_numbers_take_no_room(tmp_path: Path) -> None:
    sizes = []
    for way in (None, b"w" * 60):
        kept = Kept(tmp_path / str(way))
        writer = Adapter(kept.rig.plane)
        kept.rig.plane.register(writer, b"somebody")
        writer.way = way
        for number in range(1, 101):
            writer.number = number
            writer.publish(publish_payload(b"/a", b"value"), b"/a")
        kept.commit()
        sizes.append(sum(map(len, kept.store.read_log(0, FOREVER, 0, FOREVER, 0x1F, FOREVER).blocks)))
        kept.close()
    assert sizes[1] == sizes[0] + 60 + 9


def test_a_journal_tells_them_from_any_record_on(tmp_path: Path) -> None:
    asyncio.run(_tells(tmp_path))


async def _tells(tmp_path: Path) -> None:
    router = Router(Config(), asyncio.get_running_loop(), Clock())
    journal = Journal(router, Settings(commit_interval_ms=5), tmp_path)
    journal.open()
    writer = Adapter(router.plane)
    router.plane.register(writer, b"somebody")
    for number in range(1, 6):
        writer.way, writer.number = (b"way", number + 10) if number != 3 else (None, 0)
        writer.publish(publish_payload(b"/a", b"value"), b"/a")
    assert journal.flush(5)
    content = content_of(publish_payload(b"/a", b"value")).to_bytes(4, sys.byteorder)
    both = [(b"way", 11, 2 * content), (b"way", 14, 2 * content)]
    for sequence, wanted in ((0, both), (3, both), (5, [])):
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        journal.fetch_ways(sequence, answer.set_result)
        assert await asyncio.wait_for(answer, 10) == wanted
    buffer = journal.journal_buffer
    assert buffer is not None
    assert [(record.way, record.way_number) for record in journal.records_after(3, 10, 10_000)] == [
        (b"way", 14), (b"way", 15)
    ]  # fmt: skip
    journal.close()
