"""A fault inside one record costs that record: what lies before and behind it in its block is read, replayed and told,
and the log names it. The blocks here have been written by an older version or by somebody hostile, and sealed."""

from __future__ import annotations

import logging
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from support.journal_rig import Kept
from support.plane_rig import EVERYTHING, publish_payload, set_payload

from clasp_edge.journal.cursors import after
from clasp_edge.journal.format import HEADER_BYTES, BadBlock, records, seal
from clasp_edge.journal.log_scan import select_records, ways_in
from clasp_edge.journal.restore import finish_restore, refill_history, restore_params
from clasp_edge.wire import decode

FOREVER = (1 << 63) - 1
RECORD = struct.Struct("<IQBB")
"""Of a log block: size, time, signal, size of the writer's name."""


def log_block(tmp_path: Path, count: int = 5) -> bytearray:
    kept = Kept(tmp_path / "log")
    line = kept.rig.line(b"writer")
    for number in range(count):
        line.feed([set_payload(b"/p/%d" % number, number), publish_payload(b"/e/%d" % number, b"x", 1)])
    kept.commit()
    (block,) = kept.store.read_log(1, FOREVER, 0, FOREVER, 0x1F, 1 << 20)[0]
    kept.close()
    return bytearray(block)


def state_block(tmp_path: Path, count: int = 5) -> bytearray:
    kept = Kept(tmp_path / "state")
    kept.rig.line(b"writer").feed([set_payload(b"/p/%d" % number, number) for number in range(count)])
    collected = kept.journal_buffer.collect()
    assert collected is not None
    block = bytearray(collected[0][0])
    kept.journal_buffer.release(False)
    kept.close()
    return block


def record_at(block: bytearray, index: int) -> int:
    at = HEADER_BYTES
    for _ in range(index):
        at += int.from_bytes(block[at : at + 4], "little")
    return at


def frame_at(block: bytearray, index: int) -> int:
    at = record_at(block, index)
    name = RECORD.unpack_from(block, at)[3]
    return at + RECORD.size + (0 if name == 0xFF else name)


def sealed(block: bytearray) -> bytes:
    with memoryview(block) as view:
        seal(view)
    return bytes(block)


def set_into_publish(block: bytearray, index: int) -> None:
    """What a PUBLISH of signal param once left in the log."""
    block[frame_at(block, index) + 4] = 0x20


def address_beyond(block: bytearray, index: int) -> None:
    struct.pack_into(">H", block, frame_at(block, index) + 6, 0xFFFF)


def frame_beyond(block: bytearray, index: int) -> None:
    struct.pack_into(">H", block, frame_at(block, index) + 2, 0xFFFF)


def frame_of_nothing(block: bytearray, index: int) -> None:
    struct.pack_into(">H", block, frame_at(block, index) + 2, 0)


def unknown_signal(block: bytearray, index: int) -> None:
    block[record_at(block, index) + 12] = 0x2A


def other_signal(block: bytearray, index: int) -> None:
    block[record_at(block, index) + 12] = 3


def value_beyond(block: bytearray, index: int) -> None:
    at = frame_at(block, index)
    block[at + 5] = block[at + 5] & 0xF0 | 0x08
    at += 8 + int.from_bytes(block[at + 6 : at + 8], "big")
    struct.pack_into(">H", block, at, 0xFFFF)


BYTES = (0, 1, 2, 7, 8, 9, 10, 11, 0x20, 0x21, 0x7F, 0x80, 0xFF)

FAULTS = [
    set_into_publish, address_beyond, frame_beyond, frame_of_nothing, unknown_signal, other_signal, value_beyond,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.__name__))
def test_a_record_of_the_log_costs_only_itself(tmp_path: Path, fault: Callable[[bytearray, int], None]) -> None:
    block = log_block(tmp_path)
    fault(block, 4)  # "/p/2", the fifth record
    whole = sealed(block)
    others = ["/p/0", "/e/0", "/p/1", "/e/1", "/e/2", "/p/3", "/e/3", "/p/4", "/e/4"]

    faults: dict[int, str] = {}
    assert [r.address.decode() for r in after([whole], 0, 100, 1 << 20, faults)] == others
    assert list(faults) == [5]

    faults.clear()
    frames, last = select_records(whole, EVERYTHING, None, {}, 0, FOREVER, 0, FOREVER, 0x1F, 99, faults)
    assert [decode(frame)[1].address for frame in frames] == others  # type: ignore[union-attr]
    assert last == 10
    assert list(faults) in ([5], []), "of a signal that nobody asked for, nobody reads the frame"

    kept = Kept(tmp_path / "history", history_bytes=1 << 16)
    refill_history(kept.rig.plane, whole)
    history = kept.rig.plane.ring.recent(EVERYTHING, 0x1F, 100)
    assert [decode(frame)[1].address for frame in history] == others  # type: ignore[union-attr]
    kept.close()
    assert ways_in(whole) == []


def test_behind_a_record_whose_size_is_wrong_nothing_can_be_found(tmp_path: Path) -> None:
    for size in (0, 1, RECORD.size - 1, 0x7FFFFFFF, 0xFFFFFFFF):
        block = log_block(tmp_path / str(size))
        struct.pack_into("<I", block, record_at(block, 4), size)
        whole = sealed(block)
        faults: dict[int, str] = {}
        assert [r.number for r in after([whole, whole], 0, 100, 1 << 20, faults)] == [1, 2, 3, 4, 1, 2, 3, 4]
        assert list(faults) == [5]
        faults.clear()
        assert len(select_records(whole, EVERYTHING, None, {}, 0, FOREVER, 0, FOREVER, 0x1F, 99, faults)[0]) == 4
        assert list(faults) == [5]


