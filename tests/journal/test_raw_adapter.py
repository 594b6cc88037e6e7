"""What a bridge is told with each message: its number in the log."""

from __future__ import annotations

from pathlib import Path

from support.journal_rig import Kept

from clasp_edge.dataplane import Plane, RawAdapter, Sink, Subscription
from clasp_edge.wire.pattern import Pattern

NEVER = 0xFFFFFFFF

Delivery = tuple[Sink, int, bytes, bytes | None, tuple[bytes, bytes, int, int, bool] | None, bool, int]


class Bridge(RawAdapter):
    """Remembers what it is told."""

    def __init__(self, plane: Plane) -> None:
        self.logged: list[tuple[bytes, int]] = []

    def on_deliveries(self, deliveries: list[Delivery]) -> None:  # type: ignore[override]
        self.logged += [(delivery[2], delivery[6]) for delivery in deliveries]


def test_what_is_in_no_log_has_not_the_number_of_what_came_before(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    plane = kept.rig.plane
    bridge, broker = Bridge(plane), RawAdapter(plane)
    plane.trie.add(Subscription(bridge, 0, Pattern(b"/**"), 0x1F))
    broker.write(b"/lamp", b"1", b"", NEVER, 1, True, False)
    broker.write(b"/nothing/was/here", b"", b"", NEVER, 1, True, False)
    broker.write(b"/lamp", b"2", b"", NEVER, 1, True, False)
    assert bridge.logged == [(b"/lamp", 1), (b"/nothing/was/here", 0), (b"/lamp", 2)]
    kept.close()
