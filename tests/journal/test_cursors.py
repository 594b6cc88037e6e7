"""Readers who follow the log by number: their places last, what they need stays, gaps are told by the numbers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path

import lmdb
import pytest
from support.journal_rig import Kept
from support.plane_rig import set_payload

from clasp_edge.clock import Clock
from clasp_edge.config.model import Config
from clasp_edge.config.model import Journal as Settings
from clasp_edge.dataplane import Adapter
from clasp_edge.journal import coalesce
from clasp_edge.journal.cursors import Cursors, Logged
from clasp_edge.journal.errors import Damaged
from clasp_edge.journal.format import log_key
from clasp_edge.journal.journal import DIRECTORY, Journal
from clasp_edge.journal.probe import probe
from clasp_edge.journal.store import DATA_FILE, Retention
from clasp_edge.router.router import Router
from clasp_edge.wire import Set, decode, encode_value

PLENTY = 1 << 30


class Rig:
    """A router with a journal, and somebody who writes."""

    def __init__(self, data_dir: Path) -> None:
        router = Router(Config(), asyncio.get_running_loop(), Clock())
        self.plane = router.plane
        self.journal = Journal(router, Settings(commit_interval_ms=10), data_dir)
        self.journal.open()
        self.writer = Adapter(self.plane)
        self.plane.register(self.writer, b"somebody")

    def set(self, *numbers: int) -> None:
        for number in numbers:
            self.writer.set(b"/a/%d" % number, *encode_value("x" * 100))

    async def stored(self) -> None:
        """Wait until everything up to now is in the store."""
        buffer = self.journal.journal_buffer
        assert buffer is not None
        await until(lambda: buffer.tail_begins > self.journal.last_sequence)

    async def fetch(self, sequence: int, limit_records: int, limit_bytes: int) -> list[Logged]:
        found: asyncio.Future[list[Logged] | Exception] = asyncio.get_running_loop().create_future()
        self.journal.fetch_after(sequence, limit_records, limit_bytes, found.set_result)
        result = await asyncio.wait_for(found, 10)
        assert isinstance(result, list)
        return result

    async def wanted(
        self, limit_records: int, limit_bytes: int, address: Callable[[bytes], bool], known: dict[bytes, bool]
    ) -> list[Logged]:
        """All that lies at such addresses, step by step."""
        at, records = 0, []
        while at < self.journal.last_sequence:
            found: asyncio.Future[tuple[list[Logged], int] | Exception] = asyncio.get_running_loop().create_future()
            self.journal.fetch_wanted(at, limit_records, limit_bytes, address, known, found.set_result)
            result = await asyncio.wait_for(found, 20)
            assert not isinstance(result, Exception)
            assert len(result[0]) <= limit_records
            assert at < result[1] <= self.journal.last_sequence
            assert all(at < record.number <= result[1] for record in result[0])
            records += result[0]
            at = result[1]
        return records

    async def both_ways(self, sequence: int, limit_records: int = PLENTY, limit_bytes: int = PLENTY) -> list[Logged]:
        now = self.journal.records_after(sequence, limit_records, limit_bytes)
        assert await self.fetch(sequence, limit_records, limit_bytes) == now
        return now


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (what is waited for happens on a thread and on a disk)
        await asyncio.sleep(0.005)


def stored_cursors(data_dir: Path) -> dict[str, int]:
    """What a power cut would leave now: from a copy, because LMDB opens nothing twice in one process."""
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(Damaged):  # copied in the middle of a commit
        shutil.copy(data_dir / DIRECTORY / DATA_FILE, name)
        return probe(Path(name), readonly=True).cursors
    return {}


def in_a_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(test(**fixtures), 60)

        asyncio.run(bounded())

    return run


@in_a_loop
async def test_records_come_in_order_from_store_and_memory(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.set(*range(600))
    await rig.stored()
    rig.set(*range(600, 1000))
    assert rig.journal.last_sequence == 1000
    at, numbers = 0, []
    while found := await rig.both_ways(at, limit_records=70):
        assert len(found) <= 70
        for record in found:
            message = decode(record.frame)[1]
            assert isinstance(message, Set)
            assert message.address.encode() == record.address == b"/a/%d" % (record.number - 1)
            assert (record.author, record.signal) == (b"somebody", 0)
        numbers += [record.number for record in found]
        at = numbers[-1]
    assert numbers == list(range(1, 1001))
    assert await rig.both_ways(1000) == []
    assert await rig.both_ways(10**12) == []
    rig.journal.close()


@in_a_loop
@pytest.mark.parametrize("limits", [(7, PLENTY), (PLENTY, 1), (PLENTY, 3000), (PLENTY, PLENTY)])
async def test_only_what_is_wanted_is_made_of_the_log(tmp_path: Path, limits: tuple[int, int]) -> None:
    """The same records in the same order, stored or not yet; what is known is not asked again."""
    rig = Rig(tmp_path)
    rig.set(*range(600))
    await rig.stored()
    rig.set(*range(600, 1000), *range(0, 1000, 3))
    asked: list[bytes] = []
    known = {b"/a/7": True, b"/a/8": False}

    def is_wanted(address: bytes) -> bool:
        asked.append(address)
        known[address] = address.endswith(b"5")
        return known[address]

    records = await rig.wanted(*limits, is_wanted, known)
    everything: list[Logged] = []
    while found := await rig.both_ways(everything[-1].number if everything else 0):
        everything += found
    assert records == [record for record in everything if known[record.address]]
    assert {record.address for record in records} == {b"/a/7", *(b"/a/%d" % number for number in range(5, 1000, 10))}
    assert len(asked) == len(set(asked)) == 998


@in_a_loop
async def test_a_limit_in_bytes_lets_one_pass(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.set(*range(10))
    for _ in range(2):
        assert len(await rig.both_ways(3, limit_bytes=1)) == 1
        assert len(await rig.both_ways(3, limit_bytes=300)) == 2
        await rig.stored()
    rig.journal.close()


@in_a_loop
async def test_places_last(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.set(*range(10))
    assert rig.journal.cursor("upstream") == 0
    rig.journal.set_cursor("upstream", 7)
    rig.journal.set_cursor("other", 3)
    rig.journal.set_cursor("gone", 1)
    await rig.stored()
    # Nothing else changes any more: a place is stored by itself.
    rig.journal.set_cursor("upstream", 9)
    rig.journal.forget_cursor("gone")
    await until(lambda: stored_cursors(tmp_path) == {"upstream": 9, "other": 3})
    rig.journal.set_cursor("upstream", 10)
    rig.journal.close()
    again = Rig(tmp_path)
    assert again.journal.cursors() == {"upstream": 10, "other": 3}
    assert again.journal.last_sequence == 10
    again.set(11)
    assert [record.number for record in await again.both_ways(10)] == [11]
    again.journal.close()


@pytest.mark.parametrize(("name", "number"), [("a", -1), ("a", 1 << 64), ("", 1), ("é" * 129, 1)])
def test_a_place_that_cannot_be(name: str, number: int) -> None:
    with pytest.raises(ValueError, match=r"record|name"):
        Cursors().move(name, number)


def test_places_whose_commit_failed_are_stored_with_the_next() -> None:
    cursors = Cursors({"a": 5})
    assert not cursors.changed
    assert not cursors.move("a", 5)
    assert cursors.move("a", 6)
    assert cursors.needed_from == 7
    taken = cursors.take()
    assert not cursors.changed
    cursors.move("a", 7)
    cursors.give_back(taken)
    assert cursors.take() == {"a": 7}
    assert cursors.forget("a")
    assert cursors.take() == {"a": -1}
    assert cursors.needed_from == 0


def _numbers(kept: Kept) -> list[int]:
    piece = kept.store.read_log(0, PLENTY, 0, 1 << 62, 0x1F, PLENTY)
    return [int.from_bytes(block[24:32], "little") for block in piece.blocks]


def test_age_takes_nothing_that_is_needed_and_size_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "SMALL_BYTES", 0)  # each block has one record, and is dropped by itself
    kept = Kept(tmp_path, retention=Retention(max_age_s=1))
    kept.store.needed_from = 51
    line = kept.rig.line()
    later_us = 0
    for number in range(100):
        line.feed([set_payload(b"/a", number)])
        collected = kept.journal_buffer.collect()
        assert collected is not None
        states, logs, _, base = collected
        for block in logs:
            block[6] |= 1  # the clock was right, as on a machine that has the time from somewhere
        later_us += 1_000_000
        kept.store.commit(states, logs, base, int.from_bytes(logs[-1][56:64], "little") + later_us)
        kept.journal_buffer.release(True)
    assert _numbers(kept) == list(range(51, 101))
    assert kept.store.missed == 0
    kept.store.retention = Retention(max_records=20)
    line.feed([set_payload(b"/a", 0)])
    kept.commit()
    assert _numbers(kept) == list(range(82, 102))
    assert kept.store.missed == 31
    kept.close()


def damage(directory: Path, number: int) -> None:
    """Flip a bit in the log block that begins with record `number`; LMDB's own pages stay sound."""
    with lmdb.open(str(directory)) as env, env.begin(write=True) as txn:
        block = bytearray(txn.get(log_key(number)) or b"")
        assert block
        block[-1] ^= 1
        txn.put(log_key(number), bytes(block))


