"""Values of MQTT messages that are made when somebody asks for them are those that would have been made at once.

Two planes hear the same: at one of them somebody is subscribed who wants CLASP, so that every value is made when it
comes; at the other one nobody is. Whoever looks later, in whatever way, sees the same at both.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from support.journal_rig import Keeper
from support.plane_rig import EVERYTHING, Listener, Rig

from clasp_edge.dataplane import Adapter, Plane, RawAdapter, Subscription, Verdict
from clasp_edge.dataplane.blocks import Stream
from clasp_edge.devices.values import use_in_dataplane
from clasp_edge.journal.restore import finish_restore, restore_params
from clasp_edge.wire import ParamValue, Snapshot, decode_payload, encode_value

NEVER = 0xFFFFFFFF
HISTORY_BYTES = 8 << 20
"""Nothing is overwritten in it: frames and messages do not take the same room."""

SOURCES = Path(__file__).parents[2] / "clasp_edge"

LONG = b"/long/" + b"/".join([b"x" * 200] * 300)

addresses = st.sampled_from([b"/lamp", b"/stage/left", b"/max/level", b"/merge/scene", LONG])
numbers = (
    st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, 7, 21.5])
)
leaves = numbers | st.booleans() | st.none() | st.text(max_size=30)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=20,
)
sizes = st.sampled_from([1, 399, 401, 1000, 1023, 1024, 1025, 5000, 20000, 65533, 65535, 65536, 70000])


def filled(document: object, size: int) -> bytes:
    """A list of the document, often enough to have about so many bytes."""
    one = json.dumps(document).encode()
    return b"[" + b",".join([one] * max(1, size // (len(one) + 1))) + b"]"


payloads = st.one_of(
    st.builds(filled, documents, sizes),
    st.builds(lambda document, size: filled(document, size)[:-1], documents, sizes),
    st.builds(lambda document, size: b'{"a":' + filled(document, size) + b',"a":1}', documents, sizes),
    st.builds(
        lambda text, size: (text * (size // len(text) + 1))[:size].encode(), st.text(min_size=1, max_size=9), sizes
    ),
    st.builds(lambda part, size: (part * (size // len(part) + 1))[:size], st.binary(min_size=1, max_size=9), sizes),
    st.builds(lambda text, size: json.dumps(text * (size // len(text) + 1)).encode(), st.text(min_size=1), sizes),
)
messages = st.tuples(
    st.just("message"),
    addresses,
    payloads,
    st.sampled_from([b"", b"\x26\x00\x01a\x00\x01b"]),
    st.sampled_from([NEVER, 5000]),
    st.integers(0, 2),
    st.booleans(),
)
sets = st.tuples(st.just("set"), addresses, leaves.filter(lambda leaf: not isinstance(leaf, int) or leaf < 2**63))
cleared = st.tuples(st.just("clear"), addresses)
looks = st.tuples(st.just("look"), addresses)
steps = st.lists(st.one_of(messages, messages, messages, sets, cleared, looks), min_size=1, max_size=8)


use_in_dataplane()


class ParamKeeper(Keeper):
    """Keeps params, and no log."""

    def select(self, address: bytes) -> int:
        return 2


class World:
    """A plane, a broker and a client that write to it, and a journal of its params."""

    def __init__(self, *, listened: bool, settings: dict[str, int] | None = None) -> None:
        self.rig = Rig(history=HISTORY_BYTES)
        self.plane: Plane = self.rig.plane
        for name, value in (settings or {}).items():
            setattr(self.plane, name, value)
        self.broker, self.client = RawAdapter(self.plane), Adapter(self.plane)
        self.plane.register(self.broker, b"broker")
        self.plane.register(self.client, b"client")
        self.listener = Listener(self.plane)
        if listened:
            self.plane.trie.add(Subscription(self.listener, 0, EVERYTHING, 0x1F))
        self.buffer = self.plane.open_journal_buffer(
            ParamKeeper(), False, 1 << 20, Stream(True, 1, 0, 0, 1), Stream(False, 1, 0, 0, 1)
        )
        self.buffer.signals = 0

    def do(self, step: tuple) -> object:  # type: ignore[type-arg]
        kind, address, *rest = step
        if kind == "message":
            payload, properties, expiry_s, qos, retain = rest
            return self.broker.write(address, payload, properties, expiry_s, qos, retain, False)
        if kind == "set":
            return self.client.set(address, *encode_value(rest[0]))
        if kind == "clear":
            return self.broker.write(address, b"", b"", NEVER, 0, True, False)
        return self.seen_at(address)

    def seen_at(self, address: bytes) -> object:
        read = self.plane.read(address)
        return (
            shown(read) if read is not None else None,
            self.plane.describe(address),
            self.broker.retained(address),
        )

    def seen(self) -> object:
        found: list[tuple[object, ...]] = []
        cursor = b""
        while True:
            payload, cursor = self.plane.snapshot(EVERYTHING, None, cursor, 60_000, 1 << 20)
            if payload is not None:
                found += shown(payload)
            if not cursor:
                return found

    def told(self) -> list[bytes]:
        """The history of everything."""
        return self.plane.ring.recent(EVERYTHING, 0x1F, 100)

    def restored(self) -> object:
        """What is there after a restart."""
        after = World(listened=False)
        writers: dict[bytes, int] = {}
        while (batch := self.buffer.collect()) is not None:
            for block in batch[0]:
                assert restore_params(after.plane, bytes(block), writers, False) == 0
            self.buffer.release(True)
        finish_restore(after.plane)
        found = (after.seen(), [after.broker.retained(address) for address in (b"/lamp", b"/stage/left", LONG)])
        after.close()
        return found

    def close(self) -> None:
        self.plane.close_journal_buffer()
        self.rig.close()


def shown(payload: bytes) -> list[tuple[object, ...]]:
    """A SNAPSHOT, without the times of writing."""
    message = decode_payload(payload)
    assert isinstance(message, Snapshot)
    return [_without_time(param) for param in message.params]


def _without_time(param: ParamValue) -> tuple[object, ...]:
    return param.address, repr(param.value), param.revision, param.writer


FIELDS, OTHERS = filled({"on": True}, 5000), filled({"on": False}, 6000)


@given(steps)
@example([("message", b"/lamp", FIELDS, b"", NEVER, 1, True), ("message", b"/lamp", OTHERS, b"", NEVER, 0, False)])
@example([("message", b"/lamp", FIELDS, b"", NEVER, 1, False), ("message", b"/lamp", OTHERS, b"", NEVER, 0, True)])
@example(
    [
        ("message", b"/lamp", FIELDS, b"", 5000, 1, True),
        ("set", b"/lamp", 7),
        ("message", b"/lamp", OTHERS, b"", NEVER, 0, True),
    ]
)
@example(
    [("message", b"/max/level", FIELDS, b"", NEVER, 1, True), ("message", b"/max/level", OTHERS, b"", NEVER, 0, True)]
)
@example(
    [
        ("message", b"/merge/scene", b'{"a":1}', b"", NEVER, 1, True),
        ("message", b"/merge/scene", b'{"b":"%s"}' % (b"x" * 2000), b"", NEVER, 0, True),
    ]
)
def test_a_value_made_later_is_the_one_made_at_once(taken: list[tuple]) -> None:  # type: ignore[type-arg]
    later, at_once = World(listened=False), World(listened=True)
    try:
        for step in taken:
            assert later.do(step) == at_once.do(step)
        for address in {step[1] for step in taken}:
            assert later.seen_at(address) == at_once.seen_at(address)
        assert later.seen() == at_once.seen()
        assert later.told() == at_once.told()
        assert later.restored() == at_once.restored()
    finally:
        later.close()
        at_once.close()


@given(steps)
def test_room_is_judged_by_the_value_where_nothing_may_go_for_it(taken: list[tuple]) -> None:  # type: ignore[type-arg]
    settings = {"evict": False, "max_bytes": 100_000}
    later, at_once = World(listened=False, settings=settings), World(listened=True, settings=settings)
    try:
        for step in taken:
            assert later.do(step) == at_once.do(step)
        assert later.seen() == at_once.seen()
    finally:
        later.close()
        at_once.close()


def test_a_large_message_that_nobody_reads_is_kept_once_and_as_it_came() -> None:
    world = World(listened=False)
    payload = b"[" + b"1," * 5000 + b"1]"
    before = world.plane.state_bytes
    for retain in (True, False):
        address = b"/kept" if retain else b"/seen"
        assert world.broker.write(address, payload, b"", NEVER, 0, retain, False) == Verdict.ACCEPTED
    assert world.plane.state_bytes - before < 2 * len(payload) + 600
    (_, value), (_, described) = ((param[0], param[1]) for param in world.seen())  # type: ignore[attr-defined]
    assert value == described == repr([1] * 5001)
    world.close()


def test_what_was_read_once_keeps_its_value_where_there_is_room() -> None:
    payload = b"[" + b"1," * 5000 + b"1]"
    for most, keeps in ((0, True), (1 << 20, True), (60_000, False)):
        world = World(listened=False, settings={"max_bytes": most})
        for address in (b"/kept", b"/other"):
            world.broker.write(address, payload, b"", NEVER, 0, True, False)
        unread = world.plane.state_bytes
        first = world.seen_at(b"/kept")
        read = world.plane.state_bytes
        assert (read > unread + 9 * 5001) if keeps else (read == unread), "nine bytes for each number"
        assert world.seen_at(b"/kept") == first
        assert world.plane.params == 2
        world.close()


def test_only_the_table_knows_how_a_value_is_stored() -> None:
    own = {"table.pyx", "table.pxd", "entry.pxd"}
    for path in (*SOURCES.rglob("*.pyx"), *SOURCES.rglob("*.pxd")):
        if path.name not in own or path.parent.name != "dataplane":
            assert not re.search(r"\bstored_(type|bytes)\b|entry\.stored_size", path.read_text()), path
