"""What a slow reader gets in the end (architecture.md 5): converging params, bounded events, the newest of streams."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from support.plane_rig import Line, Rig, publish_payload, set_payload

from clasp_edge.wire import Publish, Set, encode_frame
from clasp_edge.wire.pattern import Pattern

EVENT, STREAM = 1, 2
HIGH_WATER = 64 << 10
EVENT_BACKLOG = 128 << 10
STREAM_BACKLOG = 64 << 10
"""Streams held back per peer (outbox.pyx)."""

FILLER = bytes(1000)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A small arena. At the end all of it must be back."""
    rig = Rig(arena_mib=1, high_water=HIGH_WATER, event_backlog=EVENT_BACKLOG)
    yield rig
    rig.close()
    assert rig.core.arena_free == rig.core.arena_total


@pytest.fixture
def sender(rig: Rig) -> Line:
    return rig.line(b"sender")


@pytest.fixture
def reader(rig: Rig) -> Line:
    """Subscribed to everything, reads only when told."""
    line = rig.line(b"reader", buffer_bytes=4096)
    line.subscribe()
    return line


def press(sender: Line, reader: Line) -> int:
    """Send events until the reader is under pressure; returns how many."""
    count = 0
    while not reader.peer.pressed:
        sender.feed([publish_payload(b"/filler", FILLER)])
        count += 1
    return count


def values_of(messages: list[object], address: str) -> list[object]:
    return [m.value for m in messages if isinstance(m, Publish) and m.address == address]


def test_params_converge(sender: Line, reader: Line) -> None:
    press(sender, reader)
    rng = random.Random(1)
    newest: dict[str, int] = {}
    for number in range(20_000):
        address = f"/p/{rng.randrange(300)}"
        sender.feed([set_payload(address.encode(), number)])
        newest[address] = number
    assert reader.peer.conflated_params == 20_000
    got = [m for m in reader.read_to_the_end() if isinstance(m, Set)]
    # Each once, the longest unchanged first.
    assert [(m.address, m.value) for m in got] == sorted(newest.items(), key=lambda item: item[1])
    assert not reader.peer.pressed


def test_no_older_value_follows_a_newer_one_while_the_reader_reads_now_and_then(sender: Line, reader: Line) -> None:
    rng = random.Random(2)
    newest: dict[str, int] = {}
    got: list[object] = []
    for number in range(30_000):
        address = f"/p/{rng.randrange(400)}"
        sender.feed([set_payload(address.encode(), [number, "x" * rng.randrange(200)])])
        newest[address] = number
        if rng.random() < 0.002:
            got += reader.read()
    assert reader.peer.conflated_params > 0
    got += reader.read_to_the_end()
    revisions: dict[str, int] = {}
    values: dict[str, int] = {}
    for message in got:
        assert isinstance(message, Set)
        assert message.revision is not None
        assert message.revision > revisions.get(message.address, 0)
        revisions[message.address] = message.revision
        values[message.address] = message.value[0]  # type: ignore[index]
    assert values == newest


def test_events_are_bounded_counted_and_in_order(rig: Rig, sender: Line, reader: Line) -> None:
    sent = 0
    while reader.peer.dropped_events < 500:
        sender.feed([publish_payload(b"/e", sent.to_bytes(4, "big") + FILLER)])
        sent += 1
    assert reader.peer.queued_bytes <= HIGH_WATER + EVENT_BACKLOG
    assert reader.peer.queued_bytes > HIGH_WATER
    dropped = reader.peer.dropped_events
    assert rig.core.dropped_events == dropped
    assert reader.peer.take_untold_drops() == dropped
    assert reader.peer.take_untold_drops() == 0
    numbers = [int.from_bytes(v[:4], "big") for v in values_of(reader.read_to_the_end(), "/e")]  # type: ignore[index]
    assert numbers == list(range(sent - dropped))
    # After that, everything arrives again.
    sender.feed([publish_payload(b"/e", b"last")])
    assert values_of(reader.read(), "/e") == [b"last"]


def test_streams_lose_the_oldest(sender: Line, reader: Line) -> None:
    press(sender, reader)
    sent = 500
    for number in range(sent):
        sender.feed([publish_payload(b"/s", number.to_bytes(4, "big") + FILLER, STREAM)])
    dropped = reader.peer.dropped_streams
    kept = STREAM_BACKLOG // (len(FILLER) + 40)
    assert sent - dropped >= kept
    assert reader.peer.queued_bytes <= HIGH_WATER + EVENT_BACKLOG + STREAM_BACKLOG
    numbers = [int.from_bytes(v[:4], "big") for v in values_of(reader.read_to_the_end(), "/s")]  # type: ignore[index]
    assert numbers == list(range(dropped, sent))


