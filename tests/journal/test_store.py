"""The store by itself: schema and migration, a map that grows, a lock that holds."""

from __future__ import annotations

import json
from pathlib import Path

import lmdb
import pytest
from support.journal_rig import Kept
from support.plane_rig import set_payload

from clasp_edge.dataplane.journal_buffer import LOG_MAGIC, STATE_MAGIC
from clasp_edge.journal import store
from clasp_edge.journal.errors import TooNew
from clasp_edge.journal.format import SCHEMA, BadBlock, Param, check, make_state_block, params, seal
from clasp_edge.journal.lock import DirectoryLock, InUse
from clasp_edge.journal.probe import probe
from clasp_edge.journal.tools import state_params


def test_an_older_store_is_migrated_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path)
    kept.rig.line().feed([set_payload(b"/a", 1)])
    kept.commit()
    kept.close()
    done: list[int] = []
    monkeypatch.setattr(store, "SCHEMA", SCHEMA + 2)
    monkeypatch.setattr("clasp_edge.journal.probe.SCHEMA", SCHEMA + 2)
    steps = {SCHEMA: lambda txn: done.append(SCHEMA), SCHEMA + 1: lambda txn: done.append(SCHEMA + 1)}
    monkeypatch.setattr(store, "MIGRATIONS", steps)
    again = Kept(tmp_path)
    assert done == [SCHEMA, SCHEMA + 1]
    assert again.params()["/a"].value == 1
    again.close()
    with lmdb.open(str(tmp_path)) as env, env.begin() as txn:
        assert json.loads(txn.get(b"\x00schema") or b"") == {"schema": SCHEMA + 2}
    monkeypatch.undo()
    with pytest.raises(TooNew):
        probe(tmp_path)
    with pytest.raises(TooNew):
        store.Store(tmp_path, store.Retention()).open()


def test_a_store_of_the_first_schema_is_read(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.rig.line().feed([set_payload(b"/a", 1), set_payload(b"/b", "two")])
    kept.commit()
    before = kept.params()
    kept.close()
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        txn.put(b"\x00schema", json.dumps({"schema": 1}).encode())
        for key, value in list(txn.cursor()):
            if key[:1] in b"LS":
                block = bytearray(value)
                block[4] = 1  # the version of a block, which had no quality of service in it
                for address in (b"/a", b"/b") if key[:1] == b"S" else ():
                    place = block.index(address) - 41
                    assert block[place] == 1
                    block[place] = 0
                seal(memoryview(block))
                txn.put(key, bytes(block))
    again = Kept(tmp_path)
    assert again.params() == before
    again.journal_buffer.rewrite()
    again.commit_all()
    again.close()
    with lmdb.open(str(tmp_path)) as env, env.begin() as txn:
        assert json.loads(txn.get(b"\x00schema") or b"") == {"schema": SCHEMA}
    assert {address: param.qos for address, param in state_params(tmp_path).items()} == {b"/a": 1, b"/b": 1}


def test_the_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SMALLEST_MAP", 1 << 16)
    kept = Kept(tmp_path)
    line = kept.rig.line()
    for number in range(40):
        line.feed([set_payload(b"/a/%d" % number, b"x" * 20_000)])
        kept.commit()
    assert len(kept.params()) == 40
    kept.close()
    again = Kept(tmp_path)
    assert len(again.params()) == 40
    again.close()


def test_a_directory_is_locked_once(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(InUse, match=r"process \d+"):
        DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()


def test_a_block_made_here_is_one_and_any_flipped_bit_is_seen() -> None:
    items = [Param(b"/a", 7, "me", 5, 0x7FFF_FFFF, 0, 0, 5, bytes(8)), Param(b"/b", 1, "", 6, 0, 0, 0, 0, b"")]
    block = make_state_block(items, number=3, run=1, base=1, before=0, wall_us=9)
    assert check(block).number == 3
    assert list(params(block)) == items
    assert block[:4] == STATE_MAGIC != LOG_MAGIC
    for at in range(len(block)):
        for bit in range(8):
            broken = bytearray(block)
            broken[at] ^= 1 << bit
            # The kind of the block is not under the checksum: the key it lies under tells.
            if at >= 8:
                with pytest.raises(BadBlock):
                    check(broken)
