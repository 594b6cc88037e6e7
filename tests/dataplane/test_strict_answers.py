"""Mode strict: what confirms a write waits until it is stored; who asks waits for a commit, but for no full disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.journal_rig import Kept
from support.plane_rig import EVERYTHING, Line, set_payload

from clasp_edge.wire import Ack, Message, Pong, Qos, Set, Snapshot, encode, encode_frame


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path, strict=True)
    yield kept
    kept.close()


def ask(line: Line, address: bytes) -> None:
    """As GET does."""
    line.peer.await_commit()
    payload = line.rig.plane.read(address)
    assert payload is not None
    line.peer.send(encode_frame(payload))


def ask_for_all(line: Line, pieces: int = 1) -> None:
    """As GET of a pattern and the first state of a subscription do: in pieces, each read when it is sent."""
    plane = line.rig.plane

    def job() -> Iterator[bytes]:
        for _ in range(pieces):
            yield b""
            payload, _ = plane.snapshot(EVERYTHING, None, b"", 60_000, 4096, 0)
            assert payload is not None
            yield line.peer.image(encode_frame(payload))

    line.peer.start_job(job())


def values(messages: list[Message]) -> list[object]:
    """What was shown of `/p`, in order."""
    found: list[object] = []
    for message in messages:
        if isinstance(message, Snapshot):
            found += [param.value for param in message.params if param.address == "/p"]
        elif isinstance(message, Set) and message.address == "/p":
            found.append(message.value)
    return found


def kinds(messages: list[Message]) -> list[type[Message]]:
    return [type(message) for message in messages]


def fail(kept: Kept) -> None:
    """A commit that the disk has no room for."""
    assert kept.journal_buffer.collect() is not None
    kept.journal_buffer.release(False)


def test_an_answer_waits_for_the_commit_of_what_it_shows(kept: Kept) -> None:
    writer, reader = kept.rig.line(b"writer"), kept.rig.line(b"reader")
    writer.feed([set_payload(b"/p", 1)])
    ask(reader, b"/p")
    assert reader.read() == []
    kept.commit()
    assert kinds(reader.read()) == [Snapshot]
    ask(reader, b"/p")
    assert kinds(reader.read()) == [Snapshot], "nothing has changed since"


@pytest.mark.parametrize("before", [True, False])
def test_who_asks_does_not_wait_for_a_full_disk(kept: Kept, before: bool) -> None:
    writer, reader = kept.rig.line(b"writer"), kept.rig.line(b"reader")
    writer.subscribe()
    writer.feed([set_payload(b"/p", 1)], Qos.CONFIRM)
    assert kinds(writer.read()) == [Set]
    if before:
        ask(reader, b"/p")
        ask(writer, b"/p")
        reader.feed([set_payload(b"/other", 2)])
        assert (reader.read(), writer.read()) == ([], []), "a delivery waits behind the answers"
        fail(kept)
    else:
        fail(kept)
        ask(reader, b"/p")
        ask(writer, b"/p")
        reader.feed([set_payload(b"/other", 2)])
    assert kinds(reader.read()) == [Snapshot]
    assert kinds(writer.read()) == [Snapshot, Set]
    writer.peer.send(encode(Pong()))
    assert kinds(writer.read()) == [Pong]
    fail(kept)
    assert writer.read() == [], "nobody is told that something is stored which is not"
    kept.commit_all()
    assert kinds(writer.read()) == [Ack]
    writer.feed([set_payload(b"/p", 3)])
    ask(reader, b"/p")
    assert reader.read() == [], "what can be stored again is waited for again"
    kept.commit_all()
    assert kinds(reader.read()) == [Snapshot]


def test_a_snapshot_waits_for_the_commit_of_what_it_shows(kept: Kept) -> None:
    writer, reader = kept.rig.line(b"writer"), kept.rig.line(b"reader")
    writer.feed([set_payload(b"/p", 1)])
    ask_for_all(reader, pieces=2)
    for _ in range(3):
        assert reader.read() == []
    kept.commit_all()
    assert values(reader.read_to_the_end()) == [1, 1]
    ask_for_all(reader)
    assert values(reader.read_to_the_end()) == [1], "all of it is stored"


def test_what_comes_after_a_piece_does_not_overtake_it(kept: Kept) -> None:
    writer, reader = kept.rig.line(b"writer"), kept.rig.line(b"reader")
    reader.subscribe()
    writer.feed([set_payload(b"/p", 1)])
    reader.read()
    ask_for_all(reader, pieces=3)
    reader.read()
    seen: list[object] = []
    for number in range(2, 8):
        writer.feed([set_payload(b"/p", number)])
        seen += values(reader.read())
        kept.commit()
    kept.commit_all()
    seen += values(reader.read_to_the_end())
    assert seen[-1] == 7
    assert seen == sorted(seen)  # type: ignore[type-var]


def test_params_that_find_no_room_behind_a_piece_come_as_their_newest_value(kept: Kept) -> None:
    writer, reader = kept.rig.line(b"writer"), kept.rig.line(b"reader")
    reader.subscribe()
    writer.feed([set_payload(b"/p", 0)])
    reader.read()
    ask_for_all(reader)
    reader.read()
    # More than an outbox may hold, before the journal has answered.
    for number in range(1, 31):
        writer.feed([set_payload(b"/p", number), set_payload(b"/fill", b"x" * 20_000)])
    seen = values(reader.read())
    assert seen == []
    kept.commit_all()
    seen = values(reader.read_to_the_end())
    assert seen[0] == 0
    assert seen[-1] == 30
    assert seen == sorted(seen)  # type: ignore[type-var]


def test_snapshots_do_not_wait_for_a_full_disk(kept: Kept) -> None:
    writer, reader = kept.rig.line(b"writer"), kept.rig.line(b"reader")
    writer.feed([set_payload(b"/p", 1)])
    ask_for_all(reader, pieces=2)
    assert reader.read() == []
    fail(kept)
    assert values(reader.read_to_the_end()) == [1, 1]
    ask_for_all(reader)
    assert values(reader.read_to_the_end()) == [1]


def test_nobody_is_closed_because_many_wait(kept: Kept) -> None:
    writer = kept.rig.line(b"writer")
    for number in range(3):
        writer.feed([set_payload(b"/large/%d" % number, b"x" * 18_000)])
    writer.feed([set_payload(b"/p", 1)])
    readers = [kept.rig.line(b"r%d" % number) for number in range(100)]  # 5 MB of pieces, in an arena of 4
    for reader in readers:
        ask_for_all(reader)
        reader.read()
    kept.commit_all()
    for reader in readers:
        assert values(reader.read_to_the_end()) == [1]
        assert not reader.peer.ended


def test_nobody_is_closed_because_replies_are_withheld(kept: Kept) -> None:
    """What is stored here waits for another router as well: a piece finds no room behind it, and waits."""
    writer = kept.rig.line(b"writer")
    for number in range(3):
        writer.feed([set_payload(b"/large/%d" % number, b"x" * 18_000)])
    writer.feed([set_payload(b"/p", 1)])
    readers = [kept.rig.line(b"r%d" % number) for number in range(100)]
    for reader in readers:
        ask_for_all(reader)
        reader.read()
    for reader in readers[-5:]:
        reader.peer.send(encode(Pong()))  # behind a piece that has no room yet
    collected = kept.journal_buffer.collect()
    assert collected is not None
    states, logs, _, base = collected
    kept.store.commit(states, logs, base, 1)
    held = kept.journal_buffer.withhold()
    kept.journal_buffer.release(True)
    for reader in readers[-5:]:
        reader.peer.resume()
    assert not any(reader.peer.ended for reader in readers)
    kept.journal_buffer.let_go(held)
    kept.commit_all()
    for reader in readers:
        assert values(reader.read_to_the_end()) == [1]
        assert not reader.peer.ended