def test_streams_keep_their_order_while_held_back_ones_are_still_going_out(sender: Line, reader: Line) -> None:
    # A low mark: what is held back does not fit the outbox at once.
    reader.rig.core.high_water = 16 << 10
    rng = random.Random(3)
    got: list[object] = []
    for number in range(5000):
        sender.feed([publish_payload(b"/s", number.to_bytes(4, "big") + FILLER, STREAM)])
        if rng.random() < 0.02:
            got += reader.read()
    got += reader.read_to_the_end()
    numbers = [int.from_bytes(v[:4], "big") for v in values_of(got, "/s")]  # type: ignore[index]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 5000 - reader.peer.dropped_streams
    assert numbers[-1] == 4999


def test_a_giant_stream_frame_is_dropped_and_counted(sender: Line, reader: Line) -> None:
    press(sender, reader)
    sender.feed([publish_payload(b"/s", bytes(65_000), STREAM), publish_payload(b"/s", bytes(65_525), STREAM)])
    assert reader.peer.dropped_streams == 1
    assert [len(v) for v in values_of(reader.read_to_the_end(), "/s")] == [65_000]  # type: ignore[arg-type]


def test_replies_are_all_sent_and_input_waits_meanwhile(rig: Rig) -> None:
    asker = rig.line(b"asker", buffer_bytes=4096)
    asked = 30_000
    for start in range(0, asked, 50):
        asker.feed((set_payload(b"/p", start + n) for n in range(50)), qos=1)
    assert asker.peer.input_waits
    assert not asker.peer.reading
    before = rig.plane.sets
    assert before < asked
    assert asker.peer.queued_bytes <= 2 * HIGH_WATER
    acks = asker.read_to_the_end()
    for _ in range(1000):
        if asker.peer.reading:
            break
        acks += asker.read_to_the_end()
    acks += asker.read()
    assert [ack.revision for ack in acks] == list(range(1, asked + 1))  # type: ignore[attr-defined]
    assert rig.plane.sets == asked
    assert asker.peer.reading
    assert not asker.peer.input_waits


def test_jobs_are_pulled_as_the_socket_drains(reader: Line) -> None:
    pulled = []

    def job(name: int) -> Iterator[bytes]:
        for number in range(300):
            pulled.append((name, number))
            yield reader.peer.image(
                encode_frame(publish_payload(b"/job/%d" % name, number.to_bytes(4, "big") + FILLER))
            )
            if number % 50 == 0:
                yield b""

    reader.peer.start_job(job(0))
    reader.peer.start_job(job(1))
    assert len(pulled) * len(FILLER) <= HIGH_WATER + 8 * 4096
    assert reader.peer.busy
    messages = reader.read_to_the_end()
    assert pulled == [(name, number) for name in (0, 1) for number in range(300)]
    for name in (0, 1):
        numbers = [int.from_bytes(v[:4], "big") for v in values_of(messages, f"/job/{name}")]  # type: ignore[index]
        assert numbers == list(range(300))
    assert not reader.peer.busy


def test_many_jobs_make_further_requests_wait(rig: Rig, reader: Line) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield reader.peer.image(encode_frame(publish_payload(b"/job", FILLER)))

    for _ in range(17):
        reader.peer.start_job(endless())
    reader.feed([b"\x22"])
    assert reader.peer.handed_up == []
    assert reader.peer.input_waits


def fill_arena(rig: Rig, piece: int) -> list[Line]:
    """Peers that hold together what they can of the arena, and read nothing: each has answers sent to it, and does not
    ask for the one that would close it."""
    hogs = []
    for number in range(40):
        hog = rig.line(b"hog%d" % number, buffer_bytes=4096)
        hogs.append(hog)
        left = rig.core.arena_free - rig.core.arena_total // 8
        while hog.peer.queued_bytes + 2 * piece < left:
            hog.peer.send(encode_frame(publish_payload(b"/hog", bytes(piece))))
            left = rig.core.arena_free - rig.core.arena_total // 8
        assert not hog.peer.dead
    return hogs


