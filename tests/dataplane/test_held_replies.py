"""A piece of a snapshot that waits for memory: what changes meanwhile must come after it (architecture.md 4, order)."""

from __future__ import annotations

from collections.abc import Iterator

from support.plane_rig import EVERYTHING, Rig, publish_payload, set_payload

from clasp_edge.wire import Set, Snapshot, encode_frame

LARGE = bytes(50_000)
CHUNK = encode_frame(publish_payload(b"/hog", bytes(4000)))


def test_a_write_does_not_overtake_the_snapshot_that_waits_for_memory() -> None:
    rig = Rig(arena_mib=1)
    writer, reader = rig.line(b"writer"), rig.line(b"reader")
    hogs = [rig.line(b"hog%d" % number, buffer_bytes=4096) for number in range(60)]
    writer.feed([set_payload(b"/p", LARGE)])

    def snapshot() -> Iterator[bytes]:
        payload, _ = rig.plane.snapshot(EVERYTHING, None, b"", 60_000, 4096)
        yield reader.peer.image(encode_frame(payload))

    # Each holds what it may, which is as much as it leaves to the others.
    reserve = rig.core.arena_total // 8
    for hog in hogs:
        while hog.peer.queued_bytes + 2 * len(CHUNK) < rig.core.arena_free - reserve:
            hog.peer.send(CHUNK)
    assert rig.core.arena_free - reserve < len(LARGE) // 2
    reader.subscribe()
    reader.peer.start_job(snapshot())
    writer.feed([set_payload(b"/p", 2)])
    assert reader.read() == []

    for hog in hogs:
        rig.hang_up(hog)
    got = reader.read_to_the_end()
    assert [type(message) for message in got] == [Snapshot, Set]
    assert isinstance(got[1], Set)
    assert (got[1].value, got[1].revision) == (2, 2)
    rig.close()
