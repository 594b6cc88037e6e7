"""What came by MQTT and nobody wanted the value of is stored as it came, and read as if the value had been stored.

Two routers hear the same: at one of them somebody is subscribed who wants CLASP, so that its journal has every value;
at the other one nobody is. Whoever reads the journal, in whatever way, finds the same in both.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import struct
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.journal_rig import Keeper
from support.plane_rig import EVERYTHING, Listener, Rig

from clasp_edge.dataplane import Adapter, RawAdapter, Subscription, Verdict
from clasp_edge.dataplane.blocks import Stream
from clasp_edge.dataplane.payload import event_frame
from clasp_edge.dataplane.write_run import content_of
from clasp_edge.devices.values import use_in_dataplane
from clasp_edge.journal.coalesce import join
from clasp_edge.journal.cursors import after
from clasp_edge.journal.format import HEADER_BYTES, NO_EXPIRY, BadBlock, Param, params, records, seal
from clasp_edge.journal.log_scan import select_records, ways_in
from clasp_edge.journal.restore import finish_restore, refill_history, restore_params
from clasp_edge.journal.summary import Question, summary_of
from clasp_edge.wire import Snapshot, decode, decode_payload, encode_value

use_in_dataplane()

FOREVER = (1 << 63) - 1
PROPERTIES = b"\x26\x00\x01a\x00\x01b"
LOG_EXACT_AT = 10
"""In what stands behind a frame: the byte that says what the value in the frame is."""

STATE = struct.Struct("<IBBBBHHIQQQQ")
UNREAD = 1 << 42


def devices(size: int) -> bytes:
    one = b'{"id": "0x00158d0001", "on": true, "level": 0.25}'
    return b"[" + b", ".join([one] * (size // (len(one) + 2))) + b"]"


PAYLOADS = [
    b"7", b"", b"x" * 1023, b"x" * 1024, devices(1100), devices(20_000), devices(20_000)[:-1], b"t" * 5000,
    b"plain text " * 300, b"\xff\xd8" + bytes(3000), b'"' + "wörter ".encode() * 300 + b'"',
    b"[" + b"1," * 5000 + b"1]", b"[" + b"1," * 12_000 + b"1]",
    b'{"a":' + devices(2000) + b',"a":1}', b'["\\u00e9' + b"e" * 2000 + b'"]',
    b" " * 2000 + b"null", b"null" + b" " * 2000, devices(65_000) + b" " * 400, b"y" * 65_400, b"y" * 65_535,
    b"y" * 70_000,
]  # fmt: skip

addresses = st.sampled_from([b"/lamp", b"/stage/left", b"/long/" + b"x" * 400])
messages = st.tuples(
    addresses,
    st.sampled_from(PAYLOADS),
    st.sampled_from([b"", PROPERTIES]),
    st.sampled_from([NO_EXPIRY, 5000]),
    st.integers(0, 2),
    st.sampled_from(["retained", "not retained", "event"]),
)
sets = st.tuples(addresses, st.integers(0, 9))
steps = st.lists(st.one_of(messages, messages, messages, sets), min_size=1, max_size=8)
Step = tuple[object, ...]


class World:
    """A plane, a broker and a client that write to it, and its journal."""

    def __init__(self, *, listened: bool = False, whole: bool = True, evict: bool = True) -> None:
        self.rig = Rig(history=8 << 20)
        self.plane = self.rig.plane
        self.plane.evict = evict
        self.broker, self.client = RawAdapter(self.plane), Adapter(self.plane)
        self.plane.register(self.broker, b"broker")
        self.plane.register(self.client, b"client")
        self.listener = Listener(self.plane)
        if listened:
            self.plane.trie.add(Subscription(self.listener, 0, EVERYTHING, 0x1F))
        self.buffer = self.plane.open_journal_buffer(
            Keeper(), False, 4 << 20, Stream(True, 1, 0, 0, 1), Stream(False, 1, 0, 0, 1)
        )
        self.buffer.signals = 0x1F
        self.buffer.whole_messages = whole

    def do(self, step: Step) -> object:
        if len(step) == 2:
            address, number = step
            return self.client.set(address, *encode_value(number))  # type: ignore[arg-type]
        address, payload, properties, expiry_s, qos, kind = step
        return self.broker.write(
            address, payload, properties, expiry_s, qos, kind == "retained", kind == "event"  # type: ignore[arg-type]
        )  # fmt: skip

    def blocks(self) -> tuple[list[bytes], list[bytes]]:
        """Of params, and of the log."""
        states: list[bytes] = []
        logs: list[bytes] = []
        while (batch := self.buffer.collect()) is not None:
            for block in (*batch[0], *batch[1]):
                seal(block)
            states += map(bytes, batch[0])
            logs += map(bytes, batch[1])
            self.buffer.release(True)
        return states, logs

    def seen(self) -> dict[str, object]:
        found: dict[str, object] = {}
        cursor = b""
        while True:
            payload, cursor = self.plane.snapshot(EVERYTHING, None, cursor, 60_000, 1 << 20)
            if payload is not None:
                message = decode_payload(payload)
                assert isinstance(message, Snapshot)
                found |= {one.address: (repr(one.value), one.revision, one.writer) for one in message.params}
            if not cursor:
                return found

    def close(self) -> None:
        self.plane.close_journal_buffer()
        self.rig.close()


def logged(block: bytes) -> list[object]:
    return [(r.number, r.signal, r.writer, r.frame, r.own, r.fault) for r in records(block)]


def followed(blocks: list[bytes]) -> list[object]:
    faults: dict[int, str] = {}
    found = after(blocks, 0, 1000, 1 << 30, faults)
    assert not faults
    return [(r.number, r.signal, r.author.decode(), r.address, r.frame, r.own) for r in found]


def replayed(block: bytes) -> Iterator[bytes]:
    resume, faults, first = [0, 0], {}, True
    while resume[0] or first:
        first = False
        yield from select_records(
            block, EVERYTHING, None, {}, 0, FOREVER, 0, FOREVER, 0x1F, 1000, faults, resume
        )[0]  # fmt: skip
    assert not faults


def remembered(blocks: list[bytes]) -> list[bytes]:
    """The history of a router that has started with these."""
    world = World()
    for block in blocks:
        refill_history(world.plane, block)
    found: list[bytes] = world.plane.ring.recent(EVERYTHING, 0x1F, 100)
    world.close()
    return found


def stored(blocks: list[bytes]) -> list[Param]:
    return [one._replace(written_us=0, version=b"", deadline_us=0, remaining_ms=0) for b in blocks for one in params(b)]


def restored(blocks: list[bytes], evict: bool = True) -> World:
    world = World(evict=evict)
    writers: dict[bytes, int] = {}
    for block in blocks:
        assert restore_params(world.plane, block, writers, False) == 0
    finish_restore(world.plane)
    return world


@given(steps)
@example([(b"/lamp", devices(20_000), b"", NO_EXPIRY, 1, "retained"), (b"/lamp", b"t" * 5000, b"", 5000, 0, "event")])
@example(
    [
        (b"/lamp", devices(20_000), PROPERTIES, 5000, 1, "retained"),
        (b"/lamp", b"null", b"", NO_EXPIRY, 0, "not retained"),
    ]
)
def test_whoever_reads_the_journal_finds_the_values(taken: list[Step]) -> None:
    later, at_once = World(), World(listened=True)
    try:
        for step in taken:
            assert later.do(step) == at_once.do(step)
        (states, logs), (full_states, full_logs) = later.blocks(), at_once.blocks()
        assert [one for b in logs for one in logged(b)] == [one for b in full_logs for one in logged(b)]
        assert followed(logs) == followed(full_logs)
        assert [one for b in logs for one in replayed(b)] == [one for b in full_logs for one in replayed(b)]
        assert remembered(logs) == remembered(full_logs)
        assert stored(states) == stored(full_states)
        for evict in (True, False):
            one, other = restored(states, evict), restored(full_states, evict)
            assert one.seen() == other.seen()
            for address in {step[0] for step in taken}:
                assert one.broker.retained(address) == other.broker.retained(address)  # type: ignore[arg-type]
            one.close()
            other.close()
    finally:
        later.close()
        at_once.close()


@pytest.mark.parametrize("kind", ["retained", "not retained", "event"])
@pytest.mark.parametrize("whole", [True, False])
def test_what_nobody_wanted_is_stored_once(kind: str, whole: bool) -> None:
    world = World(whole=whole)
    for payload in (devices(20_000), b"t" * 20_000):
        assert world.do((b"/lamp", payload, PROPERTIES, NO_EXPIRY, 1, kind)) == Verdict.ACCEPTED
        states, logs = world.blocks()
        assert sum(map(len, logs)) < len(payload) + 300
        assert sum(map(len, states)) < (0 if kind == "event" else len(payload)) + 300
        (record,) = [one for block in logs for one in records(block)]
        assert record.own is not None
        assert record.own.payload == payload, "it has properties beside the value"
        value = decode(record.frame)[1].value  # type: ignore[union-attr]
        assert json.dumps(value) == (payload.decode() if payload[:1] == b"[" else json.dumps(payload.decode()))
    world.close()


@pytest.mark.parametrize("payload", [devices(3000), b"t" * 5000])
def test_an_event_of_another_router_is_known_again_by_what_it_said(payload: bytes) -> None:
    """That router tells it again after a restart: as the value that it is."""
    world = World()
    world.broker.way, world.broker.number = b"way", 7
    world.do((b"/lamp", payload, b"", NO_EXPIRY, 1, "event"))
    _, (log,) = world.blocks()
    frame = event_frame(b"/lamp", payload)
    assert frame is not None
    assert ways_in(log) == [(b"way", 7, content_of(frame[4:]).to_bytes(4, sys.byteorder))]
    world.close()


@pytest.mark.parametrize("size", [10, 5000])
def test_an_event_that_the_log_does_not_take_has_no_number(size: int) -> None:
    """Or who has said it would wait for a commit that has nothing of it."""
    world = World()
    world.buffer.signals = 1
    world.do((b"/lamp", b"t" * size, b"", NO_EXPIRY, 1, "retained"))
    assert world.buffer.last_number == 1
    world.do((b"/lamp", b"t" * size, b"", NO_EXPIRY, 1, "event"))
    assert world.buffer.last_number == 0
    world.close()


def test_a_start_makes_no_values() -> None:
    """So soon is a board with many of them back, and so little do they take."""
    world = World()
    for number in range(50):
        world.do((b"/lamp/%d" % number, b"[" + b"1," * 3000 + b"1]", b"", NO_EXPIRY, 1, "retained"))
    states, _ = world.blocks()
    again = restored(states)
    assert again.plane.state_bytes < 50 * 6600
    assert again.seen() == world.seen()
    assert again.plane.state_bytes > 50 * 27_000, "nine bytes for each number"
    again.close()
    world.close()


def unmarked(block: bytes) -> bytes:
    """As a version reads it that knows nothing of payloads in the place of values."""
    changed = bytearray(block)
    at = HEADER_BYTES
    while at < len(changed):
        fields = list(STATE.unpack_from(changed, at))
        fields[-1] &= UNREAD - 1
        STATE.pack_into(changed, at, *fields)
        at += fields[0]
    return sealed(changed)


def test_a_version_that_does_not_know_them_reads_the_message_and_bytes_for_its_value() -> None:
    world = World()
    world.do((b"/json", devices(20_000), b"", NO_EXPIRY, 1, "retained"))
    world.do((b"/text", b"t" * 5000, b"", NO_EXPIRY, 2, "retained"))
    world.do((b"/said", devices(3000), b"", NO_EXPIRY, 1, "not retained"))
    world.do((b"/number", b"7", b"", NO_EXPIRY, 1, "retained"))
    states, logs = world.blocks()
    again = restored(list(map(unmarked, states)))
    assert {address: value[0] for address, value in again.seen().items()} == {  # type: ignore[index]
        "/json": "None", "/text": repr(b"t" * 5000), "/said": repr(devices(3000)), "/number": "7",
    }  # fmt: skip
    for address in (b"/json", b"/text", b"/said", b"/number"):
        assert again.broker.retained(address) == world.broker.retained(address)
    again.close()
    world.close()
    # The log: what the frame has is a value like any other, which gives the payload back.
    for block in logs:
        at = HEADER_BYTES
        for record in records(block):
            size, _, _, name = struct.unpack_from("<IQBB", block, at)
            whole = block[at + 14 + (0 if name == 0xFF else name) : at + size]
            end = 4 + int.from_bytes(whole[2:4], "big")
            behind = whole[end:]
            found = decode(whole[:end])[1]
            assert found.address == decode(record.frame)[1].address  # type: ignore[union-attr]
            if record.number < 4:
                assert behind[LOG_EXACT_AT] not in (0, 1)
                assert isinstance(found.value, bytes)  # type: ignore[union-attr]
            at += size


def sealed(block: bytearray) -> bytes:
    with memoryview(block) as view:
        seal(view)
    return bytes(block)


def three() -> tuple[bytes, bytes]:
    """A block of params and one of the log: of two small messages, and a large one between them."""
    world = World()
    for address, payload in ((b"/a", b"1"), (b"/b", devices(2000)), (b"/c", b"3")):
        world.do((address, payload, b"", NO_EXPIRY, 1, "retained"))
    (state,), (log,) = world.blocks()
    world.close()
    return state, log


def no_bytes(block: bytearray, at: int) -> None:
    block[at + 5] = block[at + 5] & 0xF0  # null, with more behind it


def short_address(block: bytearray, at: int) -> None:
    struct.pack_into(">H", block, at + 6, 0xFFF0)


def own_beyond(block: bytearray, at: int) -> None:
    behind = at + 4 + int.from_bytes(block[at + 2 : at + 4], "big")
    struct.pack_into("<I", block, behind + 4, 0xFFFF_FFFF)


@pytest.mark.parametrize("fault", [no_bytes, short_address, own_beyond], ids=lambda fault: str(fault.__name__))
def test_a_broken_one_costs_only_itself(fault: Callable[[bytearray, int], None]) -> None:
    log = bytearray(three()[1])
    fault(log, log.index(b"/b") - 8)
    whole = sealed(log)
    faults: dict[int, str] = {}
    assert [r.address for r in after([whole], 0, 100, 1 << 20, faults)] == [b"/a", b"/c"]
    assert list(faults) == [2]
    assert [r.number for r in records(whole) if r.fault] == [2]
    frames, last = select_records(whole, EVERYTHING, None, {}, 0, FOREVER, 0, FOREVER, 0x1F, 99, {})
    assert [frame[8:10] for frame in frames if frame[8:10] != b"/b"] == [b"/a", b"/c"]
    assert last == 3
    assert ways_in(whole) == []


def test_a_broken_param_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    state = bytearray(three()[0])
    at = state.index(b"/b") - STATE.size
    for type_, kind in ((0x0A, 3), (0x05, 3), (0x00, 1), (0x09, 3)):
        state[at + 4], state[at + 5] = kind, type_
        world = World()
        with caplog.at_level(logging.ERROR):
            assert restore_params(world.plane, sealed(state), {}, False) == 1
        assert "/b" in caplog.text
        assert list(world.seen()) == ["/a", "/c"]
        world.close()


def test_blocks_with_them_are_joined_and_summed_up_as_others() -> None:
    world = World()
    blocks = []
    for number in range(3):
        world.do((b"/lamp/%d" % number, devices(3000), b"", NO_EXPIRY, 1, "retained"))
        blocks += world.blocks()[1]
    joined = join([memoryview(block) for block in blocks])
    assert followed([joined]) == followed(blocks)
    summary = summary_of(joined)
    assert summary is not None
    question = Question(EVERYTHING, 0, FOREVER, 0x1F)
    assert question.rules_out(summary, 1) == 0
    world.close()


def test_readers_survive_every_byte() -> None:
    """Sealed blocks with some bytes changed: each reader ends, what it finds can be read, and all find the same."""
    chance = random.Random(3)
    state, log = three()
    world = World()
    logging.disable(logging.CRITICAL)
    try:
        for _ in range(2000):
            changed = bytearray(log)
            for _ in range(chance.randint(1, 3)):
                # Mostly what is not in the middle of a payload.
                at = chance.choice((chance.randrange(HEADER_BYTES, len(log)), chance.randrange(HEADER_BYTES, 150)))
                changed[chance.choice((at, len(log) - at + 60))] = chance.choice((0, 1, 2, 3, 9, 0x7F, 0x80, 0xFF))
            whole = sealed(changed)
            faults: dict[int, str] = {}
            found = after([whole], 0, 100, 1 << 20, faults)
            for record in found:
                decode(record.frame)
            with contextlib.suppress(BadBlock):
                sound = [(r.number, r.frame, r.own) for r in records(whole) if not r.fault]
                assert sound == [(r.number, r.frame, r.own) for r in found]
            for frame in select_records(whole, EVERYTHING, None, {}, 0, FOREVER, 0, FOREVER, 0x1F, 99, faults)[0]:
                decode(frame)
            refill_history(world.plane, whole)
            changed = bytearray(state)
            for _ in range(chance.randint(1, 3)):
                at = chance.choice((chance.randrange(HEADER_BYTES, len(state)), chance.randrange(HEADER_BYTES, 260)))
                changed[at] = chance.choice((0, 1, 2, 3, 4, 9, 0x7F, 0x80, 0xFF))
            restore_params(world.plane, sealed(changed), {}, False)
            with contextlib.suppress(BadBlock, struct.error):
                list(params(bytes(changed)))
            world.seen()
        for frame in world.plane.ring.recent(EVERYTHING, 0x1F, 100):
            decode(frame)
        finish_restore(world.plane)
    finally:
        logging.disable(logging.NOTSET)
        world.close()