@pytest.mark.parametrize("piece", [100, 4000, 60_000])
def test_a_quick_reader_recovers_after_others_held_the_arena(rig: Rig, sender: Line, piece: int) -> None:
    quick = rig.line(b"quick")
    quick.subscribe()
    hogs = fill_arena(rig, piece)
    newest = {}
    for number in range(2000):
        address = f"/p/{number % 50}"
        sender.feed([set_payload(address.encode(), "x" * 100 + str(number))])
        newest[address] = "x" * 100 + str(number)
    got = quick.read()
    for hog in hogs:
        rig.hang_up(hog)
    got += quick.read_to_the_end()
    assert {m.address: m.value for m in got if isinstance(m, Set)} == newest
    assert not quick.peer.dead
    sender.feed([publish_payload(b"/e", b"works again")])
    assert values_of(quick.read_to_the_end(), "/e") == [b"works again"]


@pytest.mark.parametrize("signal", [EVENT, STREAM])
@pytest.mark.parametrize("size", [300, 9_000, 50_000])
def test_those_who_read_get_everything_however_many_do_not(rig: Rig, sender: Line, size: int, signal: int) -> None:
    hogs = [rig.line(b"hog%d" % number, buffer_bytes=4096) for number in range(60)]
    for hog in hogs:
        hog.subscribe(Pattern(b"/big/**"))
    quick = rig.line(b"quick")
    quick.subscribe(Pattern(b"/small/**"))
    got: list[object] = []
    answers = 0
    for number in range(300):
        sender.feed([publish_payload(b"/big/a", bytes(size), signal), publish_payload(b"/small/a", b"%d" % number)])
        quick.peer.send(encode_frame(publish_payload(b"/answer", bytes(2_000))))
        read = quick.read()
        got += values_of(read, "/small/a")
        answers += len(values_of(read, "/answer"))
    assert got == [b"%d" % number for number in range(300)]
    assert answers == 300
    assert not quick.peer.dead
    assert rig.core.arena_free > rig.core.arena_total // 16


def test_who_asks_and_does_not_read_is_closed_before_others_lack_room(rig: Rig) -> None:
    hogs = [rig.line(b"hog%d" % number, buffer_bytes=4096) for number in range(60)]
    for _ in range(30):
        for hog in hogs:
            hog.peer.send(encode_frame(publish_payload(b"/answer", bytes(20_000))))
    assert all(hog.peer.dead for hog in hogs)
    quick = rig.line(b"quick")
    quick.peer.send(encode_frame(publish_payload(b"/answer", bytes(20_000))))
    assert len(values_of(quick.read(), "/answer")) == 1
    assert not quick.peer.dead


def test_whoever_hangs_up_under_pressure_gives_everything_back(rig: Rig, sender: Line, reader: Line) -> None:
    press(sender, reader)
    for number in range(100):
        sender.feed([set_payload(b"/p/%d" % number, number), publish_payload(b"/s", FILLER, STREAM)])
    reader.peer.start_job(iter([b"never sent"]))
    rig.hang_up(reader)
    assert not reader.peer.busy
    assert rig.core.arena_free == rig.core.arena_total
    sender.feed([set_payload(b"/p", 1)])


def test_a_broken_socket_ends_the_peer_and_nobody_else(rig: Rig, sender: Line, reader: Line) -> None:
    other = rig.line(b"other")
    other.subscribe()
    reader.far.close()
    sender.feed([set_payload(b"/p", 1)])
    rig.turn()
    assert reader.peer.dead
    assert reader.peer.ended
    sender.feed([set_payload(b"/p", 2)])
    assert [m.value for m in other.read()] == [1, 2]  # type: ignore[attr-defined]


class SubscriptionFilter:
    """A filter that writes down what it is offered."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, int, bytes]] = []

    def offer(self, address: bytes, signal: int, frame: bytes) -> None:
        self.seen.append((address, signal, frame))


def test_a_write_that_is_over_at_once_is_delivered_while_a_slow_peer_pulls_a_snapshot(rig: Rig, sender: Line) -> None:
    # The delivery wakes the slow peer's job, whose look at the param removes it.
    thinner = SubscriptionFilter()
    slow = rig.line(b"slow", buffer_bytes=4096)
    slow.subscribe()
    rig.line(b"thinned").subscribe(filter=thinner)

    def look() -> Iterator[bytes]:
        while True:
            rig.plane.describe(b"/gone")
            yield slow.peer.image(encode_frame(publish_payload(b"/job", FILLER)))

    slow.peer.start_job(look())
    for number in range(200):
        sender.feed([set_payload(b"/gone", number, ttl=0x8000_0000)])
        slow.far.recv(1 << 20)
        rig.turn()
    assert [address for address, _, _ in thinner.seen] == [b"/gone"] * 200