@pytest.mark.parametrize("field", [b"\xff\xff\xff\xff", b"\0\0\0\0"], ids=["too long", "too short"])
def test_a_stored_param_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture, field: bytes) -> None:
    block = state_block(tmp_path)
    at = record_at(block, 2)
    block[at + 5] = 0x0A  # an array, of more or fewer elements than there are
    value = at + int.from_bytes(block[at : at + 4], "little") - 8
    block[value : value + 4] = field
    kept = Kept(tmp_path / "again")
    with caplog.at_level(logging.ERROR):
        assert restore_params(kept.rig.plane, sealed(block), {}, False) == 1
    assert "/p/2" in caplog.text
    assert list(kept.params()) == ["/p/0", "/p/1", "/p/3", "/p/4"]
    kept.close()


def test_what_is_no_address_costs_only_its_record_whatever_it_is_said_to_have_been(tmp_path: Path) -> None:
    """Also of a param that is said to be gone, or whose time is over."""
    block = state_block(tmp_path, 6)
    for number, (kind, ttl, deadline_us) in enumerate(((2, 0, 0), (1, 1, 1), (1, 0, 0))):
        at = record_at(block, number)
        block[at + 4] = kind
        struct.pack_into("<I", block, at + 12, ttl)
        struct.pack_into("<QQ", block, at + 32, deadline_us, 0)
        assert block[at + 48 : at + 49] == b"/"
        block[at + 48] = 0xFF
    kept = Kept(tmp_path / "again")
    assert restore_params(kept.rig.plane, sealed(block), {}, True) == 3
    assert list(kept.params()) == ["/p/3", "/p/4", "/p/5"]
    kept.close()


def test_a_stored_param_of_a_size_that_no_frame_has_is_left_out(tmp_path: Path) -> None:
    """It would be written into buffers that are made for a frame."""
    kept = Kept(tmp_path)
    head = struct.Struct("<IBBBBHHIQQQQ")
    address, value = b"/p/big", struct.pack(">H", 3) + (b"\x09\xff\xff" + bytes(65535)) * 3
    record = head.pack(head.size + len(address) + len(value), 1, 0x0A, 0, 1, len(address), 0, 0, 1, 1, 0, 0)
    block = bytearray(state_block(tmp_path)[:HEADER_BYTES]) + record + address + value
    struct.pack_into("<I", block, 12, len(block))
    assert restore_params(kept.rig.plane, sealed(block), {}, False) == 1
    finish_restore(kept.rig.plane)
    assert kept.params() == {}
    kept.close()


def test_readers_survive_every_byte(tmp_path: Path) -> None:
    """Thousands of sealed blocks with some bytes changed: each reader ends, and all that it finds can be read."""
    chance = random.Random(7)
    log, state = bytes(log_block(tmp_path)), bytes(state_block(tmp_path))
    kept = Kept(tmp_path / "again", history_bytes=1 << 16)
    logging.disable(logging.CRITICAL)
    try:
        for _ in range(3000):
            block = bytearray(log)
            for _ in range(chance.randint(1, 4)):
                block[chance.randrange(HEADER_BYTES, len(block))] = chance.choice(BYTES)
            whole = sealed(block)
            faults: dict[int, str] = {}
            for record in after([whole], 0, 100, 1 << 20, faults):
                decode(record.frame)
            for frame in select_records(whole, EVERYTHING, None, {}, 0, FOREVER, 0, FOREVER, 0x1F, 99, faults)[0]:
                decode(frame)
            refill_history(kept.rig.plane, whole)
            try:
                ways_in(whole)
                list(records(whole))
            except (ValueError, BadBlock):
                pass
            block = bytearray(state)
            for _ in range(chance.randint(1, 4)):
                block[chance.randrange(HEADER_BYTES, len(block))] = chance.choice(BYTES)
            restore_params(kept.rig.plane, sealed(block), {}, False)
            kept.params()
        for frame in kept.rig.plane.ring.recent(EVERYTHING, 0x1F, 100):
            decode(frame)
        finish_restore(kept.rig.plane)
    finally:
        logging.disable(logging.NOTSET)
        kept.close()


def test_readers_of_the_log_see_what_the_python_side_sees(tmp_path: Path) -> None:
    """The compiled reading of a block and `format.records` agree, whatever is broken in it."""
    whole = log_block(tmp_path)
    dice = random.Random(1)
    for _ in range(2000):
        block = bytearray(whole)
        for _ in range(dice.randrange(3)):
            at = dice.randrange(HEADER_BYTES, len(block))
            block[at] = dice.choice((0, 1, 0x7F, 0xFF, dice.randrange(256)))
        wanted, faulty = [], set()
        try:
            for record in records(bytes(block)):
                if record.fault:
                    faulty.add(record.number)
                else:
                    wanted.append((record.number, record.writer.encode(), record.frame, record.own, record.way))
        except BadBlock:
            faulty.add(-1)
        faults: dict[int, str] = {}
        found = after([bytes(block)], 0, 1000, 1 << 30, faults)
        assert [(one.number, one.author, one.frame, one.own, one.way) for one in found] == wanted
        assert len(faults) == len(faulty)
        assert {number for number in faulty if number > 0} <= set(faults)