@in_a_loop
async def test_damaged_blocks_are_passed_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(tmp_path)
    for number in range(5):
        rig.set(*range(10 * number, 10 * number + 10))
        await rig.stored()
    rig.journal.close()
    damage(tmp_path / DIRECTORY, 21)
    damage(tmp_path / DIRECTORY, 41)
    again = Rig(tmp_path)
    # Who knows how many records the newest block had: numbers go on well behind it.
    assert again.journal.last_sequence > 50
    assert again.plane.read(b"/a/45") is not None
    again.set(7)
    newest = again.journal.last_sequence
    await again.stored()
    assert [record.number for record in await again.both_ways(0)] == [*range(1, 21), *range(31, 41), newest]
    assert [record.number for record in await again.both_ways(40)] == [newest]
    told = [record.getMessage() for record in caplog.records if "passed over" in record.getMessage()]
    assert len(told) == 2
    assert "record 21 " in told[0]
    again.journal.close()


@in_a_loop
async def test_who_fails_when_it_is_told_of_a_commit_keeps_nobody_from_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    told: list[str] = []

    def fail() -> None:
        told.append("first")
        raise RuntimeError("it has gone meanwhile")

    rig.set(1)
    rig.journal.when_stored(fail)
    rig.journal.when_stored(lambda: told.append("second"))
    await rig.stored()
    await until(lambda: len(told) == 2)
    assert told == ["first", "second"]
    rig.set(2)
    await rig.stored()  # nor the commits after it
    rig.journal.close()
