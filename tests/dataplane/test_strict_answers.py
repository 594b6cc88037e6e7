"""Mode strict: what confirms a write waits until it is stored; who asks waits for a commit, but for no full disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.journal_rig import Kept
from support.plane_rig import Line, set_payload

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
